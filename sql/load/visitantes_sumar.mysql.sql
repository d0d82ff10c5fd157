-- A first load only adds: its cost does not grow with history. Sorted by the key, so that two loads meet the
-- rows in the same order and do not deadlock.
INSERT INTO visitantes (
    email, fecha_primera_visita, fecha_ultima_visita,
    visitas_totales, visitas_anio_actual, visitas_mes_actual, actualizado_en
)
SELECT
    lote.email, lote.fecha_primera_visita, lote.fecha_ultima_visita,
    lote.visitas_totales, lote.visitas_anio_actual, lote.visitas_mes_actual, :ahora
FROM lote_visitantes AS lote
ORDER BY lote.email
ON DUPLICATE KEY UPDATE
    fecha_primera_visita = LEAST(visitantes.fecha_primera_visita, lote.fecha_primera_visita),
    fecha_ultima_visita = GREATEST(visitantes.fecha_ultima_visita, lote.fecha_ultima_visita),
    visitas_totales = visitantes.visitas_totales + lote.visitas_totales,
    visitas_anio_actual = visitantes.visitas_anio_actual + lote.visitas_anio_actual,
    visitas_mes_actual = visitantes.visitas_mes_actual + lote.visitas_mes_actual,
    actualizado_en = :ahora
