-- The visits that come as they stand are the new version's, and stand in its lines.
UPDATE lote_quedan AS q
INNER JOIN estadisticas AS e ON e.id = q.id
SET e.archivo_id = :archivo_id, e.linea = q.linea
