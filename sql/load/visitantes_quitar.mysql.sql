-- A touched visitor without a visit left has no row.
DELETE v
FROM visitantes AS v
INNER JOIN lote_correos AS c ON c.email = v.email
LEFT JOIN estadisticas AS e ON e.email = v.email
WHERE e.email IS NULL
