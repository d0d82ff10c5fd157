-- The visits that come as they stand are the new version's, and stand in its lines.
UPDATE estadisticas
SET archivo_id = :archivo_id, linea = q.linea
FROM lote_quedan AS q
WHERE q.id = estadisticas.id
