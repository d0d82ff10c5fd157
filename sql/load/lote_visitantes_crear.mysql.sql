-- One row per e-mail of the file that is being loaded. Temporary: its DDL commits nothing.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_visitantes (
    email varchar(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    fecha_primera_visita datetime NOT NULL,
    fecha_ultima_visita datetime NOT NULL,
    visitas_totales int NOT NULL,
    visitas_anio_actual int NOT NULL,
    visitas_mes_actual int NOT NULL
) ENGINE = InnoDB
