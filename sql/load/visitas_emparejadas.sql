-- What comes in another line does not go.
DELETE FROM lote_salen
WHERE id IN (SELECT id FROM lote_quedan)
