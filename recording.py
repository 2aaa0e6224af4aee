"""Read recorded conversations: JSON lines, one conversation a line (DESIGN: the replay format).

    {"conversation_id": "c1", "profile": "default", "customer": {"name": "Ines"},
     "messages": [{"role": "customer", "text": "...", "at": "2026-11-23T10:00:00Z", "labels": {"intent": "booking"}},
                  {"role": "agent", "text": "...", "action": "ask_time"}],
     "outcome": {"workflow_outcome": "success", "user_satisfaction": 0.9}}

Only `conversation_id` and `messages` with `role` and `text` must be there.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from understudy.events import MAX_ACTION, Event, Outcome, Role
from understudy.intake import MAX_DEPTH, MAX_NAME, InputError, clean_text, is_deeper, moment, plain, shape_error
from understudy.nodes.labels import check_labels
from understudy.profile import Profile, ProfileError, load_profile, registered_profile

MAX_LINE = 64 * 1024 * 1024
"""Bytes of one line that are read; a longer one is skipped."""

MAX_LISTED = 20
"""Wrong lines of one file that are told one by one."""


def _moment(value: Any) -> str | None:
    return None if value is None else moment(value)


Clean = BeforeValidator(lambda value: clean_text(value) if isinstance(value, str) else value)


class RecordedMessage(BaseModel):
    """One message of a recording."""

    role: Role
    text: Annotated[str, Clean]
    at: Annotated[str | None, BeforeValidator(_moment)] = None
    action: Annotated[str, Field(min_length=1, max_length=MAX_ACTION), Clean] | None = None
    labels: dict[str, Any] | None = None


class RecordedOutcome(Outcome):
    """How a recording ended; true or "0.9" is no satisfaction."""

    user_satisfaction: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None


class Recording(BaseModel):
    """One recorded conversation."""

    conversation_id: Annotated[str, Field(min_length=1, max_length=MAX_NAME), Clean]
    profile: str | None = None
    customer: dict[str, Any] | None = None
    messages: Annotated[list[RecordedMessage], Field(min_length=1)]
    outcome: RecordedOutcome | None = None

    @property
    def turns(self) -> int:
        """How many customer messages it has."""
        return sum(message.role == "customer" for message in self.messages)

    @property
    def digest(self) -> str:
        """What tells this content from another."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]

    def events(self) -> Iterator[Event]:
        """Yield what happened, in order; the end of the recording closes the conversation."""
        turn = -1
        first: dict[str, Any] = {"digest": self.digest}
        if self.customer is not None:
            first["customer"] = self.customer
        for index, message in enumerate(self.messages):
            turn += message.role == "customer"
            yield Event(
                kind="customer_message" if message.role == "customer" else "agent_message",
                text=message.text,
                action=message.action,
                message_id=f"m{index}",
                at=message.at,
                payload=first if index == 0 else {},
            )
            if message.labels:
                yield Event(kind="label", at=message.at, payload={"turn": turn, "fields": message.labels})
        ending = self.outcome.model_dump(exclude_none=True) if self.outcome else {}
        yield Event(kind="outcome", at=self.messages[-1].at, payload=ending)


@dataclass
class Lines:
    """The recordings of some files; what is wrong with the others is kept in `errors`, one line each.

    Iterating reads line by line and never stops at a bad one.
    """

    paths: list[Path]
    own_profile: str
    skipped: int = 0
    errors: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[str, Recording]]:
        """Yield where a recording stands (`file:line`) and the recording."""
        for path in self.paths:
            listed, is_binary = len(self.errors), False
            try:
                with path.open("rb") as file:
                    is_binary = _is_binary(file.peek()[:4096])
                    for where, recording in self._read(path, file):
                        is_binary = False
                        yield where, recording
            except OSError as error:
                self.refuse(f"{path}: cannot be read: {error.strerror}")
            if is_binary:
                self.skipped -= len(self.errors) - listed
                del self.errors[listed:]
                self.refuse(f"{path}:1: not a text file; a line holds one conversation as JSON")
            if (more := len(self.errors) - listed - MAX_LISTED) > 0:
                self.errors[listed + MAX_LISTED :] = [f"{path}: {more} more lines are wrong"]

    def refuse(self, message: str) -> None:
        """Count a line as skipped and keep the reason."""
        self.skipped += 1
        self.errors.append(message)

    def _read(self, path: Path, file: Any) -> Iterator[tuple[str, Recording]]:
        number = 0
        while raw := file.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}:{number}"
            if len(raw) > MAX_LINE:
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(MAX_LINE)
                self.refuse(f"{where}: longer than {MAX_LINE // 1024 // 1024} MiB; split the conversation")
            elif raw.strip():
                try:
                    yield where, parse(raw, self.own_profile)
                except (InputError, ProfileError) as error:
                    self.refuse(f"{where}: {str(error).splitlines()[0]}")


def parse(raw: bytes, own_profile: str) -> Recording:
    """Read one line.

    Raises:
        InputError: it does not have the format; the message names the field and what is allowed.
        ProfileError: its profile is unknown.
    """
    try:
        table = json.loads(raw.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise InputError(_TOO_DEEP) from None
    except ValueError:
        raise InputError("not JSON that can be read: a number has thousands of digits") from None
    if not isinstance(table, dict):
        raise InputError(f"must be a JSON object, is {type(table).__name__}")
    if is_deeper(table, MAX_DEPTH):
        raise InputError(_TOO_DEEP)
    try:
        recording = Recording.model_validate(table)
    except ValidationError as error:
        raise InputError(shape_error(error)) from None
    if not recording.turns:
        raise InputError("messages: there is no customer message")
    profile = registered_profile(recording.profile, own_profile) if recording.profile else load_profile(own_profile)
    return recording.model_copy(
        update={
            "profile": profile.name,
            "customer": plain("customer", recording.customer),
            "messages": [_checked(i, message, profile) for i, message in enumerate(recording.messages)],
        }
    )


def _checked(index: int, message: RecordedMessage, profile: Profile) -> RecordedMessage:
    if not message.labels:
        return message
    if message.role != "customer":
        raise InputError(f"messages.{index}.labels: only a customer's message has labels")
    try:
        return message.model_copy(update={"labels": check_labels(message.labels, profile)})
    except InputError as error:
        raise InputError(f"messages.{index}.{error}") from None


_TOO_DEEP = f"JSON inside JSON, more than {MAX_DEPTH} levels deep; nothing in a recording needs that"


def _is_binary(start: bytes) -> bool:
    """Say whether a file that starts like this looks like no text; a broken line of JSON is text all the same."""
    return b"\x00" in start and not re.match(rb"(\xef\xbb\xbf)?\s*\{[^\x00]", start)
