-- How many of the file's visitors are known already.
WITH lote (email, primera, ultima, totales, anio_actual, mes_actual, actualizado) AS (VALUES :visitantes)
SELECT COUNT(*)
FROM lote
INNER JOIN visitantes ON visitantes.email = lote.email
