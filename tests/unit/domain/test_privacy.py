"""Addresses in text: which are found, how they are hidden, and what stays readable."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.privacy import erased_in, is_mask, mask_addresses, mask_erased, mask_value

ANA = "ana@correo.example"
MASK = "000@xxxxxx.xxxxxxx"


def is_ana(address: str) -> bool:
    return address == ANA


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (ANA, MASK),
        ("ANA@Correo.Example,1", MASK + ",1"),
        ("http://a.example/?b=ana@correo.example;c", f"http://a.example/?b={MASK};c"),
        ("?e=ana%40correo.example&x=1", "?e=000%40xxxxxx.xxxxxxx&x=1"),
        ("e%3Dana@correo.example", f"e%3D{MASK}"),
        ("ana@correo.example.", MASK + "."),
        (f"{ANA} {ANA}", f"{MASK} {MASK}"),
        ('"ana@correo.example",x', f'"{MASK}",x'),
        # Other persons' addresses that contain hers.
        ("mariana@correo.example", "mariana@correo.example"),
        ("x.ana@correo.example", "x.ana@correo.example"),
        ("x-ana@correo.example", "x-ana@correo.example"),
        ("o'ana@correo.example", "o'ana@correo.example"),
        ("ana@correo.example.mx", "ana@correo.example.mx"),
        ("ana@correo.example-a.mx", "ana@correo.example-a.mx"),
        ("ana@correo.examples", "ana@correo.examples"),
        ("ana@@correo.example", "ana@@correo.example"),
        ("", ""),
    ],
)
def test_an_erased_address_is_masked_wherever_it_stands_and_no_other_is(text: str, masked: str) -> None:
    assert mask_erased(text, is_ana) == masked


def test_of_two_readings_the_longer_address_is_meant() -> None:
    persons = {"b=ana@correo.example", ANA}
    (found,) = erased_in("?b=ana@correo.example", persons.__contains__)
    assert (found.start, found.at, found.after_at, found.end) == (1, 6, 7, 21)


_text = st.lists(st.sampled_from([*"aA0.x@%4_-+ ,é\"='", ANA, "%40"]), max_size=40).map("".join)


@given(_text, st.sampled_from(["", " ", "=", '"', "%3D"]), st.sampled_from(["", " ", ";", ".", "é"]))
def test_a_masked_text_keeps_its_length_and_holds_the_address_no_more(text: str, before: str, after: str) -> None:
    line = text + " " + before + ANA + after + " " + text
    masked = mask_erased(line, is_ana)
    assert len(masked) == len(line)
    assert not list(erased_in(masked, is_ana))
    assert mask_erased(masked, is_ana) == masked


_ADDRESS = st.from_regex(r"[a-z0-9][a-z0-9.+_-]{0,8}@[a-z0-9]{1,5}(\.[a-z]{2,6}){1,2}", fullmatch=True)


@given(_ADDRESS)
def test_a_mask_is_known_as_one_and_says_only_the_form(address: str) -> None:
    masked = mask_erased(address, address.__eq__)
    assert is_mask(masked)
    assert [len(part) for part in re.split("[@.]", masked)] == [len(part) for part in re.split("[@.]", address)]


@pytest.mark.parametrize("address", ["ana@correo.example", "0@correo.example", "ana@xxx.xx", "", "0@", "@x", "000"])
def test_no_address_of_a_person_passes_for_a_mask(address: str) -> None:
    assert not is_mask(address)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Columnas desconocidas: «ana.8@correo.example»", "Columnas desconocidas: «xxx.0@xxxxxx.xxxxxxx»"),
        ("falta ana..b@correo aquí", "falta xxx..x@xxxxxx aquí"),
        ("ana@@correo.example", "xxx@@xxxxxx.xxxxxxx"),
        ("ana@b@c.example", "xxx@x@x.xxxxxxx"),
        ("?e=ana%40correo.example", "?x=xxx%40xxxxxx.xxxxxxx"),
        ("sin direcciones: report_7.txt", "sin direcciones: report_7.txt"),
    ],
)
def test_a_message_shows_the_form_of_an_address_and_not_whose_it_is(message: str, shown: str) -> None:
    assert mask_addresses(message) == shown


@given(
    st.text(st.characters(exclude_categories=["L"]), max_size=40),
    st.from_regex(r"[b-w][a-z0-9.+_-]{0,8}@[b-w]{1,5}(\.[b-w]{2,6}){1,2}", fullmatch=True),
    st.text(st.characters(exclude_categories=["L"]), max_size=40),
)
def test_no_message_tells_a_letter_of_an_address(before: str, address: str, after: str) -> None:
    assert not re.search("[a-wyz]", mask_addresses(f"{before}{address}{after}"))


def test_a_rejected_address_shows_its_fault_and_nothing_else() -> None:
    assert mask_value("josé.Gómez 8(at)correo") == "xxxé.xóxxx 0(xx)xxxxxx"
