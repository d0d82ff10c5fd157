"""What a report holds and what must stand in the tables, spelt out slowly from the contract alone.

Nothing here is fast, and nothing here may import the product: its worth is that it was written apart from it.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

Value = str | int | datetime | None
Row = dict[str, Value]
Broken = tuple[str, str | None, str | None]

NO_ALIASES: Final[Mapping[str, str]] = MappingProxyType({})

COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("email", "email"),
    ("jyv", "jyv"),
    ("Badmail", "badmail"),
    ("Baja", "baja"),
    ("Fecha envio", "fecha_envio"),
    ("Fecha open", "fecha_open"),
    ("Opens", "opens"),
    ("Opens virales", "opens_virales"),
    ("Fecha click", "fecha_click"),
    ("Clicks", "clicks"),
    ("Clicks virales", "clicks_virales"),
    ("Links", "links"),
    ("IPs", "ips"),
    ("Navegadores", "navegadores"),
    ("Plataformas", "plataformas"),
)
HEADERS: Final = tuple(header for header, _ in COLUMNS)
VISIT_COLUMNS: Final = ("linea", *(name for _, name in COLUMNS))

DATES: Final = ("Fecha envio", "Fecha open", "Fecha click")
INTEGERS: Final = ("Opens", "Opens virales", "Clicks", "Clicks virales")
LENGTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "jyv": 64,
        "Badmail": 64,
        "Baja": 64,
        "Links": 1024,
        "IPs": 1024,
        "Navegadores": 1024,
        "Plataformas": 1024,
    }
)

NUL_BYTE: Final = "NUL"
NO_CONTENT: Final = "EMPTY"
HEADER_QUOTES: Final = "HEADER_QUOTES"
HEADER_COLUMNS: Final = "HEADER_COLUMNS"

COMPLETADO: Final = "COMPLETADO"
CON_ERRORES: Final = "COMPLETADO_CON_ERRORES"
FALLO_LAYOUT: Final = "FALLO_LAYOUT"
DUPLICADO: Final = "DUPLICADO"
EN_PROCESO: Final = "EN_PROCESO"
FALLO_SISTEMA: Final = "FALLO_SISTEMA"

ERASED_EMAIL: Final = "olvidado@olvidado.invalid"
ERASED_TEXT: Final = "[olvidado]"
PERSONAL: Final = ("links", "ips", "navegadores", "plataformas")

DIGITS: Final = "0123456789"
LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
LOCAL_PART: Final = LETTERS + DIGITS + ".!#$%&'*+/=?^_`{|}~-"
BLANKS: Final = " \t"


# ---------------------------------------------------------------------------------------------------- §1


@dataclass(frozen=True)
class LayoutError:
    """A file that is no report. The lists are filled only when `reason` is HEADER_COLUMNS.

    `missing` and `repeated` hold names of the contract, in its order; `unknown` the delivered names, trimmed.
    """

    reason: str
    encoding: str
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rejected:
    """One rejected record: the first broken rule, all of them in `detalle`, and the line as delivered."""

    linea: int
    tipo_error: str
    campo: str | None
    valor: str | None
    detalle: list[Broken]
    fila_original: str


@dataclass(frozen=True)
class ParsedReport:
    """A readable report: `valid` rows have the keys VISIT_COLUMNS."""

    encoding: str
    valid: list[Row]
    rejected: list[Rejected]

    @property
    def total(self) -> int:
        """How many records it has."""
        return len(self.valid) + len(self.rejected)

    @property
    def estado(self) -> str:
        """The state of a file that loaded this report."""
        return CON_ERRORES if self.rejected else COMPLETADO


def read_report(data: bytes, aliases: Mapping[str, str] = NO_ALIASES) -> LayoutError | ParsedReport:
    """Read a whole file. `aliases` maps a delivered column name to the contract's (contract §1)."""
    encoding, text = decode(data)
    if 0 in data:
        return LayoutError(NUL_BYTE, encoding)

    lines = physical_lines(text)
    header_at = None
    for index, line in enumerate(lines):
        if not is_blank(line):
            header_at = index
            break
    if header_at is None:
        return LayoutError(NO_CONTENT, encoding)

    names = split_fields(lines[header_at])
    if names is None:
        return LayoutError(HEADER_QUOTES, encoding)
    missing, unknown, repeated, order = read_header(names, aliases)
    if missing or unknown or repeated:
        return LayoutError(HEADER_COLUMNS, encoding, missing, unknown, repeated)

    valid: list[Row] = []
    rejected: list[Rejected] = []
    for index in range(header_at + 1, len(lines)):
        line = lines[index]
        if is_blank(line):
            continue
        linea = line_number(index, header_at)
        row, broken = read_record(line, order)
        if broken:
            kind, column, value = broken[0]
            rejected.append(Rejected(linea, kind, column, value, broken, line))
        else:
            valid.append({"linea": linea, **row})
    return ParsedReport(encoding, valid, rejected)


def decode(data: bytes) -> tuple[str, str]:
    """The encoding's name and the text without its BOM; Windows-1252 knows no BOM, so there it is text."""
    bom = b"\xef\xbb\xbf"
    try:
        if data[:3] == bom:
            return "utf-8-sig", data[3:].decode("utf-8", errors="strict")
        return "utf-8", data.decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        return "windows-1252", data.decode("cp1252", errors="replace")


def line_number(index: int, header_at: int) -> int:
    """`linea`: physical lines, blank ones too, of which the header's is number 1 (contract §3)."""
    return index - header_at + 1


def physical_lines(text: str) -> list[str]:
    """The lines without their ends: LF, or CR directly before LF. Any other character is content."""
    lines = []
    line = ""
    for char in text:
        if char == "\n":
            lines.append(line[:-1] if line[-1:] == "\r" else line)
            line = ""
        else:
            line += char
    if line:
        lines.append(line)
    return lines


def is_blank(line: str) -> bool:
    """Spaces and tabs only."""
    return all(char in BLANKS for char in line)


def trim(value: str) -> str:
    """Without the spaces and tabs at both ends."""
    while value and value[0] in BLANKS:
        value = value[1:]
    while value and value[-1] in BLANKS:
        value = value[:-1]
    return value


def split_fields(line: str) -> list[str] | None:
    """The raw values of one line, quotes removed; None when the quotes are broken."""
    values = []
    at = 0
    while True:
        value = ""
        if at < len(line) and line[at] == '"':
            at += 1
            while True:
                if at == len(line):
                    return None  # left open
                if line[at] != '"':
                    value += line[at]
                    at += 1
                elif at + 1 < len(line) and line[at + 1] == '"':
                    value += '"'
                    at += 2
                else:
                    at += 1  # closed
                    break
            if at < len(line) and line[at] != ",":
                return None  # text after the closing quote
        else:
            while at < len(line) and line[at] != ",":
                if line[at] == '"':
                    return None  # a quote that is not a field's first character
                value += line[at]
                at += 1
        values.append(value)
        if at == len(line):
            return values
        at += 1  # the comma


def plain_name(name: str) -> str:
    """A column name as it is compared: trimmed, one space inside, no accents, no case."""
    spaced = ""
    for char in trim(name):
        if char in BLANKS:
            if spaced[-1:] != " ":
                spaced += " "
        else:
            spaced += char
    bare = ""
    for char in unicodedata.normalize("NFD", spaced):
        if not unicodedata.combining(char):
            bare += char
    return bare.casefold()


def read_header(names: Sequence[str], aliases: Mapping[str, str]) -> tuple[list[str], list[str], list[str], list[str]]:
    """Missing, unknown and repeated columns, and the contract's names in the order delivered."""
    known = {plain_name(header): header for header in HEADERS}
    declared = {}
    for alias, target in aliases.items():
        declared[plain_name(alias)] = known[plain_name(target)]
    order = []
    unknown: list[str] = []
    for name in names:
        plain = plain_name(name)
        if plain in known:
            order.append(known[plain])
        elif plain in declared:
            order.append(declared[plain])
        elif trim(name) not in unknown:
            unknown.append(trim(name))
    missing = [header for header in HEADERS if order.count(header) == 0]
    repeated = [header for header in HEADERS if order.count(header) > 1]
    return missing, unknown, repeated, order


def read_record(line: str, order: Sequence[str]) -> tuple[Row, list[Broken]]:
    """The row of one record and the rules it breaks, in the contract's order; the row is whole if none is."""
    raw = split_fields(line)
    if raw is None:
        return {}, [("COMILLAS", None, None)]
    if len(raw) != len(order):
        return {}, [("NUMERO_DE_CAMPOS", None, None)]
    delivered = {header: trim(value) for header, value in zip(order, raw, strict=True)}
    row: Row = {}
    broken: list[Broken] = []
    for header, name in COLUMNS:
        text = delivered[header]
        value = None if text in ("", "-") else text
        kind = broken_rule(header, value)
        if kind is not None:
            broken.append((kind, header, value))
        else:
            row[name] = stored(header, value)
    return row, broken


def broken_rule(header: str, value: str | None) -> str | None:
    """The `tipo_error` of a column's value, None when it is good."""
    if header == "email":
        if value is None:
            return "EMAIL_NULO"
        return None if is_email(value) else "EMAIL_INVALIDO"
    if value is None:
        return "FECHA_NULA" if header == "Fecha envio" else None
    if header in DATES:
        return None if read_date(value) is not None else "FECHA_INVALIDA"
    if header in INTEGERS:
        return None if read_integer(value) is not None else "ENTERO_INVALIDO"
    return "LONGITUD_EXCEDIDA" if len(value) > LENGTHS[header] else None


def stored(header: str, value: str | None) -> Value:
    """A good value as the table keeps it."""
    if value is None:
        return None
    if header == "email":
        return value.lower()
    if header in DATES:
        return read_date(value)
    if header in INTEGERS:
        return read_integer(value)
    return value


def is_email(value: str) -> bool:
    """At most 254 characters, the WHATWG expression, a dot in the domain, two letters in its last label."""
    if len(value) > 254 or value.count("@") != 1:
        return False
    local, domain = value.split("@")
    if not local or any(char not in LOCAL_PART for char in local):
        return False
    labels = domain.split(".")
    for label in labels:
        if not 1 <= len(label) <= 63:
            return False
        if label[0] == "-" or label[-1] == "-":
            return False
        if any(char not in LETTERS + DIGITS + "-" for char in label):
            return False
    return len(labels) >= 2 and sum(char in LETTERS for char in labels[-1]) >= 2


def read_date(value: str) -> datetime | None:
    """`dd/mm/yyyy HH:MM` with ASCII digits, a real moment of 1970 to 2099; else None."""
    shape = "00/00/0000 00:00"
    if len(value) != len(shape):
        return None
    for char, expected in zip(value, shape, strict=True):
        if expected == "0":
            if char not in DIGITS:
                return None
        elif char != expected:
            return None
    day, month, year = int(value[0:2]), int(value[3:5]), int(value[6:10])
    hour, minute = int(value[11:13]), int(value[14:16])
    if not (1970 <= year <= 2099 and 1 <= month <= 12 and hour <= 23 and minute <= 59):
        return None
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    days = [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    if not 1 <= day <= days[month - 1]:
        return None
    return datetime(year, month, day, hour, minute)


def read_integer(value: str) -> int | None:
    """ASCII digits only, 0 to 2147483647; else None."""
    number = 0
    for char in value:
        if char not in DIGITS:
            return None
        number = number * 10 + DIGITS.index(char)
        if number > 2147483647:
            return None
    return number if value else None


# ------------------------------------------------------------------------------------------------ erasure


def plain_case(text: str) -> str:
    """ASCII letters in lower case; other characters as they are."""
    return "".join(char.lower() if char in LETTERS else char for char in text)


def without_person(text: str, person: str) -> str:
    """A text in which each mention of an address (in lower case) is masked at its own length (contract §2)."""
    found = ""
    at = 0
    while at < len(text):
        mask = mask_of_mention(text, at, person)
        found += mask or text[at]
        at += len(mask) or 1
    return found


def mask_of_mention(text: str, at: int, person: str) -> str:
    """What stands for the mention that begins at this place; nothing where none does."""
    local, domain = person.split("@")
    for sign in ("@", "%40"):
        end = at + len(local) + len(sign) + len(domain)
        if plain_case(text[at:end]) == local + sign + domain and begins_word(text, at) and ends_word(text, end):
            hidden = ["0" if char in LETTERS + DIGITS else char for char in local]
            hidden += sign
            hidden += ["x" if char in LETTERS + DIGITS else char for char in domain]
            return "".join(hidden)
    return ""


def begins_word(text: str, at: int) -> bool:
    """Whether nothing joins on to an address from before; a `%XX` escape does not."""
    if at == 0 or text[at - 1] not in LETTERS + DIGITS + "_.+-'":
        return True
    escape = text[at - 3 : at] if at >= 3 else ""
    return escape[:1] == "%" and all(char in DIGITS + "abcdefABCDEF" for char in escape[1:])


def ends_word(text: str, end: int) -> bool:
    """Whether the domain does not go on."""
    if text[end : end + 1] == ".":
        return text[end + 1 : end + 2] not in set(LETTERS + DIGITS)
    return text[end : end + 1] not in set(LETTERS + DIGITS + "_-")


def without_persons(report: ParsedReport, persons: Iterable[str]) -> ParsedReport:
    """What is loaded of a report once these persons (addresses in lower case) were erased."""
    valid, rejected = report.valid, report.rejected
    for person in sorted(persons):
        valid = [masked_visit(row, person) for row in valid]
        rejected = [masked_reject(reject, person) for reject in rejected]
    return ParsedReport(report.encoding, valid, rejected)


def masked_visit(row: Row, person: str) -> Row:
    """A visit without its lists if it is the person's own; without mentions of the person in any case."""
    masked: Row = {}
    for column, value in row.items():
        if row["email"] == person and column == "email":
            masked[column] = ERASED_EMAIL
        elif row["email"] == person and column in PERSONAL:
            masked[column] = None
        else:
            masked[column] = without_person(value, person) if isinstance(value, str) else value
    return masked


def masked_reject(reject: Rejected, person: str) -> Rejected:
    """A reject whose line names the person keeps its number, its faults and their columns."""
    if without_person(reject.fila_original, person) == reject.fila_original:
        return reject
    detail = [(kind, column, None if value is None else ERASED_TEXT) for kind, column, value in reject.detalle]
    value = None if reject.valor is None else ERASED_TEXT
    return Rejected(reject.linea, reject.tipo_error, reject.campo, value, detail, ERASED_TEXT)


# ---------------------------------------------------------------------------------------------- §2 and §3


@dataclass(frozen=True)
class Visitor:
    """What `visitantes` says of one e-mail."""

    fecha_primera_visita: datetime
    fecha_ultima_visita: datetime
    visitas_totales: int
    visitas_anio_actual: int
    visitas_mes_actual: int


@dataclass(frozen=True)
class Entry:
    """What `bitacora_control` says of one content of one name.

    `estados` holds every allowed state: one, unless processing order, hand-over or a dead run leaves it open.
    `counts` (total, valid, rejected) must be written wherever the state is a COMPLETADO and the version is
    current. `intentos` is at least `deliveries`. `vigente` is None where it is open. An `optional` row may be
    missing: a run began on the delivery, and may have died before it knew the content.
    """

    name: str
    sha256: str
    size: int
    encoding: str
    estados: frozenset[str]
    vigente: bool | None
    counts: tuple[int, int, int] | None
    deliveries: int
    optional: bool = False


@dataclass(frozen=True)
class Load:
    """One content that must stand in the tables once, under exactly one of the names in `candidates`."""

    sha256: str
    candidates: frozenset[str]
    report: ParsedReport

    @property
    def archivo(self) -> str | None:
        """The name that carries it; None when the contract leaves it open."""
        return next(iter(self.candidates)) if len(self.candidates) == 1 else None


@dataclass(frozen=True)
class Tables:
    """The four tables as read back, one mapping per row."""

    bitacora_control: Sequence[Mapping[str, Any]]
    estadisticas: Sequence[Mapping[str, Any]]
    errores: Sequence[Mapping[str, Any]]
    visitantes: Sequence[Mapping[str, Any]]


@dataclass
class _Version:
    """One content of one name, and the states it may have had when it ceased to be current.

    `begun`: since it came to an outcome last, if ever, a run began on it that came to none.
    """

    outcome: LayoutError | ParsedReport
    size: int
    deliveries: int = 0
    left_as: frozenset[str] = frozenset()
    begun: bool = False


class World:
    """What must stand in the tables after deliveries `(name, bytes)`, given in the order of their processing.

    With `any_order` only the order within each name is taken as known, as after parallel runs. `aliases` may
    be changed between deliveries. Deliveries on which a run began without coming to an outcome (it died, or a
    system failure ended it) are told by `begin`.
    """

    def __init__(
        self,
        deliveries: Iterable[tuple[str, bytes]] = (),
        *,
        aliases: Mapping[str, str] = NO_ALIASES,
        any_order: bool = False,
    ) -> None:
        """Process `deliveries` at once; more may follow by `deliver`."""
        self.aliases = aliases
        self._any_order = any_order
        self._versions: dict[str, dict[str, _Version]] = {}
        self._current: dict[str, str] = {}
        self._good: set[str] = set()  # names with a version that loaded or was found a duplicate
        # content with records -> the names of which exactly one carries it
        self._candidates: dict[str, set[str]] = {}
        self._unsettled: set[str] = set()  # contents whose hand-over may still be due
        self.erased: set[str] = set()
        self._begun: set[str] = set()  # names that may have a row whose content is not known
        self._under_way = False  # a run may have died since the last whole pass
        for name, data in deliveries:
            self.deliver(name, data)

    def deliver(self, name: str, data: bytes) -> None:
        """One delivery that was processed to its end."""
        sha = hashlib.sha256(data).hexdigest()
        versions = self._versions.setdefault(name, {})
        self._begun.discard(name)
        known = versions.get(sha)
        if known is not None and self._is_current_and_good(name, sha):
            known.deliveries += 1
            return
        outcome = read_report(data, self.aliases)
        version = versions.setdefault(sha, _Version(outcome, len(data)))
        version.outcome = outcome
        version.deliveries += 1
        version.begun = False
        if isinstance(outcome, LayoutError):
            if name not in self._good:
                self._current[name] = sha
            return
        self._leave(name)
        self._current[name] = sha
        self._good.add(name)
        if outcome.total > 0:
            self._hold(name, sha)

    def begin(self, name: str, data: bytes) -> None:
        """One delivery on which a run may have begun, and which came to no outcome: nothing that stands changes."""
        self._under_way = True
        self._begun.add(name)
        sha = hashlib.sha256(data).hexdigest()
        if not self._is_current_and_good(name, sha):
            versions = self._versions.setdefault(name, {})
            version = versions.setdefault(sha, _Version(read_report(data, self.aliases), len(data)))
            version.begun = True

    def forget(self, address: str) -> None:
        """A person was erased: from now on and for ever they are masked in whatever stands in the tables."""
        self.erased.add(plain_case(address))

    def settle(self) -> None:
        """A whole pass ended since the last delivery: all that was due is done, and nothing is under way."""
        self._unsettled.clear()
        self._under_way = False

    def is_good(self, name: str) -> bool:
        """Whether a version of the name is current because it loaded or was found a duplicate."""
        return name in self._good

    def is_current(self, name: str, data: bytes) -> bool:
        """Whether these bytes are the name's current version, so that their delivery changes nothing."""
        return self._is_current_and_good(name, hashlib.sha256(data).hexdigest())

    def _is_current_and_good(self, name: str, sha: str) -> bool:
        return name in self._good and self._current[name] == sha

    def _without_outcome(self) -> frozenset[str]:
        """The states of a row whose delivery came to no outcome."""
        return frozenset({FALLO_SISTEMA, EN_PROCESO} if self._under_way else {FALLO_SISTEMA})

    def _hold(self, name: str, sha: str) -> None:
        """A name now has a content with records: it carries it, is its duplicate, or that is open."""
        if sha not in self._candidates:
            self._candidates[sha] = {name}
        elif self._any_order or sha in self._unsettled:
            self._candidates[sha].add(name)

    def _leave(self, name: str) -> None:
        """A name gives up its current version: had it carried it, any other holder may take its place."""
        if name not in self._good:
            return
        sha = self._current[name]
        self._versions[name][sha].left_as = self._states_now(name, sha, settled=sha not in self._unsettled)
        if name in self._candidates.get(sha, set()):
            others = {other for other in self._good if self._current[other] == sha} - {name}
            if others:
                self._candidates[sha] = others
                self._unsettled.add(sha)
            else:
                del self._candidates[sha]
                self._unsettled.discard(sha)

    def _states_now(self, name: str, sha: str, *, settled: bool) -> frozenset[str]:
        """The states a current version may have."""
        outcome = self._versions[name][sha].outcome
        if isinstance(outcome, LayoutError):
            return frozenset({FALLO_LAYOUT})
        if outcome.total == 0:
            return frozenset({COMPLETADO})
        candidates = self._candidates[sha]
        if name not in candidates:
            return frozenset({DUPLICADO})
        if candidates == {name} and settled:
            return frozenset({outcome.estado})
        return frozenset({outcome.estado, DUPLICADO})

    def _states(self, name: str, sha: str) -> frozenset[str]:
        """The states a version may have once every hand-over is done."""
        version = self._versions[name][sha]
        if version.begun:
            return self._without_outcome() | (self._states_of_outcome(name, sha) if version.deliveries else set())
        return self._states_of_outcome(name, sha)

    def _states_of_outcome(self, name: str, sha: str) -> frozenset[str]:
        version = self._versions[name][sha]
        if isinstance(version.outcome, LayoutError):
            return frozenset({FALLO_LAYOUT})
        if self._current.get(name) == sha:
            return self._states_now(name, sha, settled=True)
        elsewhere = any(sha in versions for other, versions in self._versions.items() if other != name)
        if self._any_order and elsewhere and version.outcome.total > 0:
            return frozenset({version.outcome.estado, DUPLICADO})
        return version.left_as

    def entries(self) -> dict[tuple[str, str], Entry]:
        """`bitacora_control` by (name, sha256)."""
        found = {}
        for name, versions in self._versions.items():
            for sha, version in versions.items():
                outcome = version.outcome
                counts = None
                if isinstance(outcome, ParsedReport):
                    counts = (outcome.total, len(outcome.valid), len(outcome.rejected))
                found[name, sha] = Entry(
                    name=name,
                    sha256=sha,
                    size=version.size,
                    encoding=outcome.encoding,
                    estados=self._states(name, sha),
                    vigente=None if self._is_open(name) else self._current.get(name) == sha,
                    counts=counts,
                    deliveries=version.deliveries,
                    optional=version.deliveries == 0,
                )
        return found

    def _is_open(self, name: str) -> bool:
        """Whether the current version is the last delivered, and it is open which of them got as far as its row."""
        versions = self._versions[name].values()
        return name not in self._good and (name in self._begun or any(version.begun for version in versions))

    def loads(self) -> dict[str, Load]:
        """The contents with records that must stand in the tables, by sha256."""
        found = {}
        for sha, names in self._candidates.items():
            outcome = self._versions[min(names)][sha].outcome
            assert isinstance(outcome, ParsedReport)
            found[sha] = Load(sha, frozenset(names), without_persons(outcome, self.erased))
        return found

    def loaded(self) -> set[str]:
        """The distinct contents among the names' current versions, those without records too."""
        return {self._current[name] for name in self._good}

    def undetermined(self) -> set[str]:
        """The names of which the contract does not say whether they carry their content."""
        return {name for load in self.loads().values() if load.archivo is None for name in load.candidates}

    def estadisticas(self) -> list[dict[str, Value]]:
        """The visits without ids, with `archivo` (the carrying name, None when left open)."""
        return [{"archivo": load.archivo, **row} for load in self.loads().values() for row in load.report.valid]

    def errores(self) -> list[tuple[str | None, Rejected]]:
        """The rejects, each with the carrying name (None when left open)."""
        return [(load.archivo, reject) for load in self.loads().values() for reject in load.report.rejected]

    def visitantes(self, today: date) -> dict[str, Visitor]:
        """`visitantes` by e-mail, `today` being the day in the zone of the settings."""
        moments: dict[str, list[datetime]] = {}
        for row in self.estadisticas():
            email, sent = row["email"], row["fecha_envio"]
            assert isinstance(email, str)
            assert isinstance(sent, datetime)
            moments.setdefault(email, []).append(sent)
        found = {}
        for email, sends in moments.items():
            this_year = [sent for sent in sends if sent.year == today.year]
            this_month = [sent for sent in this_year if sent.month == today.month]
            found[email] = Visitor(min(sends), max(sends), len(sends), len(this_year), len(this_month))
        return found

    def differences(self, tables: Tables, today: date) -> list[str]:
        """What in `tables` is not as it must be, one line each; nothing when all is well."""
        return [
            *self._ledger_differences(tables),
            *self._row_differences(tables),
            *self._visitor_differences(tables, today),
        ]

    def _ledger_differences(self, tables: Tables) -> list[str]:
        found = []
        expected = self.entries()
        rows = {}
        current: Counter[str] = Counter()
        for row in tables.bitacora_control:
            key = (row["archivo"], row["sha256"])
            if key in rows:
                found.append(f"bitacora_control: {key} stands twice")
            current[row["archivo"]] += bool(row["vigente"])
            if row["sha256"] is None and row["archivo"] in self._begun:
                if row["estado"] not in self._without_outcome():
                    found.append(f"{key}: estado {row['estado']} of a content that nobody knows")
                if row["vigente"] and row["archivo"] in self._good:
                    found.append(f"{key}: vigente, though a version has loaded")
            else:
                rows[key] = row
        found += [
            f"bitacora_control: {count} rows of {name} are vigente" for name, count in current.items() if count != 1
        ]
        missing = [key for key in expected.keys() - rows.keys() if not expected[key].optional]
        found += [f"bitacora_control: {key} is missing" for key in missing]
        found += [f"bitacora_control: {key} is not expected" for key in rows.keys() - expected.keys()]
        for key in expected.keys() & rows.keys():
            entry, row = expected[key], rows[key]
            if row["estado"] not in entry.estados:
                found.append(f"{key}: estado {row['estado']}, expected {sorted(entry.estados)}")
            if entry.vigente is not None and bool(row["vigente"]) != entry.vigente:
                found.append(f"{key}: vigente {row['vigente']}, expected {entry.vigente}")
            if row["intentos"] < entry.deliveries:
                found.append(f"{key}: intentos {row['intentos']}, expected {entry.deliveries} or more")
            if row["bytes"] != entry.size:
                found.append(f"{key}: bytes {row['bytes']}, expected {entry.size}")
            if row["estado"] in (COMPLETADO, CON_ERRORES) and row["codificacion"] != entry.encoding:
                found.append(f"{key}: codificacion {row['codificacion']}, expected {entry.encoding}")
            if row["estado"] in (COMPLETADO, CON_ERRORES) and entry.vigente:
                counts = (row["registros_total"], row["registros_validos"], row["registros_invalidos"])
                if counts != entry.counts:
                    found.append(f"{key}: counts {counts}, expected {entry.counts}")
        return found

    def _row_differences(self, tables: Tables) -> list[str]:
        found = []
        rows = {row["id"]: row for row in tables.bitacora_control}
        visits: dict[Any, list[Mapping[str, Any]]] = {}
        for visit in tables.estadisticas:
            visits.setdefault(visit["archivo_id"], []).append(visit)
        rejects: dict[Any, list[Mapping[str, Any]]] = {}
        for reject in tables.errores:
            rejects.setdefault(reject["archivo_id"], []).append(reject)

        loads = self.loads()
        carriers: dict[str, list[Any]] = {sha: [] for sha in loads}
        for number, row in rows.items():
            finished = row["estado"] in (COMPLETADO, CON_ERRORES)
            if finished and row["vigente"] and row["sha256"] in loads:
                carriers[row["sha256"]].append(number)
        for sha, numbers in carriers.items():
            names = [rows[number]["archivo"] for number in numbers]
            if len(names) != 1 or names[0] not in loads[sha].candidates:
                found.append(f"{sha}: carried by {names}, expected one of {sorted(loads[sha].candidates)}")

        carrying = {numbers[0]: loads[sha].report for sha, numbers in carriers.items() if len(numbers) == 1}
        for number in rows.keys() | visits.keys() | rejects.keys():
            report = carrying.get(number, ParsedReport("", [], []))
            label = rows[number]["archivo"] if number in rows else f"archivo_id {number}"
            found += _multiset_differences(
                f"estadisticas of {label}",
                multiset(report.valid, VISIT_COLUMNS),
                multiset(visits.get(number, []), VISIT_COLUMNS),
            )
            found += _multiset_differences(
                f"errores of {label}",
                Counter(_reject_key(vars(reject)) for reject in report.rejected),
                Counter(_reject_key(reject) for reject in rejects.get(number, [])),
            )
        return found

    def _visitor_differences(self, tables: Tables, today: date) -> list[str]:
        columns = ("email", *Visitor.__dataclass_fields__)
        expected = [{"email": email, **vars(visitor)} for email, visitor in self.visitantes(today).items()]
        return _multiset_differences("visitantes", multiset(expected, columns), multiset(tables.visitantes, columns))


def multiset(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Counter[tuple[Hashable, ...]]:
    """Rows as countable tuples of `columns`; moments written as ISO text become moments."""
    return Counter(tuple(_plain(column, row[column]) for column in columns) for row in rows)


def _plain(column: str, value: Any) -> Hashable:
    if column.startswith("fecha_") and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value  # type: ignore[no-any-return]


def _reject_key(row: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """A reject as a countable tuple; `detalle` may be JSON text, objects or triples."""
    detail = row["detalle"]
    if isinstance(detail, str):
        detail = json.loads(detail)
    triples = tuple(
        (item["tipo_error"], item.get("campo"), item.get("valor")) if isinstance(item, Mapping) else tuple(item)
        for item in detail
    )
    return (row["linea"], row["tipo_error"], row["campo"], row["valor"], triples, row["fila_original"])


def _multiset_differences(
    label: str, expected: Counter[tuple[Hashable, ...]], actual: Counter[tuple[Hashable, ...]]
) -> list[str]:
    missing = [f"{label}: {count} x {row} missing" for row, count in (expected - actual).items()]
    extra = [f"{label}: {count} x {row} too many" for row, count in (actual - expected).items()]
    return missing + extra
