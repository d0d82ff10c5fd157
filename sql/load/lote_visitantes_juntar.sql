-- Partial counts into one row per e-mail, in the order of the key.
INSERT INTO lote_visitantes
SELECT
    email,
    MIN(fecha_primera_visita),
    MAX(fecha_ultima_visita),
    SUM(visitas_totales),
    SUM(visitas_anio_actual),
    SUM(visitas_mes_actual)
FROM lote_partes
GROUP BY email
ORDER BY email
