"""Reports of any size, made fast: like the samples in their shape, with a share of broken records on demand.

Making the bytes belongs here; delivering and measuring them does not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

HEADER: Final = (
    "email,jyv,Badmail,Baja,Fecha envio,Fecha open,Opens,Opens virales,Fecha click,Clicks,Clicks virales,"
    "Links,IPs,Navegadores,Plataformas"
)

PEOPLE: Final = 10_000_000
"""Addresses to draw from at each of the domains: as in the samples, few come twice in a file."""

OPENED: Final = 0.1
"""Share of the records whose message was opened; the rest are as short as a record gets (74 bytes in all)."""

_ROWS = 100_000
_TAILS = 5_000
_DOMAINS = ("example.com", "example.org", "example.net", "correo.example", "example.com.mx")
_SENT = "08/02/2013 18:30"
_CORRECTED = "09/02/2013 18:30"
_BROWSERS = ("Firefox 3.6", "Chrome Generic", "IE 8.0", "IE 9.0", "Mobile Safari 5.1", "Android Browser 4.0", "")
_SYSTEMS = ("Win7", "WinXP", "iOS", "Android", "unknown")

_BAD_TAILS = (
    f",,,,{_SENT},-,0,0,-,0,0,-,-,-,-,extra",
    f",,,,{_SENT},-,0,0,-,0,0,-,-,-",
    f',,,,{_SENT},-,0,0,-,0,0,"abierta,-,-,-',
    ",,,,-,-,0,0,-,0,0,-,-,-,-",
    ",,,,31/02/2013 18:30,-,0,0,-,0,0,-,-,-,-",
    f",,,,{_SENT},-,x,0,-,0,2147483648,-,-,-,-",
    f",{'j' * 65},,,{_SENT},-,0,0,-,0,0,-,-,-,-",
    f"@,,,,{_SENT},-,0,0,-,0,0,-,-,-,-",
)
"""What follows the address in a broken record: one of each kind of fault; the last one spoils the address."""


def write_report(path: Path, records: int, *, bad_share: float = 0, seed: int = 0, returning: int = 0) -> int:
    """Write a report of so many records, each broken with probability ``bad_share``; return its bytes.

    UTF-8, LF. The same arguments give the same bytes; about two million records a second. The file appears
    under its name when it is whole. With ``returning``, every second record is of one of the first so many
    :func:`addresses`.
    """
    rng = np.random.default_rng(seed)
    good = pa.array(_opened_tails(rng))
    partial = path.with_name(path.name + ".filepart")
    with partial.open("wb") as stream:
        stream.write(f"{HEADER}\n".encode())
        for start in range(0, records, _ROWS):
            count = min(_ROWS, records - start)
            stream.write(_rows(rng, _visitors(rng, count, returning), bad_share, good))
    partial.replace(path)
    return path.stat().st_size


def write_small_reports(folder: Path, count: int, records: int, *, first: int = 1, seed: int = 0) -> None:
    """Write ``count`` reports of ``records`` records each, ``report_<first>.txt`` onwards."""
    for number in range(first, first + count):
        write_report(folder / f"report_{number}.txt", records, seed=seed + number)


def link_reports(folder: Path, source: Path, count: int, *, first: int) -> None:
    """Fill a folder with ``count`` names of one file's bytes, for what only looks at names."""
    for number in range(first, first + count):
        os.link(source, folder / f"report_{number}.txt")


def _opened_tails(rng: np.random.Generator) -> list[str]:
    """Return what may follow the address in a good record; the first is a message that was never opened."""
    tails = [f",,,,{_SENT},-,0,0,-,0,0,-,-,-,-"]
    days, hours, minutes = rng.integers(8, 28, _TAILS), rng.integers(0, 24, _TAILS), rng.integers(0, 60, _TAILS)
    opens, browsers = rng.integers(1, 5, _TAILS), rng.integers(0, len(_BROWSERS), _TAILS)
    systems, addresses = rng.integers(0, len(_SYSTEMS), _TAILS), rng.integers(0, 65536, _TAILS)
    for place in range(_TAILS):
        opened = f"{days[place]:02d}/02/2013 {hours[place]:02d}:{minutes[place]:02d}"
        clicked = f'{opened},1,0,"0,3"' if place % 10 == 0 else "-,0,0,-"
        address = f"198.18.{addresses[place] >> 8}.{addresses[place] & 255}"
        tails.append(
            f",,,,{_SENT},{opened},{opens[place]},0,{clicked},{address},"
            f"{_BROWSERS[browsers[place]]},{_SYSTEMS[systems[place]]}"
        )
    return tails


def addresses(numbers: npt.NDArray[np.int64], among: int) -> pa.StringArray:
    """Return the addresses of visitors by their number, from 0 up to ``among``, which lie evenly among all others."""
    return _address(numbers * (PEOPLE // among), numbers % len(_DOMAINS))


def change(path: Path, share: float = 0.01) -> None:
    """Give a share of a report's records another date, as a sender does who corrects it."""
    lines = path.read_bytes().split(b"\n")
    for place in range(1, len(lines) - 1, round(1 / share)):
        lines[place] = lines[place].replace(_SENT.encode(), _CORRECTED.encode(), 1)
    partial = path.with_name(path.name + ".filepart")
    partial.write_bytes(b"\n".join(lines))
    partial.replace(path)


def _address(people: npt.NDArray[np.int64], domains: npt.NDArray[np.int64]) -> pa.StringArray:
    digits = pc.utf8_lpad(pa.array(people).cast(pa.string()), width=7, padding="0")
    return pc.binary_join_element_wise(
        pc.binary_join_element_wise("visitante_", digits, ""), pa.array(_DOMAINS).take(pa.array(domains)), "@"
    )


def _visitors(rng: np.random.Generator, rows: int, returning: int) -> pa.StringArray:
    anyone = _address(rng.integers(0, PEOPLE, rows), rng.integers(0, len(_DOMAINS), rows))
    if not returning:
        return anyone
    known = addresses(rng.integers(0, returning, rows), returning)
    return pc.if_else(pa.array(np.arange(rows) % 2 == 0), known, anyone)


def _rows(rng: np.random.Generator, visitors: pa.StringArray, bad_share: float, good: pa.StringArray) -> bytes:
    rows = len(visitors)
    which = np.where(rng.random(rows) < OPENED, rng.integers(1, len(good), rows), 0)
    tails = good.take(pa.array(which))
    broken = rng.random(rows) < bad_share
    if broken.any():
        tails = _break(rng, tails, broken)
    lines = pc.binary_join_element_wise(visitors, tails, "\n", "")
    return bytes(_text(lines))


def _break(rng: np.random.Generator, tails: pa.StringArray, broken: npt.NDArray[np.bool_]) -> pa.StringArray:
    faults = pa.array(_BAD_TAILS).take(pa.array(rng.integers(0, len(_BAD_TAILS), int(broken.sum()))))
    return pc.replace_with_mask(tails, pa.array(broken), faults)


def _text(lines: pa.StringArray) -> memoryview:
    """The bytes of all lines, one after the other; ``lines`` begins at its buffer's start."""
    length = int(np.frombuffer(lines.buffers()[1], np.int32)[len(lines)])
    return memoryview(lines.buffers()[2])[:length]
