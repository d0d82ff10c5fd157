-- The visits that did not stand go in, in the order of their index.
INSERT INTO estadisticas (
    archivo_id, linea, email, jyv, badmail, baja, fecha_envio, fecha_open, opens, opens_virales, fecha_click,
    clicks, clicks_virales, links, ips, navegadores, plataformas
)
SELECT
    :archivo_id, l.linea, l.email, l.jyv, l.badmail, l.baja, l.fecha_envio, l.fecha_open, l.opens,
    l.opens_virales, l.fecha_click, l.clicks, l.clicks_virales, l.links, l.ips, l.navegadores, l.plataformas
FROM lote_visitas AS l
LEFT JOIN lote_quedan AS q ON q.n = l.n
WHERE q.n IS NULL
ORDER BY l.n
