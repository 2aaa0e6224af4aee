"""Show what others wrote: nothing of it is obeyed by a terminal or a log, and nothing of it is hidden."""

import json
import logging
import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

MOST_MARKS = 8
"""Accents on one letter that are shown; more would cover the lines around."""

_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
"""Letters and accents that are blank."""

_JOINERS = "\u200c\u200d"
_JOINED_SCRIPTS = range(0x0600, 0x1D00)
"""From Arabic over the scripts of India to those of South East Asia: there a joiner changes how a word reads."""

_EMOJI = range(0x1F000, 0x1FB00)


def printable(text: str) -> str:
    r"""Return a text as one line that shows all of it: what would be obeyed or is invisible is written out, as \x1b.

    That is control characters, ends of lines, marks of direction, characters without width, and floods of accents.
    Blanks of any width, every script and emoji stay, with the joiners and selectors that belong to them.
    """
    if text.isascii() and text.isprintable():
        return text
    shown, marks, before = [], 0, ""
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        shown.append(char if marks <= MOST_MARKS and _stays(char, before, marks) else _written(char))
        before = char
    return "".join(shown)


def printable_json(value: Any) -> str:
    """Return a value as one line of JSON in which nothing stands that a terminal obeys or that is invisible."""
    return re.sub(r"[^ -~]", lambda found: _in_json(found[0]), json.dumps(value, ensure_ascii=False))


def console(*, stderr: bool = False) -> "Console":
    """Return a console that takes no text for markup or for the name of an emoji."""
    # Loaded here: a host that imports the package prints nothing.
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def one_line(record: logging.LogRecord) -> bool:
    """Make what is put into the message of a log record printable; a filter that keeps every record.

    Numbers and the words around stay as they are, for a host that groups records by them. No record has a traceback.
    """
    if isinstance(record.args, tuple):
        record.args = tuple(arg if isinstance(arg, int | float) else printable(str(arg)) for arg in record.args)
    return True


def _stays(char: str, before: str, marks: int) -> bool:
    """Say whether a character can be shown, after another one and as the so-manieth accent in a row."""
    if "\ufe00" <= char <= "\ufe0f":
        return marks == 1 and before.isprintable() and not before.isspace()
    if "\U000e0100" <= char <= "\U000e01ef":
        return marks == 1 and _kind(before) == "Lo"
    if char in _JOINERS:
        return _joins(before)
    if char.isprintable():
        return char not in _FILLERS
    return _kind(char) == "Zs" or _is_young_emoji(char)


def _joins(before: str) -> bool:
    """Say whether a joiner after this character belongs to an emoji, or to a word whose script needs it."""
    if not before or before.isascii():
        return False
    if ord(before) in _JOINED_SCRIPTS:
        return _kind(before)[0] in "LM"
    return before == "\ufe0f" or _kind(before) in ("So", "Sk") or _is_young_emoji(before)


def _is_young_emoji(char: str) -> bool:
    """Say whether this may be an emoji that Python's tables do not know yet."""
    return _kind(char) == "Cn" and ord(char) in _EMOJI


def _kind(char: str) -> str:
    return unicodedata.category(char) if char else ""


def _in_json(char: str) -> str:
    return char if printable(char) == char else json.dumps(char)[1:-1]


def _written(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
