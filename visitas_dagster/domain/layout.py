"""The file's name and its header: which columns a report has and where each one stands.

Names of files and columns belong here; values and rules about them do not.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from visitas_dagster.domain.failures import LayoutFailure, SettingsError
from visitas_dagster.domain.privacy import mask_addresses

FILE_PATTERN = r"report_(\d+)\.txt"

ALIAS_SETTING = "VISITAS_ALIAS_COLUMNAS"
PATTERN_SETTING = "VISITAS_PATRON_ARCHIVO"

_MAX_NAMES = 100
_MAX_FIELDS = 10_000
_MAX_NAME = 40
_KEPT_LINE = 4096
_BOM_AS_WINDOWS = "ï»¿"
_OTHER_SEPARATORS = {";": "punto y coma", "\t": "tabulador", "|": "barra vertical"}


@dataclass(frozen=True)
class Column:
    """One column of a report.

    Attributes:
        header: canonical name in the file's header, e.g. ``Fecha envio``.
        field: name in the tables, e.g. ``fecha_envio``.
    """

    header: str
    field: str


COLUMNS: tuple[Column, ...] = (
    Column("email", "email"),
    Column("jyv", "jyv"),
    Column("Badmail", "badmail"),
    Column("Baja", "baja"),
    Column("Fecha envio", "fecha_envio"),
    Column("Fecha open", "fecha_open"),
    Column("Opens", "opens"),
    Column("Opens virales", "opens_virales"),
    Column("Fecha click", "fecha_click"),
    Column("Clicks", "clicks"),
    Column("Clicks virales", "clicks_virales"),
    Column("Links", "links"),
    Column("IPs", "ips"),
    Column("Navegadores", "navegadores"),
    Column("Plataformas", "plataformas"),
)
"""The 15 columns in the order of contract §1."""


@dataclass(frozen=True)
class Layout:
    """Where each column of `COLUMNS` stands in a file's lines.

    Attributes:
        positions: for each contract column, in contract order, its place in the file's header, from 0.
        aliased: (name as delivered, canonical name) of each column that an alias named, in the file's order.
    """

    positions: tuple[int, ...]
    aliased: tuple[tuple[str, str], ...] = ()

    @property
    def width(self) -> int:
        """Fields a record must have."""
        return len(self.positions)


def normalize(name: str) -> str:
    """Return a column's name as names are compared: trimmed, inner blanks collapsed, no case, no accents."""
    decomposed = unicodedata.normalize("NFD", re.sub("[ \t]+", " ", name).strip(" "))
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


_CANONICAL = {normalize(column.header): column.header for column in COLUMNS}
_HEADERS = tuple(column.header for column in COLUMNS)


@lru_cache(maxsize=8)
def file_pattern(text: str = FILE_PATTERN) -> re.Pattern[str]:
    """Compile the setting ``VISITAS_PATRON_ARCHIVO``; ``\\d`` means ASCII digits.

    Raises:
        SettingsError: it is no regular expression, or its first group is missing.
    """
    try:
        pattern = re.compile(text, re.ASCII)
    except re.error as error:
        where = f": no se entiende desde el carácter {error.pos + 1}" if error.pos is not None else ""
        raise SettingsError(
            PATTERN_SETTING, f"«{text}» no es una expresión regular{where}", f"Use una como «{FILE_PATTERN}»."
        ) from error
    if not pattern.groups:
        raise SettingsError(
            PATTERN_SETTING,
            f"«{text}» no tiene un grupo que dé el consecutivo",
            rf"Use una como «{FILE_PATTERN}».",
        )
    return pattern


def file_number(name: str, pattern: str = FILE_PATTERN) -> int | None:
    """Return a report's consecutive number, or None if the name is not a report's (contract §1 *Name*).

    Raises:
        SettingsError: the pattern is wrong, see `file_pattern`.
    """
    match = file_pattern(pattern).fullmatch(name)
    digits = match.group(1) if match else None
    return int(digits) if digits and digits.isascii() and digits.isdecimal() else None


def parse_aliases(text: str) -> dict[str, str]:
    """Read the setting ``VISITAS_ALIAS_COLUMNAS``: ``"jk=jyv,fgh=jyv"``, or nothing.

    Returns:
        Canonical column name by delivered name, the latter as `normalize` leaves it.

    Raises:
        SettingsError: a pair is not ``name=column``, its column is none of the 15, its name is one of the 15,
            or the same name stands for two columns.
    """
    aliases: dict[str, str] = {}
    for pair in text.split(","):
        if pair.strip():
            name, header = _parse_alias(pair)
            if aliases.setdefault(name, header) != header:
                raise SettingsError(
                    ALIAS_SETTING, f"{show(name)} aparece para dos columnas: {aliases[name]} y {header}"
                )
    return aliases


def _parse_alias(pair: str) -> tuple[str, str]:
    # The last sign: a delivered name may contain one, a column's does not.
    name, sign, target = pair.rpartition("=")
    if not sign or not normalize(name):
        raise SettingsError(ALIAS_SETTING, f"{show(pair)} no tiene la forma nombre=columna", 'Por ejemplo "jk=jyv".')
    header = _CANONICAL.get(normalize(target))
    if header is None:
        near = _nearest(target, ())
        raise SettingsError(ALIAS_SETTING, f"{show(target)} no es una columna (¿quiso decir «{near}»?)")
    if normalize(name) in _CANONICAL:
        raise SettingsError(ALIAS_SETTING, f"{show(name)} ya es una columna del reporte y no puede ser alias de otra")
    return normalize(name), header


def read_header(line: str, aliases: Mapping[str, str]) -> Layout:
    """Find the 15 columns in a file's header line (contract §1 *Header*).

    Args:
        line: the first non-blank line, decoded, without its end.
        aliases: canonical name by delivered name, as `parse_aliases` returns it.

    Raises:
        LayoutFailure: a quote breaks the quoting rule, or columns are missing, unknown or repeated; the
            message names every one of them, and for each unknown one the nearest expected name.
    """
    delivered = (_known_fields if len(line) <= _KEPT_LINE else _header_fields)(line)
    by_alias = {normalize(name): header for name, header in aliases.items()}
    found = [_CANONICAL.get(normalize(name)) or by_alias.get(normalize(name)) for name in delivered]
    counts = Counter(header for header in found if header)
    missing = [header for header in _HEADERS if header not in counts]
    repeated = [header for header in _HEADERS if counts[header] > 1]
    unknown = [name for name, header in zip(delivered, found, strict=True) if header is None]
    if missing or repeated or unknown:
        raise LayoutFailure(
            _problems(missing, repeated, counts, unknown), _remedy(line, missing, repeated, unknown, by_alias)
        )
    aliased = [
        (name, header)
        for name, header in zip(delivered, found, strict=True)
        if header and normalize(name) not in _CANONICAL
    ]
    return Layout(tuple(found.index(header) for header in _HEADERS), tuple(aliased))


def _header_fields(line: str) -> tuple[str, ...]:
    # Here, not at the top: Arrow comes in with it, and whoever reads the settings needs only names.
    from visitas_dagster.domain.records import MAX_LINE_BYTES, split_line

    if line.count(",") >= _MAX_FIELDS or len(line.encode()) > MAX_LINE_BYTES:
        raise LayoutFailure(
            f"La primera línea no es un encabezado: tiene {line.count(',')} comas en {len(line)} caracteres, "
            f"y se esperan {len(COLUMNS)} columnas",
            "Pida al emisor el archivo con su encabezado en la primera línea.",
        )
    if "\0" in line:
        raise LayoutFailure("El encabezado contiene bytes NUL")
    fields = split_line(line)
    if fields is None:
        raise LayoutFailure(
            f"El encabezado tiene comillas mal puestas: {show(line)}",
            "Una comilla se abre solo al principio de un nombre, se cierra en la misma línea "
            "y le sigue una coma o el fin.",
        )
    return tuple(field.strip(" \t") for field in fields)


_known_fields = lru_cache(maxsize=16)(_header_fields)
"""The same: nearly all files have one header, and to cut it is a tenth of what a small file's validation takes."""


def show(text: str) -> str:
    """Return a delivered name between «», its control and invisible characters escaped, shortened if long."""
    trimmed = text.strip(" \t")
    escaped = "".join(char if char.isprintable() else repr(char)[1:-1] for char in trimmed[:_MAX_NAME])
    return f"«{escaped}…»" if len(trimmed) > _MAX_NAME else f"«{escaped}»"


def _problems(
    missing: Sequence[str], repeated: Sequence[str], counts: Mapping[str, int], unknown: Sequence[str]
) -> str:
    parts = []
    if missing:
        parts.append(f"Faltan columnas: {', '.join(missing)}")
    if unknown:
        parts.append(f"Columnas desconocidas: {_list_unknown(unknown, missing)}")
    if repeated:
        parts.append(f"Columnas repetidas: {', '.join(f'{name} ({counts[name]} veces)' for name in repeated)}")
    return ". ".join(parts)


def _list_unknown(unknown: Sequence[str], missing: Sequence[str]) -> str:
    times = Counter(unknown)
    names = list(times)
    shown = [_describe_unknown(name, times[name], len(names), missing) for name in names[:_MAX_NAMES]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" y {rest} más" if rest else "")


def _describe_unknown(name: str, times: int, unknown: int, missing: Sequence[str]) -> str:
    # One column lost and one unknown: they are the same one, however different their names (`fgh` for `jyv`).
    only = missing[0] if len(missing) == unknown == 1 else None
    near = only or (name and _nearest(name, missing))
    often = ("" if name else " sin nombre") + (f", {times} veces" if times > 1 else "")
    return f"{show(name)}{often}" + (f" (¿quiso decir «{near}»?)" if near else "")


def _nearest(name: str, preferred: Iterable[str]) -> str:
    wanted = set(preferred)
    # Longer names cannot be near, and comparing them costs their square.
    plain = normalize(name[:200])

    def closeness(header: str) -> float:
        bonus = 0.25 if header in wanted else 0.0
        return SequenceMatcher(None, plain, normalize(header), autojunk=False).ratio() + bonus

    return max(_HEADERS, key=closeness)


def _remedy(
    line: str,
    missing: Sequence[str],
    repeated: Sequence[str],
    unknown: Sequence[str],
    aliases: Mapping[str, str],
) -> str:
    if line.startswith(_BOM_AS_WINDOWS):
        return "El archivo empieza con la marca BOM de UTF-8 pero no es UTF-8 válido: pida que lo envíen bien."
    separator = _other_separator(unknown)
    if separator:
        return f"El separador parece ser {separator} y debe ser la coma: pida al emisor el archivo así."
    if len(missing) == len(unknown) == 1 and not repeated and _can_be_alias(unknown[0]):
        pairs = [*(f"{name}={header}" for name, header in aliases.items()), f"{unknown[0]}={missing[0]}"]
        return (
            f"Si {show(unknown[0])} es la columna {missing[0]}, "
            f'declare {ALIAS_SETTING}="{",".join(pairs)}" y procese de nuevo el archivo.'
        )
    return f"Pida al emisor el archivo con las {len(COLUMNS)} columnas: {', '.join(_HEADERS)}."


def _other_separator(unknown: Sequence[str]) -> str | None:
    if len(unknown) != 1:
        return None
    for separator, name in _OTHER_SEPARATORS.items():
        if sum(normalize(part) in _CANONICAL for part in unknown[0].split(separator)) > len(COLUMNS) // 2:
            return name
    return None


def _can_be_alias(name: str) -> bool:
    # The setting is a comma-separated text in an environment file.
    # A name with an @ is a record where the header should be; one that a message hides cannot be copied from it.
    return (
        0 < len(name) <= _MAX_NAME
        and name.isprintable()
        and not set(name) & set(",\"'\\$#`@")
        and mask_addresses(name) == name
    )
