"""The ladder of retries: where a file stands on it, told from its attempts.

Rules of contract §2 and §5 about retries are tested here; that runs follow them is tested against real servers.
"""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.ladder import FURTHER_DAYS, Attempt, Resultado, failed_days, is_due, runs_again

DAY = date(2026, 12, 31)
PASSING, LASTING = Resultado.FALLO_PASAJERO, Resultado.FALLO_DURADERO


def attempts(*results: tuple[int, Resultado | None]) -> list[Attempt]:
    return [Attempt(DAY + timedelta(days=offset), result) for offset, result in results]


def test_a_passing_failure_is_run_again_once_a_day() -> None:
    assert runs_again(attempts((0, PASSING)), DAY)
    assert not runs_again(attempts((0, PASSING), (0, PASSING)), DAY)
    assert runs_again(attempts((0, PASSING), (0, PASSING), (1, PASSING)), DAY + timedelta(days=1))


def test_a_lasting_failure_is_not_run_again() -> None:
    assert not runs_again(attempts((0, LASTING)), DAY)


def test_two_further_days_then_only_by_hand() -> None:
    story = attempts((0, PASSING), (0, PASSING))
    assert not is_due(story, DAY)
    assert is_due(story, DAY + timedelta(days=1))
    story += attempts((1, PASSING), (1, PASSING))
    assert is_due(story, DAY + timedelta(days=2))
    story += attempts((2, LASTING))
    assert [is_due(story, DAY + timedelta(days=days)) for days in (2, 3, 4, 365)] == [False] * 4


def test_a_release_begins_anew() -> None:
    story = attempts((0, PASSING), (1, PASSING), (2, PASSING), (3, Resultado.LIBERADO))
    assert failed_days(story) == []
    assert is_due(story, DAY + timedelta(days=3))


def test_a_run_that_died_is_no_failure_of_the_file() -> None:
    story = attempts((0, Resultado.INTERRUMPIDO), (0, None), (0, PASSING))
    assert failed_days(story) == [DAY]
    assert runs_again(story, DAY)


@given(st.lists(st.sampled_from([PASSING, LASTING, Resultado.INTERRUMPIDO, None]), min_size=1, max_size=4))
def test_no_file_is_tried_by_itself_on_more_than_the_further_days(kinds: list[Resultado | None]) -> None:
    story: list[Attempt] = attempts((0, PASSING))
    tried = 0
    for offset in range(1, 30):
        today = DAY + timedelta(days=offset)
        if is_due(story, today):
            tried += 1
            story += [Attempt(today, kind) for kind in kinds] + [Attempt(today, PASSING)]
    assert tried == FURTHER_DAYS
