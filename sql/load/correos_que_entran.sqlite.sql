-- The visitors of visits that did not stand before.
INSERT INTO lote_correos
SELECT DISTINCT l.email
FROM lote_visitas AS l
LEFT JOIN lote_iguales AS i ON i.n = l.n
WHERE i.n IS NULL
ORDER BY l.email
ON CONFLICT (email) DO NOTHING
