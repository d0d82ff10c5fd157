"""What the demo's invented reports and their drip promise.

A plain reading of contract §1, line by line, judges the reports here; the platform's own rules have their own
tests.
"""

import csv
import hashlib
import random
import re
import threading
from collections import Counter
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visitas_dagster.demo.samples import (
    DOMAINS,
    FIRST_DRIP_NUMBER,
    HEADER,
    Drip,
    SampleReport,
    deliver,
    demo_reports,
    drip_report,
    sample_report,
)

TODAY = date(2024, 3, 15)

ERROR_TYPES = {
    "COMILLAS",
    "NUMERO_DE_CAMPOS",
    "EMAIL_NULO",
    "EMAIL_INVALIDO",
    "FECHA_NULA",
    "FECHA_INVALIDA",
    "ENTERO_INVALIDO",
    "LONGITUD_EXCEDIDA",
}
CELL = re.compile(r'"((?:[^"]|"")*)"|([^",][^",]*|)')
EMAIL = re.compile(
    r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+"
    r"@(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,63}"
)
LIMITS = {1: 64, 2: 64, 3: 64, 11: 1024, 12: 1024, 13: 1024, 14: 1024}


def cells_of(line: str) -> list[str] | None:
    """Split one line; None when its quotes are wrong."""
    cells = []
    position = 0
    while True:
        match = CELL.match(line, position)
        assert match is not None
        cells.append((match[1] if match[1] is not None else match[2]).strip(" \t"))
        position = match.end()
        if position == len(line):
            return cells
        if line[position] != ",":
            return None
        position += 1


def is_date(value: str) -> bool:
    if not re.fullmatch(r"[0-9]{2}/[0-9]{2}/[0-9]{4} [0-9]{2}:[0-9]{2}", value):
        return False
    try:
        return 1970 <= datetime.strptime(value, "%d/%m/%Y %H:%M").year <= 2099
    except ValueError:
        return False


def errors_of(line: str) -> list[str]:
    cells = cells_of(line)
    if cells is None:
        return ["COMILLAS"]
    if len(cells) != 15:
        return ["NUMERO_DE_CAMPOS"]
    null = [cell in ("", "-") for cell in cells]
    errors = []
    if null[0]:
        errors.append("EMAIL_NULO")
    elif len(cells[0]) > 254 or not EMAIL.fullmatch(cells[0]):
        errors.append("EMAIL_INVALIDO")
    if null[4]:
        errors.append("FECHA_NULA")
    errors += ["FECHA_INVALIDA" for i in (4, 5, 8) if not null[i] and not is_date(cells[i])]
    errors += [
        "ENTERO_INVALIDO"
        for i in (6, 7, 9, 10)
        if not null[i] and not (re.fullmatch("[0-9]+", cells[i]) and int(cells[i]) <= 2147483647)
    ]
    errors += ["LONGITUD_EXCEDIDA" for i, limit in LIMITS.items() if len(cells[i]) > limit]
    return errors


def lines_of(data: bytes, encoding: str = "utf-8") -> list[str]:
    """The lines after the header."""
    return data.decode(encoding).splitlines()[1:]


def emails_of(data: bytes) -> set[str]:
    return {row[0].lower() for row in csv.reader(lines_of(data)) if row[0]}


def seeded(records: int, *, seed: int = 1, bad_share: float = 0.0, today: date = TODAY) -> bytes:
    return sample_report(random.Random(seed), records, bad_share=bad_share, today=today)


# --- one report -----------------------------------------------------------------------------------------


def test_the_header_is_the_contracts_and_every_line_ends_in_lf() -> None:
    data = seeded(3)
    assert data.startswith(
        b"email,jyv,Badmail,Baja,Fecha envio,Fecha open,Opens,Opens virales,Fecha click,Clicks,"
        b"Clicks virales,Links,IPs,Navegadores,Plataformas\n"
    )
    assert data.count(b"\n") == 4
    assert data.endswith(b"\n")
    assert b"\r" not in data


def test_another_header_is_written_as_given_over_the_same_lines() -> None:
    other = sample_report(random.Random(1), 3, header="lo que sea", today=TODAY)
    assert other.decode().splitlines() == ["lo que sea", *lines_of(seeded(3))]


def test_no_records_is_the_header_alone() -> None:
    assert seeded(0, bad_share=0.5) == f"{HEADER}\n".encode()


@given(
    seed=st.integers(0, 2**32),
    records=st.integers(0, 120),
    bad_share=st.floats(0, 1),
    today=st.dates(date(1971, 1, 1), date(2099, 12, 31)),
)
@settings(deadline=None)
def test_so_many_records_are_bad_and_each_breaks_one_rule(
    seed: int, records: int, bad_share: float, today: date
) -> None:
    errors = [errors_of(line) for line in lines_of(seeded(records, seed=seed, bad_share=bad_share, today=today))]
    bad = [found for found in errors if found]
    assert len(errors) == records
    assert len(bad) == (max(1, round(records * bad_share)) if records and bad_share else 0)
    assert all(len(found) == 1 for found in bad)
    assert len({found[0] for found in bad}) == min(len(bad), len(ERROR_TYPES))


@given(seed=st.integers(0, 2**32), records=st.integers(1, 120), bad_share=st.floats(0, 1))
@settings(deadline=None)
def test_the_same_seed_without_errors_is_the_same_report_corrected(seed: int, records: int, bad_share: float) -> None:
    clean = lines_of(seeded(records, seed=seed))
    spoiled = lines_of(seeded(records, seed=seed, bad_share=bad_share))
    assert [bad for bad, good in zip(spoiled, clean, strict=True) if bad != good] == [
        line for line in spoiled if errors_of(line)
    ]


def test_every_error_type_appears_evenly() -> None:
    found = Counter(error for line in lines_of(seeded(400, bad_share=0.4)) for error in errors_of(line))
    assert found == dict.fromkeys(ERROR_TYPES, 20)


def test_the_same_seed_gives_the_same_bytes() -> None:
    data = seeded(200, bad_share=0.1)
    assert data == seeded(200, bad_share=0.1)
    assert data != seeded(200, bad_share=0.1, seed=2)


@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_every_address_is_of_a_reserved_domain(seed: int) -> None:
    rows = [cells_of(line) for line in lines_of(seeded(300, seed=seed, bad_share=0.3))]
    addresses = [row[0] for row in rows if row and row[0] not in ("", "-")]
    assert len(addresses) >= 200
    assert all(address.lower().endswith(DOMAINS) for address in addresses)
    assert set(DOMAINS) == {"example.com", "example.org", "example.net", "example.com.mx"}


def test_a_report_has_the_proportions_of_the_real_ones() -> None:
    rows = list(csv.DictReader(seeded(5000).decode().splitlines()))
    share = {
        "HARD": sum(row["Badmail"] == "HARD" for row in rows) / 5000,
        "SOFT": sum(row["Badmail"] == "SOFT" for row in rows) / 5000,
        "baja": sum(row["Baja"] == "SI" for row in rows) / 5000,
        "jyv": sum(row["jyv"] != "" for row in rows) / 5000,
        "opened": sum(row["Fecha open"] != "-" for row in rows) / 5000,
        "clicked": sum(row["Fecha click"] != "-" for row in rows) / 5000,
        "several IPs": sum("," in row["IPs"] for row in rows) / 5000,
    }
    about = {
        "HARD": 0.10,
        "SOFT": 0.024,
        "baja": 0.01,
        "jyv": 0.03,
        "opened": 0.21,
        "clicked": 0.027,
        "several IPs": 0.02,
    }
    assert share == pytest.approx(about, abs=0.02)
    unopened = next(row for row in rows if row["Fecha open"] == "-")
    assert list(unopened.values())[5:] == ["-", "0", "0", "-", "0", "0", "-", "-", "-", "-"]
    assert {row["jyv"] for row in rows} >= {"", "México", "Niñez"}


def test_a_report_is_sent_once_the_day_before_and_some_open_before_that() -> None:
    rows = list(csv.DictReader(seeded(2000).decode().splitlines()))
    assert len({row["Fecha envio"] for row in rows}) == 1
    sent = datetime.strptime(rows[0]["Fecha envio"], "%d/%m/%Y %H:%M")
    assert sent.date() == date(2024, 3, 14)
    opened = [datetime.strptime(row["Fecha open"], "%d/%m/%Y %H:%M") for row in rows if row["Fecha open"] != "-"]
    assert min(opened) < sent < max(opened) <= datetime(2024, 3, 15, 23, 59)


def test_people_appear_once_in_a_report_and_again_in_others() -> None:
    first, second = emails_of(seeded(300, seed=1)), emails_of(seeded(300, seed=2))
    assert len(first) == len(second) == 300
    assert len(first & second) >= 100


def test_a_large_report_finds_enough_people() -> None:
    assert len(emails_of(seeded(20_000))) == 20_000


@pytest.mark.parametrize(("records", "bad_share"), [(-1, 0.0), (1, -0.1), (1, 1.1), (1, float("nan"))])
def test_wrong_numbers_are_refused(records: int, bad_share: float) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        seeded(records, bad_share=bad_share)


# --- the demo's reports ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reports() -> dict[str, SampleReport]:
    return {report.name: report for report in demo_reports(TODAY)}


def test_the_demo_starts_with_eight_numbered_reports_and_a_sentence_each(
    reports: dict[str, SampleReport],
) -> None:
    assert list(reports) == [f"report_{number}.txt" for number in range(1, 9)]
    assert all(re.fullmatch(r"[A-ZÁÉÍÓÚ].*[a-z0-9]\.", report.story) for report in reports.values())
    assert list(reports.values()) == demo_reports(TODAY)
    assert list(reports.values()) != demo_reports(TODAY, seed=7)


def test_what_each_of_the_demos_reports_holds(reports: dict[str, SampleReport]) -> None:
    records = {}
    for name, report in reports.items():
        encoding = "cp1252" if name == "report_7.txt" else "utf-8"
        lines = lines_of(report.data, encoding)
        records[name] = (len(lines), sum(bool(errors_of(line)) for line in lines))
    assert records == {
        "report_1.txt": (260, 0),
        "report_2.txt": (240, 0),
        "report_3.txt": (300, 24),
        "report_4.txt": (180, 0),
        "report_5.txt": (240, 0),
        "report_6.txt": (0, 0),
        "report_7.txt": (220, 0),
        "report_8.txt": (400, 0),
    }
    assert {error for line in lines_of(reports["report_3.txt"].data) for error in errors_of(line)} == ERROR_TYPES


def test_the_wrong_header_has_jk_where_jyv_belongs(reports: dict[str, SampleReport]) -> None:
    header = reports["report_4.txt"].data.decode().splitlines()[0].split(",")
    assert header == ["email", "jk", *HEADER.split(",")[2:]]


def test_the_duplicate_is_the_only_pair_of_equal_contents(reports: dict[str, SampleReport]) -> None:
    digests = {name: hashlib.sha256(report.data).hexdigest() for name, report in reports.items()}
    assert digests["report_5.txt"] == digests["report_2.txt"]
    assert len(set(digests.values())) == 7


def test_the_windows_report_is_no_utf_8_and_every_line_ends_in_crlf(
    reports: dict[str, SampleReport],
) -> None:
    data = reports["report_7.txt"].data
    with pytest.raises(UnicodeDecodeError):
        data.decode("utf-8")
    assert data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r") == 221
    assert data.decode("cp1252").splitlines()[0] == HEADER.replace("Fecha envio", "Fecha envío")


def test_the_demos_reports_spread_over_two_years(reports: dict[str, SampleReport]) -> None:
    sent = {
        name: lines_of(reports[name].data)[0].split(",")[4][:10]
        for name in ("report_1.txt", "report_2.txt", "report_8.txt")
    }
    assert sent == {
        "report_1.txt": "08/02/2023",
        "report_2.txt": "29/01/2024",
        "report_8.txt": "14/03/2024",
    }


# --- the drip -------------------------------------------------------------------------------------------


def test_the_drip_numbers_on_and_corrects_report_3_once() -> None:
    drops = [drip_report(step, TODAY) for step in range(9)]
    assert [drop.name for drop in drops] == [
        "report_9.txt",
        "report_10.txt",
        "report_3.txt",
        *(f"report_{number}.txt" for number in range(11, 17)),
    ]
    assert FIRST_DRIP_NUMBER == 9
    assert len({drop.data for drop in drops}) == 9
    flawed = [sum(bool(errors_of(line)) for line in lines_of(drop.data)) for drop in drops]
    assert flawed == [0, 0, 0, 9, 0, 0, 0, 9, 0]


def test_the_correction_is_report_3_without_its_errors(reports: dict[str, SampleReport]) -> None:
    before = lines_of(reports["report_3.txt"].data)
    after = lines_of(drip_report(2, TODAY).data)
    assert len(after) == 300
    assert [old for old, new in zip(before, after, strict=True) if old != new] == [
        line for line in before if errors_of(line)
    ]


def test_the_drip_can_go_on_from_any_number() -> None:
    assert [drip_report(step, TODAY, first_number=40).name for step in range(4)] == [
        "report_40.txt",
        "report_41.txt",
        "report_3.txt",
        "report_42.txt",
    ]


def test_a_delivery_replaces_the_name_and_leaves_no_partial_file(tmp_path: Path) -> None:
    (tmp_path / "report_9.txt").write_bytes(b"antes")
    assert deliver(tmp_path, SampleReport("report_9.txt", b"datos", "")) == tmp_path / "report_9.txt"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("report_9.txt", b"datos")]


def test_a_delivery_that_fails_leaves_no_partial_file(tmp_path: Path) -> None:
    (tmp_path / "report_9.txt").mkdir()
    with pytest.raises(OSError, match=r"report_9\.txt"):
        deliver(tmp_path, SampleReport("report_9.txt", b"datos", ""))
    assert [path.name for path in tmp_path.iterdir()] == ["report_9.txt"]


def test_the_drip_delivers_in_order_until_it_is_stopped(tmp_path: Path) -> None:
    delivered: list[SampleReport] = []
    enough = threading.Event()

    def note(report: SampleReport) -> None:
        delivered.append(report)
        if len(delivered) == 4:
            enough.set()

    before = set(threading.enumerate())
    with Drip(tmp_path, 0.001, today=TODAY, on_delivery=note):
        assert enough.wait(60)
    assert set(threading.enumerate()) <= before
    assert delivered == [drip_report(step, TODAY) for step in range(len(delivered))]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        report.name: report.data for report in delivered
    }


def test_the_drip_tries_again_what_could_not_be_delivered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "entrada"
    delivered = threading.Event()
    with Drip(folder, 0.01, today=TODAY, on_delivery=lambda report: delivered.set()):
        while not caplog.records:
            assert not delivered.wait(0.01)
        folder.mkdir()
        assert delivered.wait(60)
    assert (folder / "report_9.txt").read_bytes() == drip_report(0, TODAY).data
    assert caplog.messages[0].startswith("No se pudo entregar report_9.txt; se intentará de nuevo: ")


def test_a_drip_that_never_started_can_be_stopped_and_needs_a_real_interval(tmp_path: Path) -> None:
    drip = Drip(tmp_path, 5, today=TODAY)
    drip.stop()
    drip.stop()
    with pytest.raises(ValueError, match="interval_s must be above 0, not 0"):
        Drip(tmp_path, 0, today=TODAY)
