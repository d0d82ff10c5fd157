-- The visitors of the version that comes.
INSERT INTO lote_correos
SELECT lote.email FROM lote_visitantes AS lote ORDER BY lote.email
ON DUPLICATE KEY UPDATE email = lote_correos.email
