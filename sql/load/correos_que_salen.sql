-- The visitors of visits that are about to go.
INSERT INTO lote_correos
SELECT DISTINCT e.email
FROM estadisticas AS e
LEFT JOIN lote_iguales AS i ON i.id = e.id
WHERE e.archivo_id = :archivo_id AND i.id IS NULL
ORDER BY e.email
