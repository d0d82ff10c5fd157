-- The visits that stand and do not come in their line.
-- Compared are the values as SQL writes them, so that null, '' and 'NULL' are three.
INSERT INTO lote_salen (huella, vez, id)
SELECT huella, ROW_NUMBER() OVER (PARTITION BY huella ORDER BY linea), id
FROM (
    SELECT
        e.id,
        e.linea,
        quote(e.email) || ',' || quote(e.jyv) || ',' || quote(e.badmail) || ',' || quote(e.baja)
            || ',' || quote(e.fecha_envio) || ',' || quote(e.fecha_open) || ',' || quote(e.opens)
            || ',' || quote(e.opens_virales) || ',' || quote(e.fecha_click) || ',' || quote(e.clicks)
            || ',' || quote(e.clicks_virales) || ',' || quote(e.links) || ',' || quote(e.ips)
            || ',' || quote(e.navegadores) || ',' || quote(e.plataformas) AS huella
    FROM estadisticas AS e
    LEFT JOIN lote_quedan AS q ON q.id = e.id
    WHERE e.archivo_id = :archivo_id AND q.id IS NULL
) AS d
ORDER BY huella, linea
