-- The visits that stand and do not come in their line.
-- The digest is of the values as SQL writes them, so that null, '' and 'NULL' are three.
INSERT INTO lote_salen (huella, vez, id)
SELECT huella, ROW_NUMBER() OVER (PARTITION BY huella ORDER BY linea), id
FROM (
    SELECT
        e.id,
        e.linea,
        UNHEX(SHA2(CONCAT_WS(
            ',', QUOTE(e.email), QUOTE(e.jyv), QUOTE(e.badmail), QUOTE(e.baja), QUOTE(e.fecha_envio),
            QUOTE(e.fecha_open), QUOTE(e.opens), QUOTE(e.opens_virales), QUOTE(e.fecha_click), QUOTE(e.clicks),
            QUOTE(e.clicks_virales), QUOTE(e.links), QUOTE(e.ips), QUOTE(e.navegadores), QUOTE(e.plataformas)
        ), 256)) AS huella
    FROM estadisticas AS e
    LEFT JOIN lote_quedan AS q ON q.id = e.id
    WHERE e.archivo_id = :archivo_id AND q.id IS NULL
) AS d
ORDER BY huella, linea
