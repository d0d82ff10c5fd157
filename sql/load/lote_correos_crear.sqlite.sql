-- The visitors that a correction or a replay touches.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_correos (
    email varchar(254) NOT NULL PRIMARY KEY
)
