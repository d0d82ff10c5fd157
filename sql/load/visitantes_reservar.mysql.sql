-- Locks every touched visitor, also the ones without a row yet, before they are counted anew: else a first load
-- that adds meanwhile would be overwritten by a count that did not see it.
INSERT INTO visitantes (
    email, fecha_primera_visita, fecha_ultima_visita,
    visitas_totales, visitas_anio_actual, visitas_mes_actual, actualizado_en
)
SELECT c.email, '1970-01-01', '1970-01-01', 0, 0, 0, :ahora
FROM lote_correos AS c
ORDER BY c.email
ON DUPLICATE KEY UPDATE visitas_totales = visitantes.visitas_totales
