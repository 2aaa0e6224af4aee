"""What happens in a conversation, and what is kept of a turn; nothing heavy is imported, so that a host can use it."""

import hashlib
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic wants it below Python 3.12

from understudy.intake import clean_text

MAX_ACTION = 100
"""Characters of the name of an action that are kept."""

MAX_MESSAGE_ID = 1000
"""Characters that the id of a message may have."""

Role = Literal["customer", "agent"]
EventKind = Literal["customer_message", "agent_message", "outcome", "label"]
WorkflowOutcome = Literal["success", "failure", "abandoned"]
Source = Literal["human", "outcome", "hindsight", "teacher"]

SOURCES: tuple[Source, ...] = ("human", "outcome", "hindsight", "teacher")
"""Where evidence comes from, most trusted first."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a conversation, as the log keeps it.

    `turn` is the number of the newest customer message when the event arrived (of a customer message: its own), and
    None before the first one. `id`, `seq` and `turn` are given by the log.
    """

    kind: EventKind
    text: str | None = None
    action: str | None = None
    message_id: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    at: str | None = None
    id: int = 0
    seq: int = 0
    turn: int | None = None


class Line(TypedDict):
    """One message of a conversation as a module sees it."""

    role: Role
    text: str
    action: NotRequired[str]


class Outcome(BaseModel):
    """How a conversation ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflow_outcome: WorkflowOutcome | None = None
    user_satisfaction: Annotated[float, Field(ge=0, le=1)] | None = None

    def event(self, at: str | None = None) -> Event:
        """Return what the log keeps of it."""
        return Event("outcome", payload=self.model_dump(exclude_none=True), at=at)


class Label(BaseModel):
    """What a person says is true of one turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turn: Annotated[int, Field(ge=0)]
    fields: dict[str, Any]
    author: str | None = None

    def event(self, at: str | None = None) -> Event:
        """Return what the log keeps of it."""
        return Event("label", payload=self.model_dump(exclude_none=True), at=at)


class BrainDecision(BaseModel):
    """One turn as the gym keeps it; a row of `brain_decisions`.

    Times are UTC in ISO 8601, latencies milliseconds, scores and confidences 0..1. The last five fields are filled when
    the truth becomes known.
    """

    decision_id: str
    conversation_id: str
    turn: int
    message_id: str
    profile: str
    created_at: str
    user_message: str
    history_upto: int
    state_snapshot: dict[str, Any] | None = None
    conflict_type: str | None = None
    conflict_confidence: float | None = None
    intent: str | None = None
    next_step: str | None = None
    intent_confidence: float | None = None
    quality_score: float | None = None
    user_satisfaction_predicted: float | None = None
    proposed_response: str | None = None
    tone: str | None = None
    response_confidence: float | None = None
    readings: dict[str, Any]
    faults: list[dict[str, Any]]
    versions: dict[str, str]
    models: dict[str, str]
    tokens_in: int
    tokens_out: int
    latency_ms: float
    engine: str
    brain_mode: str
    thread_id: str | None = None
    run_id: str | None = None
    response_sent: str | None = None
    action_taken: str | None = None
    user_response: str | None = None
    workflow_outcome: WorkflowOutcome | None = None
    user_satisfaction: float | None = None


def line_of(role: Role, text: str, action: object = None) -> Line:
    """Return a message as it is kept: cleaned, and cut if it is huge."""
    line = Line(role=role, text=clean_text(text))
    if action:
        line["action"] = clean_text(str(action))[:MAX_ACTION]
    return line


def said(line: Line, message_id: str, payload: dict[str, Any] | None = None, at: str | None = None) -> Event:
    """Return what the log keeps of a message."""
    kind: EventKind = "customer_message" if line["role"] == "customer" else "agent_message"
    return Event(kind, line["text"], line.get("action"), message_id, payload or {}, at)


def drawn(*names: object) -> float:
    """Draw a number from 0 to 1, the same one for the same names today and tomorrow."""
    digest = hashlib.sha256("\n".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
