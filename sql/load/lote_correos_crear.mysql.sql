-- The visitors that a correction or a replay touches.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_correos (
    email varchar(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY
) ENGINE = InnoDB
