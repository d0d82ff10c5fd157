"""Header and file name: what holds for any of them; single ones are in ``tests/cases``."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from visitas_dagster.domain.failures import LayoutFailure
from visitas_dagster.domain.layout import COLUMNS, file_number, normalize, parse_aliases, read_header, show
from visitas_dagster.domain.privacy import mask_addresses

# The first call into pyarrow or Pandera takes longer than Hypothesis allows an example.
UNHURRIED = settings(deadline=None)

HEADERS = [column.header for column in COLUMNS]
NAMES = st.text(st.characters(exclude_characters='",\0', exclude_categories=["Cs"]), max_size=20)


def test_columns_of_the_contract() -> None:
    assert ", ".join(HEADERS) == (
        "email, jyv, Badmail, Baja, Fecha envio, Fecha open, Opens, Opens virales, Fecha click, Clicks, "
        "Clicks virales, Links, IPs, Navegadores, Plataformas"
    )
    assert [column.field for column in COLUMNS] == [header.lower().replace(" ", "_") for header in HEADERS]


@UNHURRIED
@given(st.permutations(HEADERS))
def test_columns_in_any_order(names: list[str]) -> None:
    layout = read_header(",".join(names), {})

    assert [names[position] for position in layout.positions] == HEADERS
    assert layout.width == 15
    assert layout.aliased == ()


@UNHURRIED
@given(st.sampled_from(HEADERS), st.data())
def test_names_are_compared_without_case_accents_and_blanks(header: str, data: st.DataObject) -> None:
    blanks = st.text(" \t", min_size=1, max_size=3)
    marks = st.sampled_from(["", "\u0301", "\u0308"])
    words = []
    for word in header.split():
        letters = [data.draw(st.sampled_from([char.lower(), char.upper()])) + data.draw(marks) for char in word]
        words.append("".join(letters))
    name = data.draw(blanks) + data.draw(blanks).join(words) + data.draw(blanks)

    assert normalize(name) == normalize(header)
    assert normalize(unicodedata.normalize("NFC", name)) == normalize(header)


@UNHURRIED
@given(st.lists(st.sampled_from(HEADERS) | NAMES, max_size=20))
@example(["Baja", "BAJA", "jyv"])
def test_a_wrong_header_names_every_column_in_question(names: list[str]) -> None:
    headers = {normalize(header): header for header in HEADERS}
    known = [headers[normalize(name)] for name in names if normalize(name) in headers]
    missing = [header for header in HEADERS if header not in known]
    unknown = [name for name in names if normalize(name) not in headers]
    repeated = {name for name in known if known.count(name) > 1}
    try:
        read_header(",".join(names), {})
    except LayoutFailure as failure:
        message = failure.mensaje
    else:
        message = ""

    if missing or unknown or repeated:
        assert ("Faltan columnas: " + ", ".join(missing) in message) or not missing
        assert all(mask_addresses(" ".join(show(name).split())) in message for name in unknown)
        assert all(f"{name} ({known.count(name)} veces)" in message for name in repeated)
        assert message.isprintable()
        assert message.count("¿quiso decir") == len({name.strip(" \t") for name in unknown} - {""}) or missing
    else:
        assert message == ""


@UNHURRIED
@given(NAMES)
def test_one_lost_and_one_unknown_are_the_same_column(name: str) -> None:
    if normalize(name) in {normalize(header) for header in HEADERS}:
        return
    with pytest.raises(LayoutFailure, match=r"^Faltan columnas: jyv\. .*\(¿quiso decir «jyv»\?\)\. "):
        read_header(",".join(["email", name, *HEADERS[2:]]), {})


@UNHURRIED
@given(NAMES.filter(lambda name: "=" not in name and normalize(name) != ""))
def test_the_advised_alias_cures_the_header(name: str) -> None:
    header = ",".join(["email", name, *HEADERS[2:]])
    try:
        read_header(header, {})
    except LayoutFailure as failure:
        _, _, advised = failure.remedio.partition('VISITAS_ALIAS_COLUMNAS="')
    else:
        return
    if advised:
        text, _, _ = advised.partition('"')
        assert read_header(header, parse_aliases(text)).positions == tuple(range(15))


def test_a_nul_in_the_header_is_a_failure() -> None:
    with pytest.raises(LayoutFailure, match="NUL"):
        read_header("email\0,jyv", {})


@UNHURRIED
@given(st.integers(min_value=0))
def test_file_number(number: int) -> None:
    assert file_number(f"report_{number}.txt") == number
