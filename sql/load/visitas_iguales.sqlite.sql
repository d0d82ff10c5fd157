-- Which visits come as they stand: equal in all but their line, each of several alike with one other. Compared are the
-- values as SQL writes them, so that null, '' and 'NULL' are three.
INSERT INTO lote_iguales (id, n, linea)
SELECT esta.id, viene.n, viene.linea
FROM (
    SELECT
        id,
        huella,
        ROW_NUMBER() OVER (PARTITION BY huella ORDER BY linea, id) AS vez
    FROM (
        SELECT
            id,
            linea,
            quote(email) || ',' || quote(jyv) || ',' || quote(badmail) || ',' || quote(baja)
                || ',' || quote(fecha_envio) || ',' || quote(fecha_open) || ',' || quote(opens)
                || ',' || quote(opens_virales) || ',' || quote(fecha_click) || ',' || quote(clicks)
                || ',' || quote(clicks_virales) || ',' || quote(links) || ',' || quote(ips)
                || ',' || quote(navegadores) || ',' || quote(plataformas) AS huella
        FROM estadisticas
        WHERE archivo_id = :archivo_id
    ) AS e
) AS esta
INNER JOIN (
    SELECT
        n,
        linea,
        huella,
        ROW_NUMBER() OVER (PARTITION BY huella ORDER BY linea, n) AS vez
    FROM (
        SELECT
            n,
            linea,
            quote(email) || ',' || quote(jyv) || ',' || quote(badmail) || ',' || quote(baja)
                || ',' || quote(fecha_envio) || ',' || quote(fecha_open) || ',' || quote(opens)
                || ',' || quote(opens_virales) || ',' || quote(fecha_click) || ',' || quote(clicks)
                || ',' || quote(clicks_virales) || ',' || quote(links) || ',' || quote(ips)
                || ',' || quote(navegadores) || ',' || quote(plataformas) AS huella
        FROM lote_visitas
    ) AS l
) AS viene ON viene.huella = esta.huella AND viene.vez = esta.vez
ORDER BY esta.id
