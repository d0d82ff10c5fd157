"""What the oracle says, against expectations written by hand from the contract.

The product is not tested here, and nothing here computes what it expects.
"""

import hashlib
import json
import random
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from . import strategies
from .oracle import LayoutError, ParsedReport, Rejected, Tables, Visitor, World, read_report

TODAY = date(2024, 3, 15)
HEADER = (
    "email,jyv,Badmail,Baja,Fecha envio,Fecha open,Opens,Opens virales,"
    "Fecha click,Clicks,Clicks virales,Links,IPs,Navegadores,Plataformas"
)
NAMES = HEADER.split(",")
GOOD = "ana@example.com,,,,08/02/2013 18:30,-,0,0,-,0,0,-,-,-,-"
ALIASES = {"jk": "jyv", "fgh": "jyv"}


def parse(data: bytes | str, aliases: dict[str, str] | None = None) -> ParsedReport:
    """The report of a file that must be readable."""
    found = read_report(data.encode() if isinstance(data, str) else data, aliases or {})
    assert isinstance(found, ParsedReport), found
    return found


def layout_error(data: bytes | str, aliases: dict[str, str] | None = None) -> LayoutError:
    """The failure of a file that must not be readable."""
    found = read_report(data.encode() if isinstance(data, str) else data, aliases or {})
    assert isinstance(found, LayoutError), found
    return found


def one(line: str) -> dict[str, Any] | Rejected:
    """What becomes of one record under the plain header."""
    report = parse(f"{HEADER}\n{line}\n")
    assert report.total == 1
    return report.valid[0] if report.valid else report.rejected[0]


def with_fields(**fields: str) -> str:
    """The good record with other raw fields, named like the table's columns."""
    order = [name.lower().replace(" ", "_") for name in NAMES]
    values = dict(zip(order, GOOD.split(","), strict=True)) | fields
    assert list(values) == order
    return ",".join(values.values())


def broken(line: str) -> list[tuple[str, str | None, str | None]]:
    """`detalle` of a record; nothing for a good one."""
    found = one(line)
    return found.detalle if isinstance(found, Rejected) else []


# --------------------------------------------------------------------------------------------- the file


def test_a_good_record_becomes_a_row() -> None:
    """Every column of the table, typed."""
    line = (
        "Ana@Example.COM,j1,HARD,SI,08/02/2013 18:30,08/02/2013 14:49,7,1,"
        '09/02/2013 00:00,2,007,"0,3",198.18.6.69,Firefox 3.6, Win7 '
    )
    assert one(line) == {
        "linea": 2,
        "email": "ana@example.com",
        "jyv": "j1",
        "badmail": "HARD",
        "baja": "SI",
        "fecha_envio": datetime(2013, 2, 8, 18, 30),
        "fecha_open": datetime(2013, 2, 8, 14, 49),
        "opens": 7,
        "opens_virales": 1,
        "fecha_click": datetime(2013, 2, 9, 0, 0),
        "clicks": 2,
        "clicks_virales": 7,
        "links": "0,3",
        "ips": "198.18.6.69",
        "navegadores": "Firefox 3.6",
        "plataformas": "Win7",
    }


def test_empty_values_and_hyphens_are_null() -> None:
    """Trimmed of spaces and tabs, quoted or not."""
    line = 'ana@example.com,, ,\t,08/02/2013 18:30,-, - ,"",\t-\t,"-"," "," - ",,-,'
    row = one(line)
    assert isinstance(row, dict)
    assert [name for name, value in row.items() if value is not None] == ["linea", "email", "fecha_envio"]


@pytest.mark.parametrize("value", ["--", "- -", "\u2013", "\u00a0", "\x0b", "0"])
def test_other_short_values_are_not_null(value: str) -> None:
    """Only the empty value and one hyphen are."""
    row = one(with_fields(links=value))
    assert isinstance(row, dict)
    assert row["links"] == value


@pytest.mark.parametrize(
    ("head", "tail", "encoding", "value"),
    [
        (b"", "ñ".encode(), "utf-8", "ñ"),
        (b"", b"x", "utf-8", "x"),
        (b"\xef\xbb\xbf", "ñ".encode(), "utf-8-sig", "ñ"),
        (b"", b"\xf1\x80", "windows-1252", "ñ€"),
        (b"", b"\x81\x8d\x8f\x90\x9d", "windows-1252", "\ufffd\ufffd\ufffd\ufffd\ufffd"),
        (b"", b"\xed\xa0\x80", "windows-1252", "í\u00a0€"),
        (b"", b"\xc0\xaf", "windows-1252", "À¯"),
        (b"", b"\xe2\x82", "windows-1252", "â\u201a"),
        (b"", b"a\x85b", "windows-1252", "a…b"),
    ],
)
def test_encodings(head: bytes, tail: bytes, encoding: str, value: str) -> None:
    """UTF-8 with or without BOM, else Windows-1252 for the whole file."""
    report = parse(head + HEADER.encode() + b"\n" + GOOD.encode()[:-1] + tail)
    assert report.encoding == encoding
    assert report.valid[0]["plataformas"] == value


def test_a_bom_before_windows_1252_is_text() -> None:
    """And so spoils the first column's name."""
    found = layout_error(b"\xef\xbb\xbf" + HEADER.encode() + b"\n\xf1\n")
    assert (found.reason, found.encoding) == ("HEADER_COLUMNS", "windows-1252")
    assert (found.missing, found.unknown) == (["email"], ["ï»¿email"])


def test_a_second_bom_is_text() -> None:
    """Only the first is a mark."""
    found = layout_error(b"\xef\xbb\xbf\xef\xbb\xbf" + HEADER.encode())
    assert (found.missing, found.unknown) == (["email"], ["\ufeffemail"])


@pytest.mark.parametrize("at", [0, 20, -1])
def test_a_nul_byte_fails_the_file(at: int) -> None:
    """Wherever it stands."""
    data = f"{HEADER}\n{GOOD}\n".encode()
    assert layout_error(data[:at] + b"\0" + data[at:]).reason == "NUL"


def test_utf_16_fails_by_its_nul_bytes() -> None:
    """It is neither UTF-8 nor Windows-1252."""
    assert layout_error(HEADER.encode("utf-16")).reason == "NUL"


@pytest.mark.parametrize("data", [b"", b"\n", b" \t\r\n\n  ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n\t"])
def test_no_content_fails_the_file(data: bytes) -> None:
    """No bytes, or blank lines only."""
    assert layout_error(data).reason == "EMPTY"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n \t\n"])
def test_a_header_alone_is_a_report_without_records(end: str) -> None:
    """Complete, zero records."""
    report = parse(HEADER + end)
    assert (report.total, report.estado) == (0, "COMPLETADO")


def test_lines_end_in_lf_or_crlf_and_count_from_the_header() -> None:
    """Blank lines count as lines but are no records; those before the header do not count."""
    report = parse(f" \t\r\n\n{HEADER}\r\n\n{GOOD}\n \t \r\n{GOOD}\r\n{GOOD}")
    assert [row["linea"] for row in report.valid] == [3, 5, 6]
    assert report.rejected == []


@pytest.mark.parametrize("char", ["\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_other_line_separators_are_content(char: str) -> None:
    """They neither end a line nor are trimmed."""
    report = parse(f"{HEADER}\n{with_fields(links=f'a{char}b', plataformas=char + 'c')}\n{GOOD}\n")
    assert [(row["linea"], row["links"], row["plataformas"]) for row in report.valid] == [
        (2, f"a{char}b", f"{char}c"),
        (3, None, None),
    ]


def test_only_the_cr_before_an_lf_belongs_to_the_end_of_line() -> None:
    """A second one, or one at the end of the file, is content."""
    report = parse(f"{HEADER}\n{GOOD}\r\r\n{GOOD}\r")
    assert [row["plataformas"] for row in report.valid] == ["-\r", "-\r"]


@pytest.mark.parametrize("line", ["\u00a0", "\x0b", "\u2028", "\r ", '""', "-"])
def test_a_line_of_anything_else_is_a_record(line: str) -> None:
    """Blank means spaces and tabs."""
    assert one(line) == Rejected(2, "NUMERO_DE_CAMPOS", None, None, [("NUMERO_DE_CAMPOS", None, None)], line)


# ------------------------------------------------------------------------------------------- the header


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("email", "  EMAIL\t"),
        ("Fecha envio", "fecha envío"),
        ("Fecha envio", "FECHA \t  ENVI\u0301O"),
        ("Opens virales", "ópens  virales"),
        ("Plataformas", '"plataformas"'),
        ("Links", '" LINKS "'),
        ("IPs", "ips"),
        ("Navegadores", "n\u0303avegadores"),
    ],
)
def test_names_are_compared_freely(old: str, new: str) -> None:
    """Trimmed, inner spaces collapsed, without case and accents."""
    cells = [new if name == old else name for name in NAMES]
    assert parse(",".join(cells) + "\n" + GOOD).total == 1


def test_columns_come_in_any_order() -> None:
    """The rules keep the contract's order."""
    report = parse(",".join(reversed(NAMES)) + "\nw,n,i,l,2,x,-,0,+,-,ayer,b,m,j,ana")
    assert report.rejected[0].detalle == [
        ("EMAIL_INVALIDO", "email", "ana"),
        ("FECHA_INVALIDA", "Fecha envio", "ayer"),
        ("ENTERO_INVALIDO", "Opens", "+"),
        ("ENTERO_INVALIDO", "Clicks", "x"),
    ]


@pytest.mark.parametrize(
    ("header", "missing", "unknown", "repeated"),
    [
        (HEADER.replace("jyv", "jk"), ["jyv"], ["jk"], []),
        (HEADER.replace("jyv", " FGH "), ["jyv"], ["FGH"], []),
        (HEADER.replace(",IPs", ""), ["IPs"], [], []),
        (HEADER + ",", [], [""], []),
        (HEADER + ",nueva,otra,nueva", [], ["nueva", "otra"], []),
        (HEADER + ",ÉMAIL", [], [], ["email"]),
        (HEADER.replace("Baja", "Badmail"), ["Baja"], [], ["Badmail"]),
        (HEADER.replace("Links", "email") + ",x,jyv", ["Links"], ["x"], ["email", "jyv"]),
        (HEADER.replace(",", ";"), NAMES, [HEADER.replace(",", ";")], []),
        (HEADER.replace("Fecha envio", "Fechaenvio"), ["Fecha envio"], ["Fechaenvio"], []),
        (HEADER + "\r", ["Plataformas"], ["Plataformas\r"], []),
        (GOOD, NAMES, ["ana@example.com", "", "08/02/2013 18:30", "-", "0"], []),
    ],
)
def test_faults_of_the_header(header: str, missing: list[str], unknown: list[str], repeated: list[str]) -> None:
    """All of them are named."""
    found = layout_error(f"{header}")
    assert (found.reason, found.missing, found.unknown, found.repeated) == (
        "HEADER_COLUMNS",
        missing,
        unknown,
        repeated,
    )


def test_broken_quotes_in_the_header() -> None:
    """Its columns cannot be told."""
    assert layout_error(HEADER.replace("email", '"email')).reason == "HEADER_QUOTES"
    assert layout_error(HEADER.replace("jyv", 'j"yv')).reason == "HEADER_QUOTES"


def test_aliases() -> None:
    """A declared name stands for the contract's, and repeats it if both come."""
    header = HEADER.replace("jyv", " Jk ")
    report = parse(f"{header}\n{with_fields(jyv='7')}", ALIASES)
    assert report.valid[0]["jyv"] == "7"
    assert layout_error(HEADER + ",jk", ALIASES).repeated == ["jyv"]
    assert layout_error(HEADER.replace("jyv", "jk") + ",fgh", ALIASES).repeated == ["jyv"]
    assert parse(f"{HEADER}\n{GOOD}", ALIASES).total == 1


# ------------------------------------------------------------------------------------------- the record


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ('"a,b"', "a,b"),
        ('"a""b"', 'a"b'),
        ('""""', '"'),
        ('""""""', '""'),
        ('","', ","),
        ('" a "', "a"),
        ('"a\rb"', "a\rb"),
        ('""', None),
        ('"-"', None),
        ("a'b", "a'b"),
    ],
)
def test_right_quotes(raw: str, value: str | None) -> None:
    """As in RFC 4180; trimmed inside."""
    for line in (with_fields(ips=raw), with_fields(plataformas=raw)):
        row = one(line)
        assert isinstance(row, dict)
        assert value in (row["ips"], row["plataformas"])


@pytest.mark.parametrize(
    "raw",
    ['"', '"a', 'a"', 'a"b', ' "a"', '"a" ', '"a"b', '"a""', '"""', '""a', "\t" + '"a"', '"a"\u2028', 'a""'],
)
def test_wrong_quotes(raw: str) -> None:
    """They hide every other rule."""
    for line in (with_fields(email="", opens="x", ips=raw), with_fields(email="", plataformas=raw)):
        assert one(line) == Rejected(2, "COMILLAS", None, None, [("COMILLAS", None, None)], line)


def test_an_open_quote_spoils_its_own_line_only() -> None:
    """The next line is read afresh, even if it would close the quote."""
    report = parse(f'{HEADER}\n{with_fields(links=chr(34) + "a")}\nb",c\n{GOOD}\n')
    assert [(r.linea, r.tipo_error) for r in report.rejected] == [(2, "COMILLAS"), (3, "COMILLAS")]
    assert [row["linea"] for row in report.valid] == [4]


@pytest.mark.parametrize("line", ["x", ",", GOOD + ",", GOOD[:-2], "," * 13, "," * 15])
def test_number_of_fields(line: str) -> None:
    """Fewer or more than the header hide the columns' rules."""
    assert broken(line) == [("NUMERO_DE_CAMPOS", None, None)]


def test_everything_wrong_at_once() -> None:
    """`detalle` lists all, in the contract's order; the first is the record's own; values are trimmed."""
    line = (
        f' ana ,{"j" * 65},{"b" * 65},{"s" * 65},-, x ,-1,"1,0",y,1.0,2147483648,'
        f"{'l' * 1025},{'i' * 1025},{'n' * 1025},{'p' * 1025}"
    )
    assert one(line) == Rejected(
        linea=2,
        tipo_error="EMAIL_INVALIDO",
        campo="email",
        valor="ana",
        detalle=[
            ("EMAIL_INVALIDO", "email", "ana"),
            ("LONGITUD_EXCEDIDA", "jyv", "j" * 65),
            ("LONGITUD_EXCEDIDA", "Badmail", "b" * 65),
            ("LONGITUD_EXCEDIDA", "Baja", "s" * 65),
            ("FECHA_NULA", "Fecha envio", None),
            ("FECHA_INVALIDA", "Fecha open", "x"),
            ("ENTERO_INVALIDO", "Opens", "-1"),
            ("ENTERO_INVALIDO", "Opens virales", "1,0"),
            ("FECHA_INVALIDA", "Fecha click", "y"),
            ("ENTERO_INVALIDO", "Clicks", "1.0"),
            ("ENTERO_INVALIDO", "Clicks virales", "2147483648"),
            ("LONGITUD_EXCEDIDA", "Links", "l" * 1025),
            ("LONGITUD_EXCEDIDA", "IPs", "i" * 1025),
            ("LONGITUD_EXCEDIDA", "Navegadores", "n" * 1025),
            ("LONGITUD_EXCEDIDA", "Plataformas", "p" * 1025),
        ],
        fila_original=line,
    )


@pytest.mark.parametrize("raw", ["", "-", " - ", '""'])
def test_nulls_where_a_value_must_be(raw: str) -> None:
    """The value is null in the reject too."""
    assert broken(with_fields(email=raw, fecha_envio=raw)) == [
        ("EMAIL_NULO", "email", None),
        ("FECHA_NULA", "Fecha envio", None),
    ]


@pytest.mark.parametrize(
    "domain",
    [
        "example.com",
        "EXAMPLE.com.MX",
        "a-b.example",
        "1.example",
        "xn--nio-8ma.example",
        "example.xn--kgbechtv",
        "example.ab",
        "example.a1b",
        "example.1a-b",
        "b" * 63 + ".example",
        "a.b.c.d.e.example",
    ],
)
def test_good_domains(domain: str) -> None:
    """The expression of WHATWG, a dot, two letters in the last label; kept in lower case."""
    row = one(with_fields(email=f"Ana@{domain}"))
    assert isinstance(row, dict)
    assert row["email"] == f"ana@{domain.lower()}"


@pytest.mark.parametrize(
    "domain",
    [
        "",
        "example",
        "example.",
        ".example",
        "example..com",
        "example.com.",
        "example.c",
        "example.c1",
        "example.123",
        "example.1a",
        "-a.example",
        "a-.example",
        "a.example-",
        "b" * 64 + ".example",
        "a_b.example",
        "a b.example",
        "ñ.example",
        "b.éxample",
        "[192.0.2.1]",
        "a.example\r",
        "a.example\u2028",
        "a.example\u00a0",
        "a@b.example",
        "b.example\u212a",
        "\u017f.example",
    ],
)
def test_bad_domains(domain: str) -> None:
    """The value is kept as delivered."""
    address = f"Ana@{domain}"
    assert broken(with_fields(email=address)) == [("EMAIL_INVALIDO", "email", address)]


@pytest.mark.parametrize("local", [".", "..a..", "a", "!#$%&'*+/=?^_`{|}~-", "0", "a" * 242])
def test_good_local_parts(local: str) -> None:
    """Dots stand anywhere, and no length but the whole one counts."""
    row = one(with_fields(email=f"{local}@example.com"))
    assert isinstance(row, dict)
    assert row["email"] == f"{local}@example.com"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("", ""),
        ("a b", "a b"),
        ("josé", "josé"),
        ('"a,b', "a,b"),
        ('"""a""', '"a"'),
        ("a(b)", "a(b)"),
        ("a:b", "a:b"),
        ("\u212a", "\u212a"),
        ("\u0663", "\u0663"),
        ("\ufeffa", "\ufeffa"),
        ("a" * 243, "a" * 243),
    ],
)
def test_bad_local_parts(raw: str, value: str) -> None:
    """Characters outside the expression, or 255 in all."""
    end = '"' if raw.startswith('"') else ""
    found = broken(with_fields(email=f"{raw}@example.com{end}"))
    assert found == [("EMAIL_INVALIDO", "email", f"{value}@example.com")]


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("01/01/1970 00:00", datetime(1970, 1, 1)),
        ("31/12/2099 23:59", datetime(2099, 12, 31, 23, 59)),
        ("29/02/2024 12:00", datetime(2024, 2, 29, 12)),
        ("29/02/2000 00:00", datetime(2000, 2, 29)),
        ('" 08/02/2013 18:30\t"', datetime(2013, 2, 8, 18, 30)),
        ("\t08/02/2013 18:30 ", datetime(2013, 2, 8, 18, 30)),
    ],
)
def test_good_dates(value: str, moment: datetime) -> None:
    """In each of the three columns."""
    row = one(with_fields(fecha_envio=value, fecha_open=value, fecha_click=value))
    assert isinstance(row, dict)
    assert [row["fecha_envio"], row["fecha_open"], row["fecha_click"]] == [moment] * 3


@pytest.mark.parametrize(
    "value",
    [
        "31/12/1969 23:59",
        "01/01/2100 00:00",
        "31/04/2013 10:00",
        "29/02/2013 10:00",
        "30/02/2012 10:00",
        "29/02/2100 10:00",
        "00/01/2013 10:00",
        "01/00/2013 10:00",
        "01/13/2013 10:00",
        "08/02/2013 24:00",
        "08/02/2013 23:60",
        "8/02/2013 18:30",
        "08/2/2013 18:30",
        "08/02/13 18:30",
        "08/02/2013",
        "08/02/2013 18:30:00",
        "08/02/2013  18:30",
        "08/02/2013\t18:30",
        "08-02-2013 18:30",
        "2013-02-08 18:30",
        "08/02/2013 18:30\r",
        "08/02/2013 18:30\u2028",
        "\u00a008/02/2013 18:30",
        "\u0660\u0668/02/2013 18:30",
        "08/02/\uff12013 18:30",
        "+8/02/2013 18:30",
        "--",
    ],
)
def test_bad_dates(value: str) -> None:
    """In each of the three columns."""
    assert broken(with_fields(fecha_envio=value, fecha_open=value, fecha_click=value)) == [
        ("FECHA_INVALIDA", "Fecha envio", value),
        ("FECHA_INVALIDA", "Fecha open", value),
        ("FECHA_INVALIDA", "Fecha click", value),
    ]


def test_no_rule_compares_columns() -> None:
    """Opened before it was sent, opened on a day but 0 times."""
    line = with_fields(fecha_open="01/01/1970 00:00", opens="0", fecha_click="-", clicks="9")
    assert broken(line) == []


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        ("00", 0),
        (" 7\t", 7),
        ("007", 7),
        ("2147483647", 2147483647),
        ("0" * 5000 + "2147483647", 2147483647),
        ("-", None),
        ("", None),
    ],
)
def test_good_integers(value: str, number: int | None) -> None:
    """In each of the four columns."""
    row = one(with_fields(opens=value, opens_virales=value, clicks=value, clicks_virales=value))
    assert isinstance(row, dict)
    assert [row["opens"], row["opens_virales"], row["clicks"], row["clicks_virales"]] == [number] * 4


@pytest.mark.parametrize(
    "value",
    [
        "2147483648",
        "9" * 5000,
        "+1",
        "-1",
        "-0",
        "1.0",
        "1e3",
        "0x1",
        "1_000",
        "1 0",
        "\u0663",
        "1\u0663",
        "\u00b2",
        "\uff11",
        "1\u00a0",
        "1\r",
        "1\x0b",
        "nan",
        "--",
    ],
)
def test_bad_integers(value: str) -> None:
    """In each of the four columns."""
    assert broken(with_fields(opens=value, opens_virales=value, clicks=value, clicks_virales=value)) == [
        ("ENTERO_INVALIDO", "Opens", value),
        ("ENTERO_INVALIDO", "Opens virales", value),
        ("ENTERO_INVALIDO", "Clicks", value),
        ("ENTERO_INVALIDO", "Clicks virales", value),
    ]


@pytest.mark.parametrize("char", ["x", "ñ", "\u20ac", "\U0001f600", "\u0301", "\x85"])
@pytest.mark.parametrize(
    ("columns", "limit"),
    [(["jyv", "badmail", "baja"], 64), (["links", "ips", "navegadores", "plataformas"], 1024)],
)
def test_lengths_count_characters(char: str, columns: list[str], limit: int) -> None:
    """Not bytes nor UTF-16 units, after trimming and without quotes."""
    kept = one(with_fields(**dict.fromkeys(columns, f" {char * limit}\t")))
    assert isinstance(kept, dict)
    assert [kept[column] for column in columns] == [char * limit] * len(columns)
    quotes = '"' + '""' * limit + '"'
    kept = one(with_fields(**dict.fromkeys(columns, quotes)))
    assert isinstance(kept, dict)
    assert [kept[column] for column in columns] == ['"' * limit] * len(columns)
    found = broken(with_fields(**dict.fromkeys(columns, char * (limit + 1))))
    assert [kind for kind, _, _ in found] == ["LONGITUD_EXCEDIDA"] * len(columns)
    assert {value for _, _, value in found} == {char * (limit + 1)}


def test_the_line_is_kept_as_delivered() -> None:
    """Without its end only: spaces, tabs, quotes and undefined bytes stay."""
    line = b' ana ,"-",\t,,x,-,0,0,-,0,0,-,-,-, \x81 '
    report = parse(HEADER.encode() + b"\n" + line + b"\r\n")
    assert report.rejected[0].fila_original == ' ana ,"-",\t,,x,-,0,0,-,0,0,-,-,-, \ufffd '
    assert report.estado == "COMPLETADO_CON_ERRORES"


# ------------------------------------------------------------------------------------------ the samples


def shaped_sample(column: str, end: str) -> bytes:
    """A small file in the shape of the real deliveries: one end of line, none after the last record."""
    rows = [
        "visitante_1@example.net,,,,08/02/2013 18:30,-,0,0,-,0,0,-,-,-,-",
        "visitante_2@example.com.mx,,HARD,,08/02/2013 18:30,-,0,0,-,0,0,-,-,-,-",
        "visitante_3@example.org,,,,08/02/2013 18:30,08/02/2013 11:40,7,0,08/02/2013 11:42,2,0,"
        '"0,3",198.18.246.204,Chrome Generic,Win7',
    ]
    return end.join([HEADER.replace("jyv", column), *rows]).encode()


SAMPLES = [
    pytest.param(shaped_sample("jyv", "\r\n"), None, 3, id="jyv"),
    pytest.param(shaped_sample("jk", "\n"), "jk", 3, id="jk"),
    pytest.param(shaped_sample("fgh", "\r\n"), "fgh", 3, id="fgh"),
]
for name, column, records in [("report_7", "jk", 503), ("report_8", None, 503), ("report_9", "fgh", 995)]:
    path = Path(__file__).resolve().parents[3] / "shared" / "muestras" / f"{name}.txt"
    if path.is_file():
        SAMPLES.append(pytest.param(path, column, records, id=name))


@pytest.mark.parametrize(("source", "column", "records"), SAMPLES)
def test_samples(source: bytes | Path, column: str | None, records: int) -> None:
    """They fail by the one column, and are whole once its alias is declared."""
    data = source.read_bytes() if isinstance(source, Path) else source
    if column is not None:
        found = layout_error(data)
        assert (found.missing, found.unknown, found.repeated) == (["jyv"], [column], [])
    report = parse(data, ALIASES)
    assert (len(report.valid), len(report.rejected), report.estado) == (records, 0, "COMPLETADO")


# -------------------------------------------------------------------------------------------- the world


def content(*sends: str, email: str = "ana@example.com", bad: int = 0) -> bytes:
    """A report with a visit for each of `sends`, and `bad` rejects."""
    rows = [with_fields(email=email, fecha_envio=sent) for sent in sends] + ["x"] * bad
    return "\n".join([HEADER, *rows, ""]).encode()


A = content("08/02/2013 18:30")
B = content("09/02/2013 18:30", "10/02/2013 18:30", bad=1)
C = content("11/02/2013 18:30", email="eva@example.net")
EMPTY = f"{HEADER}\n".encode()
FAIL = HEADER.replace("jyv", "jk").encode()


def sha(data: bytes) -> str:
    """Its identity."""
    return hashlib.sha256(data).hexdigest()


def states(world: World, *keys: tuple[str, bytes]) -> list[tuple[set[str], bool | None, int]]:
    """Allowed states, `vigente` and deliveries; `keys` must be all there is."""
    entries = world.entries()
    assert entries.keys() == {(name, sha(data)) for name, data in keys}
    found = [entries[name, sha(data)] for name, data in keys]
    return [(set(entry.estados), entry.vigente, entry.deliveries) for entry in found]


def carriers(world: World) -> dict[str, set[str]]:
    """The candidates by content."""
    return {key: set(load.candidates) for key, load in world.loads().items()}


def test_a_file_loads() -> None:
    """Its rows, its rejects and its ledger."""
    world = World([("report_1.txt", B)])
    entry = world.entries()["report_1.txt", sha(B)]
    assert (entry.counts, entry.size, entry.encoding) == ((3, 2, 1), len(B), "utf-8")
    assert states(world, ("report_1.txt", B)) == [({"COMPLETADO_CON_ERRORES"}, True, 1)]
    assert [(row["archivo"], row["linea"], row["fecha_envio"]) for row in world.estadisticas()] == [
        ("report_1.txt", 2, datetime(2013, 2, 9, 18, 30)),
        ("report_1.txt", 3, datetime(2013, 2, 10, 18, 30)),
    ]
    reject = Rejected(4, "NUMERO_DE_CAMPOS", None, None, [("NUMERO_DE_CAMPOS", None, None)], "x")
    assert world.errores() == [("report_1.txt", reject)]
    assert world.loaded() == {sha(B)}
    assert world.undetermined() == set()


def test_the_same_bytes_again_load_nothing_twice() -> None:
    """The attempt is counted."""
    world = World([("report_1.txt", A), ("report_1.txt", A)])
    assert states(world, ("report_1.txt", A)) == [({"COMPLETADO"}, True, 2)]
    assert len(world.estadisticas()) == 1


def test_a_correction_replaces_the_rows() -> None:
    """Both versions stay in the ledger, the last is current."""
    world = World([("report_1.txt", A), ("report_1.txt", B)])
    assert states(world, ("report_1.txt", A), ("report_1.txt", B)) == [
        ({"COMPLETADO"}, False, 1),
        ({"COMPLETADO_CON_ERRORES"}, True, 1),
    ]
    assert carriers(world) == {sha(B): {"report_1.txt"}}


def test_a_correction_that_fails_replaces_nothing() -> None:
    """The earlier version stays current, its rows stand."""
    world = World([("report_1.txt", A), ("report_1.txt", FAIL)])
    assert states(world, ("report_1.txt", A), ("report_1.txt", FAIL)) == [
        ({"COMPLETADO"}, True, 1),
        ({"FALLO_LAYOUT"}, False, 1),
    ]
    assert world.loaded() == {sha(A)}


def test_while_nothing_loaded_the_last_delivered_is_current() -> None:
    """Also when it comes again; a load ends that."""
    other = b"x"
    world = World([("report_1.txt", FAIL), ("report_1.txt", other)])
    fails = {"FALLO_LAYOUT"}
    assert states(world, ("report_1.txt", FAIL), ("report_1.txt", other)) == [
        (fails, False, 1),
        (fails, True, 1),
    ]
    world.deliver("report_1.txt", FAIL)
    assert states(world, ("report_1.txt", FAIL), ("report_1.txt", other)) == [
        (fails, True, 2),
        (fails, False, 1),
    ]
    assert world.loaded() == set()
    world.deliver("report_1.txt", A)
    world.deliver("report_1.txt", other)
    assert world.entries()["report_1.txt", sha(A)].vigente
    assert world.entries()["report_1.txt", sha(other)].counts is None


def test_an_alias_lets_a_failed_file_load() -> None:
    """Once it is declared and the file runs again."""
    world = World([("report_1.txt", FAIL + b"\n" + GOOD.encode())])
    assert world.loads() == {}
    world.aliases = ALIASES
    world.deliver("report_1.txt", FAIL + b"\n" + GOOD.encode())
    assert states(world, ("report_1.txt", FAIL + b"\n" + GOOD.encode())) == [({"COMPLETADO"}, True, 2)]
    assert len(world.estadisticas()) == 1


def test_a_duplicate_under_another_name() -> None:
    """Loaded once, under the first; current under both."""
    world = World([("report_2.txt", A), ("report_1.txt", A), ("report_1.txt", A)])
    assert states(world, ("report_2.txt", A), ("report_1.txt", A)) == [
        ({"COMPLETADO"}, True, 1),
        ({"DUPLICADO"}, True, 2),
    ]
    assert carriers(world) == {sha(A): {"report_2.txt"}}
    assert len(world.estadisticas()) == 1


def test_in_any_order_each_holder_may_carry() -> None:
    """Exactly one of them does, and the rows stand once."""
    world = World([("report_2.txt", A), ("report_1.txt", A), ("report_3.txt", C)], any_order=True)
    either = {"COMPLETADO", "DUPLICADO"}
    assert states(world, ("report_2.txt", A), ("report_1.txt", A), ("report_3.txt", C)) == [
        (either, True, 1),
        (either, True, 1),
        ({"COMPLETADO"}, True, 1),
    ]
    assert world.undetermined() == {"report_1.txt", "report_2.txt"}
    assert [row["archivo"] for row in world.estadisticas()] == [None, "report_3.txt"]


def test_in_any_order_a_superseded_version_may_have_been_a_duplicate() -> None:
    """Unless no other name ever had it."""
    world = World([("report_1.txt", A), ("report_1.txt", C), ("report_1.txt", B), ("report_2.txt", A)], any_order=True)
    assert states(world, ("report_1.txt", A), ("report_1.txt", C), ("report_1.txt", B), ("report_2.txt", A)) == [
        ({"COMPLETADO", "DUPLICADO"}, False, 1),
        ({"COMPLETADO"}, False, 1),
        ({"COMPLETADO_CON_ERRORES"}, True, 1),
        ({"COMPLETADO"}, True, 1),
    ]


def test_a_duplicate_of_a_content_long_gone_loads() -> None:
    """Only what is loaded now makes a duplicate."""
    world = World([("report_1.txt", A), ("report_1.txt", B), ("report_2.txt", A)])
    assert world.entries()["report_2.txt", sha(A)].estados == {"COMPLETADO"}
    assert carriers(world) == {sha(A): {"report_2.txt"}, sha(B): {"report_1.txt"}}


def test_the_only_duplicate_takes_the_carriers_place() -> None:
    """By the end of the next pass."""
    world = World([("report_1.txt", A), ("report_2.txt", A), ("report_1.txt", B)])
    assert states(world, ("report_1.txt", A), ("report_2.txt", A), ("report_1.txt", B)) == [
        ({"COMPLETADO"}, False, 1),
        ({"COMPLETADO"}, True, 1),
        ({"COMPLETADO_CON_ERRORES"}, True, 1),
    ]
    assert carriers(world) == {sha(A): {"report_2.txt"}, sha(B): {"report_1.txt"}}


def test_a_failed_correction_hands_nothing_over() -> None:
    """The carrier keeps its place."""
    world = World([("report_1.txt", A), ("report_2.txt", A), ("report_1.txt", FAIL)])
    assert carriers(world) == {sha(A): {"report_1.txt"}}
    assert world.entries()["report_2.txt", sha(A)].estados == {"DUPLICADO"}


def test_which_of_two_duplicates_takes_over_is_open() -> None:
    """Until one of them moves on."""
    world = World([("report_1.txt", A), ("report_2.txt", A), ("report_3.txt", A), ("report_1.txt", B)])
    assert carriers(world)[sha(A)] == {"report_2.txt", "report_3.txt"}
    assert world.undetermined() == {"report_2.txt", "report_3.txt"}
    world.deliver("report_2.txt", C)
    assert carriers(world)[sha(A)] == {"report_3.txt"}
    assert world.entries()["report_2.txt", sha(A)].estados == {"COMPLETADO", "DUPLICADO"}
    assert world.entries()["report_3.txt", sha(A)].estados == {"COMPLETADO"}


def test_a_duplicate_may_move_on_before_the_hand_over() -> None:
    """After a whole pass it had taken over for certain."""
    steps = [("report_1.txt", A), ("report_2.txt", A), ("report_1.txt", B)]
    early, late = World(steps), World(steps)
    early.deliver("report_2.txt", C)
    assert early.entries()["report_2.txt", sha(A)].estados == {"COMPLETADO", "DUPLICADO"}
    late.settle()
    late.deliver("report_2.txt", C)
    assert late.entries()["report_2.txt", sha(A)].estados == {"COMPLETADO"}
    assert carriers(early) == carriers(late) == {sha(B): {"report_1.txt"}, sha(C): {"report_2.txt"}}


def test_a_newcomer_may_load_before_the_hand_over_only() -> None:
    """After a whole pass it is a duplicate for certain."""
    early = World([("report_1.txt", A), ("report_2.txt", A), ("report_1.txt", B), ("report_3.txt", A)])
    assert carriers(early)[sha(A)] == {"report_2.txt", "report_3.txt"}
    late = World([("report_1.txt", A), ("report_2.txt", A), ("report_1.txt", B)])
    late.settle()
    late.deliver("report_3.txt", A)
    assert carriers(late)[sha(A)] == {"report_2.txt"}
    assert late.entries()["report_3.txt", sha(A)].estados == {"DUPLICADO"}


def test_back_to_the_first_content() -> None:
    """A is current again; with a duplicate that took over, it is the duplicate now."""
    alone = World([("report_1.txt", A), ("report_1.txt", B), ("report_1.txt", A)])
    assert states(alone, ("report_1.txt", A), ("report_1.txt", B)) == [
        ({"COMPLETADO"}, True, 2),
        ({"COMPLETADO_CON_ERRORES"}, False, 1),
    ]
    assert carriers(alone) == {sha(A): {"report_1.txt"}}

    shared = World([("report_1.txt", A), ("report_2.txt", A), ("report_1.txt", B)])
    shared.settle()
    shared.deliver("report_1.txt", A)
    assert carriers(shared) == {sha(A): {"report_2.txt"}}
    assert shared.entries()["report_1.txt", sha(A)].estados == {"DUPLICADO"}
    assert shared.entries()["report_1.txt", sha(A)].vigente


def test_a_correction_to_what_another_name_carries() -> None:
    """Its old rows go, nothing new is loaded."""
    world = World([("report_1.txt", A), ("report_2.txt", B), ("report_1.txt", B)])
    assert carriers(world) == {sha(B): {"report_2.txt"}}
    assert states(world, ("report_1.txt", A), ("report_2.txt", B), ("report_1.txt", B)) == [
        ({"COMPLETADO"}, False, 1),
        ({"COMPLETADO_CON_ERRORES"}, True, 1),
        ({"DUPLICADO"}, True, 1),
    ]


def test_files_without_records_are_never_duplicates() -> None:
    """And as corrections they take the rows away."""
    world = World([("report_1.txt", EMPTY), ("report_2.txt", EMPTY), ("report_3.txt", A), ("report_3.txt", EMPTY)])
    done = {"COMPLETADO"}
    keys = [("report_1.txt", EMPTY), ("report_2.txt", EMPTY), ("report_3.txt", A), ("report_3.txt", EMPTY)]
    assert states(world, *keys) == [(done, True, 1), (done, True, 1), (done, False, 1), (done, True, 1)]
    assert world.entries()["report_1.txt", sha(EMPTY)].counts == (0, 0, 0)
    assert (world.loads(), world.estadisticas()) == ({}, [])
    assert world.loaded() == {sha(EMPTY)}


def test_a_file_of_rejects_only_has_records() -> None:
    """So its twin is a duplicate."""
    rejects = content(bad=2)
    world = World([("report_1.txt", rejects), ("report_2.txt", rejects)])
    assert states(world, ("report_1.txt", rejects), ("report_2.txt", rejects)) == [
        ({"COMPLETADO_CON_ERRORES"}, True, 1),
        ({"DUPLICADO"}, True, 1),
    ]
    assert len(world.errores()) == 2


def test_visitors() -> None:
    """First and last visit, and those of this year and month; nobody without records has a row."""
    first = content("31/12/2023 23:59", "01/01/2024 00:00", "29/02/2024 10:00", "15/03/2023 10:00")
    second = content("31/03/2024 23:59", "01/03/2024 00:00", "01/04/2024 00:00", email="ANA@example.com")
    gone = content("01/03/2024 00:00", email="sol@example.org")
    world = World([("report_1.txt", first), ("report_2.txt", gone), ("report_2.txt", second), ("report_3.txt", C)])
    assert world.visitantes(TODAY) == {
        "ana@example.com": Visitor(datetime(2023, 3, 15, 10), datetime(2024, 4, 1), 7, 5, 2),
        "eva@example.net": Visitor(datetime(2013, 2, 11, 18, 30), datetime(2013, 2, 11, 18, 30), 1, 0, 0),
    }
    january = world.visitantes(date(2025, 1, 1))["ana@example.com"]
    assert (january.visitas_totales, january.visitas_anio_actual, january.visitas_mes_actual) == (7, 0, 0)


# ----------------------------------------------------------------------------------------- differences


def ledger_row(number: int, name: str, data: bytes, state: str, counts: tuple[int, int, int]) -> dict[str, Any]:
    """A row of `bitacora_control` with what the oracle looks at."""
    return {
        "id": number,
        "archivo": name,
        "sha256": sha(data),
        "bytes": len(data),
        "codificacion": "utf-8",
        "estado": state,
        "intentos": 1,
        "registros_total": counts[0],
        "registros_validos": counts[1],
        "registros_invalidos": counts[2],
        "vigente": 1,
    }


def good_tables() -> Tables:
    """The tables after B came as report_1 and report_2, and FAIL as report_3, written by hand."""
    visit = dict.fromkeys(["jyv", "badmail", "baja", "fecha_open", "fecha_click"]) | dict.fromkeys(
        ["links", "ips", "navegadores", "plataformas"]
    )
    visit |= {"archivo_id": 5, "email": "ana@example.com"}
    visit |= dict.fromkeys(["opens", "opens_virales", "clicks", "clicks_virales"], 0)
    detail = json.dumps([{"tipo_error": "NUMERO_DE_CAMPOS", "campo": None, "valor": None}])
    reject = {
        "archivo_id": 5,
        "linea": 4,
        "tipo_error": "NUMERO_DE_CAMPOS",
        "campo": None,
        "valor": None,
        "detalle": detail,
        "fila_original": "x",
    }
    visitor = {
        "email": "ana@example.com",
        "fecha_primera_visita": "2013-02-09 18:30:00.000000",
        "fecha_ultima_visita": datetime(2013, 2, 10, 18, 30),
        "visitas_totales": 2,
        "visitas_anio_actual": 0,
        "visitas_mes_actual": 0,
    }
    return Tables(
        [
            ledger_row(5, "report_1.txt", B, "COMPLETADO_CON_ERRORES", (3, 2, 1)),
            ledger_row(6, "report_2.txt", B, "DUPLICADO", (0, 0, 0)),
            ledger_row(7, "report_3.txt", FAIL, "FALLO_LAYOUT", (0, 0, 0)),
        ],
        [
            visit | {"id": 1, "linea": 2, "fecha_envio": datetime(2013, 2, 9, 18, 30)},
            visit | {"id": 2, "linea": 3, "fecha_envio": datetime(2013, 2, 10, 18, 30)},
        ],
        [reject],
        [visitor],
    )


def known_world() -> World:
    """What `good_tables` came from."""
    return World([("report_1.txt", B), ("report_2.txt", B), ("report_3.txt", FAIL)])


def test_tables_as_they_must_be_show_no_difference() -> None:
    """Also where more than one carrier is allowed."""
    assert known_world().differences(good_tables(), TODAY) == []
    free = World([("report_2.txt", B), ("report_1.txt", B), ("report_3.txt", FAIL)], any_order=True)
    assert free.differences(good_tables(), TODAY) == []


@pytest.mark.parametrize(
    ("table", "row", "change"),
    [
        ("bitacora_control", 0, {"estado": "COMPLETADO"}),
        ("bitacora_control", 0, {"vigente": 0}),
        ("bitacora_control", 0, {"intentos": 0}),
        ("bitacora_control", 0, {"bytes": 1}),
        ("bitacora_control", 0, {"codificacion": "utf-8-sig"}),
        ("bitacora_control", 0, {"registros_validos": 3}),
        ("bitacora_control", 1, {"estado": "COMPLETADO_CON_ERRORES"}),
        ("bitacora_control", 1, {"archivo": "report_8.txt"}),
        ("bitacora_control", 2, {"archivo": "report_2.txt", "sha256": sha(B)}),
        ("estadisticas", 0, {"linea": 3}),
        ("estadisticas", 0, {"email": "Ana@example.com"}),
        ("estadisticas", 0, {"fecha_envio": datetime(2013, 2, 9, 18, 31)}),
        ("estadisticas", 0, {"opens": None}),
        ("estadisticas", 1, {"archivo_id": 6}),
        ("estadisticas", 1, {"archivo_id": 99}),
        ("errores", 0, {"campo": "email"}),
        ("errores", 0, {"detalle": "[]"}),
        ("errores", 0, {"fila_original": "x\r"}),
        ("visitantes", 0, {"visitas_totales": 3}),
        ("visitantes", 0, {"email": "eva@example.net"}),
    ],
)
def test_each_change_of_the_tables_is_a_difference(table: str, row: int, change: dict[str, Any]) -> None:
    """Whichever table it is in."""
    tables = good_tables()
    rows: list[dict[str, Any]] = getattr(tables, table)
    rows[row] = rows[row] | change
    assert known_world().differences(tables, TODAY) != []


@pytest.mark.parametrize("table", ["bitacora_control", "estadisticas", "errores", "visitantes"])
def test_a_row_too_few_or_too_many_is_a_difference(table: str) -> None:
    """Counted, not only looked up."""
    fewer, more = good_tables(), good_tables()
    getattr(fewer, table).pop()
    getattr(more, table).append(getattr(more, table)[-1])
    assert known_world().differences(fewer, TODAY) != []
    assert known_world().differences(more, TODAY) != []


# ---------------------------------------------------------------------------------------- the strategies

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@PATIENT
@given(strategies.reports(TODAY))
def test_every_record_is_valid_or_rejected(data: bytes) -> None:
    """One of both, once, in the order of lines, with a text that has no LF."""
    report = read_report(data, ALIASES)
    if isinstance(report, LayoutError):
        assert bool(report.missing or report.unknown or report.repeated) == (report.reason == "HEADER_COLUMNS")
        return
    numbers = [int(str(row["linea"])) for row in report.valid] + [reject.linea for reject in report.rejected]
    assert len(set(numbers)) == report.total <= data.count(b"\n") + data.count(b"\r")
    assert all(number > 1 for number in numbers)
    for reject in report.rejected:
        assert reject.detalle[0] == (reject.tipo_error, reject.campo, reject.valor)
        assert "\n" not in reject.fila_original


@PATIENT
@given(strategies.deliveries(TODAY))
def test_the_order_among_names_changes_only_the_carriers(steps: list[tuple[str, bytes]]) -> None:
    """Rows, visitors and current versions are the same; a known order only narrows the states."""
    known, free = World(steps), World(steps, any_order=True)
    sorted_by_name = World(sorted(steps, key=lambda step: step[0]), any_order=True)
    assert known.loads().keys() == free.loads().keys() == sorted_by_name.loads().keys()
    assert known.visitantes(TODAY) == free.visitantes(TODAY) == sorted_by_name.visitantes(TODAY)
    assert free.entries() == sorted_by_name.entries()
    assert carriers(free) == carriers(sorted_by_name)
    for key, entry in known.entries().items():
        assert entry.estados <= free.entries()[key].estados
        assert entry.vigente == free.entries()[key].vigente
    for content_sha, load in known.loads().items():
        assert load.candidates <= free.loads()[content_sha].candidates


@PATIENT
@given(strategies.deliveries(TODAY))
def test_every_name_has_one_current_version(steps: list[tuple[str, bytes]]) -> None:
    """And every content that is carried is current under each candidate."""
    world = World(steps)
    entries = world.entries()
    current = Counter(entry.name for entry in entries.values() if entry.vigente)
    assert current == Counter({name for name, _ in steps})
    assert sum(entry.deliveries for entry in entries.values()) == len(steps)
    for load in world.loads().values():
        assert load.candidates
        assert all(entries[name, load.sha256].vigente for name in load.candidates)


@pytest.mark.parametrize("bad_share", [0.0, 0.2, 1.0])
def test_random_reports(bad_share: float) -> None:
    """As many records as asked for, broken as often as asked for, the same from the same seed."""
    for seed in range(6):
        data = strategies.random_report(random.Random(seed), 2000, bad_share=bad_share, today=TODAY)
        assert data == strategies.random_report(random.Random(seed), 2000, bad_share=bad_share, today=TODAY)
        report = parse(data)
        assert report.total == 2000
        assert abs(len(report.rejected) - 2000 * bad_share) <= (0 if bad_share in (0, 1) else 120)
        if bad_share:
            assert {reject.tipo_error for reject in report.rejected} == {
                "COMILLAS",
                "NUMERO_DE_CAMPOS",
                "EMAIL_NULO",
                "EMAIL_INVALIDO",
                "FECHA_NULA",
                "FECHA_INVALIDA",
                "ENTERO_INVALIDO",
                "LONGITUD_EXCEDIDA",
            }


# ------------------------------------------------------------------------------------ what came to no outcome


def test_a_delivery_without_outcome_may_have_a_row_and_changes_nothing() -> None:
    world = World([("report_1.txt", A)])
    world.begin("report_1.txt", C)
    world.begin("report_2.txt", C)
    optional = {key: entry.optional for key, entry in world.entries().items()}
    assert optional == {("report_1.txt", sha(A)): False, ("report_1.txt", sha(C)): True, ("report_2.txt", sha(C)): True}
    assert states(world, ("report_1.txt", A), ("report_1.txt", C), ("report_2.txt", C)) == [
        ({"COMPLETADO"}, True, 1),
        ({"FALLO_SISTEMA", "EN_PROCESO"}, False, 0),
        ({"FALLO_SISTEMA", "EN_PROCESO"}, None, 0),
    ]
    # A whole pass leaves nothing under way.
    world.settle()
    world.deliver("report_2.txt", C)
    assert states(world, ("report_1.txt", A), ("report_1.txt", C), ("report_2.txt", C)) == [
        ({"COMPLETADO"}, True, 1),
        ({"FALLO_SISTEMA"}, False, 0),
        ({"COMPLETADO"}, True, 1),
    ]


def test_an_earlier_content_without_outcome_is_as_it_was_or_failed() -> None:
    world = World([("report_1.txt", A), ("report_1.txt", C)])
    world.begin("report_1.txt", A)
    world.settle()
    assert states(world, ("report_1.txt", A), ("report_1.txt", C)) == [
        ({"COMPLETADO", "FALLO_SISTEMA"}, False, 1),
        ({"COMPLETADO"}, True, 1),
    ]
    world.begin("report_1.txt", C)
    assert states(world, ("report_1.txt", C), ("report_1.txt", A))[0] == ({"COMPLETADO"}, True, 1)
