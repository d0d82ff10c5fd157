"""The contract's tables, and the two that the load keeps for itself.

Revision 0001, the first. A released migration is never edited: a change is a new one.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLE = {"mysql_charset": "utf8mb4", "mysql_engine": "InnoDB"}


def _key() -> sa.types.TypeEngine:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _exact(length: int) -> sa.types.TypeEngine:
    return sa.String(length).with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")


def _digest() -> sa.types.TypeEngine:
    return sa.String(64).with_variant(mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mysql")


def _second() -> sa.types.TypeEngine:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=0), "mysql")


def _moment() -> sa.types.TypeEngine:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def _long_text() -> sa.types.TypeEngine:
    return sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


def upgrade() -> None:
    """Create the tables."""
    _ledger()
    _visits()
    _rejects()
    _visitors()
    _own()


def _ledger() -> None:
    op.create_table(
        "bitacora_control",
        sa.Column("id", _key(), primary_key=True, autoincrement=True),
        sa.Column("archivo", _exact(255), nullable=False),
        sa.Column("sha256", _digest()),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("modificado_origen", _second()),
        sa.Column("codificacion", sa.String(32)),
        sa.Column("estado", sa.String(32), nullable=False),
        sa.Column("intentos", sa.Integer, nullable=False),
        sa.Column("registros_total", sa.Integer),
        sa.Column("registros_validos", sa.Integer),
        sa.Column("registros_invalidos", sa.Integer),
        sa.Column("visitantes_nuevos", sa.Integer),
        sa.Column("visitantes_actualizados", sa.Integer),
        sa.Column("inicio", _moment()),
        sa.Column("fin", _moment()),
        sa.Column("duracion_ms", sa.BigInteger),
        sa.Column("mensaje", sa.Text),
        sa.Column("run_id", sa.String(36).with_variant(mysql.CHAR(36), "mysql")),
        sa.Column("reemplaza_a", _key()),
        sa.Column("vigente", sa.Boolean, nullable=False),
        sa.UniqueConstraint("archivo", "sha256", name="uq_bitacora_archivo_contenido"),
        **_TABLE,
    )
    op.create_index("ix_bitacora_contenido", "bitacora_control", ["sha256"])
    op.create_index("ix_bitacora_estado", "bitacora_control", ["estado", "fin"])


def _visits() -> None:
    op.create_table(
        "estadisticas",
        sa.Column("id", _key(), primary_key=True, autoincrement=True),
        sa.Column(
            "archivo_id",
            _key(),
            sa.ForeignKey("bitacora_control.id", name="fk_estadisticas_archivo"),
            nullable=False,
        ),
        sa.Column("linea", sa.Integer, nullable=False),
        sa.Column("email", _exact(254), nullable=False),
        sa.Column("jyv", sa.String(64)),
        sa.Column("badmail", sa.String(64)),
        sa.Column("baja", sa.String(64)),
        sa.Column("fecha_envio", _second(), nullable=False),
        sa.Column("fecha_open", _second()),
        sa.Column("opens", sa.Integer),
        sa.Column("opens_virales", sa.Integer),
        sa.Column("fecha_click", _second()),
        sa.Column("clicks", sa.Integer),
        sa.Column("clicks_virales", sa.Integer),
        sa.Column("links", sa.String(1024)),
        sa.Column("ips", sa.String(1024)),
        sa.Column("navegadores", sa.String(1024)),
        sa.Column("plataformas", sa.String(1024)),
        **_TABLE,
    )
    op.create_index("ix_estadisticas_archivo", "estadisticas", ["archivo_id"])
    op.create_index("ix_estadisticas_email_fecha", "estadisticas", ["email", "fecha_envio"])


def _rejects() -> None:
    op.create_table(
        "errores",
        sa.Column("id", _key(), primary_key=True, autoincrement=True),
        sa.Column(
            "archivo_id",
            _key(),
            sa.ForeignKey("bitacora_control.id", name="fk_errores_archivo"),
            nullable=False,
        ),
        sa.Column("linea", sa.Integer, nullable=False),
        sa.Column("tipo_error", sa.String(32), nullable=False),
        sa.Column("campo", sa.String(64)),
        sa.Column("valor", _long_text()),
        sa.Column("detalle", sa.JSON, nullable=False),
        sa.Column("fila_original", _long_text(), nullable=False),
        **_TABLE,
    )
    op.create_index("ix_errores_archivo", "errores", ["archivo_id"])


def _visitors() -> None:
    op.create_table(
        "visitantes",
        sa.Column("email", _exact(254), primary_key=True),
        sa.Column("fecha_primera_visita", _second(), nullable=False),
        sa.Column("fecha_ultima_visita", _second(), nullable=False),
        sa.Column("visitas_totales", sa.Integer, nullable=False),
        sa.Column("visitas_anio_actual", sa.Integer, nullable=False),
        sa.Column("visitas_mes_actual", sa.Integer, nullable=False),
        sa.Column("actualizado_en", _moment(), nullable=False),
        **_TABLE,
    )


def _own() -> None:
    op.create_table(
        "contenidos_cargados",
        sa.Column("sha256", _digest(), primary_key=True),
        sa.Column(
            "archivo_id",
            _key(),
            sa.ForeignKey("bitacora_control.id", name="fk_contenidos_archivo"),
            nullable=False,
            unique=True,
        ),
        **_TABLE,
    )
    period = op.create_table(
        "periodo_visitantes",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("anio", sa.SmallInteger, nullable=False),
        sa.Column("mes", sa.SmallInteger, nullable=False),
        **_TABLE,
    )
    # Always there, so that a load can lock it; the first load turns it to the current month.
    op.bulk_insert(period, [{"id": 1, "anio": 1970, "mes": 1}])


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "periodo_visitantes",
        "contenidos_cargados",
        "visitantes",
        "errores",
        "estadisticas",
        "bitacora_control",
    ):
        op.drop_table(table)
