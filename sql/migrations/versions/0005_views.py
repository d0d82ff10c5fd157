"""Views for reports and dashboards, and the two things they need.

Revision 0005: the table of the zone's offsets, an index that answers ``v_top_errores`` without the rejected lines, and
one view per file of ``sql/views``. What an upgrade that was killed has made already is left as it is.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Each after those it reads.
VIEWS = (
    "v_archivos",
    "v_cuarentena",
    "v_en_espera",
    "v_estados",
    "v_archivos_por_dia",
    "v_tasa_errores",
    "v_top_errores",
    "v_duracion",
    "v_reporte_mensual",
)

_FOLDER = Path(__file__).resolve().parents[2] / "views"
_INDEX = "ix_errores_archivo_tipo"


def _second() -> sa.types.TypeEngine:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=0), "mysql")


def upgrade() -> None:
    """Create what is not there yet."""
    op.create_table(
        "zona_cambios",
        sa.Column("anio", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("desde", _second(), primary_key=True),
        sa.Column("hasta", _second(), nullable=False),
        sa.Column("desfase_s", sa.Integer, nullable=False),
        sa.Column("desfase_anterior_s", sa.Integer, nullable=False),
        sa.Column("zona", sa.String(64), nullable=False),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    # Beside ix_errores_archivo, not in its place: MySQL 9.7 takes a row without its file where the foreign key has only
    # an index with a further column that may be null.
    op.create_index(_INDEX, "errores", ["archivo_id", "tipo_error", "campo"])
    there = sa.inspect(op.get_bind()).get_view_names()
    for view in VIEWS:
        if view not in there:
            op.execute(sa.text(_statement(view)))


def downgrade() -> None:
    """Drop the views, the table and the index."""
    for view in reversed(VIEWS):
        op.execute(sa.text(f"DROP VIEW IF EXISTS {view}"))
    op.drop_index(_INDEX, "errores")
    op.drop_table("zona_cambios")


def _statement(view: str) -> str:
    dialect = "sqlite" if op.get_bind().dialect.name == "sqlite" else "mysql"
    specific = _FOLDER / f"{view}.{dialect}.sql"
    path = specific if specific.is_file() else _FOLDER / f"{view}.sql"
    return path.read_text(encoding="utf-8")
