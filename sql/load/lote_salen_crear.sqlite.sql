-- The visits of the version that stands which do not come again. `huella`: all that a visit says, but for its line;
-- `vez`: which of several alike it is.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_salen (
    huella text NOT NULL,
    vez int NOT NULL,
    id bigint NOT NULL UNIQUE,
    PRIMARY KEY (huella, vez)
)
