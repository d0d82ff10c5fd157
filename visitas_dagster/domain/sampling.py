"""A look at a report's e-mails before it is read: a few lines from many places of the file.

Taking the sample belongs here; what it is used for, and every rule about a record, does not.
"""

from dataclasses import dataclass
from typing import BinaryIO

from visitas_dagster.domain.content import WINDOWS, ContentFacts
from visitas_dagster.domain.layout import Layout
from visitas_dagster.domain.records import split_line

PLACES = 256
_LOOK_BYTES = 4096


@dataclass(frozen=True)
class Sample:
    """What the sampled lines say of the whole file.

    Attributes:
        emails: the values in the e-mail's column, trimmed and in lower case; they may be anything.
        lines: about how many lines the file has.
    """

    emails: tuple[str, ...]
    lines: int


def sample_report(stream: BinaryIO, facts: ContentFacts, layout: Layout) -> Sample:
    """Look at :data:`PLACES` places of a file, evenly taken; an order of the lines does not show in the sample.

    Args:
        stream: the file; it is moved.
        facts: its size and encoding.
        layout: where the e-mail stands.
    """
    lines: list[bytes] = []
    for number in range(PLACES):
        stream.seek(facts.size * number // PLACES)
        # The first piece begins and the last one ends in the middle of a line; at the top it is the header.
        lines += stream.read(_LOOK_BYTES).split(b"\n")[1:-1]
    encoding = "cp1252" if facts.encoding == WINDOWS else "utf-8"
    found = (_email(line.decode(encoding, "replace"), layout.positions[0]) for line in lines)
    each = sum(map(len, lines)) / len(lines) + 1 if lines else facts.size
    return Sample(tuple(email for email in found if email), round(facts.size / each) if each else 0)


def _email(line: str, position: int) -> str | None:
    fields = split_line(line)
    return fields[position].strip(" \t\r").lower() if fields and position < len(fields) else None
