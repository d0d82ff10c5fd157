"""The rules of a record: a Pandera schema whose checks bear the contract's codes, and types of good values.

Which values are right, in which order rules count and what each one says belongs here; how lines become
values and how a file is walked through does not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pap
import pyarrow as pa
import pyarrow.compute as pc
from pandera.config import ValidationDepth, config_context

from visitas_dagster.domain.layout import COLUMNS
from visitas_dagster.domain.records import MAX_LINE_BYTES, Mask, Rows, as_mask, text_bytes

MAX_EMAIL = 254
MAX_TEXT = 64
MAX_LIST = 1024
MAX_INTEGER = 2**31 - 1
FIRST_YEAR, LAST_YEAR = 1970, 2099

_DATE = pa.timestamp("s")

VALID_SCHEMA = pa.schema(
    [
        ("linea", pa.int32()),
        ("email", pa.string()),
        ("jyv", pa.string()),
        ("badmail", pa.string()),
        ("baja", pa.string()),
        ("fecha_envio", _DATE),
        ("fecha_open", _DATE),
        ("opens", pa.int32()),
        ("opens_virales", pa.int32()),
        ("fecha_click", _DATE),
        ("clicks", pa.int32()),
        ("clicks_virales", pa.int32()),
        ("links", pa.string()),
        ("ips", pa.string()),
        ("navegadores", pa.string()),
        ("plataformas", pa.string()),
    ]
)
"""Valid records, in the column order of table ``estadisticas`` (contract §3); dates are wall-clock times."""

REJECTED_SCHEMA = pa.schema(
    [
        ("linea", pa.int32()),
        ("tipo_error", pa.string()),
        ("campo", pa.string()),
        ("valor", pa.string()),
        ("detalle", pa.string()),
        ("fila_original", pa.string()),
    ]
)
"""Rejected records, in the column order of table ``errores`` (contract §3); ``detalle`` is JSON text."""

Test = Callable[[pa.StringArray], pa.BooleanArray]
"""One flag per value, no nulls: whether it keeps the rule. A null keeps every rule but the two *not null*."""


@dataclass(frozen=True)
class Rule:
    """One rule of the table in contract §1.

    Attributes:
        code: the ``tipo_error`` of a record that breaks it.
        sentence: what it asks for, in one Spanish sentence; ``regla`` in an error's ``detalle``.
        test: judges a column's values; None for rules about the record as a whole.
    """

    code: str
    sentence: str
    test: Test | None = None


@dataclass(frozen=True)
class ColumnRule:
    """A rule where it stands in the order of contract §1: record rules first, then the columns.

    Attributes:
        rule: the rule.
        header: the column's canonical name (``campo`` of an error), None for rules about the record.
        field: the column's name in the tables, None for rules about the record.
    """

    rule: Rule
    header: str | None = None
    field: str | None = None


@dataclass(frozen=True)
class Broken:
    """Broken rules, one entry for each, ordered by row and within a row by the order of contract §1.

    Attributes:
        rows: position of the record.
        rules: position of the rule in `RULES`.
    """

    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    rules: Rows = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, rows: Sequence[Rows], rules: Sequence[Rows | int]) -> "Broken":
        """Join lists of rows, each with its rules or the one rule that all of its rows break."""
        all_rows = np.concatenate([np.zeros(0, np.int64), *rows])
        all_rules = np.concatenate(
            [
                np.zeros(0, np.int64),
                *(np.broadcast_to(rule, row.shape) for row, rule in zip(rows, rules, strict=True)),
            ]
        )
        order = np.lexsort((all_rules, all_rows))
        return cls(all_rows[order], all_rules[order])


# --- Tests of values

# WHATWG HTML, "valid e-mail address" of input type=email, with at least one dot in the domain. \A and \z, for
# $ lets a line feed pass; [0-9] and not \d, which some engines read as any digit of Unicode.
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = rf"\A[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})+\z"
_LAST_LABEL = r"\.[^.]*[a-zA-Z][^.]*[a-zA-Z][^.]*\z"


def _not_null(values: pa.StringArray) -> pa.BooleanArray:
    return pc.is_valid(values)


def _or_null(flags: pa.BooleanArray) -> pa.BooleanArray:
    return pc.fill_null(flags, True)


def _is_email(values: pa.StringArray) -> pa.BooleanArray:
    form = pc.and_(pc.match_substring_regex(values, _EMAIL), pc.match_substring_regex(values, _LAST_LABEL))
    return _or_null(pc.and_(form, pc.less_equal(pc.binary_length(values), MAX_EMAIL)))


def _is_date(values: pa.StringArray) -> pa.BooleanArray:
    return pc.or_(pa.array(parse_dates(values)[0]), pc.is_null(values))


def _is_integer(values: pa.StringArray) -> pa.BooleanArray:
    digits = pc.ascii_is_decimal(values)
    significant = pc.ascii_ltrim(values, characters="0")
    length = pc.binary_length(significant)
    limit = str(MAX_INTEGER)
    # Digits of the same number compare as texts the way they do as numbers.
    small = pc.or_(
        pc.less(length, len(limit)), pc.and_(pc.equal(length, len(limit)), pc.less_equal(significant, limit))
    )
    return _or_null(pc.and_(digits, small))


def _at_most(characters: int) -> Test:
    def is_short(values: pa.StringArray) -> pa.BooleanArray:
        return _or_null(pc.less_equal(pc.utf8_length(values), characters))

    return is_short


def parse_dates(values: pa.StringArray) -> tuple[Mask, npt.NDArray[np.datetime64]]:
    """Read texts of the form ``dd/mm/yyyy HH:MM`` (contract §1).

    Returns:
        One flag per value: it is exactly of that form and a real moment of the years 1970 to 2099. And the
        moments, in seconds; NaT where the flag is false, as it is for nulls.
    """
    good = as_mask(pc.fill_null(pc.equal(pc.binary_length(values), 16), False))
    # A row per character: what is done below goes along the rows. Below "0" the bytes wrap round, far above 9.
    digits = np.ascontiguousarray(text_bytes(values.filter(pa.array(good))).reshape(-1, 16).T) - np.uint8(ord("0"))
    day, month, year, hour, minute = (
        _number(digits, *places) for places in ((0, 1), (3, 4), (6, 7, 8, 9), (11, 12), (14, 15))
    )
    real = _has_form(digits) & (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12)
    real &= (hour < 24) & (minute < 60) & (day >= 1)
    months = np.where(real, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    first_day = months.astype("datetime64[D]")
    days_in_month = ((months + 1).astype("datetime64[D]") - first_day).astype(np.int64)
    real &= day <= days_in_month
    seconds = ((first_day.astype(np.int64) + day - 1) * 24 + hour) * 3600 + minute * 60
    moments = np.full(len(values), "NaT", "datetime64[s]")
    moments[good] = np.where(real, seconds.astype("datetime64[s]"), np.datetime64("NaT", "s"))
    good[good] = real
    return good, moments


def _number(digits: npt.NDArray[np.uint8], *places: int) -> npt.NDArray[np.int64]:
    number = np.zeros(digits.shape[1], np.int64)
    for place in places:
        number = number * 10 + digits[place]
    return number


def _has_form(digits: npt.NDArray[np.uint8]) -> Mask:
    separators = {2: "/", 5: "/", 10: " ", 13: ":"}
    form = np.ones(digits.shape[1], np.bool_)
    for place, row in enumerate(digits):
        expected = separators.get(place)
        form &= (row == (ord(expected) - ord("0")) % 256) if expected else (row <= 9)
    return form


# --- The rules in their order

_EMAIL_RULES = (
    Rule("EMAIL_NULO", "El correo no puede faltar.", _not_null),
    Rule(
        "EMAIL_INVALIDO",
        f"El correo debe tener la forma usuario@dominio, a lo más {MAX_EMAIL} caracteres y un punto en el "
        "dominio, cuya última etiqueta tiene dos letras o más.",
        _is_email,
    ),
)
_DATE_RULE = Rule(
    "FECHA_INVALIDA",
    f"La fecha debe ser un momento real de {FIRST_YEAR} a {LAST_YEAR}, escrito exactamente dd/mm/aaaa HH:MM.",
    _is_date,
)
_SENT_RULES = (Rule("FECHA_NULA", "La fecha de envío no puede faltar.", _not_null), _DATE_RULE)
_INTEGER_RULE = Rule(
    "ENTERO_INVALIDO", f"El valor debe ser un entero de 0 a {MAX_INTEGER}, solo con dígitos.", _is_integer
)
_TEXT_RULE = Rule("LONGITUD_EXCEDIDA", f"El texto debe tener a lo más {MAX_TEXT} caracteres.", _at_most(MAX_TEXT))
_LIST_RULE = Rule("LONGITUD_EXCEDIDA", f"La lista debe tener a lo más {MAX_LIST} caracteres.", _at_most(MAX_LIST))

_COLUMN_RULES: Mapping[str, tuple[Rule, ...]] = {
    "email": _EMAIL_RULES,
    "jyv": (_TEXT_RULE,),
    "badmail": (_TEXT_RULE,),
    "baja": (_TEXT_RULE,),
    "fecha_envio": _SENT_RULES,
    "fecha_open": (_DATE_RULE,),
    "opens": (_INTEGER_RULE,),
    "opens_virales": (_INTEGER_RULE,),
    "fecha_click": (_DATE_RULE,),
    "clicks": (_INTEGER_RULE,),
    "clicks_virales": (_INTEGER_RULE,),
    "links": (_LIST_RULE,),
    "ips": (_LIST_RULE,),
    "navegadores": (_LIST_RULE,),
    "plataformas": (_LIST_RULE,),
}

RULES: tuple[ColumnRule, ...] = (
    ColumnRule(
        Rule(
            "COMILLAS",
            "Una comilla se abre solo al principio de un campo, se cierra en la misma línea "
            "y le sigue una coma o el fin.",
        )
    ),
    ColumnRule(Rule("NUMERO_DE_CAMPOS", "El registro debe tener tantos campos como el encabezado.")),
    *(ColumnRule(rule, column.header, column.field) for column in COLUMNS for rule in _COLUMN_RULES[column.field]),
    # No rule of contract §1 but of §3: `errores.fila_original` holds no more. It comes last, since the rules
    # above are judged on the text that is left.
    ColumnRule(
        Rule(
            "LONGITUD_EXCEDIDA",
            f"La línea debe tener a lo más {MAX_LINE_BYTES} bytes: se guardó y se revisó solo su principio.",
        )
    ),
)
"""Every rule in the order of contract §1; a record's first broken rule is the lowest position."""

QUOTES, FIELD_COUNT, LINE_LENGTH = 0, 1, len(RULES) - 1
"""Positions in `RULES` of the rules about the record as a whole."""

CODES: tuple[str, ...] = tuple(dict.fromkeys(entry.rule.code for entry in RULES))
"""The contract's ``tipo_error`` codes, in order."""

_POSITIONS = {(entry.field, entry.rule.code): place for place, entry in enumerate(RULES) if entry.field}

_DESCRIPTIONS: Mapping[str, str] = {
    "email": "Visitor's e-mail address, kept in lower case; identifies the visitor.",
    "jyv": "Campaign tool's own mark, free text.",
    "badmail": "Why the address bounced (e.g. HARD), null if it did not.",
    "baja": "Mark of a visitor who unsubscribed.",
    "fecha_envio": "When the message was sent, campaign tool's wall clock; the moment of the visit.",
    "fecha_open": "When the message was last opened.",
    "opens": "How many times the message was opened.",
    "opens_virales": "How many times the message was opened by others it was forwarded to.",
    "fecha_click": "When a link of the message was last followed.",
    "clicks": "How many times a link was followed.",
    "clicks_virales": "How many times a link was followed by others the message was forwarded to.",
    "links": "Links that were followed, as a list in one text.",
    "ips": "Addresses the visits came from, as a list in one text.",
    "navegadores": "Browsers of the visits, as a list in one text.",
    "plataformas": "Operating systems of the visits, as a list in one text.",
}


# --- Pandera


def _check(rule: Rule) -> pap.Check:
    def passes(series: Any) -> Any:
        assert rule.test is not None
        return pd.Series(as_mask(rule.test(_one_array(pa.array(series)))), index=series.index)

    # Nulls are the tests' business: Pandera would drop them before `not null` is asked.
    return pap.Check(passes, name=rule.code, description=rule.sentence, ignore_na=False)


def _one_array(values: Any) -> pa.Array:
    # Which of the two an operation returns depends on the versions of pandas and pyarrow.
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


SCHEMA = pap.DataFrameSchema(
    {
        column.field: pap.Column(
            pd.ArrowDtype(pa.string()),
            [_check(rule) for rule in _COLUMN_RULES[column.field]],
            nullable=True,
            title=column.header,
            description=_DESCRIPTIONS[column.field],
        )
        for column in COLUMNS
    },
    # Rejects are found by their index: it must name one record each.
    index=pap.Index("int64", unique=True, name="linea"),
    strict=True,
    name="registro",
    title="Report record",
    description="One line of a visit report, as delivered: texts, trimmed, null where empty (contract §1).",
)
"""The column rules on texts; types come after, in `typed`. Check names are the contract's codes."""


# What `SCHEMA` asks for besides its checks: the columns, their types, one number for each record.
_SHAPE = SCHEMA.update_columns({field: {"checks": []} for field in SCHEMA.columns})


def broken_rules(values: pa.Table, numbers: Rows) -> Broken:
    """Judge records by the column rules.

    Args:
        values: the 15 columns by field name, texts as `records.clean` leaves them.
        numbers: line number of each record, ascending, none twice.

    Raises:
        pandera.errors.SchemaErrors: the table is not as described.
    """
    frame = values.to_pandas(types_mapper=pd.ArrowDtype)
    frame.index = pd.Index(numbers, name="linea")
    # Pandera can be switched off by environment variables; the contract cannot.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        _SHAPE.validate(frame, lazy=True)
    rows: list[Rows] = []
    rules: list[Rows | int] = []
    # The schema's checks one by one: validating with all of them reports what fails as tables of failure cases,
    # which take longer to make than a whole batch takes to judge, and files a check that raised among them.
    for name, column in SCHEMA.columns.items():
        for check in column.checks:
            broken = np.flatnonzero(~check(frame[name]).check_output.to_numpy(np.bool_))
            rows.append(broken)
            rules.append(_POSITIONS[name, check.name])
    return Broken.of(rows, rules)


# --- Types


def typed(values: pa.Table, numbers: Rows) -> pa.Table:
    """Return records that break no rule as `VALID_SCHEMA`.

    Args:
        values: the 15 columns by field name, texts.
        numbers: line number of each record, at most 2147483647.
    """
    columns = [pa.array(numbers, pa.int32())]
    for column in COLUMNS:
        texts = _one_array(values[column.field])
        columns.append(_typed(texts, VALID_SCHEMA.field(column.field)))
    return pa.Table.from_arrays(columns, schema=VALID_SCHEMA)


def _typed(texts: pa.StringArray, entry: pa.Field) -> pa.Array:
    if entry.type == _DATE:
        good, moments = parse_dates(texts)
        return pa.array(moments, _DATE, mask=~good)
    if entry.type == pa.int32():
        significant = pc.ascii_ltrim(texts, characters="0")
        return pc.if_else(pc.equal(significant, ""), "0", significant).cast(pa.int32())
    return pc.ascii_lower(texts) if entry.name == "email" else texts
