"""What is shown of decisions and conversations, and how what is long is cut."""

import math
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field

from understudy.events import BrainDecision, EventKind, Source, WorkflowOutcome

MOST_LISTED = 500
"""Characters of one text in a list; there is the conversation's own page for all of it."""

MOST_SAID = 10_000
"""Characters of one text that a model wrote, or of a state, on a conversation's page; messages are whole."""

MOST_ITEMS = 50
"""Entries of one list or table that are shown."""

T = TypeVar("T", bound=BaseModel)

Cut = Annotated[bool, Field(description="Whether something of it is left out, as it is long.")]
Next = Annotated[str | None, Field(description="The address of the page that follows; null on the last one.")]


class ListedDecision(BrainDecision):
    """A decision; of each text, the beginning."""

    cut: Cut


class DecisionPage(BaseModel):
    """Decisions, newest first."""

    decisions: list[ListedDecision]
    next: Next


class Summary(BaseModel):
    """A conversation in short. Times are null where a recording does not say."""

    conversation_id: str
    profile: str
    thread_id: Annotated[str, Field(description="LangGraph's thread of it.")]
    first_message: Annotated[str | None, Field(description=f"Its first {MOST_LISTED} characters.")]
    began_at: str | None
    last_at: str | None
    events: int
    turns: Annotated[int, Field(description="Customer messages.")]
    waiting: Annotated[int, Field(description="Turns that no module has read yet.")]
    faulty: Annotated[int, Field(description="Turns in which a module could not answer.")]
    is_closed: Annotated[bool, Field(description="The host has said how it ended.")]
    workflow_outcome: WorkflowOutcome | None
    user_satisfaction: float | None


class ConversationPage(BaseModel):
    """Conversations, those that began last first."""

    conversations: list[Summary]
    next: Next


class Suggestion(BaseModel):
    """What a personal touch would have changed in a reply."""

    personalized_message: str | None
    modifications: list[Any]
    confidence: float | None
    reasoning: str | None
    status: str
    reason: str | None
    version: str
    model: str
    was_better: Annotated[bool | None, Field(description="A reviewer's word.")]
    reviewer: str | None
    at: str
    cut: Cut


class Happened(BaseModel):
    """Something that happened, whole."""

    seq: int
    kind: EventKind
    turn: int | None
    message_id: str | None
    text: str | None
    action: str | None
    payload: Annotated[dict[str, Any], Field(description="State and customer, the outcome, or the label.")]
    at: str | None
    processed_at: Annotated[str | None, Field(description="null while it waits to be read.")]
    suggestion: Suggestion | None


class Known(BaseModel):
    """What turned out to be true of a field."""

    field: str
    value: Any
    source: Source
    author: str | None
    at: str
    cut: Cut


class Pair(BaseModel):
    """What both versions of an A/B test said of a turn."""

    test: str
    module: str | None
    variant_a: str
    variant_b: str
    answer_a: dict[str, Any] | None
    answer_b: dict[str, Any] | None
    fault_a: str | None
    fault_b: str | None
    score_a: float | None
    score_b: float | None
    cut: Cut


class Seen(BaseModel):
    """What the modules made of a turn."""

    decision_id: str
    created_at: str
    state_snapshot: dict[str, Any] | None
    readings: dict[str, Any]
    faults: list[dict[str, Any]]
    versions: dict[str, str]
    models: dict[str, str]
    tokens_in: int
    tokens_out: int
    latency_ms: float
    engine: str
    thread_id: str | None
    run_id: str | None
    checkpoint_id: Annotated[str | None, Field(description="LangGraph's checkpoint of the run, if it is there.")]
    cut: Cut


class TurnSeen(BaseModel):
    """A turn: what was seen in it, what turned out to be true, what versions under test said."""

    turn: int
    decision: Annotated[Seen | None, Field(description="null while the turn waits.")]
    evidence: list[Known]
    pairs: list[Pair]


class Conversation(Summary):
    """A page of a conversation: what happened, and of each turn whose customer message is among it what was seen."""

    happened: list[Happened]
    seen: list[TurnSeen]
    next: Next


def shown(kind: type[T], row: dict[str, Any], most: int) -> T:
    """Return a row as it is shown, with `cut` if something of it is longer than that."""
    short = {name: _shortened(value, most) for name, value in row.items()}
    return kind(**{"cut": short != row, **short})


def _shortened(value: Any, most: int) -> Any:
    """Return a JSON value with the beginnings of its texts, lists and tables; what is no JSON number is null."""
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[: most - 1]}\u2026"
    if isinstance(value, list):
        return [_shortened(one, most) for one in value[:MOST_ITEMS]]
    if isinstance(value, dict):
        return {_shortened(name, most): _shortened(one, most) for name, one in list(value.items())[:MOST_ITEMS]}
    return None if isinstance(value, float) and not math.isfinite(value) else value
