-- The visits that come as they stand are the new version's, and stand in its lines.
UPDATE estadisticas
SET archivo_id = :archivo_id, linea = i.linea
FROM lote_iguales AS i
WHERE i.id = estadisticas.id
