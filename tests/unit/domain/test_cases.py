"""The cases of ``tests/cases``, one file per rule: which values pass, which fail, and what is said then.

Single values and lines belong there; what holds for any input belongs to the properties of the other modules.
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from visitas_dagster.domain.content import ContentScan
from visitas_dagster.domain.contract import RULES
from visitas_dagster.domain.failures import LayoutFailure, SettingsError
from visitas_dagster.domain.layout import COLUMNS, file_number, file_pattern, parse_aliases, read_header
from visitas_dagster.domain.report import open_report

CASES = Path(__file__).parents[2] / "cases"
HEADERS = [column.header for column in COLUMNS]
FIELD_OF = {column.header: column.field for column in COLUMNS}
HEADER = ",".join(HEADERS)
GOOD = "ana@correo.example,,,,08/02/2013 18:30,-,0,0,-,0,0,-,-,-,-"

COLUMN_RULE_FILES = (
    "email_nulo",
    "email_invalido",
    "fecha_nula",
    "fecha_invalida",
    "entero_invalido",
    "longitud_excedida",
)


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CASES / f"{name}.yml").read_text("utf-8"))
    return content


def text_of(value: Any) -> Any:
    """A list stands for its parts joined, a part [text, times] for the text repeated."""
    if not isinstance(value, list):
        return value
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in value)


def read(data: bytes, aliases: Mapping[str, str] | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a file's valid and rejected records."""
    scan = ContentScan()
    scan.feed(data)
    valid, rejected = [], []
    for batch in open_report(io.BytesIO(data), scan.finish(), aliases or {}).batches():
        valid += batch.valid.to_pylist()
        rejected += batch.rejected.to_pylist()
    return valid, rejected


def record(fields: Mapping[str, Any], all_fields: str | None = None) -> str:
    values = dict(zip(HEADERS, GOOD.split(",") if all_fields is None else [all_fields] * 15, strict=True))
    values.update({header: text_of(value) for header, value in fields.items()})
    return ",".join(values.values())


def read_records(lines: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    # CRLF takes one CR along: one that ends a record is the record's own.
    return read("\r\n".join([HEADER, *lines, ""]).encode())


def column_cases(kind: str) -> list[Any]:
    cases = []
    for name in COLUMN_RULE_FILES:
        content = load(name)
        for case in content[kind]:
            label = text_of(case["value"])[:30].encode("unicode_escape").decode()
            headers = case.get("fields", content["fields"])
            cases.append(pytest.param(content["code"], headers, case, id=f"{name}-{label}"))
    return cases


def named(name: str, kind: str = "cases") -> list[Any]:
    return [pytest.param(case, id=case.get("name", repr(case))) for case in load(name)[kind]]


@pytest.mark.parametrize(("code", "headers", "case"), column_cases("good"))
def test_value_passes(code: str, headers: list[str], case: dict[str, Any]) -> None:
    valid, rejected = read_records([record({header: case["value"]}) for header in headers])

    assert rejected == []
    assert [row[FIELD_OF[header]] for row, header in zip(valid, headers, strict=True)] == [
        text_of(case["stored"])
    ] * len(headers)


@pytest.mark.parametrize(("code", "headers", "case"), column_cases("bad"))
def test_value_fails(code: str, headers: list[str], case: dict[str, Any]) -> None:
    lines = [record({header: case["value"]}) for header in headers]
    valid, rejected = read_records(lines)
    reported = text_of(case["reported"] if "reported" in case else case["value"])
    sentence = {entry.header: entry.rule.sentence for entry in RULES if entry.rule.code == code}

    assert valid == []
    assert [{**row, "detalle": json.loads(row["detalle"])} for row in rejected] == [
        {
            "linea": number,
            "tipo_error": code,
            "campo": header,
            "valor": reported,
            "detalle": [{"tipo_error": code, "campo": header, "valor": reported, "regla": sentence[header]}],
            "fila_original": line,
        }
        for number, (header, line) in enumerate(zip(headers, lines, strict=True), 2)
    ]


@pytest.mark.parametrize("case", named("comillas", "good"))
def test_quoting_passes(case: dict[str, Any]) -> None:
    line = record(case["fields"], case.get("all"))
    valid, rejected = read_records([line])

    assert rejected == []
    assert {field: valid[0][field] for field in case["stored"]} == case["stored"]
    # Where the standard library's reader is strict too, it reads the same.
    theirs = dict(zip(HEADERS, next(csv.reader([line], strict=True)), strict=True))
    ours = {header: valid[0][FIELD_OF[header]] for header in ("Badmail", "Links", "IPs", "Navegadores", "Plataformas")}
    assert ours == {header: None if theirs[header] in {"", "-"} else theirs[header] for header in ours}


@pytest.mark.parametrize("case", named("comillas", "bad"))
def test_quoting_fails(case: dict[str, Any]) -> None:
    line = record(case["fields"])
    valid, rejected = read_records([line])

    assert valid == []
    assert_record_rule(rejected, "COMILLAS", line)


@pytest.mark.parametrize("case", named("numero_de_campos", "good"))
def test_field_count_passes(case: dict[str, Any]) -> None:
    valid, rejected = read_records([case["line"]])

    assert rejected == []
    assert {field: valid[0][field] for field in case["stored"]} == case["stored"]


@pytest.mark.parametrize("case", named("numero_de_campos", "bad"))
def test_field_count_fails(case: dict[str, Any]) -> None:
    valid, rejected = read_records([case["line"]])

    assert valid == []
    assert_record_rule(rejected, "NUMERO_DE_CAMPOS", case["line"])
    assert case["rule"] in json.loads(rejected[0]["detalle"])[0]["regla"]


def assert_record_rule(rejected: list[dict[str, Any]], code: str, line: str) -> None:
    keys = ("linea", "tipo_error", "campo", "valor", "fila_original")
    assert [tuple(row[key] for key in keys) for row in rejected] == [(2, code, None, None, line)]
    details = json.loads(rejected[0]["detalle"])
    assert [(entry["tipo_error"], entry["campo"], entry["valor"]) for entry in details] == [(code, None, None)]


@pytest.mark.parametrize("case", named("orden"))
def test_order_of_rules(case: dict[str, Any]) -> None:
    _, rejected = read_records([record(case["fields"])])
    expected = [(code, header, text_of(value)) for code, header, value in case["errors"]]

    details = [entry for row in rejected for entry in json.loads(row["detalle"])]
    assert [(entry["tipo_error"], entry["campo"], entry["valor"]) for entry in details] == expected
    assert [(row["tipo_error"], row["campo"], row["valor"]) for row in rejected] == expected[:1]
    assert all(set(entry) == {"tipo_error", "campo", "valor", "regla"} for entry in details)


def header_of(case: dict[str, Any]) -> str:
    if "header" in case:
        return str(case["header"])
    names = [text_of(case.get("change", {}).get(name, name)) for name in HEADERS if name not in case.get("drop", [])]
    return ",".join([*names, *case.get("add", []), *(f"n{i}" for i in range(case.get("add_numbered", 0)))])


@pytest.mark.parametrize("case", named("layout", "good"))
def test_header_passes(case: dict[str, Any]) -> None:
    layout = read_header(header_of(case), parse_aliases(case.get("aliases", "")))

    assert layout.positions == tuple(range(15))
    assert layout.aliased == tuple(tuple(pair) for pair in case.get("aliased", []))


@pytest.mark.parametrize("case", named("layout", "bad"))
def test_header_fails(case: dict[str, Any]) -> None:
    with pytest.raises(LayoutFailure) as failure:
        read_header(header_of(case), parse_aliases(case.get("aliases", "")))

    for text in case["says"]:
        assert text_of(text) in f"{failure.value.mensaje}."
    for text in case.get("remedy", []):
        assert text in failure.value.remedio
    for text in case.get("not", []):
        assert text not in str(failure.value)
    assert str(failure.value).isprintable()


@pytest.mark.parametrize("case", named("alias", "good"))
def test_aliases_pass(case: dict[str, Any]) -> None:
    assert parse_aliases(case["text"]) == case["aliases"]


@pytest.mark.parametrize("case", named("alias", "bad"))
def test_aliases_fail(case: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as failure:
        parse_aliases(case["text"])

    assert failure.value.ajuste == "VISITAS_ALIAS_COLUMNAS"
    assert case["says"] in failure.value.mensaje


def file_of(case: dict[str, Any]) -> bytes:
    if "file" in case:
        return bytes.fromhex(case["file"])
    before, _, after = record({"jyv": "?"}).partition("?")
    line = before.encode() + bytes.fromhex(case["bytes"]) + after.encode()
    return (b"\xef\xbb\xbf" if case.get("bom") else b"") + HEADER.encode() + b"\n" + line + b"\n"


@pytest.mark.parametrize("case", named("codificacion", "good"))
def test_encoding_passes(case: dict[str, Any]) -> None:
    data = file_of(case)
    scan = ContentScan()
    scan.feed(data)
    valid, rejected = read(data)

    assert scan.finish().encoding == case["encoding"]
    assert rejected == []
    assert [row["jyv"] for row in valid] == [case["stored"]]


@pytest.mark.parametrize("case", named("codificacion", "bad"))
def test_encoding_fails(case: dict[str, Any]) -> None:
    with pytest.raises(LayoutFailure) as failure:
        read(file_of(case))

    for text in case["says"]:
        assert text in failure.value.mensaje
    for text in case.get("remedy", []):
        assert text in failure.value.remedio


@pytest.mark.parametrize("case", named("fin_de_linea"))
def test_line_ends(case: dict[str, Any]) -> None:
    def expand(text: str) -> str:
        records = {letter.upper(): GOOD.replace("ana", letter) for letter in "abc"}
        return "".join({"H": HEADER, **records}.get(char, char) for char in text)

    valid, rejected = read(expand(case["file"]).encode())

    assert {row["linea"]: row["email"] for row in valid} == {
        number: f"{visitor}@correo.example" for number, visitor in case["valid"].items()
    }
    assert {row["linea"]: row["fila_original"] for row in rejected} == {
        number: expand(line) for number, line in case.get("rejected", {}).items()
    }


@pytest.mark.parametrize("case", named("nombre"))
def test_file_name(case: dict[str, Any]) -> None:
    pattern = {"pattern": case["pattern"]} if "pattern" in case else {}

    assert file_number(case["name"], **pattern) == case["number"]


@pytest.mark.parametrize("case", named("nombre", "bad_patterns"))
def test_file_pattern_fails(case: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as failure:
        file_pattern(case["pattern"])

    assert failure.value.ajuste == "VISITAS_PATRON_ARCHIVO"
    assert case["says"] in failure.value.mensaje


def test_every_rule_has_a_case_file() -> None:
    codes = {load(name)["code"] for name in (*COLUMN_RULE_FILES, "comillas", "numero_de_campos")}

    assert codes == {entry.rule.code for entry in RULES}
