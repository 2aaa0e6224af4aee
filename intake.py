"""Clean and check what comes from outside; the root of our errors."""

import json
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

MAX_TEXT = 100_000
"""Characters of one message that are kept."""

MAX_NAME = 200
"""Characters that the id of a conversation may have."""

MAX_DEPTH = 60
"""Levels of JSON inside JSON; LangGraph's checkpoints hold no more than some 250."""

MOST_FRAMES = 6
"""Innermost calls that a log names of an error which is not ours."""

CUT_MARK = " [cut by understudy]"


class UnderstudyError(RuntimeError):
    """Root of every error of ours; the message says what is wrong, where, and what to do.

    A RuntimeError, since LangGraph's server hides the message of an error of an unknown kind.
    """

    @property
    def public(self) -> str:
        """What a log may say: nothing that a customer or an agent has said. The gym keeps the whole message."""
        return str(self)


class InputError(UnderstudyError):
    """What was posted to a graph does not have its shape; the message names the field."""

    @property
    def public(self) -> str:
        """The message without what was posted."""
        return unquoted(str(self))


def unquoted(message: str) -> str:
    """Return a message of ours without what was given."""
    return message.partition("; got ")[0]


def public(error: BaseException) -> str:
    """Return what a log may say of an error, in a line: of one of ours its public text, of another its kind and place.

    The message of an error that is not ours may quote anything: pydantic's quotes what it has read.
    """
    if isinstance(error, UnderstudyError):
        return error.public
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    path = " > ".join(f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})" for frame in frames)
    return f"{type(error).__name__} in {path or 'no place that is known'}"


def clean_text(text: str) -> str:
    """Return the text as it can be stored anywhere: valid Unicode, no NUL, at most MAX_TEXT characters."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - len(CUT_MARK)] + CUT_MARK
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def clean_json(value: Any) -> Any:
    """Return a JSON value with every text in it cleaned.

    Raises:
        InputError: it is not JSON, or over MAX_TEXT characters of JSON.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if len(text) > MAX_TEXT:
            raise InputError(f"{len(text):,} characters of JSON; at most {MAX_TEXT:,} are kept")
        return cleaned(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"not plain JSON: {error}") from None


def cleaned(value: Any) -> Any:
    """Return a JSON value with every text in it cleaned."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): cleaned(item) for key, item in value.items()}
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Say whether a JSON value has more levels than that."""
    return any(levels == 1 or is_deeper(v, levels - 1) for v in _inside(value) if isinstance(v, dict | list | tuple))


def _is_huge(value: Any) -> bool:
    """Say whether a JSON value holds a number that neither SQLite nor a checkpoint can."""
    if isinstance(value, int):
        return not -(2**63) <= value < 2**63
    return any(map(_is_huge, _inside(value)))


def _inside(value: Any) -> Iterable[Any]:
    """Return what is in a JSON value; a tuple becomes a list in JSON."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()


def plain(name: str, value: Any) -> Any:
    """Return a field's JSON value, cleaned.

    Raises:
        InputError: it is not JSON that can be kept; the message names the field.
    """
    if is_deeper(value, MAX_DEPTH):
        raise InputError(f"{name}: JSON inside JSON, more than {MAX_DEPTH} levels deep")
    if _is_huge(value):
        raise InputError(f"{name}: a whole number beyond 64 bits; write it as text")
    try:
        return clean_json(value)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def table(name: str, value: Any) -> dict[str, Any]:
    """Return a field's JSON object, cleaned; None is the empty one.

    Raises:
        InputError: it is no JSON object, or none that can be kept; the message names the field.
    """
    if not isinstance(value, dict | None):
        raise InputError(f"{name}: must be a JSON object; it is {type(value).__name__}")
    return dict(plain(name, value or {}))


def short_name(field: str, value: Any, most: int = MAX_NAME) -> str:
    """Return a name that came from outside, cleaned.

    Raises:
        InputError: it is no text of 1 to `most` characters; the message names the field.
    """
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise InputError(f"{field}: must be text of 1 to {most} characters")
    return clean_text(value)


def moment(value: Any) -> str:
    """Return a time (ISO 8601, or a `datetime`) in UTC, ISO 8601; a time without a zone is UTC.

    Raises:
        ValueError: it is none.
    """
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError('must be a time such as "2026-11-23T10:00:00Z"') from None
    return at.isoformat().replace("+00:00", "Z")


def shown_key(part: Any) -> str:
    """Return a key as a message may show it: in one line, and short."""
    text = str(part)
    return text if isinstance(part, int) or text.isidentifier() and len(text) <= 60 else repr(text[:60])


def shape_error(error: ValidationError) -> str:
    """Say what is wrong with the shape of something, the first thing only: field, what is allowed, what it is."""
    first = error.errors()[0]
    where = ".".join(map(shown_key, first["loc"]))
    if first["type"] == "missing":
        return f"{where}: is missing"
    return f"{where}: {shown_error(first)}"


def shown_error(error: Any) -> str:
    """Say of one of pydantic's errors what it is, in the words of JSON."""
    is_object = error["type"] in ("dict_type", "model_type")
    message = "must be a JSON object" if is_object else error["msg"].removeprefix("Value error, ")
    got = error["input"] if isinstance(error["input"], str) else json.dumps(error["input"])
    return f"{message if len(message) <= 600 else message[:600] + ' ...'}; got {got[:80]!r}"
