"""What a listing means: reports and their order, standing still, owed work, runs to ask for.

The pure decisions of `domain/arrivals.py` belong here; listing a server does not.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.arrivals import (
    MAX_NAME,
    UNREMOVED,
    Known,
    Listed,
    Observation,
    RunPlan,
    is_owed,
    is_report,
    is_unremoved,
    natural_key,
    observe,
    plan_runs,
    settled,
    unsafe_names,
)
from visitas_dagster.domain.ladder import Attempt, Resultado
from visitas_dagster.domain.layout import FILE_PATTERN
from visitas_dagster.domain.states import FINISHED, Estado

NAME = "report_7.txt"
TODAY = date(2024, 3, 14)
names = st.integers(0, 30).map("report_{}.txt".format)
listings = st.lists(
    st.builds(Listed, names, st.integers(0, 3), st.integers(0, 3)), max_size=8, unique_by=lambda one: one.archivo
)


# ------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["report_7.txt", "report_0.txt", "report_007.txt", f"report_{'9' * 244}.txt"])
def test_names_of_reports(name: str) -> None:
    assert is_report(name, FILE_PATTERN)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "report_.txt",
        "report_7.TXT",
        "Report_7.txt",
        "report_7.txt.tmp",
        "report_7.txt.filepart",
        ".report_7.txt",
        "xreport_7.txt",
        "report_-7.txt",
        "report_7 .txt",
        "report_7.txt ",
        "report_7.txt\n",
        "report_7xtxt",
        "report_\u0667.txt",
        "report_\uff17.txt",
        "../report_7.txt",
        f"report_{'9' * 245}.txt",
    ],
)
def test_names_of_other_files(name: str) -> None:
    assert not is_report(name, FILE_PATTERN)


@pytest.mark.parametrize("name", ["a/b1", "..", ".", "a...1", "a\n1", "a\x001", "a\\1", "a\x7f1", "a\x1b[31m1"])
def test_no_pattern_makes_an_unsafe_name_a_report(name: str) -> None:
    assert not is_report(name, r"(?s)(.*)")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a" * 256, "tiene más de 255 caracteres"),
        ("report_1\udcff.txt", "no está en UTF-8"),
        ("report_1\x1b[2J.txt", "tiene caracteres de control"),
        ("report_1\x00.txt", "tiene caracteres de control"),
        ("report_1\x85.txt", "tiene caracteres de control"),
        ("report_1\u2028.txt", "tiene caracteres de control"),
        ("../report_1.txt", "tiene una barra, que llevaría a otra carpeta"),
        ("/report_1.txt", "tiene una barra, que llevaría a otra carpeta"),
        ("..\\report_1.txt", "tiene una barra, que llevaría a otra carpeta"),
        ("..", "no es el nombre de un archivo"),
        ("report_1...txt", "tiene tres puntos seguidos, que Dagster no admite"),
        ("report_1.txt ", "termina en un espacio, que la base de datos no distingue"),
        ("report_1.txt.parcial", "termina en .parcial, como los de trabajo"),
        ("report_1.txt.validos.arrow", "termina en .validos.arrow, como los de trabajo"),
        ("report_1.txt.errores.arrow", "termina en .errores.arrow, como los de trabajo"),
    ],
)
def test_a_name_that_is_not_taken_is_told_with_its_reason(name: str, reason: str) -> None:
    assert unsafe_names([name, "report_2.txt"], r"(?s)(.*)") == {name: reason}


def test_only_names_that_the_pattern_means_are_told() -> None:
    assert unsafe_names(["../notas", "report_1...txt"], FILE_PATTERN) == {}


@pytest.mark.parametrize(
    "name",
    [
        "-rf report_1.txt",
        "$(touch x).txt",
        "`touch x`.txt",
        "a;b&c|d.txt",
        "'\" OR 1=1 --.txt",
        "[*?]{a,b}.txt",
        "<img src=x onerror=alert(1)>.txt",
        "![x](http:x).txt",
        "a\u202etxt.exe.txt",
        "~.txt",
        ".oculto.txt",
        "%s%n{0}.txt",
        "\U0001f4e7.txt",
    ],
)
def test_odd_names_are_taken_as_they_are(name: str) -> None:
    assert is_report(name, r"(.*)\.txt")


@given(st.text(max_size=MAX_NAME + 5))
def test_what_any_pattern_lets_through_stays_in_its_folder_and_on_its_line(name: str) -> None:
    if is_report(name, r"(?s)(.*)"):
        assert len(name) <= MAX_NAME
        assert not set(name) & {"/", "\\", "\n", "\r", "\0"}
        assert name not in (".", "..")
        assert "..." not in name


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("report_9.txt", "report_10.txt"),
        ("report_0.txt", "report_1.txt"),
        ("report_007.txt", "report_7.txt"),
        ("nada", "report_0.txt"),
        ("b_1.txt", "a_2.txt"),
    ],
)
def test_the_number_inside_the_name_comes_first(first: str, second: str) -> None:
    assert sorted([second, first], key=natural_key) == [first, second]


# --------------------------------------------------------------------------------------------- standing still


def test_the_listed_time_is_naive_utc() -> None:
    assert Listed(NAME, 1, 1_700_000_000).modificado == datetime(2023, 11, 14, 22, 13, 20)


def test_a_file_that_did_not_change_keeps_since_when_it_stands_still() -> None:
    first = observe([Listed(NAME, 1, 2)], {}, 100.0)
    assert first == {NAME: Observation(Listed(NAME, 1, 2), 100.0)}
    assert observe([Listed(NAME, 1, 2)], first, 130.0) == first


@pytest.mark.parametrize("changed", [Listed(NAME, 2, 2), Listed(NAME, 1, 3), Listed(NAME, 1, 1), Listed(NAME, 0, 2)])
def test_a_file_that_changed_starts_anew(changed: Listed) -> None:
    first = observe([Listed(NAME, 1, 2)], {}, 100.0)
    assert observe([changed], first, 130.0) == {NAME: Observation(changed, 130.0)}


def test_a_file_that_went_and_came_back_starts_anew() -> None:
    first = observe([Listed(NAME, 1, 2)], {}, 100.0)
    gone = observe([], first, 110.0)
    assert gone == {}
    assert observe([Listed(NAME, 1, 2)], gone, 120.0)[NAME].since == 120.0


@given(st.lists(listings, min_size=1, max_size=6), st.integers(0, 3))
def test_settled_is_what_every_look_within_the_wait_saw_alike(looks: list[list[Listed]], wait: int) -> None:
    """One look a second; a file is settled once it stood in the last `wait` + 1 looks with one size and time."""
    observed: dict[str, Observation] = {}
    for now, listing in enumerate(looks):
        observed = observe(listing, observed, float(now))
    last = len(looks) - 1
    window = [set(listing) for listing in looks[max(0, last - wait) :]]
    expected = set.intersection(*window) if last >= wait else set()
    assert set(settled(observed, wait, float(last))) == expected


@given(listings)
def test_settled_files_come_in_the_order_of_their_delivery(listing: list[Listed]) -> None:
    found = settled(observe(listing, {}, 0.0), 0, 0.0)
    assert sorted(found, key=lambda one: one.archivo) == sorted(listing, key=lambda one: one.archivo)
    keys = [(one.mtime, int(one.archivo[7:-4])) for one in found]
    assert keys == sorted(keys)


def test_a_wait_that_is_not_over_by_a_moment_is_not_over() -> None:
    observed = observe([Listed(NAME, 1, 2)], {}, 100.0)
    assert settled(observed, 30, 129.999) == []
    assert settled(observed, 30, 130.0) == [Listed(NAME, 1, 2)]


# ------------------------------------------------------------------------------------------------- owed work


def known(estado: Estado, *, aviso: str | None = None, size: int | None = 1, mtime: int | None = 2) -> Known:
    modified = None if mtime is None else datetime.fromtimestamp(mtime, UTC).replace(tzinfo=None)
    return Known(1, NAME, size, modified, estado, None, aviso)


def failed(*days: date) -> list[Attempt]:
    """Attempts that failed on these days, as something passing."""
    return [Attempt(day, Resultado.FALLO_PASAJERO) for day in days]


def test_a_name_that_was_never_seen_is_owed() -> None:
    assert is_owed(Listed(NAME, 1, 2), None, [], TODAY)


@pytest.mark.parametrize(
    ("estado", "owed"),
    [
        (Estado.EN_PROCESO, True),
        (Estado.COMPLETADO, True),
        (Estado.COMPLETADO_CON_ERRORES, True),
        (Estado.DUPLICADO, True),
        (Estado.FALLO_LAYOUT, True),
        (Estado.FALLO_SISTEMA, False),
    ],
)
def test_a_known_delivery_is_owed_by_its_state(estado: Estado, owed: bool) -> None:
    # It failed today: what fails by the system waits for tomorrow, the rest does not ask.
    assert is_owed(Listed(NAME, 1, 2), known(estado), failed(TODAY, TODAY), TODAY) is owed


@pytest.mark.parametrize(
    ("days", "owed"), [([3], True), ([3, 3], True), ([3, 2], True), ([3, 2, 1], False), ([0], False), ([1, 0], False)]
)
def test_a_system_failure_is_owed_what_the_ladder_says(days: list[int], owed: bool) -> None:
    attempts = failed(*(TODAY - timedelta(days=ago) for ago in days))
    assert is_owed(Listed(NAME, 1, 2), known(Estado.FALLO_SISTEMA), attempts, TODAY) is owed


@pytest.mark.parametrize("estado", sorted(FINISHED))
def test_a_finished_file_that_could_not_be_removed_waits_for_a_person(estado: Estado) -> None:
    assert not is_owed(Listed(NAME, 1, 2), known(estado, aviso=f"{UNREMOVED}: no hay permiso"), [], TODAY)
    assert is_owed(Listed(NAME, 1, 2), known(estado, aviso="mismo contenido que report_1.txt"), [], TODAY)


@given(st.sampled_from(Estado), st.sampled_from([None, f"{UNREMOVED}: x"]))
def test_another_delivery_is_always_owed(estado: Estado, aviso: str | None) -> None:
    for listed in (Listed(NAME, 9, 2), Listed(NAME, 1, 9)):
        assert is_owed(listed, known(estado, aviso=aviso), failed(TODAY), TODAY)
    assert is_owed(Listed(NAME, 1, 2), known(estado, aviso=aviso, size=None, mtime=None), failed(TODAY), TODAY)


def test_a_delivery_is_told_by_size_and_time() -> None:
    row = known(Estado.COMPLETADO)
    assert row.is_delivery(Listed(NAME, 1, 2))
    assert not row.is_delivery(Listed(NAME, 2, 2))
    assert not row.is_delivery(Listed(NAME, 1, 3))


@pytest.mark.parametrize(
    ("aviso", "expected"), [(None, False), ("", False), (f"{UNREMOVED}: x", True), (f"x {UNREMOVED}", False)]
)
def test_the_message_of_an_unremoved_file(aviso: str | None, expected: bool) -> None:
    assert is_unremoved(aviso) is expected


# ------------------------------------------------------------------------------------------------------- runs


def test_nothing_wanted_is_no_run() -> None:
    assert plan_runs([], ["a", "b"], 50) == []


def test_few_files_get_a_run_each_and_many_share() -> None:
    keys = [str(number) for number in range(6)]
    assert [plan.archivos for plan in plan_runs(keys[:5], keys, 50)] == [(key,) for key in keys[:5]]
    assert plan_runs(keys, keys, 50) == [RunPlan("0", "5", tuple(keys))]
    assert [plan.archivos for plan in plan_runs(keys, keys, 4)] == [tuple(keys[:4]), tuple(keys[4:])]


@given(st.integers(1, 40), st.data(), st.integers(1, 7), st.integers(0, 6))
def test_runs_cover_what_is_wanted_once_and_nothing_else(
    count: int, data: st.DataObject, per_run: int, few: int
) -> None:
    keys = [f"report_{number}.txt" for number in range(count)]
    wanted = data.draw(st.permutations(keys).flatmap(lambda mixed: st.integers(0, count).map(lambda n: mixed[:n])))
    plans = plan_runs(wanted, keys, per_run, few)
    covered = [key for plan in plans for key in between(keys, plan)]
    assert covered == sorted(wanted, key=keys.index)
    assert all(list(plan.archivos) == between(keys, plan) for plan in plans)
    size = 1 if len(wanted) <= few else per_run
    assert all(len(plan.archivos) <= size for plan in plans)
    # No two neighbours could have been one.
    for left, right in pairwise(plans):
        adjacent = keys.index(right.start) == keys.index(left.end) + 1
        assert not adjacent or len(left.archivos) == size


def between(keys: Sequence[str], plan: RunPlan) -> list[str]:
    """The partitions that Dagster reads out of a range's two ends."""
    return list(keys[keys.index(plan.start) : keys.index(plan.end) + 1])


def test_the_wait_is_measured_by_our_clock_only() -> None:
    future = int((datetime(2024, 3, 14, tzinfo=UTC) + timedelta(days=9000)).timestamp())
    observed = observe([Listed(NAME, 1, future)], {}, 0.0)
    assert settled(observed, 30, 30.0) == [Listed(NAME, 1, future)]
