"""Indexes for what `visitas status` and every close ask of the whole ledger.

Revision 0006: the moments at which attempts began, so that the days on which the ledger moved cost no more the longer
it is (when attempts ended, `ix_intentos_resultado` tells already); and a wider index over the states, in the place of
`ix_bitacora_estado`, which adds up the records of each state without the rows. What an upgrade that was killed has done
already is left as it is.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BEGINS = "ix_intentos_inicio"
_STATES, _NARROW = "ix_bitacora_estado_cuentas", "ix_bitacora_estado"


def upgrade() -> None:
    """Create them; the narrow one goes when the wide one stands."""
    op.create_index(_BEGINS, "bitacora_intentos", ["inicio"])
    op.create_index(
        _STATES, "bitacora_control", ["estado", "fin", "vigente", "registros_validos", "registros_invalidos"]
    )
    if _NARROW in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("bitacora_control")}:
        op.drop_index(_NARROW, "bitacora_control")


def downgrade() -> None:
    """Put the narrow one back."""
    op.create_index(_NARROW, "bitacora_control", ["estado", "fin"])
    op.drop_index(_STATES, "bitacora_control")
    op.drop_index(_BEGINS, "bitacora_intentos")
