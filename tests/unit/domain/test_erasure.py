"""What is left of the records of an erased person."""

import io
import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipeline import record, report
from visitas_dagster.domain.content import ContentScan
from visitas_dagster.domain.contract import REJECTED_SCHEMA, VALID_SCHEMA
from visitas_dagster.domain.erasure import ERASED_EMAIL, ERASED_TEXT, masked_rejects, masked_visits
from visitas_dagster.domain.privacy import is_mask, mask_erased
from visitas_dagster.domain.report import open_report

ANA, EVA = "ana@example.com", "eva@example.com"
MASK = "000@xxxxxxx.xxx"


def is_erased(address: str) -> bool:
    return address == ANA or is_mask(address)


def names_ana(*values: object) -> bool:
    text = " ".join(map(str, values))
    return mask_erased(text, lambda address: address == ANA) != text


def judged(*lines: str) -> tuple[pa.Table, pa.Table]:
    data = report(*lines)
    scan = ContentScan()
    scan.feed(data)
    batches = list(open_report(io.BytesIO(data), scan.finish(), {}).batches())
    return (
        pa.concat_tables([VALID_SCHEMA.empty_table(), *(batch.valid for batch in batches)]),
        pa.concat_tables([REJECTED_SCHEMA.empty_table(), *(batch.rejected for batch in batches)]),
    )


def test_a_visit_keeps_its_moments_and_numbers_and_loses_its_person() -> None:
    visits, _ = judged(
        record("Ana@Example.com", jyv="si", opens="3", links="https://a.example", ips="192.0.2.7", navegadores="F"),
        record(EVA, links=f"https://a.example/?de={ANA}", ips="192.0.2.8"),
    )
    masked = masked_visits(visits, is_erased)
    assert masked.schema == VALID_SCHEMA
    own, other = masked.to_pylist()
    assert [own[name] for name in ("linea", "email", "jyv", "opens")] == [2, ERASED_EMAIL, "si", 3]
    assert [own[name] for name in ("links", "ips", "navegadores", "plataformas")] == [None] * 4
    assert own["fecha_envio"] == visits.to_pylist()[0]["fecha_envio"]
    assert (other["email"], other["links"], other["ips"]) == (EVA, f"https://a.example/?de={MASK}", "192.0.2.8")


def test_of_a_reject_the_faults_and_the_line_number_are_left() -> None:
    _, rejects = judged(record(ANA, opens="muchos"), record("sin arroba"), record(f"x {ANA}", envio="ayer"))
    masked = masked_rejects(rejects, is_erased)
    assert masked.schema == REJECTED_SCHEMA
    first, second, third = masked.to_pylist()
    assert second == rejects.to_pylist()[1]
    assert (first["linea"], first["tipo_error"], first["campo"]) == (2, "ENTERO_INVALIDO", "Opens")
    assert (first["valor"], first["fila_original"]) == (ERASED_TEXT, ERASED_TEXT)
    assert [(entry["tipo_error"], entry["valor"]) for entry in json.loads(third["detalle"])] == [
        ("EMAIL_INVALIDO", ERASED_TEXT),
        ("FECHA_INVALIDA", ERASED_TEXT),
    ]


_line = st.builds(
    record,
    st.sampled_from([ANA, "ANA@EXAMPLE.COM", EVA, "mariana@example.com", "ana@example.com.mx", f"a={ANA}", "-", "x"]),
    st.sampled_from(["01/03/2024 10:00", "ayer"]),
    links=st.sampled_from(["-", f"https://a.example/?{ANA}", "a%40b", "x" * 1009 + ANA]),
    jyv=st.sampled_from(["-", "si", ANA]),
)


@given(st.lists(_line, max_size=6))
def test_a_rewritten_copy_makes_the_same_records_as_the_original(lines: list[str]) -> None:
    rewritten = [mask_erased(line, lambda address: address == ANA) for line in lines]
    masked = [
        (masked_visits(visits, is_erased), masked_rejects(rejects, is_erased))
        for visits, rejects in (judged(*lines), judged(*rewritten))
    ]
    assert masked[0][0].equals(masked[1][0])
    assert masked[0][1].equals(masked[1][1])


@given(st.lists(_line, max_size=6))
def test_nobody_else_is_touched_and_nothing_names_the_person(lines: list[str]) -> None:
    visits, rejects = judged(*lines)
    masked_valid, masked_bad = masked_visits(visits, is_erased), masked_rejects(rejects, is_erased)
    assert masked_valid.num_rows == visits.num_rows
    for before, after in zip(
        [*visits.to_pylist(), *rejects.to_pylist()], [*masked_valid.to_pylist(), *masked_bad.to_pylist()], strict=True
    ):
        named, names_still = (names_ana(*row.values()) for row in (before, after))
        assert not names_still
        assert named or after == before
