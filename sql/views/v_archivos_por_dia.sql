-- One row per day on which a file came to its end.
CREATE VIEW v_archivos_por_dia AS
SELECT
    a.dia,
    a.mes,
    a.dia_desde_utc,
    COUNT(*) AS archivos,
    COUNT(CASE WHEN a.estado = 'COMPLETADO' THEN 1 END) AS completados,
    COUNT(CASE WHEN a.estado = 'COMPLETADO_CON_ERRORES' THEN 1 END) AS completados_con_errores,
    COUNT(CASE WHEN a.estado = 'FALLO_LAYOUT' THEN 1 END) AS fallos_layout,
    COUNT(CASE WHEN a.estado = 'FALLO_SISTEMA' THEN 1 END) AS fallos_sistema,
    COUNT(CASE WHEN a.estado = 'DUPLICADO' THEN 1 END) AS duplicados,
    COUNT(q.id) AS en_cuarentena,
    CAST(SUM(a.registros_total) AS SIGNED) AS registros_total,
    CAST(SUM(a.registros_validos) AS SIGNED) AS registros_validos,
    CAST(SUM(a.registros_invalidos) AS SIGNED) AS registros_invalidos,
    -- 1.0e0: a double; the servers would keep four decimals of a quotient of integers.
    1.0e0 * COUNT(CASE WHEN a.estado NOT IN ('FALLO_LAYOUT', 'FALLO_SISTEMA') THEN 1 END) / COUNT(*) AS tasa_exito,
    1.0e0 * SUM(a.registros_invalidos) / NULLIF(SUM(a.registros_total), 0) AS tasa_error,
    CAST(SUM(a.visitantes_nuevos) AS SIGNED) AS visitantes_nuevos,
    CAST(SUM(a.bytes) AS SIGNED) AS bytes,
    AVG(a.duracion_ms) / 1000.0e0 AS duracion_media_s,
    MAX(a.duracion_ms) / 1000.0e0 AS duracion_maxima_s
FROM v_archivos AS a
LEFT JOIN v_cuarentena AS q ON q.id = a.id
-- A day's month and beginning go with the day; grouped by, a condition on them reaches the ledger.
GROUP BY a.dia, a.mes, a.dia_desde_utc
