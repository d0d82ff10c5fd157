-- Touched visitors, anew from their visits. A row that comes out as it was keeps its actualizado_en.
INSERT INTO visitantes (
    email, fecha_primera_visita, fecha_ultima_visita,
    visitas_totales, visitas_anio_actual, visitas_mes_actual, actualizado_en
)
SELECT
    e.email,
    MIN(e.fecha_envio),
    MAX(e.fecha_envio),
    COUNT(*),
    SUM(e.fecha_envio >= :anio_desde AND e.fecha_envio < :anio_hasta),
    SUM(e.fecha_envio >= :mes_desde AND e.fecha_envio < :mes_hasta),
    :ahora
FROM lote_correos AS c
INNER JOIN estadisticas AS e ON e.email = c.email
WHERE true
GROUP BY e.email
ON CONFLICT (email) DO UPDATE SET
    fecha_primera_visita = excluded.fecha_primera_visita,
    fecha_ultima_visita = excluded.fecha_ultima_visita,
    visitas_totales = excluded.visitas_totales,
    visitas_anio_actual = excluded.visitas_anio_actual,
    visitas_mes_actual = excluded.visitas_mes_actual,
    actualizado_en = excluded.actualizado_en
WHERE
    fecha_primera_visita <> excluded.fecha_primera_visita
    OR fecha_ultima_visita <> excluded.fecha_ultima_visita
    OR visitas_totales <> excluded.visitas_totales
    OR visitas_anio_actual <> excluded.visitas_anio_actual
    OR visitas_mes_actual <> excluded.visitas_mes_actual
