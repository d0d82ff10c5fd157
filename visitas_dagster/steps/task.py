"""A file on its way through one run: what each step learned of it, handed from step to step.

The facts belong here; the steps that find them do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from visitas_dagster.domain.arrivals import Listed
from visitas_dagster.domain.content import ContentFacts
from visitas_dagster.domain.failures import VisitasError
from visitas_dagster.domain.states import Estado
from visitas_dagster.loading.ledger import Entry
from visitas_dagster.loading.prepared import Prepared
from visitas_dagster.loading.ready import Ready
from visitas_dagster.loading.transaction import Loaded

SKIPPED = "OMITIDO"
"""What is shown of a file with which a run or a pass had nothing to do."""

AT_OTHERS = "lo tiene otra corrida"
"""Why it had nothing to do with a file whose name somebody else has reserved."""


class Source(Enum):
    """Where a run may take a file's bytes from, when they are not on the server."""

    SERVER = "servidor"
    """Nowhere else, unless an earlier attempt left the file unfinished: what is gone was finished by another run."""
    RETRY = "reintento"
    """The copy of the version that failed or was left unfinished last, else of the current one."""
    REPLAY = "repeticion"
    """The copy of the current version, else of the one that was delivered last."""


@dataclass
class FileTask:
    """One file in one run.

    Attributes:
        archivo: file name, also its partition key.
        source: see :class:`Source`.
        version: the digest of the only content wanted, an earlier version of the name; it comes from a local copy.
        listed: the server's file that was downloaded; None where the bytes came from a local copy.
        fresh: that file was so new that a later delivery may bear the same time.
        entry: its ledger row, once claimed.
        staged: its bytes under ``staging/``, once there.
        facts: size, digest and encoding of those bytes.
        identified: its ledger row says so.
        prepared: the validated records.
        ready: what was made of them for their first load, together with those of other files.
        loaded: what the transaction did.
        failure: why it goes no further.
        ended: the state that the ledger gave it after a failure; None where it could not be asked.
        skipped: why this run has nothing to do with it (somebody else has it, or it is gone).
        aviso: what a person should know of a file that is done.
    """

    archivo: str
    source: Source = Source.REPLAY
    version: str | None = None
    listed: Listed | None = None
    fresh: bool = False
    entry: Entry | None = None
    staged: Path | None = None
    facts: ContentFacts | None = None
    identified: bool = False
    prepared: Prepared | None = None
    ready: Ready | None = None
    loaded: Loaded | None = None
    failure: VisitasError | None = None
    ended: Estado | None = None
    skipped: str | None = None
    aviso: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the next step has work on it."""
        return self.failure is None and self.skipped is None

    @property
    def needs_load(self) -> bool:
        """Whether its records are to be validated and loaded.

        The same bytes again under the same name change nothing (contract §2): only a replay, which an operator
        asked for, goes through them again.
        """
        return self.goes_on and not self.is_known

    @property
    def is_known(self) -> bool:
        """Whether its content is its name's current version already, delivered once more."""
        return self.entry is not None and self.entry.is_loaded and self.source is not Source.REPLAY

    @property
    def estado(self) -> Estado | None:
        """The state that it ends in, as far as this run got; None where it did nothing."""
        if self.skipped is not None:
            return None
        if self.failure is not None:
            return self.ended
        if self.loaded is not None:
            return self.loaded.estado
        return self.entry.estado if self.entry is not None else None
