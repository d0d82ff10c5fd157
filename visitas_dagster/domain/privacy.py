"""E-mail addresses inside other text: finding them, and hiding whose they are.

What an address looks like in a line, a link or a message belongs here; which records and copies are masked does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_ADDRESS = 254
"""Characters of the longest address (contract §1)."""

IsErased = Callable[[str], bool]
"""Whether an address, in lower case, is that of an erased person."""

_AT = re.compile("@|%40")
# What no address in a report has inside: blanks, the separator, quotes.
_NO_LOCAL = re.compile(r'[\s@,"]')
_DOMAIN = re.compile(r"[\w.-]+")
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
# What joins on to an address that stands behind it, so that it is another's: o'neil@ is not neil@.
_INNER = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-'")
_ALPHANUMERIC = re.compile("[A-Za-z0-9]")

# For messages, wider: whatever stands around an @ up to a blank or a bracket. Bounded, for a message may quote a line.
_PART = r"""[^\s@,;:<>()\[\]{}"«»|/\\]{1,320}"""
_LIKE_AN_ADDRESS = re.compile(rf"({_PART})(@+|%40)({_PART}(?:@{_PART})?)")

FORM = re.compile(r'[^\s@,"]+@[\w.-]+')
"""What can be an address that a person asks to have erased; wider than the contract's rule for a valid one."""


@dataclass(frozen=True)
class Occurrence:
    """One address in a text, by places in it.

    Attributes:
        start: of the local part.
        at, after_at: of the sign between, ``@`` or ``%40``.
        end: behind the domain.
    """

    start: int
    at: int
    after_at: int
    end: int

    def masked(self, text: str) -> str:
        """The address at its own length, without whose it is: ``ana.8@correo.example`` → ``000.0@xxxxxx.xxxxxxx``.

        Length and form stay, so that what was a valid field of a report remains one.
        """
        local, domain = text[self.start : self.at], text[self.after_at : self.end]
        return _ALPHANUMERIC.sub("0", local) + text[self.at : self.after_at] + _ALPHANUMERIC.sub("x", domain)


def mask_value(value: str) -> str:
    """Hide letters and digits and leave the form, which is what a rejected address shows its fault by."""
    return re.sub("[0-9]", "0", re.sub("[A-Za-z]", "x", value))


def mask_addresses(text: str) -> str:
    """Hide every address in a message for logs, alerts and pages; its form stays: ``xxx..x@xxxxxx``."""
    if "@" not in text and "%40" not in text:
        return text
    return _LIKE_AN_ADDRESS.sub(lambda found: mask_value(found[1]) + found[2] + mask_value(found[3]), text)


def is_mask(address: str) -> bool:
    """Whether an address is what :meth:`Occurrence.masked` makes: somebody was erased from the copy it came from."""
    local, _, domain = address.partition("@")
    return (
        "0" in local
        and "x" in domain
        and set(_ALPHANUMERIC.findall(local)) == {"0"}
        and set(_ALPHANUMERIC.findall(domain)) == {"x"}
    )


def erased_in(text: str, is_erased: IsErased) -> Iterator[Occurrence]:
    """Yield the addresses of erased persons in a text, from left to right, none overlapping.

    An address may stand inside a link (``?correo=ana%40correo.example``). It begins where no letter, digit, ``_``,
    ``.``, ``+``, ``-`` or ``'`` stands before it, a ``%XX`` escape aside, and ends where its domain cannot go on.

    Args:
        text: any text; the work is bounded by its length.
        is_erased: asked with candidates in lower case, of at most :data:`MAX_ADDRESS` characters.
    """
    done = 0
    for sign in _AT.finditer(text):
        if sign.start() < done:
            continue
        found = _around(text, sign, done, is_erased)
        if found is not None:
            done = found.end
            yield found


def mask_erased(text: str, is_erased: IsErased) -> str:
    """Replace the addresses of erased persons by their masks; the text keeps its length."""
    pieces, done = [], 0
    for found in erased_in(text, is_erased):
        pieces += [text[done : found.start], found.masked(text)]
        done = found.end
    return "".join([*pieces, text[done:]]) if done else text


def _around(text: str, sign: re.Match[str], floor: int, is_erased: IsErased) -> Occurrence | None:
    for start in _starts(text, floor, sign.start()):
        local = text[start : sign.start()].lower()
        for end in _ends(text, sign.end()):
            address = f"{local}@{text[sign.end() : end].lower()}"
            if len(address) <= MAX_ADDRESS and is_erased(address):
                return Occurrence(start, sign.start(), sign.end(), end)
    return None


def _starts(text: str, floor: int, at: int) -> Iterator[int]:
    """Where the local part may begin, the longest first."""
    begin = max(floor, at - MAX_ADDRESS)
    stops = [stop.end() for stop in _NO_LOCAL.finditer(text, begin, at)]
    for start in range(stops[-1] if stops else begin, at):
        if start == 0 or text[start - 1] not in _INNER or _ESCAPE.fullmatch(text, max(0, start - 3), start):
            yield start


def _ends(text: str, after_at: int) -> Iterator[int]:
    """Where the domain may end, the longest first."""
    domain = _DOMAIN.match(text, after_at, after_at + MAX_ADDRESS)
    if domain is None:
        return
    for end in range(domain.end(), after_at, -1):
        following = text[end : end + 2]
        goes_on = following[:1] in _INNER and following[:1] not in {"", ".", "+", "'"}
        if not goes_on and not (following[:1] == "." and _ALPHANUMERIC.match(following, 1)):
            yield end
