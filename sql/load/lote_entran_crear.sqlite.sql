-- The visits of the version that comes which do not stand in their line, in the same way.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_entran (
    huella text NOT NULL,
    vez int NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (huella, vez)
)
