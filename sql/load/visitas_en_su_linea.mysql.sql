-- Visits that come as they stand, in the very same line: nearly all of a usual correction.
-- By their bytes: to the columns' own collation «a», «A» and «á» are one.
INSERT INTO lote_quedan (id, n, linea)
SELECT e.id, l.n, l.linea
FROM estadisticas AS e
INNER JOIN lote_visitas AS l ON
    l.linea = e.linea
    AND e.email = l.email
    AND e.fecha_envio = l.fecha_envio
    AND CAST(e.jyv AS binary) <=> CAST(l.jyv AS binary)
    AND CAST(e.badmail AS binary) <=> CAST(l.badmail AS binary)
    AND CAST(e.baja AS binary) <=> CAST(l.baja AS binary)
    AND e.fecha_open <=> l.fecha_open
    AND e.opens <=> l.opens
    AND e.opens_virales <=> l.opens_virales
    AND e.fecha_click <=> l.fecha_click
    AND e.clicks <=> l.clicks
    AND e.clicks_virales <=> l.clicks_virales
    AND CAST(e.links AS binary) <=> CAST(l.links AS binary)
    AND CAST(e.ips AS binary) <=> CAST(l.ips AS binary)
    AND CAST(e.navegadores AS binary) <=> CAST(l.navegadores AS binary)
    AND CAST(e.plataformas AS binary) <=> CAST(l.plataformas AS binary)
WHERE e.archivo_id = :archivo_id
ORDER BY e.id
