"""Invented visit reports for the demo, in the shape of the real ones and the same for the same seed.

Making reports and delivering them into a folder belongs here; reading, judging and loading them does not.
"""

import logging
import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

log = logging.getLogger(__name__)

HEADER: Final = (
    "email,jyv,Badmail,Baja,Fecha envio,Fecha open,Opens,Opens virales,Fecha click,Clicks,Clicks virales,"
    "Links,IPs,Navegadores,Plataformas"
)
"""The header of contract §1, as the campaign tool writes it."""

DOMAINS: Final = ("example.com", "example.org", "example.net", "example.com.mx")
"""The reserved domains of every invented address: no mail can reach anybody."""

DEMO_SEED: Final = 2013

(
    _EMAIL,
    _JYV,
    _BADMAIL,
    _BAJA,
    _ENVIO,
    _OPEN,
    _OPENS,
    _OPENS_VIRALES,
    _CLICK,
    _CLICKS,
    _CLICKS_VIRALES,
    _LINKS,
    _IPS,
    _NAVEGADORES,
    _PLATAFORMAS,
) = range(15)

# Small enough for the demo's reports to meet the same people again and again.
_MIN_POPULATION = 600

_GIVEN = (
    *("alejandra", "alfonso", "andres", "beatriz", "carlos", "carmen", "daniel", "diana", "eduardo", "elena"),
    *("fernando", "gabriela", "hector", "ines", "jose", "juana", "laura", "luis", "maria", "miguel"),
    *("monica", "nicolas", "oscar", "patricia", "ramon", "rosa", "sergio", "teresa", "veronica", "ximena"),
)
_SURNAME = (
    *("aguilar", "castillo", "chavez", "cruz", "diaz", "dominguez", "flores", "garcia", "gomez", "guzman"),
    *("hernandez", "jimenez", "lopez", "martinez", "mendoza", "mora", "munoz", "ortiz", "perez", "ramirez"),
    *("reyes", "rivera", "rodriguez", "romero", "ruiz", "salazar", "sanchez", "torres", "vargas", "vazquez"),
)
_SEGMENTS = ("México", "Jóvenes", "Niñez", "Promoción otoño", "Campaña única", "Atención")
_BROWSERS = (
    *(("Chrome Generic", "Win7"), ("Chrome Generic", "WinXP"), ("IE 9.0", "Win7"), ("IE 8.0", "WinXP")),
    *(("IE 10.0", "Win8"), ("Android Browser 4.0", "Android"), ("Mobile Safari 5.1", "iOS")),
    *(("Safari Generic", "MacOSX"), ("Firefox 3.6", "Win7"), ("Nokia", "unknown")),
)
# Address blocks reserved for documentation: nobody's.
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")

Row = list[str]


@dataclass(frozen=True)
class SampleReport:
    """A report ready to deliver.

    Attributes:
        name: file name, ``report_<n>.txt``.
        data: its bytes.
        story: one Spanish sentence: what the visitor of the demo should see happen to it.
    """

    name: str
    data: bytes
    story: str


def sample_report(
    rng: random.Random, records: int, *, bad_share: float = 0.0, header: str = HEADER, today: date
) -> bytes:
    """Invent one report: UTF-8, LF, `records` lines under `header` (written as given, it moves no column).

    The campaign was sent the day before `today` and nothing in it is later than the end of `today`. A share
    `bad_share` (0 to 1; at least one record when above 0) breaks exactly one rule of contract §1 each, every
    ``tipo_error`` in turn. The good records are drawn first: the same seed with ``bad_share=0`` is the same
    report without its errors.

    Raises:
        ValueError: a negative `records`, or a `bad_share` outside 0 to 1.
    """
    if records < 0:
        raise ValueError(f"records must be 0 or more, not {records}")
    if not 0 <= bad_share <= 1:
        raise ValueError(f"bad_share must be between 0 and 1, not {bad_share}")
    rows = _good_rows(rng, records, today)
    lines = [_join(row) for row in rows]
    for turn, position in enumerate(_bad_positions(rng, records, bad_share)):
        spoil = _SPOILERS[turn % len(_SPOILERS)]
        lines[position] = spoil(rng, rows[position])
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def demo_reports(today: date, *, seed: int = DEMO_SEED) -> list[SampleReport]:
    """Return the eight reports the demo starts with, ``report_1.txt`` to ``report_8.txt``."""
    before = _report(seed, 2, 240, today - timedelta(days=45))
    wrong_header = HEADER.replace("jyv", "jk")
    accented_header = HEADER.replace("Fecha envio", "Fecha envío")
    contents = (
        (
            _report(seed, 1, 260, today - timedelta(days=400)),
            "Campaña de hace más de un año, sin errores: casi todos sus visitantes vuelven en otros.",
        ),
        (before, "Campaña de hace mes y medio, sin errores: cuenta en el total, no en el mes."),
        (
            _flawed_report(seed, today),
            "Trae registros con toda clase de errores: los válidos se cargan y los otros van a errores.",
        ),
        (
            _report(seed, 4, 180, today, header=wrong_header),
            "El encabezado dice jk donde va jyv: falla el layout y el archivo queda en cuarentena.",
        ),
        (before, "Es, byte por byte, el contenido de report_2.txt con otro nombre: se carga una sola vez."),
        (f"{HEADER}\n".encode(), "Solo trae el encabezado: se completa con cero registros."),
        (
            _as_windows(_report(seed, 7, 220, today, header=accented_header)),
            "Viene en Windows-1252 y con fin de línea CRLF, como lo guarda Excel: se lee igual.",
        ),
        (_report(seed, 8, 400, today), "La campaña de ayer, sin errores: es la más grande."),
    )
    return [SampleReport(_name(number), data, story) for number, (data, story) in enumerate(contents, start=1)]


FIRST_DRIP_NUMBER: Final = 9
"""The number after those of `demo_reports`."""

_CORRECTION_STEP = 2


def drip_report(
    step: int, today: date, *, first_number: int = FIRST_DRIP_NUMBER, seed: int = DEMO_SEED
) -> SampleReport:
    """Return what the drip delivers at its `step`, counted from 0.

    Step 2 is a correction: ``report_3.txt`` of `demo_reports` for the same `today` and `seed`, without its
    errors. All the others are new reports, numbered on from `first_number` without gaps.
    """
    if step == _CORRECTION_STEP:
        return SampleReport(
            _name(3),
            _flawed_report(seed, today, bad_share=0.0),
            "Corrige report_3.txt: mismo nombre, sin errores; sus filas reemplazan a las anteriores.",
        )
    number = first_number + step - (step > _CORRECTION_STEP)
    if step % 4 == 3:
        return SampleReport(
            _name(number),
            _report(seed, number, 150, today, bad_share=0.06),
            "Reporte nuevo con algunos errores: los demás registros se cargan.",
        )
    return SampleReport(
        _name(number), _report(seed, number, 150, today), "Reporte nuevo, sin errores: se carga completo."
    )


def deliver(folder: Path, report: SampleReport) -> Path:
    """Write `report` into `folder` as the campaign tool does: under ``<name>.filepart``, then renamed.

    Returns the final path; raises `OSError` and leaves no partial file when the folder cannot be written.
    """
    target = folder / report.name
    partial = folder / f"{report.name}.filepart"
    try:
        partial.write_bytes(report.data)
        os.replace(partial, target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return target


class Drip:
    """Delivers a new report every `interval_s` seconds into a folder, in a thread of its own.

    Use as a context manager, or with `start` and `stop`. `on_delivery` is called in that thread after each
    delivery. What cannot be written is tried again at the next turn.
    """

    def __init__(
        self,
        folder: Path,
        interval_s: float,
        *,
        today: date,
        first_number: int = FIRST_DRIP_NUMBER,
        seed: int = DEMO_SEED,
        on_delivery: Callable[[SampleReport], None] | None = None,
    ) -> None:
        """Raise `ValueError` for an interval that is not above 0; nothing starts yet."""
        if not interval_s > 0:
            raise ValueError(f"interval_s must be above 0, not {interval_s}")
        self._folder = folder
        self._interval_s = interval_s
        self._today = today
        self._first_number = first_number
        self._seed = seed
        self._on_delivery = on_delivery
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitas-demo-goteo", daemon=True)

    def start(self) -> None:
        """Start the thread; the first delivery comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; a delivery under way is finished. May be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        """Start the drip."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the drip."""
        self.stop()

    def _run(self) -> None:
        step = 0
        while not self._stopping.wait(self._interval_s):
            report = drip_report(step, self._today, first_number=self._first_number, seed=self._seed)
            try:
                deliver(self._folder, report)
            except OSError as error:
                log.warning("No se pudo entregar %s; se intentará de nuevo: %s", report.name, error)
                continue
            step += 1
            if self._on_delivery is not None:
                self._on_delivery(report)


def _name(number: int) -> str:
    return f"report_{number}.txt"


def _report(
    seed: int, number: int, records: int, today: date, *, bad_share: float = 0.0, header: str = HEADER
) -> bytes:
    rng = random.Random(f"{seed}/{number}")
    return sample_report(rng, records, bad_share=bad_share, header=header, today=today)


def _flawed_report(seed: int, today: date, *, bad_share: float = 0.08) -> bytes:
    """Report 3 of the demo; with ``bad_share=0``, its correction."""
    return _report(seed, 3, 300, today - timedelta(days=2), bad_share=bad_share)


def _as_windows(data: bytes) -> bytes:
    return data.decode().replace("\n", "\r\n").encode("cp1252")


# --- good records ---------------------------------------------------------------------------------------


def _good_rows(rng: random.Random, records: int, today: date) -> list[Row]:
    sent = datetime.combine(today - timedelta(days=1), time(rng.randint(8, 19), rng.randrange(0, 60, 5)))
    midnight = datetime.combine(today, time(23, 59))
    people = rng.sample(range(max(_MIN_POPULATION, 2 * records)), records)
    return [_good_row(rng, _address(person), sent, midnight) for person in people]


def _address(person: int) -> str:
    """The address of one person of the invented population: another number, another address."""
    rest, given = divmod(person, len(_GIVEN))
    again, surname = divmod(rest, len(_SURNAME))
    suffix = str(again + 1) if again else ""
    return f"{_GIVEN[given]}.{_SURNAME[surname]}{suffix}@{DOMAINS[person // 7 % len(DOMAINS)]}"


def _good_row(rng: random.Random, email: str, sent: datetime, latest: datetime) -> Row:
    """One record, in the proportions of the real reports: about one in five opened, one in forty clicked."""
    row = [email, "", "", "", _moment(sent), "-", "0", "0", "-", "0", "0", "-", "-", "-", "-"]
    if rng.random() < 0.02:
        row[_EMAIL] = email.title()
    if rng.random() < 0.03:
        row[_JYV] = rng.choice(_SEGMENTS)
    if rng.random() < 0.01:
        row[_BAJA] = "SI"
    fate = rng.random()
    if fate < 0.12:
        row[_BADMAIL] = rng.choices(("HARD", "SOFT"), (4, 1))[0]
    elif fate < 0.33:
        _open(rng, row, sent, latest)
    return row


def _open(rng: random.Random, row: Row, sent: datetime, latest: datetime) -> None:
    # The tool's two clocks differ by hours: real reports date opens before the sending.
    span = (latest - sent) / timedelta(minutes=1)
    opened = sent + timedelta(minutes=round(rng.triangular(-420, span, 30)))
    opens = rng.choices((1, 2, 3, 4), (80, 12, 6, 2))[0]
    viral = rng.randint(0, opens - 1)
    browsers = rng.choices(_BROWSERS, k=viral + 1)
    row[_OPEN] = _moment(opened)
    row[_OPENS] = str(opens)
    row[_OPENS_VIRALES] = str(viral)
    row[_IPS] = ",".join(f"{rng.choice(_NETWORKS)}.{rng.randint(1, 254)}" for _ in browsers)
    if rng.random() < 0.4:
        row[_NAVEGADORES], row[_PLATAFORMAS] = "", "unknown"
    else:
        row[_NAVEGADORES] = ",".join(browser for browser, _ in browsers)
        row[_PLATAFORMAS] = ",".join(platform for _, platform in browsers)
    if rng.random() < 0.13:
        clicks = rng.choices((1, 2, 3), (70, 25, 5))[0]
        row[_CLICK] = _moment(min(opened + timedelta(minutes=rng.randint(0, 20)), latest))
        row[_CLICKS] = str(clicks)
        row[_LINKS] = ",".join(str(rng.choice((0, 3, 6))) for _ in range(clicks))


def _moment(moment: datetime) -> str:
    return moment.strftime("%d/%m/%Y %H:%M")


def _quoted(value: str) -> str:
    return f'"{value}"' if "," in value else value


def _join(row: Sequence[str]) -> str:
    return ",".join(_quoted(value) for value in row)


# --- bad records: one broken rule each (contract §1, table "Fields") ------------------------------------


def _bad_positions(rng: random.Random, records: int, bad_share: float) -> list[int]:
    if not bad_share or not records:
        return []
    return rng.sample(range(records), max(1, round(records * bad_share)))


def _with(row: Row, column: int, value: str) -> str:
    return _join([*row[:column], value, *row[column + 1 :]])


def _bad_quotes(rng: random.Random, row: Row) -> str:
    cells = [_quoted(value) for value in row]
    cells[_NAVEGADORES] = rng.choice(('"IE 9.0', '"IE 9.0" y otros', 'IE "9.0"'))
    return ",".join(cells)


def _bad_count(rng: random.Random, row: Row) -> str:
    return _join(rng.choice((row[:-1], row[:_CLICK], [*row, "sobra"], [*row, "", ""])))


def _null_email(rng: random.Random, row: Row) -> str:
    return _with(row, _EMAIL, rng.choice(("", "-")))


def _bad_email(rng: random.Random, row: Row) -> str:
    local, domain = row[_EMAIL].split("@")
    wrong = (
        f"{local}.{domain}",
        f"{local}@@{domain}",
        f"josé.{local}@{domain}",
        f"{local} {local}@{domain}",
        f"{local * 40}@{domain}",
    )
    return _with(row, _EMAIL, rng.choice(wrong))


def _null_date(rng: random.Random, row: Row) -> str:
    return _with(row, _ENVIO, rng.choice(("", "-")))


def _bad_date(rng: random.Random, row: Row) -> str:
    sent = row[_ENVIO]
    day, hour = sent.split(" ")
    iso = "-".join(reversed(day.split("/")))
    wrong = (f"31/02{sent[5:]}", f"{iso} {hour}", f"{day} 24:05", day, f"{sent}:00", f"{day[:6]}1969 {hour}")
    return _with(row, rng.choice((_ENVIO, _OPEN, _CLICK)), rng.choice(wrong))


def _bad_integer(rng: random.Random, row: Row) -> str:
    column = rng.choice((_OPENS, _OPENS_VIRALES, _CLICKS, _CLICKS_VIRALES))
    return _with(row, column, rng.choice(("-1", "1.0", "dos", "2147483648", "1 000", "0x1")))


def _too_long(rng: random.Random, row: Row) -> str:
    column, limit = rng.choice(((_JYV, 64), (_BADMAIL, 64), (_BAJA, 64), (_LINKS, 1024), (_IPS, 1024)))
    return _with(row, column, "ñandú " * (limit // 6 + 1) + "s")


_SPOILERS: Final = (
    *(_bad_quotes, _bad_count, _null_email, _bad_email),
    *(_null_date, _bad_date, _bad_integer, _too_long),
)
