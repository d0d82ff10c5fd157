-- Touched visitors, anew from their visits. A row that comes out as it was keeps its actualizado_en: MySQL and
-- MariaDB assign from left to right, so the comparison stands first and sees the old values.
INSERT INTO visitantes (
    email, fecha_primera_visita, fecha_ultima_visita,
    visitas_totales, visitas_anio_actual, visitas_mes_actual, actualizado_en
)
SELECT
    nuevo.email, nuevo.primera, nuevo.ultima, nuevo.totales, nuevo.anio, nuevo.mes, :ahora
FROM (
    SELECT
        e.email AS email,
        MIN(e.fecha_envio) AS primera,
        MAX(e.fecha_envio) AS ultima,
        COUNT(*) AS totales,
        SUM(e.fecha_envio >= :anio_desde AND e.fecha_envio < :anio_hasta) AS anio,
        SUM(e.fecha_envio >= :mes_desde AND e.fecha_envio < :mes_hasta) AS mes
    FROM lote_correos AS c
    INNER JOIN estadisticas AS e ON e.email = c.email
    GROUP BY e.email
    ORDER BY e.email
) AS nuevo
ON DUPLICATE KEY UPDATE
    actualizado_en = IF(
        visitantes.fecha_primera_visita = nuevo.primera
        AND visitantes.fecha_ultima_visita = nuevo.ultima
        AND visitantes.visitas_totales = nuevo.totales
        AND visitantes.visitas_anio_actual = nuevo.anio
        AND visitantes.visitas_mes_actual = nuevo.mes,
        visitantes.actualizado_en,
        :ahora
    ),
    fecha_primera_visita = nuevo.primera,
    fecha_ultima_visita = nuevo.ultima,
    visitas_totales = nuevo.totales,
    visitas_anio_actual = nuevo.anio,
    visitas_mes_actual = nuevo.mes
