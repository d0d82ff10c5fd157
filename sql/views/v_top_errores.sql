-- One row per day, kind of error and column: the rejected records that stand in errores, by the day of their file.
-- The only view that reads errores; its index over (archivo_id, tipo_error, campo) answers without the rows.
CREATE VIEW v_top_errores AS
SELECT
    a.dia,
    a.mes,
    a.dia_desde_utc,
    e.tipo_error,
    e.campo,
    COUNT(*) AS registros,
    COUNT(DISTINCT e.archivo_id) AS archivos
FROM v_archivos AS a
INNER JOIN errores AS e ON e.archivo_id = a.id
-- A day's month and beginning go with the day; grouped by, a condition on them reaches the ledger.
GROUP BY a.dia, a.mes, a.dia_desde_utc, e.tipo_error, e.campo
