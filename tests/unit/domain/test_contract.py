"""The rules and their order, and the traps of Pandera that they must not fall into."""

from datetime import datetime
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pandera.pandas as pap
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pandera.config import config_context

from visitas_dagster.domain import contract
from visitas_dagster.domain.contract import (
    CODES,
    RULES,
    SCHEMA,
    VALID_SCHEMA,
    broken_rules,
    parse_dates,
    typed,
)
from visitas_dagster.domain.layout import COLUMNS

# The first call into pyarrow or Pandera takes longer than Hypothesis allows an example.
UNHURRIED = settings(deadline=None)

GOOD: dict[str, str | None] = {
    "email": "ana@correo.example",
    "fecha_envio": "08/02/2013 18:30",
    "opens": "0",
}


def values(*changes: dict[str, Any]) -> pa.Table:
    rows = [{**GOOD, **change} for change in changes]
    return pa.table(
        {column.field: pa.array([row.get(column.field) for row in rows], pa.string()) for column in COLUMNS}
    )


def broken(*changes: dict[str, Any]) -> list[tuple[int, str, str | None]]:
    found = broken_rules(values(*changes), np.arange(5, 5 + len(changes) * 2, 2))
    rules = [RULES[rule] for rule in found.rules]
    return [(int(row), rule.rule.code, rule.header) for row, rule in zip(found.rows, rules, strict=True)]


def test_the_order_of_the_rules() -> None:
    assert [(entry.rule.code, entry.header) for entry in RULES] == [
        ("COMILLAS", None),
        ("NUMERO_DE_CAMPOS", None),
        ("EMAIL_NULO", "email"),
        ("EMAIL_INVALIDO", "email"),
        ("LONGITUD_EXCEDIDA", "jyv"),
        ("LONGITUD_EXCEDIDA", "Badmail"),
        ("LONGITUD_EXCEDIDA", "Baja"),
        ("FECHA_NULA", "Fecha envio"),
        ("FECHA_INVALIDA", "Fecha envio"),
        ("FECHA_INVALIDA", "Fecha open"),
        ("ENTERO_INVALIDO", "Opens"),
        ("ENTERO_INVALIDO", "Opens virales"),
        ("FECHA_INVALIDA", "Fecha click"),
        ("ENTERO_INVALIDO", "Clicks"),
        ("ENTERO_INVALIDO", "Clicks virales"),
        ("LONGITUD_EXCEDIDA", "Links"),
        ("LONGITUD_EXCEDIDA", "IPs"),
        ("LONGITUD_EXCEDIDA", "Navegadores"),
        ("LONGITUD_EXCEDIDA", "Plataformas"),
        ("LONGITUD_EXCEDIDA", None),
    ]


def test_every_rule_says_one_sentence() -> None:
    assert all(entry.rule.sentence.endswith(".") and entry.rule.sentence.isprintable() for entry in RULES)


def test_the_schema_documents_every_column() -> None:
    assert [(column.title, column.name) for column in SCHEMA.columns.values()] == [
        (column.header, column.field) for column in COLUMNS
    ]
    assert all(column.description.endswith(".") for column in SCHEMA.columns.values())
    assert {check.name for column in SCHEMA.columns.values() for check in column.checks} <= set(CODES)
    assert VALID_SCHEMA.names == ["linea", *(column.field for column in COLUMNS)]


def test_broken_rules_name_their_rows() -> None:
    assert broken({}, {"email": None}, {"opens": "x", "fecha_envio": None}, {}, {"email": "x"}) == [
        (1, "EMAIL_NULO", "email"),
        (2, "FECHA_NULA", "Fecha envio"),
        (2, "ENTERO_INVALIDO", "Opens"),
        (4, "EMAIL_INVALIDO", "email"),
    ]


def test_good_records_break_nothing() -> None:
    assert broken({}, {"email": "bea@correo.example"}) == []
    assert broken() == []


def test_the_schema_as_a_whole_rejects_the_same_records() -> None:
    table = values({}, {"email": None}, {"opens": "x", "fecha_envio": None}, {}, {"email": "x"})
    numbers = np.arange(5, 15, 2)
    frame = table.to_pandas(types_mapper=pd.ArrowDtype).set_index(pd.Index(numbers, name="linea"))
    with pytest.raises(pap.errors.SchemaErrors) as raised:
        SCHEMA.validate(frame, lazy=True)
    cases = raised.value.failure_cases[["index", "column", "check"]].to_numpy(object).tolist()

    found = broken_rules(table, numbers)
    expected = [
        [numbers[row], RULES[rule].field, RULES[rule].rule.code]
        for row, rule in zip(found.rows, found.rules, strict=True)
    ]
    assert sorted(cases) == sorted(expected)
    assert len(cases) == 4


def test_the_environment_cannot_switch_the_rules_off() -> None:
    with config_context(validation_enabled=False):
        assert broken({"email": None}) == [(0, "EMAIL_NULO", "email")]
        with pytest.raises(pap.errors.SchemaErrors):
            broken_rules(values({}).drop_columns(["ips"]), np.arange(1))


def test_a_check_that_cannot_run_is_no_reject() -> None:
    with (
        mock.patch.object(contract, "as_mask", side_effect=RuntimeError("roto")),
        pytest.raises(RuntimeError, match="roto"),
    ):
        broken({})


def test_a_check_without_memory_is_a_memory_error() -> None:
    with (
        mock.patch.object(contract, "as_mask", side_effect=pa.ArrowMemoryError("no memory")),
        pytest.raises(MemoryError),
    ):
        broken({}, {"email": None})


def test_a_table_of_another_shape_is_no_reject() -> None:
    with pytest.raises(pap.errors.SchemaErrors):
        broken_rules(values({}).drop_columns(["ips"]), np.arange(1))
    with pytest.raises(pap.errors.SchemaErrors):
        broken_rules(values({}, {"email": None}), np.array([7, 7]))


NEAR_DATES = st.builds(
    "{}/{}/{} {}:{}".format,
    st.integers(0, 33).map("{:02d}".format),
    st.integers(0, 14).map("{:02d}".format),
    st.integers(1965, 2105) | st.sampled_from([1900, 2000, 2096, 2100, 9999]),
    st.integers(0, 26).map("{:02d}".format),
    st.integers(0, 62).map("{:02d}".format),
)
DATE_LIKE = st.text("0123456789/: -", min_size=14, max_size=18)


@UNHURRIED
@given(st.lists(NEAR_DATES | DATE_LIKE | st.none() | st.text(max_size=17), max_size=20))
@example(["29/02/2000 00:00", "29/02/1900 00:00", "29/02/2100 00:00", None, "31/12/2099 23:59"])
def test_dates_are_those_of_the_standard_library(texts: list[str | None]) -> None:
    good, moments = parse_dates(pa.array(texts, pa.string()))

    assert [moment.item() for moment in moments] == [by_standard_library(text) for text in texts]
    assert good.tolist() == [by_standard_library(text) is not None for text in texts]


def by_standard_library(text: str | None) -> datetime | None:
    try:
        moment = datetime.strptime(text or "", "%d/%m/%Y %H:%M")
    except ValueError:
        return None
    # It also takes numbers of one digit, digits of Unicode, and other blanks.
    exact = f"{moment:%d/%m/}{moment.year:04d}{moment: %H:%M}" == text
    return moment if exact and 1970 <= moment.year <= 2099 else None


@UNHURRIED
@given(st.lists(st.none() | st.integers(0, 2**31 - 1), min_size=1, max_size=10), st.integers(0, 12))
def test_integers_keep_their_value(numbers: list[int | None], zeros: int) -> None:
    texts = [None if number is None else "0" * zeros + str(number) for number in numbers]
    table = values(*({"clicks": text} for text in texts))

    assert typed(table, np.arange(len(numbers)))["clicks"].to_pylist() == numbers


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text("0123456789", max_size=12) | st.text("012+- .eE_٣", max_size=4), max_size=50))
def test_integers_are_those_of_the_rule(texts: list[str]) -> None:
    wrong = [row for row, text in enumerate(texts) if not (text.isascii() and text.isdigit() and int(text) < 2**31)]

    assert broken(*({"opens": text} for text in texts)) == [(row, "ENTERO_INVALIDO", "Opens") for row in wrong]


def test_types_and_lower_case() -> None:
    table = typed(values({"email": "ANA@Correo.Example", "fecha_click": "01/03/2013 00:05", "ips": "Ñ"}), np.array([9]))

    assert table.schema == VALID_SCHEMA
    assert table.to_pylist() == [
        {
            **dict.fromkeys(VALID_SCHEMA.names),
            "linea": 9,
            "email": "ana@correo.example",
            "fecha_envio": datetime(2013, 2, 8, 18, 30),
            "fecha_click": datetime(2013, 3, 1, 0, 5),
            "opens": 0,
            "ips": "Ñ",
        }
    ]
