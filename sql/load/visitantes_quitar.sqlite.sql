-- A touched visitor without a visit left has no row.
DELETE FROM visitantes
WHERE
    email IN (SELECT email FROM lote_correos)
    AND NOT EXISTS (SELECT 1 FROM estadisticas AS e WHERE e.email = visitantes.email)
