-- Visits that come as they stand, in the very same line: nearly all of a usual correction.
INSERT INTO lote_quedan (id, n, linea)
SELECT e.id, l.n, l.linea
FROM estadisticas AS e
INNER JOIN lote_visitas AS l ON
    l.linea = e.linea
    AND e.email IS l.email
    AND e.jyv IS l.jyv
    AND e.badmail IS l.badmail
    AND e.baja IS l.baja
    AND e.fecha_envio IS l.fecha_envio
    AND e.fecha_open IS l.fecha_open
    AND e.opens IS l.opens
    AND e.opens_virales IS l.opens_virales
    AND e.fecha_click IS l.fecha_click
    AND e.clicks IS l.clicks
    AND e.clicks_virales IS l.clicks_virales
    AND e.links IS l.links
    AND e.ips IS l.ips
    AND e.navegadores IS l.navegadores
    AND e.plataformas IS l.plataformas
WHERE e.archivo_id = :archivo_id
ORDER BY e.id
