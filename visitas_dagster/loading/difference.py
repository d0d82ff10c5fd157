"""What a correction changes: of the version that stands only that goes which does not come again.

Comparing the visits of two versions, and making the one of the other, belongs here; when that is done does not.

Most of a correction is what stood before. Taking all of it out and putting it in again met each visit twice in the
index over the e-mails, and each visitor once more: 24 s for 50,000 records over a history of 5,000,000, 8 s of them a
first load's.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from visitas_dagster.loading import batch
from visitas_dagster.loading.statements import statement


@dataclass(frozen=True)
class Changed:
    """What became of the visits that came.

    Attributes:
        kept: those that stood already, and are the new version's now.
        entered: those that went in.
        visitors: e-mails of all that came.
        new_visitors: those of them without a row in ``visitantes``.
    """

    kept: int
    entered: int
    visitors: int
    new_visitors: int


class Difference:
    """The statements over one connection, inside the transaction of a load.

    The visits that come stand in :data:`~visitas_dagster.loading.batch.VISITS` by then; none where nothing comes.
    """

    def __init__(self, connection: Connection, dialect: str) -> None:
        """Remember them."""
        self._connection = connection
        self._dialect = dialect

    def make(self, standing: int, coming: int) -> Changed:
        """Make the visits of one version those of the other, and note the visitors to be counted anew.

        Args:
            standing: the ledger key of the version that stands.
            coming: the key of the one that comes; the same for a replay.
        """
        batch.expect(self._connection, batch.STAYING, batch.LEAVING, batch.ENTERING, batch.EMAILS)
        self._do("visitas_en_su_linea", standing)
        left = self._do("visitas_sin_pareja", standing) and self._do("visitas_sin_linea")
        if left and self._do("visitas_emparejar"):
            self._do("visitas_emparejadas")
        self._do("correos_que_salen")
        self._do("correos_que_entran")
        visitors, new_visitors = self._visitors()
        self._do("visitas_que_salen")
        kept = self._do("visitas_que_quedan", coming)
        entered = self._do("visitas_que_entran", coming)
        return Changed(kept, entered, visitors, new_visitors)

    def _visitors(self) -> tuple[int, int]:
        visitors, new = self._connection.execute(statement("visitantes_que_entran", self._dialect)).one()
        return int(visitors), int(new)

    def _do(self, name: str, entry_id: int | None = None) -> int:
        values = {} if entry_id is None else {"archivo_id": entry_id}
        return self._connection.execute(statement(name, self._dialect), values).rowcount
