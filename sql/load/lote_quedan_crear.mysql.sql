-- The visits that stand as they come: the one's key, the other's place and line.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_quedan (
    id bigint NOT NULL PRIMARY KEY,
    n bigint NOT NULL UNIQUE,
    linea int NOT NULL
) ENGINE = InnoDB
