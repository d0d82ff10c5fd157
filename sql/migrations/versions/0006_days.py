"""An index over the moments at which attempts began.

Revision 0006: on which days the ledger moved is asked by `visitas status` and every close, and must not cost more the
longer the ledger is. When attempts ended, `ix_intentos_resultado` tells already.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INDEX = "ix_intentos_inicio"


def upgrade() -> None:
    """Create it."""
    op.create_index(_INDEX, "bitacora_intentos", ["inicio"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index(_INDEX, "bitacora_intentos")
