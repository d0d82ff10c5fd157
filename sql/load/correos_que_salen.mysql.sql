-- The visitors of visits that are about to go.
INSERT INTO lote_correos (email)
SELECT e.email
FROM lote_salen AS s
INNER JOIN estadisticas AS e ON e.id = s.id
WHERE true
ORDER BY e.email
ON DUPLICATE KEY UPDATE email = lote_correos.email
