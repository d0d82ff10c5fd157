-- One row per day: how long the files that came to their end took, in seconds; percentiles by the nearest rank.
CREATE VIEW v_duracion AS
SELECT
    d.dia,
    d.mes,
    d.dia_desde_utc,
    COUNT(*) AS archivos,
    AVG(d.duracion_ms) / 1000.0e0 AS media_s,
    MIN(CASE WHEN d.lugar * 100 >= d.cuantos * 50 THEN d.duracion_ms END) / 1000.0e0 AS p50_s,
    MIN(CASE WHEN d.lugar * 100 >= d.cuantos * 90 THEN d.duracion_ms END) / 1000.0e0 AS p90_s,
    MIN(CASE WHEN d.lugar * 100 >= d.cuantos * 95 THEN d.duracion_ms END) / 1000.0e0 AS p95_s,
    MIN(CASE WHEN d.lugar * 100 >= d.cuantos * 99 THEN d.duracion_ms END) / 1000.0e0 AS p99_s,
    MAX(d.duracion_ms) / 1000.0e0 AS maxima_s
FROM (
    SELECT
        a.dia,
        a.mes,
        a.dia_desde_utc,
        a.duracion_ms,
        ROW_NUMBER() OVER (PARTITION BY a.dia, a.mes, a.dia_desde_utc ORDER BY a.duracion_ms) AS lugar,
        COUNT(*) OVER (PARTITION BY a.dia, a.mes, a.dia_desde_utc) AS cuantos
    FROM v_archivos AS a
    WHERE a.duracion_ms IS NOT NULL
) AS d
-- A day's month and beginning go with the day; grouped by, a condition on them reaches the ledger.
GROUP BY d.dia, d.mes, d.dia_desde_utc
