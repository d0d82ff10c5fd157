-- Visits that come as they stand, in another line: each of several alike with one other.
INSERT INTO lote_quedan (id, n, linea)
SELECT esta.id, viene.n, l.linea
FROM lote_entran AS viene
INNER JOIN lote_salen AS esta ON esta.huella = viene.huella AND esta.vez = viene.vez
INNER JOIN lote_visitas AS l ON l.n = viene.n
