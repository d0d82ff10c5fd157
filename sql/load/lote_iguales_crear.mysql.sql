-- Visits that stand already as they come: the one's key, the other's place and its line.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_iguales (
    id bigint NOT NULL PRIMARY KEY,
    n bigint NOT NULL UNIQUE,
    linea int NOT NULL
) ENGINE = InnoDB
