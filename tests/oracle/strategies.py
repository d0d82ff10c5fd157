"""Inputs rich in what breaks readers of reports: Hypothesis strategies and a fast plain generator.

What these inputs must turn into is not said here; that is for `oracle.py`.
"""

import calendar
import random
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final

from hypothesis import strategies as st

from .oracle import DATES, HEADERS, INTEGERS, LENGTHS

ALIASES: Final = {"jk": "jyv", "fgh": "jyv"}
NAMES: Final = ("report_1.txt", "report_2.txt", "report_3.txt", "report_10.txt", "report_007.txt")

BOM: Final = b"\xef\xbb\xbf"
UNDEFINED_BYTES: Final = (0x81, 0x8D, 0x8F, 0x90, 0x9D)
BLANK_LINES: Final = ("", " ", "\t", "  ", " \t ", "\t\t")
NEAR_BLANK_LINES: Final = (
    "\u00a0",
    "\x0b",
    "\x0c",
    "\x85",
    "\u2028",
    "\r",
    " \r",
    "\x1c",
    "\ufeff",
    '""',
    "-",
)
SEPARATORS: Final = (
    "\u2028",
    "\u2029",
    "\x0b",
    "\x0c",
    "\x85",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x1f",
    "\r",
    "\u00a0",
    "\u3000",
    "\ufeff",
    "\u200b",
    "\ufffd",
    "\x1a",
    "\x7f",
)

PEOPLE: Final = (
    "ana@example.com",
    "luis@example.org",
    "eva@example.net",
    "sol@correo.example.com.mx",
    "j.perez+ofertas@example.com",
    "o'hara@example.org",
)
RECASED: Final = ("Ana@Example.com", "ANA@EXAMPLE.COM", "eva@EXAMPLE.net", "LUIS@example.org")

_LONG_DOMAIN: Final = ".".join(["b" * 63, "c" * 63, "d" * 61, "example.com"])
_DOMAINS: Final = (
    # good
    "x.example",
    "a1.b2.example.com",
    "1.example.org",
    "a--b.example.com",
    "b" * 63 + ".example.com",
    "xn--nio-8ma.example.com",
    "example.xn--kgbechtv",
    "example.c1d",
    "example.a-b",
    "example.1aa",
    "example.zz",
    # bad
    "b" * 64 + ".example.com",
    "example",
    "localhost",
    "example.c",
    "example.c1",
    "example.4x",
    "example.12",
    "example.com.",
    ".example.com",
    "example..com",
    "-example.com",
    "example-.com",
    "example.-com",
    "example.com-",
    "exa_mple.com",
    "ex ample.com",
    "exámple.com",
    "example.cóm",
    "[192.0.2.1]",
    "192.0.2.1",
    "example.com\r",
    "example.com\u2028",
    "example.com\x0b",
    "example.com\x1c",
    "example.com\x85",
    "example.com\u00a0",
    "example.\uff43om",
    "example\u3002com",
    "\u017fol.example.com",
    "example.\u212aom",
    "example.com,org",
    "",
)
_LOCALS: Final = (
    # good
    ".",
    "..",
    "a..b",
    ".a",
    "a.",
    "-",
    "0",
    "!#$%&'*+/=?^_`{|}~-",
    "A" * 60,
    "a" * 200,
    # bad
    "",
    "josé",
    "mu\u0144oz",
    '"ana"',
    '"',
    "a b",
    "a\tb",
    "a,b",
    "a@b",
    "a(b)",
    "<ana>",
    "\u212a",
    "\u017f",
    "\u0663",
    "\uff41na",
    "a\rb",
    "\ufeffana",
    "a\x0cb",
    "\ufffd",
)
EDGE_ADDRESSES: Final = (
    "a" * (254 - 1 - len(_LONG_DOMAIN)) + "@" + _LONG_DOMAIN,
    "a" * (255 - 1 - len(_LONG_DOMAIN)) + "@" + _LONG_DOMAIN,
    "é" * 254,
    "ana",
    "@",
    "ana.example.com",
    "mailto:ana@example.com",
    "ana@example.com;eva@example.net",
    *(f"ana@{domain}" for domain in _DOMAINS),
    *(f"{local}@example.com" for local in _LOCALS),
)

EDGE_DATES: Final = (
    # good
    "01/01/1970 00:00",
    "31/12/2099 23:59",
    "29/02/2000 00:00",
    "29/02/2012 12:00",
    "29/02/2024 23:59",
    "31/01/2013 00:00",
    "30/04/2013 00:00",
    # bad
    "31/12/1969 23:59",
    "01/01/2100 00:00",
    "29/02/1900 00:00",
    "29/02/2013 00:00",
    "29/02/2100 00:00",
    "30/02/2012 00:00",
    "31/04/2013 10:00",
    "31/06/2013 10:00",
    "31/09/2013 10:00",
    "31/11/2013 10:00",
    "32/01/2013 10:00",
    "00/01/2013 10:00",
    "01/00/2013 10:00",
    "01/13/2013 10:00",
    "08/02/2013 24:00",
    "08/02/2013 23:60",
    "08/02/2013 18:30:00",
    "08/02/2013 8:30",
    "8/02/2013 18:30",
    "08/2/2013 18:30",
    "08/02/13 18:30",
    "08/02/0000 18:30",
    "08/02/9999 18:30",
    "08/02/02013 18:30",
    "08/02/2013",
    "18:30",
    "08/02/2013  18:30",
    "08/02/2013\t18:30",
    "08/02/2013T18:30",
    "08/02/2013\u00a018:30",
    "08/02/2013 18:3",
    "08/02/2013 18.30",
    "08-02-2013 18:30",
    "2013-02-08 18:30",
    "02/31/2013 18:30",
    "08/02/2013 18:30\r",
    "08/02/2013 18:30\u2028",
    "08/02/2013 18:30\x0b",
    "08/02/2013 18:30Z",
    "08/02/2013 18:30 PM",
    "+8/02/2013 18:30",
    "08/02/2013 -1:30",
    " 8/02/2013 1 :30",
    "\u0660\u0668/\u0660\u0662/\u0662\u0660\u0661\u0663 \u0661\u0668:\u0663\u0660",
    "08/02/201\u0663 18:30",
    "08/02/\uff12013 18:30",
    "0\u00b2/02/2013 18:30",
    "hoy",
    "--",
)
EDGE_INTEGERS: Final = (
    # good
    "0",
    "00",
    "007",
    "2147483647",
    "0000000000000002147483647",
    "0" * 300 + "1",
    # bad
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "9" * 40,
    "9" * 5000,
    "+1",
    "-1",
    "-0",
    "1.0",
    "1.",
    "1,0",
    "1e3",
    "0x1",
    "1_000",
    "1 0",
    "1\t0",
    "--",
    "\u2212",
    "\u2014",
    "\u0663",
    "1\u0663",
    "\u0660",
    "\u00b2",
    "\u2460",
    "\uff11",
    "1\u00a0",
    "\u00a01",
    "1\r",
    "1\x0b",
    "\u20281",
    "1\x1c",
    "NaN",
    "inf",
    "true",
    "null",
)
NULLS: Final = ("", "-", " ", " - ", "\t", "\t-\t")
TEXTS: Final = (
    "HARD",
    "Firefox 3.6",
    "0,3",
    "0,3,14",
    "--",
    "- -",
    "\u2013",
    "NULL",
    "nan",
    "None",
    "#N/A",
    "0",
    "007",
    "1e5",
    "true",
    "=1+1",
    "'; DROP TABLE visitantes; --",
    "%s {0} \\n \\",
    "Navegación Ñandú",
    "N\u0303andu\u0301",
    "\U0001f600",
    "\u202egnp",
    'dijo "hola"',
    '"',
    '""',
    ",",
    '",',
    "a|b;c\td",
    "\u0663",
)
WIDE_CHARS: Final = ("x", "ñ", "\u20ac", "\u4e16", "\U0001f600", "e\u0301")

# Raw text of one field, with its quotes: what only a reader of quotes can tell apart.
WRONG_QUOTES: Final = (
    '"',
    '"abierta',
    '"abierta, con coma',
    'a"b',
    'a"',
    'a""b',
    ' "x"',
    '\t"x"',
    '"x" ',
    '"x"y',
    '"x"\t',
    '"x""',
    '"""',
    '""x',
    '"a"b"c"',
    '"x"\r',
    '"dos\nlineas"',
    '"dos\r\nlineas"',
    "\ufeff" + '"x"',
)
RIGHT_QUOTES: Final = (
    '""',
    '"-"',
    '" "',
    '" - "',
    '""""',
    '"a""b"',
    '","',
    '" x "',
    '"\t"',
    '"a\rb"',
    '""""""',
)

# Everything of a record but its e-mail and its `Fecha envio`, as real deliveries have it.
_SHAPES: Final = tuple(
    dict(zip([h for h in HEADERS if h not in ("email", "Fecha envio")], shape.split("|"), strict=True))
    for shape in (
        "||||0|0||0|0||||",
        "|||-|0|0|-|0|0|-|-|-|-",
        "|HARD||-|0|0|-|0|0|-|-|-|-",
        "||SI|-|0|0|-|0|0|-|-|-|-",
        "|||08/02/2013 14:49|1|0|08/02/2013 14:49|1|0|3|198.18.6.69|Firefox 3.6|Win7",
        '|||08/02/2013 11:40|7|0|08/02/2013 11:42|2|0|"0,3"|198.18.246.204|Chrome Generic|Win7',
        '1|||01/01/2013 00:00|2|1|-|0|0|-|"198.18.0.1,198.18.0.2"|IE 8.0|WinXP',
        "a|-|-|-|-|-|-|-|-|-|-|-|-",
    )
)


def chance(percent: int) -> st.SearchStrategy[bool]:
    """True in about `percent` of a hundred draws; shrinks to False."""
    return st.integers(0, 99).map(lambda number: number >= 100 - percent)


def one_line_text(max_size: int) -> st.SearchStrategy[str]:
    """Any text without LF, NUL and lone surrogates."""
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), max_size=max_size)


# ------------------------------------------------------------------------------------------------ fields


@st.composite
def moments(draw: st.DrawFn, today: date) -> str:
    """A good date, `dd/mm/yyyy HH:MM`: often this month, this year, around new year or a month's ends."""
    last = calendar.monthrange(today.year, today.month)[1]
    first = today.replace(day=1)
    near = [
        today,
        first,
        today.replace(day=last),
        first - timedelta(days=1),
        today.replace(day=last) + timedelta(days=1),
        date(today.year, 1, 1),
        date(today.year, 12, 31),
        date(today.year - 1, 12, 31),
        date(today.year + 1, 1, 1),
        date(today.year - 1, today.month, 1),
        date(2013, 2, 8),
    ]
    day = draw(st.dates(date(1970, 1, 1), date(2099, 12, 31))) if draw(chance(15)) else draw(st.sampled_from(near))
    time = draw(st.sampled_from(["18:30", "00:00", "23:59", "00:01", "12:00"]))
    return f"{day.day:02d}/{day.month:02d}/{day.year:04d} {time}"


def addresses() -> st.SearchStrategy[str]:
    """E-mails: mostly of few people, so that visitors come back; some at the edges of the rule."""
    made_up = st.builds(
        lambda local, domain, end: f"{local}@{domain}.{end}",
        st.text("abzAZ09.!#'+-_~", min_size=1, max_size=8),
        st.text("abz09-.", min_size=1, max_size=8),
        st.text("abz9-", min_size=1, max_size=4).map("example.".__add__),
    )
    return st.one_of(st.sampled_from(PEOPLE), st.sampled_from(RECASED), st.sampled_from(EDGE_ADDRESSES), made_up)


def texts(limit: int) -> st.SearchStrategy[str]:
    """Values of a text column of at most `limit` characters, some longer by one."""
    at_the_limit = st.builds(
        lambda char, over: (char * (limit + 1))[: limit + over],
        st.sampled_from(WIDE_CHARS),
        st.sampled_from([0, 1]),
    )
    wrapped = st.builds("{}{}{}".format, st.sampled_from(["", "x"]), st.sampled_from(SEPARATORS), st.just("y"))
    ended = st.builds("{}{}".format, st.just("x"), st.sampled_from(SEPARATORS))
    return st.one_of(
        st.sampled_from(TEXTS), at_the_limit, wrapped, ended, st.sampled_from(SEPARATORS), one_line_text(12)
    )


def values(header: str, today: date) -> st.SearchStrategy[str]:
    """Unquoted values of a column, good and bad, nulls too; `header` is a name of the contract's list."""
    nulls = st.sampled_from(NULLS)
    if header == "email":
        return st.one_of(addresses(), nulls)
    if header in DATES:
        return st.one_of(moments(today), st.sampled_from(EDGE_DATES), st.sampled_from(EDGE_DATES), nulls)
    if header in INTEGERS:
        return st.one_of(st.integers(0, 2**31).map(str), st.sampled_from(EDGE_INTEGERS), nulls)
    return st.one_of(texts(LENGTHS[header]), nulls)


def quoted(value: str) -> str:
    """A value in quotes, as RFC 4180 has them."""
    return '"' + value.replace('"', '""') + '"'


def plainly(value: str) -> str:
    """A value in quotes only if it needs them."""
    return quoted(value) if any(char in value for char in '",\n') else value


@st.composite
def raw_fields(draw: st.DrawFn, header: str, today: date) -> str:
    """The text of one field between its commas: mostly well written, whatever its value."""
    style = draw(st.integers(0, 9))
    if style == 9:
        return str(draw(st.sampled_from(WRONG_QUOTES + RIGHT_QUOTES)))
    value = draw(values(header, today))
    if style <= 4:
        return plainly(value)
    if style == 5:
        return quoted(value)
    if style == 6:
        return quoted(f" {value}\t")
    if style == 7 and '"' not in value and "," not in value:
        return f"\t {value}  "
    return plainly(value) + " " if '"' not in value and "," not in value else quoted(value)


# ----------------------------------------------------------------------------------------------- records


@st.composite
def good_records(draw: st.DrawFn, today: date) -> dict[str, str]:
    """The raw fields of a valid record, by the contract's names."""
    return {
        "email": draw(st.sampled_from(PEOPLE + RECASED)),
        "Fecha envio": draw(moments(today)),
        **draw(st.sampled_from(_SHAPES)),
    }


@st.composite
def lines(draw: st.DrawFn, order: Sequence[str], today: date) -> str:
    """One line after the header: mostly a record, good half of the time; now and then blank or nearly so."""
    kind = draw(st.integers(0, 99))
    if kind >= 97:
        return draw(st.sampled_from(NEAR_BLANK_LINES))
    if kind >= 88:
        return draw(st.sampled_from(BLANK_LINES))
    if kind >= 87:
        return draw(one_line_text(30))
    record = draw(good_records(today))
    if kind >= 42:
        often = ("email", "email", "email", "Fecha envio", *HEADERS)
        for header in draw(st.lists(st.sampled_from(often), min_size=1, max_size=3)):
            record[header] = draw(raw_fields(header, today))
    fields = [record[header] for header in order]
    if kind >= 82:
        extra = draw(st.integers(-len(fields), 3))
        fields = fields[:extra] if extra < 0 else fields + ["x", "", '"y,z"'][:extra]
    return ",".join(fields)


# ----------------------------------------------------------------------------------------------- headers

_SPELLINGS: Final[tuple[Callable[[str], str], ...]] = (
    str.upper,
    str.lower,
    str.swapcase,
    lambda name: f"  {name} ",
    lambda name: f"\t{name}\t",
    lambda name: name.replace(" ", "   "),
    lambda name: name.replace(" ", "\t "),
    lambda name: name.replace("envio", "envío").replace("Opens", "Opéns").replace("a", "á"),
    lambda name: name.replace("i", "i\u0301").replace("n", "n\u0303"),
    quoted,
    lambda name: quoted(f" {name} "),
)
UNKNOWN_COLUMNS: Final = (
    "jk",
    "fgh",
    "JK",
    " Fgh ",
    "",
    "-",
    "e-mail",
    "Fecha_envio",
    "Fechaenvio",
    "Fecha de envío",
    "Open",
    "Clicks virale",
    "IP",
    "Plataformas\r",
    "jyv\u200b",
    "\ufeffemail",
    "\uff45mail",
    "Nueva",
    "email jyv",
    '"a,b"',
    "\u00f1" * 300,
)
BROKEN_HEADERS: Final = ('"email', 'em"ail', '"email"x', ' "email"', '"')


@st.composite
def headers(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """A good header: the contract's names in the order delivered, and its raw cells."""
    order = list(draw(st.one_of(st.just(HEADERS), st.permutations(HEADERS))))
    cells = list(order)
    if draw(chance(50)):
        for at in draw(st.lists(st.integers(0, len(cells) - 1), min_size=1, max_size=5, unique=True)):
            cells[at] = draw(st.sampled_from(_SPELLINGS))(cells[at])
    return order, cells


@st.composite
def bad_headers(draw: st.DrawFn, cells: list[str]) -> list[str]:
    """The cells of a header with one to three faults; a second fault may undo the first."""
    cells = list(cells)
    for _ in range(draw(st.integers(1, 3))):
        fault = draw(st.integers(0, 6))
        at = draw(st.integers(0, len(cells) - 1))
        if fault == 0 and "jyv" in cells:
            cells[cells.index("jyv")] = draw(st.sampled_from(["jk", "fgh", "JK", " fgh "]))
        elif fault <= 2:
            cells[at] = draw(st.sampled_from(UNKNOWN_COLUMNS))
        elif fault == 3 and len(cells) > 1:
            del cells[at]
        elif fault == 4:
            cells.insert(at, draw(st.sampled_from(HEADERS + UNKNOWN_COLUMNS)))
        elif fault == 5:
            cells[at] = draw(st.sampled_from(HEADERS))
        else:
            cells[at] = draw(st.sampled_from(BROKEN_HEADERS))
    return cells


# ------------------------------------------------------------------------------------------------- files


def as_windows_1252(text: str) -> bytes:
    """Bytes of `text`: U+FFFD as bytes that Windows-1252 leaves undefined, other strange characters as `?`.

    The first plain `Fecha envio`, as headers have it, gets its accent, so that the bytes are no UTF-8.
    """
    text = text.replace("Fecha envio", "Fecha envío", 1)
    found = bytearray()
    for index, char in enumerate(text):
        if char == "\ufffd":
            found.append(UNDEFINED_BYTES[index % len(UNDEFINED_BYTES)])
        else:
            found += char.encode("cp1252", errors="replace")
    return bytes(found)


_TORN_BYTES: Final = (
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x81",
    b"\x9d",
)


@st.composite
def encoded(draw: st.DrawFn, text: str) -> bytes:
    """The bytes of a file: UTF-8, with BOM, Windows-1252, or UTF-8 torn somewhere; rarely a NUL byte."""
    kind = draw(st.integers(0, 99))
    if kind < 45:
        return text.encode()
    if kind == 45:
        return BOM + as_windows_1252(text)
    if kind == 46:
        return BOM + BOM + text.encode()
    if kind == 47:
        return text.encode("utf-16")
    if kind < 54:
        data = text.encode()
        at = draw(st.integers(0, len(data)))
        return data[:at] + (b"\0" if kind == 48 else draw(st.sampled_from(_TORN_BYTES))) + data[at:]
    return BOM + text.encode() if kind < 72 else as_windows_1252(text)


def without_content() -> st.SearchStrategy[bytes]:
    """No bytes, a lone BOM, or blank lines only."""
    blank = st.lists(st.sampled_from(BLANK_LINES), max_size=4).map("\n".join).map(str.encode)
    return st.one_of(st.sampled_from([b"", b"\n", b"\r\n", BOM, BOM + b"\r\n"]), blank)


@st.composite
def reports(draw: st.DrawFn, today: date, max_records: int = 40) -> bytes:
    """The bytes of one delivery: most have a good header and a mix of good and bad records."""
    if draw(chance(3)):
        return draw(without_content())
    order, cells = draw(headers())
    if draw(chance(12)):
        cells = draw(bad_headers(cells))
    before = draw(st.lists(st.sampled_from(BLANK_LINES), min_size=1, max_size=3)) if draw(chance(20)) else []
    least = draw(st.sampled_from([0, 1, 1, 4, 12])) if max_records >= 12 else 0
    body = draw(st.lists(lines(order, today), min_size=least, max_size=max_records))
    end = draw(st.sampled_from(["\n", "\r\n", "mixed"]))
    text = ""
    for line in [*before, ",".join(cells), *body]:
        text += line + (draw(st.sampled_from(["\n", "\r\n"])) if end == "mixed" else end)
    if draw(chance(40)):
        text = text.removesuffix("\n").removesuffix("\r")
        text += draw(st.sampled_from(["", "\r", "\r\r\n", "\n\n", "\n \t", "\n\r", " "]))
    if draw(chance(1)):
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    return draw(encoded(text))


def headers_only() -> st.SearchStrategy[bytes]:
    """Readable files without records."""
    header = ",".join(HEADERS).encode()
    return st.sampled_from([header, header + b"\n", header + b"\r\n", BOM + header + b"\r\n \n", header.upper()])


@st.composite
def deliveries(draw: st.DrawFn, today: date, max_deliveries: int = 10, max_records: int = 6) -> list[tuple[str, bytes]]:
    """Deliveries `(name, bytes)` in order: few names, few contents, so that both come again in every way."""
    fail = ",".join(["jk", *HEADERS[1:]]).encode()
    body = reports(today, max_records)
    contents = draw(st.lists(body, min_size=1, max_size=3))
    contents.append(draw(st.one_of(headers_only(), body)))
    contents.append(draw(st.sampled_from([fail, b"", contents[0] + b"\n", contents[0].replace(b"\n", b"\r\n")])))
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    steps = st.tuples(st.sampled_from(names), st.sampled_from(contents))
    return draw(st.lists(steps, min_size=1, max_size=max_deliveries))


# ------------------------------------------------------------------------------------------------- plain


def random_report(rng: random.Random, records: int, *, bad_share: float, today: date) -> bytes:
    """A file of `records` records with a good header, each broken with probability `bad_share`.

    About 60,000 records a second. The same `rng` state gives the same bytes. A third as many people as
    records, so that most come back; UTF-8 or Windows-1252, LF or CRLF as `rng` has it.
    """
    people = max(1, records // 3)
    domains = ("example.com", "example.org", "example.net", "example.com.mx", "Example.COM")
    days = [today - timedelta(days=back) for back in (0, 0, 1, 2, 7, 20, 40, 100, 300, 365, 700)]
    days += [date(today.year, 1, 1), date(today.year - 1, 12, 31)]
    sends = [f"{d.day:02d}/{d.month:02d}/{d.year} {t}" for d in days for t in ("00:00", "18:30", "23:59")]
    tails = [
        ",-,0,0,-,0,0,-,-,-,-",
        ",08/02/2013 14:49,1,0,08/02/2013 14:49,1,0,3,198.18.6.69,Firefox 3.6,Win7",
        ',08/02/2013 11:40,7,0,08/02/2013 11:42,2,0,"0,3",198.18.246.204,Chrome Generic,Win7',
        ",,,,,,,,,,",
        ',-,0,0,-,0,0,-,-,"Navegación ""Ñ""",-',
    ]
    heads = [",,,,", ",,,,", ",,HARD,,", ",jv, ,SI,", ",-,-,-,"]
    bad: list[Callable[[str], str]] = [
        lambda line: line.replace("@", "@@", 1),
        lambda line: line.replace("@", " at ", 1),
        lambda line: line[line.index(",") :],
        lambda line: line + ",extra",
        lambda line: line.rsplit(",", 1)[0] + "," + "ñ" * 1025,
        lambda line: line.rsplit(",", 1)[0] + ',"abierta',
        lambda line: line.rsplit(",", 1)[0] + ',a"b',
        lambda line: f"ana@example.com,{'x' * 65},,,{sends[0]}{tails[1]}",
        lambda line: f"ana@example.com,,,,31/04/2013 10:00{tails[2]}",
        lambda line: f"ana@example.com,,,,-{tails[0]}",
        lambda line: f"ana@example.com,,,,{sends[1]},-,2147483648,0,-,-1,0,-,-,-,-",
        lambda line: f"sin arroba,,,,ayer,-,x,0,-,0,{'9' * 30},-,-,-,-",
    ]
    draw, choice = rng.random, rng.choice
    found = [",".join(HEADERS)]
    for _ in range(records):
        person = int(draw() * people)
        line = f"v{person}@{choice(domains)}{choice(heads)}{choice(sends)}{choice(tails)}"
        found.append(choice(bad)(line) if draw() < bad_share else line)
    text = choice(("\n", "\r\n")).join([*found, ""])
    return text.encode(choice(("utf-8", "utf-8-sig", "cp1252")))
