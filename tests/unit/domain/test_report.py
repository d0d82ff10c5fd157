"""Whole reports: every record once, whatever batches and order of columns, and as the contract has it.

The contract is written down here a second time, record by record in plain Python, as slow as it likes.
"""

import io
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visitas_dagster.domain import records as records_module
from visitas_dagster.domain import report
from visitas_dagster.domain.content import ContentFacts, ContentScan
from visitas_dagster.domain.failures import LayoutFailure, TransientFailure
from visitas_dagster.domain.layout import COLUMNS, read_header
from visitas_dagster.domain.records import MAX_LINE_BYTES
from visitas_dagster.domain.report import REJECTED_SCHEMA, VALID_SCHEMA, Slice, judge, judge_together, open_report

HEADERS = [column.header for column in COLUMNS]
HEADER = ",".join(HEADERS)
GOOD = "ana@correo.example,,,,08/02/2013 18:30,-,0,0,-,0,0,-,-,-,-"

DATES = ("Fecha envio", "Fecha open", "Fecha click")
INTEGERS = ("Opens", "Opens virales", "Clicks", "Clicks virales")
LIMITS = {
    "jyv": 64,
    "Badmail": 64,
    "Baja": 64,
    "Links": 1024,
    "IPs": 1024,
    "Navegadores": 1024,
    "Plataformas": 1024,
}


class Outcome(NamedTuple):
    valid: list[dict[str, Any]]
    rejected: list[dict[str, Any]]


def facts_of(data: bytes) -> ContentFacts:
    scan = ContentScan()
    scan.feed(data)
    return scan.finish()


def read(data: bytes, aliases: Mapping[str, str] | None = None, **options: int) -> Outcome:
    found = Outcome([], [])
    for batch in open_report(io.BytesIO(data), facts_of(data), aliases or {}, **options).batches():
        assert batch.valid.schema == VALID_SCHEMA
        assert batch.rejected.schema == REJECTED_SCHEMA
        assert batch.records == batch.valid.num_rows + batch.rejected.num_rows > 0
        found.valid.extend(batch.valid.to_pylist())
        found.rejected.extend(batch.rejected.to_pylist())
    return found


# --- The contract, a second time


def plain_split(line: str) -> list[str] | None:
    field = r'"((?:[^"]|"")*)"|([^",]*)'
    fields, place = [], 0
    while match := re.compile(field, re.DOTALL).match(line, place):
        quoted, bare = match.groups()
        fields.append(bare if quoted is None else quoted.replace('""', '"'))
        place = match.end()
        if place == len(line):
            return fields
        if line[place] != ",":
            return None
        place += 1
    return None


def plain_errors(header: str, value: str | None) -> list[str]:
    if value is None:
        return {"email": ["EMAIL_NULO"], "Fecha envio": ["FECHA_NULA"]}.get(header, [])
    if header == "email":
        return [] if is_email(value) else ["EMAIL_INVALIDO"]
    if header in DATES:
        return [] if plain_date(value) else ["FECHA_INVALIDA"]
    if header in INTEGERS:
        return [] if value.isascii() and value.isdigit() and int(value) < 2**31 else ["ENTERO_INVALIDO"]
    return [] if len(value) <= LIMITS[header] else ["LONGITUD_EXCEDIDA"]


def is_email(value: str) -> bool:
    # The expression as WHATWG HTML prints it.
    whatwg = (
        r"[a-zA-Z0-9.!#$%&'*+\/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
        r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
    )
    if len(value) > 254 or not re.fullmatch(whatwg, value):
        return False
    domain = value.rpartition("@")[2]
    return "." in domain and sum(char.isalpha() for char in domain.rpartition(".")[2]) >= 2


def plain_date(value: str) -> datetime | None:
    match = re.fullmatch(r"([0-9]{2})/([0-9]{2})/([0-9]{4}) ([0-9]{2}):([0-9]{2})", value)
    if not match:
        return None
    day, month, year, hour, minute = map(int, match.groups())
    try:
        moment = datetime(year, month, day, hour, minute)
    except ValueError:
        return None
    return moment if 1970 <= year <= 2099 else None


def plain_type(header: str, value: str | None) -> Any:
    if value is None:
        return None
    if header in DATES:
        return plain_date(value)
    if header in INTEGERS:
        return int(value)
    return value.lower() if header == "email" else value


def plain_report(text: str) -> Outcome:
    """Judge a report whose header is good: the first line that is not blank."""
    found = Outcome([], [])
    *ended, last = text.removeprefix("\ufeff").split("\n")
    lines = [line.removesuffix("\r") for line in ended] + ([last] if last else [])
    while not lines[0].strip(" \t"):
        lines.pop(0)
    names = [name.strip(" \t") for name in plain_split(lines[0]) or []]
    for number, line in enumerate(lines, 1):
        if number > 1 and line.strip(" \t"):
            plain_record(number, line, names, found)
    return found


def plain_record(number: int, line: str, names: list[str], found: Outcome) -> None:
    fields = plain_split(line)
    errors: list[tuple[str, str | None, str | None]] = []
    values: dict[str, str | None] = {}
    if fields is None:
        errors.append(("COMILLAS", None, None))
    elif len(fields) != len(names):
        errors.append(("NUMERO_DE_CAMPOS", None, None))
    else:
        trimmed = [field.strip(" \t") for field in fields]
        values = dict(zip(names, (None if value in {"", "-"} else value for value in trimmed), strict=True))
        errors += [
            (code, header, values[header]) for header in HEADERS for code in plain_errors(header, values[header])
        ]
    if errors:
        found.rejected.append(
            dict(zip(("linea", "tipo_error", "campo", "valor"), (number, *errors[0]), strict=True))
            | {"errors": errors, "fila_original": line}
        )
    else:
        typed = {column.field: plain_type(column.header, values[column.header]) for column in COLUMNS}
        found.valid.append({"linea": number, **typed})


def comparable(found: Outcome) -> Outcome:
    """Put the parsed ``detalle`` in the form of the plain report, without the sentences."""
    rejected = []
    for row in found.rejected:
        details = json.loads(row["detalle"])
        errors = [(entry["tipo_error"], entry["campo"], entry["valor"]) for entry in details]
        rejected.append({key: value for key, value in row.items() if key != "detalle"} | {"errors": errors})
    return Outcome(found.valid, rejected)


# --- What reports are made of

SPICE = st.sampled_from(["", " ", "\t", "\r", "\x0b", "\x85", "\u2028", "ñ", "😀", '"', ",", "-", "٣", "0"])
NOISE = st.lists(SPICE, max_size=4).map("".join)


def quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def dress(value: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Deliver a value bare, with blanks, quoted, or quoted badly."""
    return st.one_of(
        value,
        st.builds("{}{}{}".format, st.text(" \t", max_size=2), value, st.text(" \t", max_size=2)),
        value.map(quoted),
        st.builds("{}{}".format, value, NOISE),
        st.builds("{}{}".format, value.map(quoted), NOISE),
    )


EMPTY = st.sampled_from(["", "-", "", "-", "--"])
EMAILS = st.sampled_from(["ana@correo.example", "BEA@Example.com", "ana", "ana@correo", "a" * 240 + "@correo.example"])
DATE_TEXTS = st.sampled_from(
    [
        "08/02/2013 18:30",
        "29/02/2012 00:00",
        "29/02/2013 00:00",
        "31/12/2099 23:59",
        "01/01/2100 00:00",
        "8/2/2013 1:00",
    ]
)
INTEGER_TEXTS = st.sampled_from(["0", "7", "007", "2147483647", "2147483648", "-1", "1.0", "99999999999999999999"])
TEXT_VALUES = st.sampled_from(["HARD", "a,b", 'el "10"', "ñ" * 64, "ñ" * 65, "x" * 1024, "x" * 1025])


def field_of(header: str) -> st.SearchStrategy[str]:
    if header == "email":
        kinds = EMAILS
    elif header in DATES:
        kinds = DATE_TEXTS
    else:
        kinds = INTEGER_TEXTS if header in INTEGERS else TEXT_VALUES
    return kinds | EMPTY


@st.composite
def records(draw: st.DrawFn, names: list[str]) -> str:
    """A record that is good but for a few fields, or a line of no such form."""
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.one_of(NOISE, st.just(GOOD + ","), st.text(st.characters(exclude_characters="\0\n"), max_size=9))
        )
    good = dict(zip(HEADERS, GOOD.split(","), strict=True))
    changed = draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
    good.update({header: draw(dress(field_of(header))) for header in changed})
    return ",".join(good[header] for header in names)


@st.composite
def reports(draw: st.DrawFn) -> str:
    names = draw(st.permutations(HEADERS) | st.just(HEADERS))
    blank = st.text(" \t", max_size=2)
    lines = [
        *draw(st.lists(blank, max_size=2)),
        ",".join(draw(st.sampled_from([name, f" {name}\t", quoted(name)])) for name in names),
        *draw(st.lists(records(names) | records(names) | blank, max_size=25)),
    ]
    ends = draw(st.lists(st.sampled_from(["\n", "\r\n"]), min_size=len(lines), max_size=len(lines)))
    if draw(st.booleans()):
        ends[-1] = ""
    text = "".join(line + end for line, end in zip(lines, ends, strict=True))
    return draw(st.sampled_from(["", "\ufeff"])) + text


@settings(deadline=None, max_examples=80)
@given(reports(), st.integers(1, 3000), st.integers(5, 30))
def test_reports_are_judged_by_the_contract(text: str, batch_bytes: int, batch_lines: int) -> None:
    with mock.patch.object(report, "BATCH_LINES", batch_lines):
        found = read(text.encode(), batch_bytes=batch_bytes)

    assert comparable(found) == plain_report(text)


@settings(deadline=None, max_examples=20)
@given(reports(), st.integers(1, 500))
def test_batches_have_no_influence(text: str, batch_bytes: int) -> None:
    data = text.encode()
    found = read(data, batch_bytes=batch_bytes)

    assert found == read(data)
    lines = [row["linea"] for row in found.valid + found.rejected]
    assert len(set(lines)) == len(lines)
    assert lines[: len(found.valid)] == sorted(lines[: len(found.valid)])
    assert lines[len(found.valid) :] == sorted(lines[len(found.valid) :])


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.fixed_dictionaries({header: field_of(header).map(quoted) for header in HEADERS}), max_size=3),
    st.data(),
)
def test_the_order_of_columns_has_no_influence(rows: list[dict[str, str]], data: st.DataObject) -> None:
    def delivered(names: list[str]) -> Outcome:
        lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
        found = read("\n".join(lines).encode())
        return Outcome(found.valid, [{**row, "fila_original": None} for row in found.rejected])

    assert delivered(data.draw(st.permutations(HEADERS))) == delivered(HEADERS)


@settings(deadline=None, max_examples=15)
@given(st.lists(records(HEADERS), max_size=8), st.lists(records(HEADERS), max_size=8))
def test_a_record_is_judged_alone(first: list[str], second: list[str]) -> None:
    def without_lines(found: Outcome) -> list[list[dict[str, Any]]]:
        return [[{**row, "linea": None} for row in rows] for rows in found]

    def delivered(lines: list[str]) -> list[list[dict[str, Any]]]:
        return without_lines(read("\n".join([HEADER, *(f"{line}\n" for line in lines)]).encode()))

    apart = [one + other for one, other in zip(delivered(first), delivered(second), strict=True)]
    assert delivered(first + second) == apart


# --- Several reports at once


def slices(data: bytes, batch_bytes: int = 2**20) -> list[Slice]:
    return list(open_report(io.BytesIO(data), facts_of(data), {}, batch_bytes=batch_bytes).slices())


def as_windows(text: str) -> bytes:
    return text.removeprefix("\ufeff").encode("cp1252", errors="replace")


DELIVERED = reports().map(str.encode) | reports().map(as_windows)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(DELIVERED, max_size=6), st.integers(50, 3000), st.integers(2, 30), st.sampled_from([600, MAX_LINE_BYTES])
)
def test_reports_judged_together_are_judged_as_each_alone(
    delivered: list[bytes], batch_bytes: int, batch_lines: int, longest: int
) -> None:
    with (
        mock.patch.object(report, "BATCH_LINES", batch_lines),
        mock.patch.object(records_module, "MAX_LINE_BYTES", longest),
    ):
        pieces = [piece for data in delivered for piece in slices(data, batch_bytes)]
        together = judge_together(pieces)
        alone = [judge(piece.lines, piece.numbers, piece.layout) for piece in pieces]

    assert [batch.valid for batch in together] == [batch.valid for batch in alone]
    assert [batch.rejected for batch in together] == [batch.rejected for batch in alone]
    assert all(batch.valid.schema == VALID_SCHEMA and batch.rejected.schema == REJECTED_SCHEMA for batch in together)


def test_reports_judged_together_keep_their_own_line_numbers_and_columns() -> None:
    turned = HEADERS[1:] + HEADERS[:1]
    first = f"{HEADER}\n{GOOD}\n\n{GOOD.replace('ana', 'Bea')}\nx,y\n"
    second = f"\n{','.join(turned)}\r\n{GOOD[19:]},-\r\n{GOOD[19:]},EVA@correo.example\r\n"
    pieces = [*slices(first.encode()), *slices(second.encode()), *slices(first.encode())]
    found = [
        (batch.valid.select(["linea", "email"]).to_pylist(), batch.rejected.select(["linea", "tipo_error"]).to_pylist())
        for batch in judge_together(pieces)
    ]

    one = (
        [{"linea": 2, "email": "ana@correo.example"}, {"linea": 4, "email": "bea@correo.example"}],
        [{"linea": 5, "tipo_error": "NUMERO_DE_CAMPOS"}],
    )
    other = ([{"linea": 3, "email": "eva@correo.example"}], [{"linea": 2, "tipo_error": "EMAIL_NULO"}])
    assert found == [one, other, one]


def test_no_slices_give_no_batches() -> None:
    assert slices(HEADER.encode()) == []
    assert judge_together([]) == []


# --- Single reports


def test_an_alias_names_a_column() -> None:
    data = f"{HEADER.replace('jyv', 'JK')}\nana@correo.example,uno{GOOD[19:]}".replace(",,,,", ",,,").encode()
    with pytest.raises(LayoutFailure, match="Faltan columnas: jyv"):
        read(data)

    assert [row["jyv"] for row in read(data, {"jk": "jyv"}).valid] == ["uno"]


def test_a_whole_reject() -> None:
    lines = [
        "ana correo.example,,,,08/02/2013 18:30,-,0,0,-,0,0,-,-,-,á,",
        "ana@correo.example,,,,08/02/2013 18:30,-,-1,0,-,-1,0,-,-,-,-",
    ]
    found = read("\r\n".join([HEADER, *lines, ""]).encode())

    count = "El registro debe tener tantos campos como el encabezado: se esperan 15 y hay 16."
    integer = "El valor debe ser un entero de 0 a 2147483647, solo con dígitos."
    assert found.valid == []
    assert found.rejected == [
        {
            "linea": 2,
            "tipo_error": "NUMERO_DE_CAMPOS",
            "campo": None,
            "valor": None,
            "detalle": f'[{{"tipo_error": "NUMERO_DE_CAMPOS", "campo": null, "valor": null, "regla": "{count}"}}]',
            "fila_original": lines[0],
        },
        {
            "linea": 3,
            "tipo_error": "ENTERO_INVALIDO",
            "campo": "Opens",
            "valor": "-1",
            "detalle": "["
            f'{{"tipo_error": "ENTERO_INVALIDO", "campo": "Opens", "valor": "-1", "regla": "{integer}"}}, '
            f'{{"tipo_error": "ENTERO_INVALIDO", "campo": "Clicks", "valor": "-1", "regla": "{integer}"}}]',
            "fila_original": lines[1],
        },
    ]


@pytest.mark.parametrize("batch_bytes", [2**20, 2**26])
def test_lines_too_long_to_keep(batch_bytes: int) -> None:
    start, _, end = GOOD.partition(",,,,")
    lines = [
        HEADER,
        " " * (MAX_LINE_BYTES + 10) + "\r",
        f"{start},{'ñ' * 2**23},,,{end}",
        GOOD + " " * MAX_LINE_BYTES,
        "x" * (MAX_LINE_BYTES + 1),
        GOOD,
    ]
    found = read("\n".join(lines).encode(), batch_bytes=batch_bytes)

    assert [row["linea"] for row in found.valid] == [6]
    assert [(row["linea"], row["tipo_error"], row["campo"], row["valor"]) for row in found.rejected] == [
        (3, "NUMERO_DE_CAMPOS", None, None),
        (4, "LONGITUD_EXCEDIDA", None, None),
        (5, "NUMERO_DE_CAMPOS", None, None),
    ]
    for row in found.rejected:
        whole = lines[row["linea"] - 1].encode()
        assert row["fila_original"] == whole[:MAX_LINE_BYTES].decode(errors="ignore")
        assert json.loads(row["detalle"])[-1] == {
            "tipo_error": "LONGITUD_EXCEDIDA",
            "campo": None,
            "valor": None,
            "regla": "La línea debe tener a lo más 16777215 bytes: se guardó y se revisó solo su principio.",
        }


def test_a_header_too_long_to_keep() -> None:
    with pytest.raises(LayoutFailure, match="La primera línea no es un encabezado"):
        read(f"{HEADER}{' ' * MAX_LINE_BYTES}\n{GOOD}".encode())


def test_records_are_walked_through_once() -> None:
    opened = open_report(io.BytesIO(data := f"{HEADER}\n{GOOD}".encode()), facts_of(data), {})

    assert [batch.records for batch in opened.batches()] == [1]
    with pytest.raises(RuntimeError, match="only once"):
        opened.batches()


def test_a_file_cut_off_while_it_is_read() -> None:
    data = f"{HEADER}\n{GOOD}\n{GOOD}\n".encode()
    opened = open_report(io.BytesIO(data[:-5]), facts_of(data), {}, batch_bytes=100)

    with pytest.raises(TransientFailure):
        list(opened.batches())


def test_more_lines_than_the_tables_can_number() -> None:
    data = f"{HEADER}\n{GOOD}\n{GOOD}\n".encode()
    with mock.patch.object(report, "_MAX_LINE_NUMBER", 3):
        assert len(read(data).valid) == 2
        with pytest.raises(LayoutFailure, match="más de 3 líneas"):
            read(data + b"\n")


def test_lines_from_elsewhere_are_judged_alike() -> None:
    lines = [GOOD, "", "x", GOOD.replace("ana", "BEA"), " \t"]
    batch = judge(pa.array(lines, pa.string()), np.array([4, 5, 9, 12, 13]), read_header(HEADER, {}))

    assert batch.records == 3
    assert batch.valid.select(["linea", "email"]).to_pylist() == [
        {"linea": 4, "email": "ana@correo.example"},
        {"linea": 12, "email": "bea@correo.example"},
    ]
    assert batch.rejected.select(["linea", "tipo_error"]).to_pylist() == [
        {"linea": 9, "tipo_error": "NUMERO_DE_CAMPOS"}
    ]
