"""Attempts and the audit trail.

Revision 0002: what the ladder of retries, ``explain`` and ``release`` need to know.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLE = {"mysql_charset": "utf8mb4", "mysql_engine": "InnoDB"}


def _key() -> sa.types.TypeEngine:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _moment() -> sa.types.TypeEngine:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "bitacora_intentos",
        sa.Column("id", _key(), primary_key=True, autoincrement=True),
        sa.Column(
            "archivo_id", _key(), sa.ForeignKey("bitacora_control.id", name="fk_intentos_archivo"), nullable=False
        ),
        sa.Column("run_id", sa.String(36).with_variant(mysql.CHAR(36), "mysql")),
        sa.Column("inicio", _moment(), nullable=False),
        sa.Column("fin", _moment()),
        sa.Column("resultado", sa.String(32)),
        sa.Column("mensaje", sa.Text),
        **_TABLE,
    )
    op.create_index("ix_intentos_archivo", "bitacora_intentos", ["archivo_id", "id"])
    op.create_index("ix_intentos_resultado", "bitacora_intentos", ["resultado", "fin"])
    op.create_table(
        "auditoria",
        sa.Column("id", _key(), primary_key=True, autoincrement=True),
        sa.Column("momento", _moment(), nullable=False),
        sa.Column("operacion", sa.String(32), nullable=False),
        sa.Column("quien", sa.String(128), nullable=False),
        sa.Column("detalle", sa.JSON, nullable=False),
        **_TABLE,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("auditoria", "bitacora_intentos"):
        op.drop_table(table)
