-- The visits that come and do not stand in their line.
-- Compared are the values as SQL writes them, so that null, '' and 'NULL' are three.
INSERT INTO lote_entran (huella, vez, n)
SELECT huella, ROW_NUMBER() OVER (PARTITION BY huella ORDER BY linea), n
FROM (
    SELECT
        l.n,
        l.linea,
        quote(l.email) || ',' || quote(l.jyv) || ',' || quote(l.badmail) || ',' || quote(l.baja)
            || ',' || quote(l.fecha_envio) || ',' || quote(l.fecha_open) || ',' || quote(l.opens)
            || ',' || quote(l.opens_virales) || ',' || quote(l.fecha_click) || ',' || quote(l.clicks)
            || ',' || quote(l.clicks_virales) || ',' || quote(l.links) || ',' || quote(l.ips)
            || ',' || quote(l.navegadores) || ',' || quote(l.plataformas) AS huella
    FROM lote_visitas AS l
    LEFT JOIN lote_quedan AS q ON q.n = l.n
    WHERE q.n IS NULL
) AS d
ORDER BY huella, linea
