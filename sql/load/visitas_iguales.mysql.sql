-- Which visits come as they stand: equal in all but their line, each of several alike with one other. The digest is
-- of the values as SQL writes them, so that null, '' and 'NULL' are three; two that agree by chance there are not.
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
            UNHEX(SHA2(CONCAT_WS(
                ',', QUOTE(email), QUOTE(jyv), QUOTE(badmail), QUOTE(baja), QUOTE(fecha_envio),
                QUOTE(fecha_open), QUOTE(opens), QUOTE(opens_virales), QUOTE(fecha_click), QUOTE(clicks),
                QUOTE(clicks_virales), QUOTE(links), QUOTE(ips), QUOTE(navegadores), QUOTE(plataformas)
            ), 256)) AS huella
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
            UNHEX(SHA2(CONCAT_WS(
                ',', QUOTE(email), QUOTE(jyv), QUOTE(badmail), QUOTE(baja), QUOTE(fecha_envio),
                QUOTE(fecha_open), QUOTE(opens), QUOTE(opens_virales), QUOTE(fecha_click), QUOTE(clicks),
                QUOTE(clicks_virales), QUOTE(links), QUOTE(ips), QUOTE(navegadores), QUOTE(plataformas)
            ), 256)) AS huella
        FROM lote_visitas
    ) AS l
) AS viene ON viene.huella = esta.huella AND viene.vez = esta.vez
ORDER BY esta.id
