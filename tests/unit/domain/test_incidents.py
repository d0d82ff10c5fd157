"""Incidents: what opens, goes on and recovers, which message is due, and what it says; over any sequence of looks.

Decisions and texts belong here; looking and sending are tested with real servers.
"""

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.domain.arrivals import Known, Listed
from visitas_dagster.domain.incidents import (
    DAEMON_SILENCE,
    DIGEST_EVERY,
    MAX_TEXT,
    NAMES,
    PART_SILENCE,
    FailedFile,
    Incident,
    Phase,
    RejectingFile,
    Sign,
    Subject,
    Tipo,
    close_sign,
    close_subject,
    compose,
    daemon_sign,
    delay_sign,
    due,
    judge,
    layout_sign,
    rate_sign,
    system_sign,
    waiting_sign,
    waits,
)
from visitas_dagster.domain.states import Estado

ZONE = ZoneInfo("America/Mexico_City")
NOW = datetime(2024, 3, 14, 18)
HOUR = timedelta(hours=1)

SUBJECTS = [Subject(Tipo.DEMORA), Subject(Tipo.ESPERA), Subject(Tipo.CIERRE, "2024-03-14")]

# What one look sees of each subject: trouble, none, or nothing at all.
LOOKS = st.lists(
    st.fixed_dictionaries({}, optional={subject: st.sampled_from([True, False]) for subject in SUBJECTS}), max_size=30
)


def incident(subject: Subject = SUBJECTS[0], **changes: object) -> Incident:
    values: dict[str, object] = {"abierto": NOW, "visto": NOW, "veces": 1, "desde": NOW, "ultimo": NOW, "mensaje": "x"}
    return Incident(1, subject, **{**values, **changes})  # type: ignore[arg-type]  # fields by name


class Told:
    """Incidents in memory, moved by looks as the table is, with every message that was sent."""

    def __init__(self) -> None:
        """Nothing is open."""
        self.open: dict[Subject, Incident] = {}
        self.sent: list[tuple[Subject, Phase]] = []

    def look(self, seen: dict[Subject, bool], now: datetime) -> None:
        """Apply a look, and send what is due."""
        signs = {subject: Sign("x", now, now) if bad else None for subject, bad in seen.items()}
        moves = judge(signs, self.open.values())
        for subject in moves.opens:
            self.sent.append((subject, Phase.ALERT))
            self.open[subject] = incident(subject, avisado=now, contado=now, ultimo=now)
        for known, sign in moves.goes_on:
            self.open[known.subject] = incident(
                known.subject, avisado=known.avisado, contado=known.contado, ultimo=sign.newest
            )
        for known in moves.recovers:
            del self.open[known.subject]
            self.sent.append((known.subject, Phase.RECOVERY))


# ------------------------------------------------------------------------------------------------------ decisions


@given(LOOKS)
def test_alerts_and_recoveries_alternate_and_begin_with_an_alert(looks: list[dict[Subject, bool]]) -> None:
    told = Told()
    for number, seen in enumerate(looks):
        told.look(seen, NOW + number * HOUR)
    for subject in SUBJECTS:
        phases = [phase for about, phase in told.sent if about == subject]
        assert phases == ([Phase.ALERT, Phase.RECOVERY] * len(phases))[: len(phases)]


@given(LOOKS)
def test_there_are_as_many_alerts_as_times_that_trouble_began(looks: list[dict[Subject, bool]]) -> None:
    told = Told()
    for number, seen in enumerate(looks):
        told.look(seen, NOW + number * HOUR)
    for subject in SUBJECTS:
        judged = [False, *(seen[subject] for seen in looks if subject in seen)]
        began = sum(now and not before for before, now in pairwise(judged))
        ended = sum(before and not now for before, now in pairwise(judged))
        count = Counter(phase for about, phase in told.sent if about == subject)
        assert (count[Phase.ALERT], count[Phase.RECOVERY]) == (began, ended)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=100))
def test_news_of_an_incident_comes_once_a_day_at_the_most_and_only_of_growth(steps: list[tuple[int, bool]]) -> None:
    now, known = NOW, incident()
    told: list[datetime] = []
    for hours, grows in steps:
        now += hours * HOUR
        known = incident(avisado=known.avisado, contado=known.contado, ultimo=now if grows else known.ultimo)
        phase = due(known, now)
        assert phase in (None, Phase.ALERT if known.avisado is None else Phase.GOES_ON)
        if phase is not None:
            assert phase is Phase.ALERT or known.contado is None or known.ultimo > known.contado
            told.append(now)
            known = incident(avisado=now, contado=known.ultimo, ultimo=known.ultimo)
    assert all(later - earlier >= DIGEST_EVERY for earlier, later in pairwise(told))


def test_an_end_is_told_after_its_beginning_and_once() -> None:
    over = incident(cerrado=NOW)
    assert due(over, NOW) is Phase.ALERT
    assert due(incident(cerrado=NOW, avisado=NOW, contado=NOW), NOW) is Phase.RECOVERY
    assert due(incident(cerrado=NOW, avisado=NOW, contado=NOW, cierre_avisado=NOW), NOW + 99 * HOUR) is None


# ---------------------------------------------------------------------------------------------------------- signs


@given(st.none() | st.integers(0, 200), st.floats(0, 150))
def test_a_delay_is_one_that_is_longer_than_allowed(age: int | None, hours: float) -> None:
    arrived = None if age is None else NOW - age * HOUR
    sign = delay_sign(arrived, NOW, hours, ZONE)
    assert (sign is not None) == (age is not None and hours > 0 and timedelta(hours=age) > timedelta(hours=hours))


@given(st.dictionaries(st.sampled_from([f"report_{n}.txt" for n in range(20)]), st.integers(0, 10)), st.floats(0, 10))
def test_files_that_wait_are_counted_and_the_first_is_named(ages: dict[str, int], hours: float) -> None:
    sign = waiting_sign({name: NOW - age * HOUR for name, age in ages.items()}, NOW, hours, ZONE)
    late = {name: age for name, age in ages.items() if hours and timedelta(hours=age) > timedelta(hours=hours)}
    if not late:
        assert sign is None
        return
    assert sign is not None
    assert (sign.count, sign.since) == (len(late), NOW - max(late.values()) * HOUR)
    first = min(name for name, age in late.items() if age == max(late.values()))
    assert f"visitas explain {first}" in sign.text


def test_what_waits_for_the_ladder_is_left_out_and_what_was_finished_waits_anew() -> None:
    listing = [Listed(f"report_{n}.txt", 1, 0) for n in range(1, 6)]
    seen = {listed.archivo: NOW - 9 * HOUR for listed in listing}

    def known(name: str, estado: Estado, size: int = 1, fin: datetime | None = NOW - HOUR) -> Known:
        return Known(1, name, size, Listed(name, 1, 0).modificado, estado, fin, None)

    entries = [
        known("report_1.txt", Estado.FALLO_SISTEMA),
        known("report_2.txt", Estado.FALLO_SISTEMA, size=2),
        known("report_3.txt", Estado.COMPLETADO),
        known("report_4.txt", Estado.EN_PROCESO, fin=None),
    ]
    assert waits(listing, seen, {entry.archivo: entry for entry in entries}) == {
        "report_2.txt": NOW - 9 * HOUR,
        "report_3.txt": NOW - HOUR,
        "report_4.txt": NOW - 9 * HOUR,
        "report_5.txt": NOW - 9 * HOUR,
    }


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=8), st.floats(0, 1))
def test_files_that_reject_more_than_allowed_are_the_incident(counts: list[tuple[int, int]], limit: float) -> None:
    files = [RejectingFile(f"r{n}", NOW, bad + good, bad) for n, (bad, good) in enumerate(counts)]
    above = [file for file in files if file.invalid / file.total > limit]
    sign = rate_sign(files, limit)
    assert (sign.count if sign else 0) == len(above)


def test_a_file_without_records_rejects_nothing() -> None:
    assert rate_sign([RejectingFile("r", NOW, 0, 0)], 0) is None


PARTS = {"SENSOR": NOW, "SCHEDULER": NOW}


@pytest.mark.parametrize(
    ("beats", "told"),
    [
        (PARTS, None),
        (dict.fromkeys(PARTS, NOW - DAEMON_SILENCE), None),
        ({"SENSOR": NOW - HOUR, "SCHEDULER": NOW - DAEMON_SILENCE - timedelta(seconds=1)}, "se detuvo"),
        ({"SENSOR": NOW - PART_SILENCE, "SCHEDULER": NOW}, None),
        ({"SENSOR": NOW - HOUR, "SCHEDULER": NOW}, "no avanza desde 2024-03-14 11:00: SENSOR."),
        ({}, "no ha dado nunca"),
    ],
)
def test_the_daemon_lives_while_any_part_of_it_does_and_none_hangs(
    beats: dict[str, datetime], told: str | None
) -> None:
    sign = daemon_sign(beats, NOW, ZONE)
    assert (sign is None) == (told is None)
    assert sign is None or str(told) in sign.text.partition("\n")[0]


@pytest.mark.parametrize("judge_files", [layout_sign, system_sign])
def test_failed_files_are_counted_over_the_whole_incident(judge_files: object) -> None:
    assert callable(judge_files)
    files = [FailedFile(f"report_{n}.txt", NOW + n * HOUR, "motivo") for n in range(3)]
    assert judge_files([], 0, 0) is None
    sign = judge_files(files, 3, 8)
    assert (sign.count, sign.since, sign.newest) == (8, NOW, NOW + 2 * HOUR)
    assert "3 archivos" in sign.text
    assert judge_files(files[:1], 1, 1).text.startswith("1 archivo ")


# ------------------------------------------------------------------------------------------------------- messages


NAMES_OF_ANY_KIND = st.text(min_size=1, max_size=40)


@given(NAMES_OF_ANY_KIND, st.text(max_size=300), st.sampled_from(list(Phase)))
def test_no_name_and_no_reason_breaks_a_message(name: str, reason: str, phase: Phase) -> None:
    sign = layout_sign([FailedFile(name, NOW, " ".join(reason.split()))], 1, 1)
    assert sign is not None
    message = compose(phase, incident(Subject(Tipo.FALLO_LAYOUT), mensaje=sign.text, cerrado=NOW), ZONE, "máquina")
    assert message.subject.isprintable()
    assert len(message.subject) <= 200
    assert len(message.text) <= MAX_TEXT
    assert message.text.endswith("máquina")


def test_a_name_that_a_shell_would_read_as_more_is_quoted() -> None:
    sign = layout_sign([FailedFile("report_1.txt; rm -rf $HOME", NOW, "m")], 1, 1)
    assert sign is not None
    assert "visitas explain 'report_1.txt; rm -rf $HOME'" in sign.text


def test_addresses_are_masked_in_subject_and_text() -> None:
    day = NOW.date()
    known = incident(close_subject(day), mensaje=close_sign(day, "lo dice ana@correo.example", NOW).text)
    message = compose(Phase.ALERT, known, ZONE, "m")
    assert "ana@" not in message.subject + message.text
    assert "xxx@xxxxxx.xxxxxxx" in message.subject


@given(st.integers(1, 2000))
def test_few_names_are_shown_and_the_rest_is_counted(total: int) -> None:
    files = [FailedFile(f"report_{n}.txt", NOW, "m") for n in range(min(total, NAMES + 1))]
    sign = layout_sign(files, total, total)
    assert sign is not None
    line = sign.text.splitlines()[1]
    assert line.count("report_") == min(total, NAMES)
    assert line.endswith(f" y {total - NAMES} más") == (total > NAMES)


@pytest.mark.parametrize("tipo", list(Tipo))
def test_every_kind_has_its_recovery(tipo: Tipo) -> None:
    known = incident(Subject(tipo), veces=7, cerrado=NOW + HOUR)
    message = compose(Phase.RECOVERY, known, ZONE, "m")
    assert message.subject.startswith(f"[visitas] RECUPERADO {tipo}: ")
    assert "Duró de 2024-03-14 12:00 a 2024-03-14 13:00." in message.text
