-- A first load only adds: its cost does not grow with history.
INSERT INTO visitantes (
    email, fecha_primera_visita, fecha_ultima_visita,
    visitas_totales, visitas_anio_actual, visitas_mes_actual, actualizado_en
)
VALUES :visitantes
ON CONFLICT (email) DO UPDATE SET
    fecha_primera_visita = min(fecha_primera_visita, excluded.fecha_primera_visita),
    fecha_ultima_visita = max(fecha_ultima_visita, excluded.fecha_ultima_visita),
    visitas_totales = visitas_totales + excluded.visitas_totales,
    visitas_anio_actual = visitas_anio_actual + excluded.visitas_anio_actual,
    visitas_mes_actual = visitas_mes_actual + excluded.visitas_mes_actual,
    actualizado_en = excluded.actualizado_en
