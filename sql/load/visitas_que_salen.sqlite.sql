-- The visits that do not come again go.
DELETE FROM estadisticas
WHERE id IN (SELECT id FROM lote_salen)
