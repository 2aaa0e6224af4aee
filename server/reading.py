"""Read decisions and conversations, page by page: each page is bounded in rows and in size."""

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.convertors import PathConvertor, register_url_convertor

from understudy.checkpoints.browsing import Conversations, Decisions
from understudy.checkpoints.gym import Gym
from understudy.events import WorkflowOutcome
from understudy.intake import MAX_NAME, moment
from understudy.observing import thread_of
from understudy.server.opening import opened
from understudy.server.problems import Problem
from understudy.server.shown import (
    MOST_LISTED,
    MOST_SAID,
    Conversation,
    ConversationPage,
    DecisionPage,
    Happened,
    Known,
    ListedDecision,
    Pair,
    Seen,
    Suggestion,
    Summary,
    TurnSeen,
    shown,
)

MOST_PAGE = 1_000_000
"""Characters from which on a page takes no more rows; there is always one."""

LARGEST = 2**63 - 1
CURSOR = r"^[0-9TZ:.+-]{4,40}~[0-9a-zA-Z-]{1,60}$"


def _moment(text: str) -> str:
    """Return a moment as the gym writes it, with microseconds."""
    at = datetime.fromisoformat(moment(text))
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Moment = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_moment)]


class DecisionQuery(BaseModel):
    """Which decisions are wanted; what is left out is not asked for."""

    model_config = ConfigDict(extra="forbid")

    profile: Annotated[Name | None, Field(examples=["star"])] = None
    conversation_id: Annotated[Name | None, Field(examples=["chat-7"])] = None
    module: Annotated[str | None, Field(pattern="^[a-z_]{1,40}$", description="With `version`.")] = None
    version: Annotated[str | None, Field(pattern=r"^v\d{1,6}\.\d{1,6}$", description="Of `module`.")] = None
    faults: Annotated[bool | None, Field(description="true: turns in which a module could not answer.")] = None
    intent: Annotated[Name | None, Field(description="As the intent predictor read it.")] = None
    conflict_type: Annotated[Name | None, Field(description="As the conflict monitor read it.")] = None
    labelled: Annotated[bool | None, Field(description="Whether a person has labelled the turn.")] = None
    since: Annotated[Moment | None, Field(description="When it was written, ISO 8601.")] = None
    until: Annotated[Moment | None, Field(description="Before that moment.")] = None
    before: Annotated[str | None, Field(pattern=CURSOR, description="From the `next` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50

    @model_validator(mode="after")
    def _both(self) -> "DecisionQuery":
        if (self.module is None) != (self.version is None):
            raise ValueError("module and version go together")
        return self


class ConversationQuery(BaseModel):
    """Which conversations are wanted; what is left out is not asked for."""

    model_config = ConfigDict(extra="forbid")

    profile: Annotated[Name | None, Field(examples=["star"])] = None
    prefix: Annotated[Name | None, Field(description="How the id begins.")] = None
    outcome: Annotated[WorkflowOutcome | Literal["open"] | None, Field(description="`open`: not ended.")] = None
    faults: Annotated[bool | None, Field(description="true: with a turn in which a module could not answer.")] = None
    before: Annotated[int | None, Field(ge=1, le=LARGEST, description="From the `next` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class IdConvertor(PathConvertor):
    """An id of a host's own: it may hold slashes, and ends of lines too."""

    regex = "(?s:.*)"


register_url_convertor("id", IdConvertor())
router = APIRouter(tags=["reading"])
_UNKNOWN: Any = {404: {"description": "There is no such conversation."}}


@router.get("/decisions")
def decisions(query: Annotated[DecisionQuery, Query()]) -> DecisionPage:
    """Return decisions, newest first. Of a text there are 500 characters; `cut` says that something is left out."""
    return decision_page(opened()[1], query)


@router.get("/conversations")
def conversations(query: Annotated[ConversationQuery, Query()]) -> ConversationPage:
    """Return conversations, those that began last first."""
    return conversation_page(opened()[1], query)


@router.get("/conversations/{conversation_id:id}", responses=_UNKNOWN)
def conversation(
    conversation_id: Annotated[str, Path(description="URL-encoded; a slash in it may stay.", examples=["chat-7"])],
    after: Annotated[int, Query(ge=-1, le=LARGEST, description="From the `next` of the page before.")] = -1,
    turn: Annotated[int | None, Query(ge=0, le=LARGEST, description="Begin with this turn.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="How many events.")] = 100,
) -> Conversation:
    """Return a page of one conversation in the order it happened; messages are whole."""
    return one_conversation(opened()[1], conversation_id, after, limit, turn)


def decision_page(gym: Gym, query: DecisionQuery) -> DecisionPage:
    """Return a page of decisions."""
    wanted = query.model_dump(exclude={"before", "limit"})
    before = None if query.before is None else _cursor(query.before)
    keys = gym.browsing.decisions(Decisions(**wanted), before, query.limit)
    found: list[ListedDecision] = []
    size, last = 0, None
    for last in keys:
        if row := gym.browsing.decision(last[1], MOST_LISTED + 1):
            found.append(shown(ListedDecision, row, MOST_LISTED))
            size += len(found[-1].model_dump_json())
        if size > MOST_PAGE:
            break
    more = last is not None and (len(keys) == query.limit or last != keys[-1])
    return DecisionPage(decisions=found, next=_next("decisions", query, "~".join(last)) if more and last else None)


def conversation_page(gym: Gym, query: ConversationQuery) -> ConversationPage:
    """Return a page of conversations."""
    wanted = Conversations(**query.model_dump(exclude={"before", "limit"}))
    rows = gym.browsing.conversations(wanted, query.before, query.limit, MOST_LISTED)
    more = len(rows) == query.limit
    return ConversationPage(
        conversations=[_summary(row) for row in rows],
        next=_next("conversations", query, str(rows[-1]["row"])) if more else None,
    )


def one_conversation(gym: Gym, conversation_id: str, after: int, limit: int, turn: int | None = None) -> Conversation:
    """Return a page of one conversation.

    Args:
        gym: where it is.
        conversation_id: the conversation.
        after: the sequence number behind which the page begins; -1 is the beginning.
        limit: how many events at most.
        turn: begin with this turn instead.

    Raises:
        Problem: there is no such conversation, or no such turn of it.
    """
    row = gym.browsing.conversation(conversation_id, MOST_LISTED)
    if row is None:
        raise Problem(404, f"no conversation {conversation_id[:60]!r}; GET /brain/conversations lists them")
    if turn is not None:
        seq = gym.browsing.seq_of(conversation_id, turn)
        if seq is None:
            raise Problem(404, f"conversation {conversation_id[:60]!r} has no turn {turn}; it has {row['turns']}")
        after = seq - 1
    events = gym.browsing.events(conversation_id, after, limit, MOST_PAGE)
    turns = [event["turn"] for event in events if event["kind"] == "customer_message"]
    last = events[-1]["seq"] if events else after
    path = f"/brain/conversations/{quote(conversation_id, safe='')}"
    return Conversation(
        **_summary(row).model_dump(),
        happened=_happened(gym, conversation_id, events),
        seen=_seen(gym, conversation_id, turns),
        next=f"{path}?{urlencode({'after': last, 'limit': limit})}" if last + 1 < row["events"] else None,
    )


def _happened(gym: Gym, conversation_id: str, events: list[dict[str, Any]]) -> list[Happened]:
    replies = [event["message_id"] for event in events if event["kind"] == "agent_message"]
    touched = gym.browsing.suggestions(conversation_id, replies)
    suggested = {name: shown(Suggestion, row, MOST_SAID) for name, row in touched.items()}
    return [Happened(**event, suggestion=suggested.get(event["message_id"])) for event in events]


def _seen(gym: Gym, conversation_id: str, turns: list[int]) -> list[TurnSeen]:
    decisions = gym.browsing.turns(conversation_id, turns)
    runs = {row["run_id"]: row["thread_id"] for row in decisions.values() if row["run_id"] and row["thread_id"]}
    points = gym.browsing.checkpoints(runs)
    evidence = gym.browsing.evidence(conversation_id, turns, MOST_SAID)
    pairs = gym.browsing.pairs(conversation_id, turns)
    return [
        TurnSeen(
            turn=turn,
            decision=_decision(decisions[turn], points) if turn in decisions else None,
            evidence=[_known(row) for row in evidence.get(turn, ())],
            pairs=[shown(Pair, row, MOST_SAID) for row in pairs.get(turn, ())],
        )
        for turn in turns
    ]


def _decision(row: dict[str, Any], points: dict[str, str]) -> Seen:
    return shown(Seen, {**row, "checkpoint_id": points.get(row["run_id"])}, MOST_SAID)


def _known(row: dict[str, Any]) -> Known:
    if row["beginning"] is None:
        return shown(Known, row, MOST_SAID)
    return Known(**{**row, "value": f"{row['beginning']}\u2026", "cut": True})


def _summary(row: dict[str, Any]) -> Summary:
    return Summary(**{**row, "thread_id": row["thread_id"] or thread_of(row["conversation_id"])})


def _next(what: str, query: BaseModel, before: str) -> str:
    given = query.model_dump(exclude_none=True, mode="json") | {"before": before}
    return f"/brain/{what}?{urlencode({k: str(v).lower() if isinstance(v, bool) else v for k, v in given.items()})}"


def _cursor(text: str) -> tuple[str, str]:
    moment, _, decision_id = text.partition("~")
    return moment, decision_id
