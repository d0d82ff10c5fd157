-- One row per state of the contract, also those that no file is in: the ledger as it stands now.
CREATE VIEW v_estados AS
SELECT
    e.orden,
    e.estado,
    COUNT(b.id) AS archivos,
    COUNT(CASE WHEN b.vigente = 1 THEN 1 END) AS archivos_vigentes,
    -- What stands in estadisticas and errores for them.
    CAST(COALESCE(SUM(CASE WHEN b.vigente = 1 AND e.cargado = 1 THEN b.registros_validos END), 0) AS SIGNED)
        AS registros_validos,
    CAST(COALESCE(SUM(CASE WHEN b.vigente = 1 AND e.cargado = 1 THEN b.registros_invalidos END), 0) AS SIGNED)
        AS registros_invalidos,
    MAX(b.inicio) AS ultimo_inicio_utc,
    MAX(b.fin) AS ultimo_fin_utc
FROM (
    SELECT 1 AS orden, 'EN_PROCESO' AS estado, 0 AS cargado
    UNION ALL SELECT 2, 'COMPLETADO', 1
    UNION ALL SELECT 3, 'COMPLETADO_CON_ERRORES', 1
    UNION ALL SELECT 4, 'FALLO_LAYOUT', 0
    UNION ALL SELECT 5, 'FALLO_SISTEMA', 0
    UNION ALL SELECT 6, 'DUPLICADO', 0
) AS e
-- By number: two texts of different collations, the database's and the session's, would not compare.
LEFT JOIN bitacora_control AS b
    ON e.orden = CASE b.estado
        WHEN 'EN_PROCESO' THEN 1
        WHEN 'COMPLETADO' THEN 2
        WHEN 'COMPLETADO_CON_ERRORES' THEN 3
        WHEN 'FALLO_LAYOUT' THEN 4
        WHEN 'FALLO_SISTEMA' THEN 5
        WHEN 'DUPLICADO' THEN 6
    END
GROUP BY e.orden, e.estado
