-- One row per day on which files were loaded: the records they brought, and the share that was rejected.
CREATE VIEW v_tasa_errores AS
SELECT
    a.dia,
    a.mes,
    a.dia_desde_utc,
    COUNT(*) AS archivos,
    COUNT(CASE WHEN a.estado = 'COMPLETADO_CON_ERRORES' THEN 1 END) AS archivos_con_errores,
    CAST(SUM(a.registros_total) AS SIGNED) AS registros_total,
    CAST(SUM(a.registros_validos) AS SIGNED) AS registros_validos,
    CAST(SUM(a.registros_invalidos) AS SIGNED) AS registros_invalidos,
    1.0e0 * SUM(a.registros_invalidos) / NULLIF(SUM(a.registros_total), 0) AS tasa_error
FROM v_archivos AS a
WHERE a.estado IN ('COMPLETADO', 'COMPLETADO_CON_ERRORES')
-- A day's month and beginning go with the day; grouped by, a condition on them reaches the ledger.
GROUP BY a.dia, a.mes, a.dia_desde_utc
