-- The visitors of visits that did not stand before, in the order of their key.
INSERT INTO lote_correos (email)
SELECT l.email
FROM lote_visitas AS l
LEFT JOIN lote_quedan AS q ON q.n = l.n
WHERE q.n IS NULL
ORDER BY l.n
ON DUPLICATE KEY UPDATE email = lote_correos.email
