-- A first load only adds: its cost does not grow with history. In the order of the key, so that two loads meet the
-- rows in the same order and do not deadlock. Not by way of a temporary table: filling it and emptying it again took
-- as long as this does, for 500 visitors.
INSERT INTO visitantes (
    email, fecha_primera_visita, fecha_ultima_visita,
    visitas_totales, visitas_anio_actual, visitas_mes_actual, actualizado_en
)
VALUES :visitantes AS lote
ON DUPLICATE KEY UPDATE
    fecha_primera_visita = LEAST(visitantes.fecha_primera_visita, lote.fecha_primera_visita),
    fecha_ultima_visita = GREATEST(visitantes.fecha_ultima_visita, lote.fecha_ultima_visita),
    visitas_totales = visitantes.visitas_totales + lote.visitas_totales,
    visitas_anio_actual = visitantes.visitas_anio_actual + lote.visitas_anio_actual,
    visitas_mes_actual = visitantes.visitas_mes_actual + lote.visitas_mes_actual,
    actualizado_en = lote.actualizado_en
