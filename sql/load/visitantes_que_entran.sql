-- How many visitors the version that comes has, and how many of them have no row: one with a visit that stands has one.
SELECT
    (SELECT COUNT(DISTINCT email) FROM lote_visitas) AS todos,
    (
        SELECT COUNT(*)
        FROM lote_correos AS c
        LEFT JOIN visitantes AS v ON v.email = c.email
        WHERE v.email IS NULL
    ) AS nuevos
