-- The visits that come as they stand are the new version's, and stand in its lines.
UPDATE lote_iguales AS i
INNER JOIN estadisticas AS e ON e.id = i.id
SET e.archivo_id = :archivo_id, e.linea = i.linea
