-- The visits that do not come again go.
DELETE e
FROM lote_salen AS s
INNER JOIN estadisticas AS e ON e.id = s.id
