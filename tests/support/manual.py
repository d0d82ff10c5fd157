"""The operations manual as a test reads it: its sections, their four parts, and the commands in them.

Reading the page and walking along it belongs here; the installation that the commands meet does not.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "manual-de-operaciones.md"

SEEN, FIND, CURE, CHECK = PARTS = ("Qué se ve", "Cómo averiguarlo", "Cómo se cura", "Cómo comprobar que quedó")
"""The parts of a section about something that fails, in their order."""

_PART = re.compile(r"\*\*(.+?)\.\*\*")
_GAP = "…"


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        kind: `sh`, `sql` or `text`.
        text: what stands in it.
        part: the part of its section; empty in a section without parts.
    """

    kind: str
    text: str
    part: str


@dataclass
class Section:
    """One section of the manual.

    Attributes:
        title: its heading.
        parts: the parts it has, in their order.
        blocks: its fenced blocks, in their order.
        prose: the lines of its last part that are outside of them.
    """

    title: str
    parts: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)

    @property
    def commands(self) -> list[Block]:
        """The blocks that somebody types."""
        return [block for block in self.blocks if block.kind in ("sh", "sql")]

    @property
    def symptoms(self) -> list[str]:
        """The messages under *Qué se ve*, gaps and all."""
        return [
            line for block in self.blocks if (block.kind, block.part) == ("text", SEEN) for line in lines(block.text)
        ]

    @property
    def promised(self) -> list[str]:
        """What its last part says will be shown: the code spans in its sentences."""
        return re.findall(r"`([^`]+)`", "\n".join(self.prose))

    def shows_itself_in(self, output: str) -> bool:
        """Whether one of its messages stands in what was printed."""
        return any(as_pattern(symptom).search(output) for symptom in self.symptoms)


def lines(text: str) -> list[str]:
    """The lines of a text that hold something."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def as_pattern(message: str) -> re.Pattern[str]:
    """A message of the manual, whose gaps stand for anything; case makes no difference."""
    return re.compile(".*".join(map(re.escape, message.split(_GAP))), re.IGNORECASE)


def sections(text: str | None = None) -> dict[str, Section]:
    """The sections by their heading; a heading that stands twice is an error."""
    found: dict[str, Section] = {}
    section, part, kind = Section(""), "", ""
    fence: list[str] = []
    for line in (PAGE.read_text("utf-8") if text is None else text).splitlines():
        if kind:
            if line == "```":
                section.blocks.append(Block(kind, "\n".join(fence), part))
                kind, fence = "", []
            else:
                fence.append(line)
        elif line.startswith("```"):
            kind = line.removeprefix("```")
        elif heading := re.match(r"#{1,3} (.+)", line):
            section, part = Section(heading.group(1)), ""
            assert section.title not in found, section.title
            found[section.title] = section
        elif opening := _PART.match(line):
            part = opening.group(1)
            section.parts.append(part)
        if not kind and part == CHECK and line != "```":
            section.prose.append(line)
    assert not kind
    return found


class Walk:
    """Somebody goes along a section and does what it says.

    Attributes:
        section: the section.
        left: the commands that were not run yet.
        execute: runs a block and returns what was printed.
    """

    def __init__(self, section: Section, execute: Callable[[Block], str]) -> None:
        """Begin."""
        self.section = section
        self.left = section.commands
        self.execute = execute

    def part(self, part: str) -> str:
        """Run every command of a part; return what was printed."""
        return "".join(self._run(block) for block in self._of(part))

    def step(self) -> str:
        """Run the next block; return what was printed."""
        return self._run(self.left[0])

    def _of(self, part: str) -> Iterator[Block]:
        yield from [block for block in self.left if block.part == part]

    def _run(self, block: Block) -> str:
        self.left.remove(block)
        return self.execute(block)
