"""What the API takes and what it returns; its OpenAPI document says the same."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from understudy.events import MAX_MESSAGE_ID, WorkflowOutcome
from understudy.intake import MAX_NAME, moment
from understudy.nodes.ab_life import LEAST_CONVERSATIONS, LONGEST_NAME

MAX_LABELS = 100

Module = Literal["conflict", "intent", "quality", "goals", "response", "personalize"]
Version = Annotated[str, StringConstraints(pattern=r"^(latest|v(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5}))$")]
Profile = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]
Conversation = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
At = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(moment),
    Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-23T10:00:00Z"]),
]
WHOLE = BeforeValidator(lambda value: int(value) if _is_whole(value) else value)
"""JSON does not tell 5 from 5.0."""
Table = Annotated[
    dict[str, Any],
    Field(description="JSON of at most 100,000 characters and 60 levels; whole numbers of at most 64 bits."),
]


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


class Asked(BaseModel):
    """What is not named here is refused, and nothing is taken for what it is not, as "5" for 5."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Told(BaseModel):
    """Keys may be added later."""

    model_config = ConfigDict(extra="allow")


class Wrong(BaseModel):
    """A problem (RFC 9457): `detail` says in a line what is wrong, where, and what to do."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str


# What happens in a conversation


class _Message(Asked):
    conversation_id: Conversation = Field(examples=["chat-7"])
    text: str = Field(description="What is longer than 100,000 characters is cut and marked.")
    message_id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_MESSAGE_ID)] | None = Field(
        None, description="The host's own; one that repeats is written once. Without one, every call is a new message."
    )
    at: At | None = Field(None, description="When it was said; without a zone it is UTC. Left out: now.")


class Observed(_Message):
    """A customer's message."""

    profile: Profile | None = Field(None, description="Of a conversation that begins; BRAIN_PROFILE's when left out.")
    state: Table | None = Field(None, description="What the host knows at this turn.")
    customer: Table | None = Field(None, description="Who is speaking: name, preferences, whatever else.")


class Replied(_Message):
    """What the agent answered."""

    action: str | None = Field(None, description="What the agent did, as the host names it.", examples=["ask_time"])


class Ended(Asked):
    """How a conversation ended."""

    conversation_id: Conversation = Field(examples=["chat-7"])
    workflow_outcome: WorkflowOutcome | None = None
    user_satisfaction: Annotated[float, Field(ge=0, le=1)] | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": kind}}}
                for name, kind in (("workflow_outcome", "string"), ("user_satisfaction", "number"))
            ]
        }
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.workflow_outcome is None and self.user_satisfaction is None:
            raise ValueError("give workflow_outcome, user_satisfaction, or both")
        return self


class LabelOf(Asked):
    """What a person says is true of a turn."""

    conversation_id: Conversation = Field(examples=["chat-7"])
    turn: Annotated[int, Field(ge=0, le=1_000_000_000), WHOLE] = Field(description="Customer messages, from 0.")
    fields: dict[str, Any] = Field(
        min_length=1,
        max_length=100,
        description="Any field of any module, with a value of the conversation's profile.",
        examples=[{"intent": "booking", "required_info": ["phone"]}],
    )
    author: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)] | None = None


Labels = Annotated[
    Annotated[LabelOf, Tag("label")]
    | Annotated[list[LabelOf], Field(min_length=1, max_length=MAX_LABELS), Tag("labels")],
    Discriminator(lambda given: "labels" if isinstance(given, list) else "label"),
]


class Written(BaseModel):
    """What became of a call."""

    written: bool = Field(description="Whether it is in the gym's log, where it survives a killed process.")
    repeated: bool = Field(description="Whether the log had a message of that id; it was not written again.")
    reason: str | None = Field(description="Why nothing was written.")


class Labelled(BaseModel):
    """What labels came to; the counts are of the conversations that they are about."""

    labelled: int
    decisions: int
    faults: int
    evidence: int


# What there is


class JobShape(Told):
    """A job that starts by itself."""

    name: str
    next_run: str | None
    decisions_missing: int | None = None
    last_run: str | None
    last_status: str | None
    reason: str | None
    owner: dict[str, Any] | None


class StatusShape(Told):
    """What `understudy status --json` prints."""

    decisions: int
    conversations: int
    evidence: dict[str, int]
    since_last_optimization: int
    answers: dict[str, dict[str, dict[str, int | float]]]
    modules: dict[str, str]
    profile: str
    backlog: int
    lost: dict[str, int]
    hours_to_drain: float | None
    models: dict[str, str]
    engine: str
    jobs: list[JobShape]
    gym: str


# Runs


class Train(Asked):
    """What to learn."""

    modules: list[Module] | None = Field(None, max_length=6, description="All when left out.")
    profile: Profile | None = Field(None, description="Whose decisions; BRAIN_PROFILE's when left out.")


class Dream(Asked):
    """What to dream."""

    profile: Profile | None = Field(None, description="Whose conversations; BRAIN_PROFILE's when left out.")
    count: Annotated[int, Field(ge=1, le=5000), WHOLE] | None = Field(
        None, description="How many dreams; DREAM_COUNT when left out."
    )


class Begun(BaseModel):
    """A run that is at work now."""

    run_id: str
    kind: Literal["optimize", "dream"]
    profile: str
    resumed: bool = Field(description="Whether it is one that had not come to its end, and goes on.")


class RunShape(BaseModel):
    """An optimisation or a dream cycle."""

    run_id: str
    kind: Literal["optimize", "dream"]
    profile: str
    status: Literal["running", "waiting", "interrupted", "success", "skipped", "error"] = Field(
        description="waiting: for a person's word. interrupted: it was ended before it was done, and can go on."
    )
    started_at: str
    ended_at: str | None
    reason: str | None
    made: int | None = Field(description="How many modules got better, or how many dreams there are.")
    waits_for: list[str] = Field(description="Modules that a person is to approve or decline.")


class RunReport(RunShape):
    """A run, and what it has found."""

    report: dict[str, Any] | None = Field(
        description="As `understudy optimize --json` or `understudy dream --json`; null until there is one."
    )


class Runs(BaseModel):
    """A page of runs, the newest first."""

    runs: list[RunShape]
    older: str | None = Field(description="`before` for the next page; null on the last.")


Answers = Annotated[
    dict[Module, Annotated[bool, Field(strict=True)]],
    Field(min_length=1, max_length=6, examples=[{"intent": True}]),
]


# Versions


class VersionShape(Told):
    """A version of a module, and what was proved of it."""

    module: str
    version: str
    latest: bool
    status: str | None
    created_at: str | None
    improvement: float | None
    interval: list[float] | None
    reason: str | None


class Versions(BaseModel):
    """All versions that were asked for, the oldest of each module first."""

    versions: list[VersionShape]


class VersionText(Told):
    """What there is to see of a version."""

    version: str
    file: str
    instruction: str
    python: str


class Compared(Told):
    """Two versions side by side; `a` and `b` are what is known of each."""

    module: str
    profile: str
    a: dict[str, Any]
    b: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    same_fields: bool
    instruction_diff: str


class Rollback(Asked):
    """Which version is to be used."""

    module: Module
    version: Version = Field(examples=["v0.0"])
    profile: Profile | None = None


class RolledBack(BaseModel):
    """Which version was in use, and which one is now."""

    module: str
    profile: str
    before: str
    version: str


# A/B tests


class Begin(Asked):
    """Which versions are to answer side by side."""

    module: Module
    a: Version = Field(default="latest", description="The version in use, or any other.")
    b: Version = Field(description="The version that wants to be better.", examples=["v1.0"])
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:+-]{0,199}$")] | None = Field(
        None, description="Of the test; it is given one when left out."
    )
    profile: Profile | None = None


class Declare(Asked):
    """How much evidence is enough."""

    min_sample_size: Annotated[int, Field(ge=1, le=1_000_000_000), WHOLE] = Field(
        default=LEAST_CONVERSATIONS, description="In conversations."
    )


class ABTest(Told):
    """How a test goes, as `understudy ab status NAME --json` prints it; B - A lies in `interval`."""

    test: str
    profile: str
    module: str | None
    variant_a: str
    variant_b: str
    origin: str
    started_at: str
    ended_at: str | None
    verdict: str | None
    reason: str | None
    consequence: str | None
    sample_size: int
    max_sample_size: int
    mean_score_a: float | None
    mean_score_b: float | None
    improvement_pct: float | None
    interval: Annotated[list[float], Field(min_length=2, max_length=2)]
    e_value: float
    is_significant: bool
    recommended_winner: Literal["A", "B"] | None
    guardrails: list[dict[str, Any]]


class Damaged(BaseModel):
    """A test whose statistics cannot be read, and why."""

    test: str
    reason: str


class ABTests(BaseModel):
    """A page of tests, the newest first."""

    tests: list[ABTest]
    damaged: list[Damaged]
    older: str | None = Field(description="`before` for the next page; null on the last.")


class Verdict(BaseModel):
    """What was said of a test, and what follows."""

    test: str
    winner: Literal["A", "B"] | None = None
    reason: str | None
    consequence: str | None
