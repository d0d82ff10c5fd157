"""Erased persons, and the copies on disk that were rewritten for them.

Revision 0003: what `visitas forget` leaves behind, so that a later replay masks the same records.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLE = {"mysql_charset": "utf8mb4", "mysql_engine": "InnoDB"}


def _digest() -> sa.types.TypeEngine:
    return sa.String(64).with_variant(mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mysql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "olvidados",
        sa.Column("huella", _digest(), primary_key=True),
        sa.Column("llave", sa.String(16), nullable=False),
        sa.Column("momento", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql"), nullable=False),
        **_TABLE,
    )
    op.create_table(
        "copias_olvidadas",
        sa.Column("sha256", _digest(), primary_key=True),
        sa.Column("sha256_copia", _digest(), primary_key=True),
        **_TABLE,
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("copias_olvidadas", "olvidados"):
        op.drop_table(table)
