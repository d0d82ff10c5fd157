-- The visits of the version that comes, in the order of their e-mails.
CREATE TEMPORARY TABLE IF NOT EXISTS lote_visitas (
    n integer PRIMARY KEY,
    linea int NOT NULL UNIQUE,
    email varchar(254) NOT NULL,
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
)
