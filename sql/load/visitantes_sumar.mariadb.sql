-- As MySQL's, for a server that has no alias for the rows that come. MySQL is to give up VALUES().
INSERT INTO visitantes (
    email, fecha_primera_visita, fecha_ultima_visita,
    visitas_totales, visitas_anio_actual, visitas_mes_actual, actualizado_en
)
VALUES :visitantes
ON DUPLICATE KEY UPDATE
    fecha_primera_visita = LEAST(fecha_primera_visita, VALUES(fecha_primera_visita)),
    fecha_ultima_visita = GREATEST(fecha_ultima_visita, VALUES(fecha_ultima_visita)),
    visitas_totales = visitas_totales + VALUES(visitas_totales),
    visitas_anio_actual = visitas_anio_actual + VALUES(visitas_anio_actual),
    visitas_mes_actual = visitas_mes_actual + VALUES(visitas_mes_actual),
    actualizado_en = VALUES(actualizado_en)
