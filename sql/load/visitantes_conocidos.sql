-- How many of the file's visitors are known already.
SELECT COUNT(*)
FROM lote_visitantes AS lote
INNER JOIN visitantes ON visitantes.email = lote.email
