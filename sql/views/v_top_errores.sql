-- One row per day, kind of error and column: the rejected records that stand in errores, by the day of their file.
-- The only view that reads errores; its index over (archivo_id, tipo_error, campo) answers without the rows.
CREATE VIEW v_top_errores AS
SELECT
    a.dia,
    MIN(a.mes) AS mes,
    MIN(a.dia_desde_utc) AS dia_desde_utc,
    e.tipo_error,
    e.campo,
    COUNT(*) AS registros,
    COUNT(DISTINCT e.archivo_id) AS archivos
FROM v_archivos AS a
INNER JOIN errores AS e ON e.archivo_id = a.id
GROUP BY a.dia, e.tipo_error, e.campo
