"""What a spreadsheet takes for a formula, and how a value is written so that it stays text.

Whoever writes a CSV file passes each text from outside through here; the file's own form (commas, quotes, encoding)
is the writer's.
"""

from __future__ import annotations

import unicodedata

SIGNS = "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
"""Signs that begin a formula in Excel or LibreOffice, the full-width ones of East Asian keyboards among them."""

_BREAKS = ("\t", "\r", "\n")
_MARK = "'"


def safe_cell(value: str) -> str:
    """Return a value that Excel and LibreOffice show as text, never as a formula.

    An apostrophe is put before a value whose first visible character is one of :data:`SIGNS`, and before one that
    begins with a tab or a line break (some importers cut there and begin a new cell). Every other value is returned
    as it is. Applying it twice changes nothing.

    For text from outside only: a negative number that the platform counted itself is written as it is. The CSV
    writer has to quote every cell (``csv.QUOTE_ALL``): where a spreadsheet's language separates by ``;``, an unquoted
    ``a;=b`` would be two cells.

    Args:
        value: one cell's text, of any length; no rule of the report is assumed of it.
    """
    if value.startswith(_BREAKS):
        return _MARK + value
    for char in value:
        if char in SIGNS:
            return _MARK + value
        # Spaces, control and format characters (a byte order mark, a zero-width space) may be dropped on opening.
        if unicodedata.category(char)[0] not in "ZC":
            break
    return value
