-- A new month began: "this year" and "this month" of every visitor, also of those that sent nothing.
UPDATE visitantes
SET
    visitas_anio_actual = nuevo.anio,
    visitas_mes_actual = nuevo.mes,
    actualizado_en = :ahora
FROM (
    SELECT
        v.email AS email,
        COUNT(e.email) AS anio,
        COALESCE(SUM(e.fecha_envio >= :mes_desde AND e.fecha_envio < :mes_hasta), 0) AS mes
    FROM visitantes AS v
    LEFT JOIN estadisticas AS e
        ON e.email = v.email AND e.fecha_envio >= :anio_desde AND e.fecha_envio < :anio_hasta
    GROUP BY v.email
) AS nuevo
WHERE
    visitantes.email = nuevo.email
    AND (visitantes.visitas_anio_actual <> nuevo.anio OR visitantes.visitas_mes_actual <> nuevo.mes)
