-- One row per failed content that nothing newer of its name has made good: what needs a person, or a retry.
CREATE VIEW v_cuarentena AS
SELECT
    a.id,
    a.archivo,
    a.estado,
    CASE a.estado WHEN 'FALLO_LAYOUT' THEN 'layout' ELSE 'sistema' END AS cuarentena,
    a.dia,
    a.mes,
    a.fin_utc AS desde_utc,
    a.fin_local AS desde_local,
    a.intentos,
    a.bytes,
    -- A file that no run could download stands on the SFTP server only.
    CASE WHEN a.sha256 IS NULL THEN 0 ELSE 1 END AS descargado,
    a.sha256,
    a.run_id,
    a.mensaje
FROM v_archivos AS a
WHERE
    a.estado IN ('FALLO_LAYOUT', 'FALLO_SISTEMA')
    AND NOT EXISTS (
        SELECT 1
        FROM bitacora_control AS n
        WHERE
            n.archivo = a.archivo
            AND n.inicio > a.inicio_utc
            AND n.estado IN ('COMPLETADO', 'COMPLETADO_CON_ERRORES', 'DUPLICADO')
    )
