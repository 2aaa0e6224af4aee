"""What flows through the graphs, and what a module says of a turn."""

from dataclasses import dataclass, field
from operator import add
from typing import Annotated, Any, Literal, get_args

from langchain_core.messages import AnyMessage
from langgraph.channels import UntrackedValue
from langgraph.graph.message import add_messages
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypedDict  # pydantic wants it below Python 3.12

from understudy.events import Label, Line, Outcome
from understudy.intake import InputError, short_name, table

ModuleName = Literal["conflict", "intent", "quality", "goals", "response", "personalize"]
"""What forms offer; a test holds it against the registry."""

MODULE_NAMES: tuple[str, ...] = get_args(ModuleName)


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

    An empty field of a form is none.

    Raises:
        InputError: it is no name.
    """
    return old if new in (None, "") else short_name("conversation_id", new)


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
        str | None,
        Field(
            title="Profile",
            description="Name of a profile, for a conversation that begins or a job; empty takes BRAIN_PROFILE.",
            examples=["star"],
        ),
    ] = None
    use_optimized: Annotated[
        bool,
        Field(title="Use optimised modules", description="Off reads turns with the hand-written baselines, v0.0."),
    ] = True
    versions: Annotated[
        dict[str, str],
        Field(
            title="Versions",
            description="Read turns with these versions of single modules.",
            examples=[{"intent": "v0.0"}],
            json_schema_extra={"propertyNames": {"enum": list(MODULE_NAMES)}},
        ),
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what may have been posted.

        Raises:
            InputError: a field does not have its shape; the message names it.
        """
        if not isinstance(self.profile, str | None):
            raise InputError("context.profile: must be the name of a profile")
        if not isinstance(self.use_optimized, bool):
            raise InputError("context.use_optimized: must be true or false")
        chosen: Any = self.versions
        if not isinstance(chosen, dict) or not all(isinstance(version, str) for version in chosen.values()):
            raise InputError('context.versions: must be a JSON object such as {"intent": "v0.0"}')
        if not set(chosen) <= set(MODULE_NAMES):
            raise InputError(f"context.versions: there are the modules {', '.join(MODULE_NAMES)}")


# LangGraph takes a field's channel or reducer from the last place of its annotation.
class ShadowInput(TypedDict, total=False):
    """What is new in one conversation; nothing new is no error."""

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
        WithJsonSchema(
            {
                **Outcome.model_json_schema(),
                "title": "Outcome",
                "description": "How it ended; closes the conversation.",
                "examples": [{"workflow_outcome": "success", "user_satisfaction": 0.9}],
            }
        ),
        UntrackedValue,
    ]
    label: Annotated[
        dict[str, Any] | None,
        WithJsonSchema(
            {
                **Label.model_json_schema(),
                "title": "Label",
                "description": "What a reviewer says is true of one turn; turns count from 0.",
                "examples": [{"turn": 0, "fields": {"intent": "booking"}}],
            }
        ),
        UntrackedValue,
    ]
    again: Annotated[
        int | None,
        Field(
            title="Read a turn again",
            description="Number of a turn of this conversation, from 0. It is read with the versions of the context; "
            "nothing is recorded. Nothing else may be posted with it.",
            examples=[0],
            ge=0,
        ),
        UntrackedValue,
    ]


class ShadowOutput(TypedDict, total=False):
    """What the shadow saw. Nothing of it is for the customer; `messages` is not among it."""

    conversation_id: Annotated[str, Field(title="Conversation")]
    turn: Annotated[int | None, Field(title="Turn", description="From 0; null: nothing that is to be read was new.")]
    decision_id: Annotated[
        str | None, Field(title="Decision", description="The row in brain_decisions; null: none was written.")
    ]
    readings: Annotated[dict[str, Any], Field(title="Readings", description="By module, what it says of the turn.")]
    faults: Annotated[list[dict[str, Any]], Field(title="Faults", description="Modules that could not answer.")]
    versions: Annotated[dict[str, str], Field(title="Versions", description="Of each module, which one answered.")]
    personalization_suggestion: Annotated[
        dict[str, Any] | None,
        Field(title="Personal touch", description="What it would have changed in the newest reply of production."),
    ]


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

    profile: Annotated[
        str, Field(title="Profile", description="Empty takes the context's, or BRAIN_PROFILE.", examples=["star"])
    ]
    modules: Annotated[
        list[str],
        Field(
            title="Modules",
            description="Empty takes all but personalize.",
            examples=[["intent"]],
            json_schema_extra={"items": {"type": "string", "enum": list(MODULE_NAMES)}, "uniqueItems": True},
        ),
    ]
    newest: Annotated[
        int,
        Field(title="Newest", description="How many decisions are considered, newest first; empty: 6000.", ge=1),
    ]
    run_id: Annotated[
        str, Field(title="Run", description="Name of the run; empty gives it one.", examples=["before-the-holidays"])
    ]


class OptimizationOutput(TypedDict, total=False):
    """What became of every module."""

    report: Annotated[dict[str, Any], Field(title="Report", description="As `understudy optimize --json` prints it.")]


class OptimizationState(OptimizationInput, OptimizationOutput, total=False):
    """What flows through the optimisation graph in one run; plain data only."""

    marks: dict[str, Any]
    decisions_processed: int
    started_at: str
    results: Annotated[dict[str, Any], merge]


class DreamInput(TypedDict, total=False):
    """What a dream cycle may be told; empty takes BRAIN_PROFILE and DREAM_COUNT."""

    profile: Annotated[
        str, Field(title="Profile", description="Empty takes the context's, or BRAIN_PROFILE.", examples=["star"])
    ]
    count: Annotated[
        int,
        Field(
            title="Dreams", description="How many are wanted; empty takes DREAM_COUNT.", ge=1, le=5000, examples=[20]
        ),
    ]
    cycle: Annotated[str, Field(title="Cycle", description="Name of the cycle; empty gives it one.", examples=["may"])]


class DreamOutput(TypedDict, total=False):
    """How many dreams were kept, and why others were not."""

    report: Annotated[dict[str, Any], Field(title="Report", description="As `understudy dream --json` prints it.")]


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
