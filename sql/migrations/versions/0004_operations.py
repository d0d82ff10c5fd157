"""Incidents and daily closes.

Revision 0004: one row per incident that persons are told of, one per report that waits on the server, and one per
day that was closed.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLE = {"mysql_charset": "utf8mb4", "mysql_engine": "InnoDB"}


def _key() -> sa.types.TypeEngine:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _moment() -> sa.types.TypeEngine:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def _exact(length: int) -> sa.types.TypeEngine:
    return sa.String(length).with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "incidentes",
        sa.Column("id", _key(), primary_key=True, autoincrement=True),
        sa.Column("tipo", sa.String(32), nullable=False),
        sa.Column("asunto", sa.String(64), nullable=False),
        sa.Column("clave", sa.String(96), unique=True),
        sa.Column("abierto", _moment(), nullable=False),
        sa.Column("visto", _moment(), nullable=False),
        sa.Column("veces", sa.Integer, nullable=False),
        sa.Column("desde", _moment(), nullable=False),
        sa.Column("ultimo", _moment(), nullable=False),
        sa.Column("mensaje", sa.Text, nullable=False),
        sa.Column("avisado", _moment()),
        sa.Column("contado", _moment()),
        sa.Column("cerrado", _moment()),
        sa.Column("cierre_avisado", _moment()),
        sa.Column("intentado", _moment()),
        sa.Column("canales", sa.String(64), nullable=False),
        **_TABLE,
    )
    op.create_index("ix_incidentes_tipo", "incidentes", ["tipo", "cerrado"])
    op.create_index("ix_incidentes_por_avisar", "incidentes", ["cierre_avisado", "cerrado"])
    op.create_table(
        "esperas",
        sa.Column("archivo", _exact(255), primary_key=True),
        sa.Column("desde", _moment(), nullable=False),
        **_TABLE,
    )
    op.create_table(
        "cierres",
        sa.Column("fecha", sa.Date, primary_key=True),
        sa.Column("estado", sa.String(32), nullable=False),
        sa.Column("intentos", sa.Integer, nullable=False),
        sa.Column("inicio", _moment(), nullable=False),
        sa.Column("fin", _moment()),
        sa.Column("mensaje", sa.Text),
        sa.Column("detalle", sa.JSON),
        **_TABLE,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("cierres", "esperas", "incidentes"):
        op.drop_table(table)
