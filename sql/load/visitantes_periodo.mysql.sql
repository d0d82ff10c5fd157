-- A new month began: "this year" and "this month" of every visitor, also of those that sent nothing.
UPDATE visitantes AS v
LEFT JOIN (
    SELECT
        email,
        COUNT(*) AS anio,
        SUM(fecha_envio >= :mes_desde AND fecha_envio < :mes_hasta) AS mes
    FROM estadisticas
    WHERE fecha_envio >= :anio_desde AND fecha_envio < :anio_hasta
    GROUP BY email
) AS r ON r.email = v.email
SET
    v.visitas_anio_actual = COALESCE(r.anio, 0),
    v.visitas_mes_actual = COALESCE(r.mes, 0),
    v.actualizado_en = :ahora
WHERE
    v.visitas_anio_actual <> COALESCE(r.anio, 0)
    OR v.visitas_mes_actual <> COALESCE(r.mes, 0)
