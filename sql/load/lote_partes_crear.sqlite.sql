-- Partial counts of a file with more visitors than fit in memory: an e-mail may stand in several rows.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_partes (
    email varchar(254) NOT NULL,
    fecha_primera_visita datetime NOT NULL,
    fecha_ultima_visita datetime NOT NULL,
    visitas_totales int NOT NULL,
    visitas_anio_actual int NOT NULL,
    visitas_mes_actual int NOT NULL
)
