-- The visits of the version that comes, in the order of their e-mails.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_visitas (
    n bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    linea int NOT NULL UNIQUE,
    email varchar(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    jyv varchar(64),
    badmail varchar(64),
    baja varchar(64),
    fecha_envio datetime NOT NULL,
    fecha_open datetime,
    opens int,
    opens_virales int,
    fecha_click datetime,
    clicks int,
    clicks_virales int,
    links varchar(1024),
    ips varchar(1024),
    navegadores varchar(1024),
    plataformas varchar(1024)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
