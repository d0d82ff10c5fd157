-- The visitors of the version that comes.
INSERT INTO lote_correos
SELECT email FROM lote_visitantes WHERE true ORDER BY email
ON CONFLICT (email) DO NOTHING
