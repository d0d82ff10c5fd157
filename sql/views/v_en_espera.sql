-- One row per content that a run has, or that a later pass takes by itself or after a person's release.
CREATE VIEW v_en_espera AS
SELECT
    b.id,
    b.archivo,
    b.estado,
    CASE WHEN b.fin IS NULL THEN 'EN_PROCESO' ELSE 'SE_REPITE' END AS situacion,
    COALESCE(b.fin, b.inicio) AS desde_utc,
    b.intentos,
    b.bytes,
    b.run_id,
    b.mensaje
FROM bitacora_control AS b
WHERE b.estado = 'EN_PROCESO'
UNION ALL
SELECT
    b.id,
    b.archivo,
    b.estado,
    'LIBERADO' AS situacion,
    MIN(i.inicio) AS desde_utc,
    b.intentos,
    b.bytes,
    b.run_id,
    b.mensaje
FROM bitacora_intentos AS i
INNER JOIN bitacora_control AS b ON b.id = i.archivo_id
WHERE i.resultado = 'LIBERADO' AND i.fin IS NULL AND b.estado <> 'EN_PROCESO'
GROUP BY b.id, b.archivo, b.estado, b.intentos, b.bytes, b.run_id, b.mensaje
UNION ALL
SELECT
    q.id,
    q.archivo,
    q.estado,
    'FALLO_SISTEMA' AS situacion,
    q.desde_utc,
    q.intentos,
    q.bytes,
    q.run_id,
    q.mensaje
FROM v_cuarentena AS q
WHERE
    q.estado = 'FALLO_SISTEMA'
    AND NOT EXISTS (
        SELECT 1 FROM bitacora_intentos AS l WHERE l.archivo_id = q.id AND l.resultado = 'LIBERADO' AND l.fin IS NULL
    )
