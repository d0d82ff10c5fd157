-- The visits that come and do not stand in their line.
-- The digest is of the values as SQL writes them, so that null, '' and 'NULL' are three.
INSERT INTO lote_entran (huella, vez, n)
SELECT huella, ROW_NUMBER() OVER (PARTITION BY huella ORDER BY linea), n
FROM (
    SELECT
        l.n,
        l.linea,
        UNHEX(SHA2(CONCAT_WS(
            ',', QUOTE(l.email), QUOTE(l.jyv), QUOTE(l.badmail), QUOTE(l.baja), QUOTE(l.fecha_envio),
            QUOTE(l.fecha_open), QUOTE(l.opens), QUOTE(l.opens_virales), QUOTE(l.fecha_click), QUOTE(l.clicks),
            QUOTE(l.clicks_virales), QUOTE(l.links), QUOTE(l.ips), QUOTE(l.navegadores), QUOTE(l.plataformas)
        ), 256)) AS huella
    FROM lote_visitas AS l
    LEFT JOIN lote_quedan AS q ON q.n = l.n
    WHERE q.n IS NULL
) AS d
ORDER BY huella, linea
