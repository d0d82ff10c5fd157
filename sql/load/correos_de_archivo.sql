-- The visitors of a version that is about to go.
INSERT INTO lote_correos
SELECT DISTINCT email FROM estadisticas WHERE archivo_id = :archivo_id ORDER BY email
