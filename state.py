"""What flows through the graphs, and what a module says of a turn."""

from dataclasses import dataclass, field
from operator import add
from typing import Annotated, Any

from langchain_core.messages import AnyMessage
from langgraph.channels import UntrackedValue
from langgraph.graph.message import add_messages
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic wants it below Python 3.12

from understudy.events import Line
from understudy.intake import InputError, short_name, table


class Reading(BaseModel):
    """What one module says of a turn: its output fields, who said it, and what it cost.

    Tokens and times are those of all tries together; times in milliseconds. Of the last six, only what is not 0 or
    empty is kept.
    """

    model_config = ConfigDict(frozen=True)

    fields: dict[str, Any]
    version: str
    model: str
    tokens_in: int
    tokens_out: int
    ms: float
    load_ms: float = 0
    prompt_ms: float = 0
    generate_ms: float = 0
    left_out: int = 0
    """Oldest messages that did not fit into the model's context."""
    cut: int = 0
    """Characters that did not fit either."""
    repairs: list[str] = []
    """Rules of `understudy.lm.repair` that made the answer fit; `again:` and its error, if it is a second answer."""


class Fault(BaseModel):
    """A module that could not answer."""

    model_config = ConfigDict(frozen=True)

    step: str
    kind: str
    message: str
    text: str | None = None
    """The useless answer, if there was one."""
    down: bool = False
    """The model server cannot answer anybody now, so the turn may wait for it."""


_MESSAGES = "each must be a LangChain message or an object with `role` (user or assistant) and `content`"


def join_messages(old: Any, new: Any) -> Any:
    """Join messages as LangGraph does.

    What is raised here and below does not quote what was posted: a server logs it.

    Raises:
        InputError: they are no messages.
    """
    try:
        return add_messages(old, new)
    except (ValueError, TypeError, LookupError, NotImplementedError, AttributeError):
        raise InputError(f"messages: {_MESSAGES}") from None


def newest_name(old: str, new: Any) -> str:
    """Take a conversation's id when one is given; checked here, before a wrong one can stay in the thread.

    Raises:
        InputError: it is no name.
    """
    return old if new is None else short_name("conversation_id", new)


def newest_table(old: dict[str, Any], new: Any) -> dict[str, Any]:
    """Take the newest JSON object; null is the empty one.

    Raises:
        InputError: it is no JSON object.
    """
    return table("state, customer", new)


def merge(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    """Join the answers of readers that ran side by side."""
    return {**(old or {}), **(new or {})}


def add_counts(old: dict[str, int] | None, new: dict[str, int] | None) -> dict[str, int]:
    """Add counts by name."""
    counts = dict(old or {})
    for name, count in (new or {}).items():
        counts[name] = counts.get(name, 0) + count
    return counts


@dataclass(frozen=True)
class Context:
    """What one run may choose."""

    profile: Annotated[
        str | None, Field(title="Profile", description="Registered name; empty takes BRAIN_PROFILE.", examples=["star"])
    ] = None
    use_optimized: Annotated[
        bool, Field(title="Use optimised modules", description="Off runs the hand-written baselines, v0.0.")
    ] = True
    versions: Annotated[
        dict[str, str],
        Field(title="Versions", description="Fix single modules to a version.", examples=[{"intent": "v0.0"}]),
    ] = field(default_factory=dict)


class ShadowInput(TypedDict, total=False):
    """What a chat app posts: what is new in one conversation.

    LangGraph takes a field's channel or reducer from the last place of its annotation.
    """

    messages: Annotated[
        list[AnyMessage],
        Field(
            title="Messages",
            description="LangGraph's messages: the human is the customer, the AI is the agent. "
            "An agent's action goes into additional_kwargs.action.",
            examples=[[{"role": "user", "content": "Can you take my van on Friday?"}]],
        ),
        join_messages,
    ]
    conversation_id: Annotated[
        str,
        Field(title="Conversation", description="Empty takes the thread's id.", examples=["c-1042"]),
        newest_name,
    ]
    state: Annotated[
        dict[str, Any],
        Field(title="State", description="What the host knows at this turn.", examples=[{"step": "choose_date"}]),
        newest_table,
    ]
    customer: Annotated[
        dict[str, Any],
        Field(title="Customer", description="Who is speaking.", examples=[{"name": "Ines", "preferences": {}}]),
        newest_table,
    ]
    outcome: Annotated[
        dict[str, Any] | None,
        Field(
            title="Outcome",
            description="How it ended; closes the conversation.",
            examples=[{"workflow_outcome": "success", "user_satisfaction": 0.9}],
        ),
        UntrackedValue,
    ]
    label: Annotated[
        dict[str, Any] | None,
        Field(
            title="Label",
            description="What a reviewer says is true of one turn.",
            examples=[{"turn": 0, "fields": {"intent": "booking"}}],
        ),
        UntrackedValue,
    ]
    upto: Annotated[
        int | None,
        Field(title="Up to", description="Handle the log no further than this sequence number; empty handles all."),
        UntrackedValue,
    ]


class ShadowOutput(TypedDict, total=False):
    """What the shadow saw. Nothing of it is for the customer; `messages` is not among it."""

    conversation_id: str
    turn: int | None
    decision_id: str | None
    readings: dict[str, Any]
    faults: list[dict[str, Any]]
    versions: dict[str, str]
    personalization_suggestion: dict[str, Any] | None


class ShadowState(ShadowInput, total=False):
    """What flows through the shadow graph in one run; plain data only.

    What is untracked is never checkpointed: the log of events is where the conversation lives.
    """

    profile: str
    turn: int | None
    message: str
    message_id: str
    versions: dict[str, str]
    personalization_suggestion: dict[str, Any] | None
    """What a personal touch would have changed in the newest reply of production; the reply itself stays as it is."""
    history: Annotated[list[Line], UntrackedValue]
    seq: Annotated[int, UntrackedValue]
    last_seq: Annotated[int | None, UntrackedValue]
    started: Annotated[float, UntrackedValue]
    waiting: Annotated[bool, UntrackedValue]
    readings: Annotated[dict[str, Any], merge]
    faults: Annotated[list[dict[str, Any]], add]
    decision_id: str | None
    replies: Annotated[list[int], UntrackedValue]
    """Sequence numbers of the agent's new messages, if they are to be personalised."""
    tested: Annotated[dict[str, int] | None, UntrackedValue]
    """Which turn of each module both versions of an A/B test answer; None if no test is concerned."""


class OptimizationInput(TypedDict, total=False):
    """What an optimisation may be told; empty takes everything of BRAIN_PROFILE."""

    profile: Annotated[str, Field(title="Profile", description="Empty takes BRAIN_PROFILE.", examples=["star"])]
    modules: Annotated[list[str], Field(title="Modules", description="Empty takes all.", examples=[["intent"]])]
    newest: Annotated[int, Field(title="Newest", description="How many decisions are considered, newest first.")]
    run_id: Annotated[str, Field(title="Run", description="Name of the run; empty gives it one.")]


class OptimizationOutput(TypedDict, total=False):
    """What became of every module."""

    report: dict[str, Any]


class OptimizationState(OptimizationInput, OptimizationOutput, total=False):
    """What flows through the optimisation graph in one run; plain data only."""

    marks: dict[str, Any]
    decisions_processed: int
    started_at: str
    results: Annotated[dict[str, Any], merge]


class DreamInput(TypedDict, total=False):
    """What a dream cycle may be told; empty takes BRAIN_PROFILE and DREAM_COUNT."""

    profile: Annotated[str, Field(title="Profile", description="Empty takes BRAIN_PROFILE.", examples=["star"])]
    count: Annotated[
        int, Field(title="Dreams", description="How many are wanted; empty takes DREAM_COUNT.", ge=1, le=5000)
    ]
    cycle: Annotated[str, Field(title="Cycle", description="Name of the cycle; empty gives it one.")]


class DreamOutput(TypedDict, total=False):
    """How many dreams were kept, and why others were not."""

    report: dict[str, Any]


class DreamState(DreamInput, DreamOutput, total=False):
    """What flows through the dream graph in one cycle; plain data only."""

    started_at: str
    reason: str | None
    plans: list[dict[str, Any]]
    wanted: dict[str, int]
    """How many dreams of each kind are wanted."""
    made: list[dict[str, Any]]
    """What was dreamt last: slot, texts or fault."""
    tries: Annotated[dict[str, int], merge]
    """How often each slot has been tried."""
    kept: Annotated[dict[str, Any], merge]
    """The dreams that have passed the screen, by their slot."""
    dropped: Annotated[dict[str, int], add_counts]
    """Why others have not, and how many."""
