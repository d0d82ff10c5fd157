-- The visits that do not come again go.
DELETE FROM estadisticas
WHERE archivo_id = :archivo_id AND id NOT IN (SELECT id FROM lote_iguales)
