"""Turns with what is known of them, and the replies that worked in the same state."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from understudy.events import SOURCES, BrainDecision
from understudy.nodes.sides import Place

MOST_REPLIES = 20
"""Replies that worked in the same state, of other train conversations, that an example of `response` is given."""


class Told(NamedTuple):
    """What is true of a field, and who says so."""

    value: Any
    source: str


@dataclass(frozen=True)
class Turn:
    """A decision with what is known of it; without a place while its conversation is open."""

    decision: BrainDecision
    ending: Mapping[str, Any]
    place: Place | None
    told: Mapping[str, Told]

    @cached_property
    def truth(self) -> dict[str, Any]:
        """The most trusted value of each field; the teacher's only in train."""
        in_train = self.place is not None and self.place.side == "train"
        return {name: told.value for name, told in self.told.items() if in_train or told.source != "teacher"}


def silent_since(idle_hours: float) -> str:
    """Return the moment since which a conversation without an outcome must have been silent to be closed."""
    return (datetime.now(UTC) - timedelta(hours=idle_hours)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def is_closed(ending: Mapping[str, Any], silent_since: str) -> bool:
    """Say whether a conversation is closed, by what `Material.endings` tells of it."""
    return bool(ending["ended"]) or (ending["last"] or "") <= silent_since


def believe(known: dict[str, Told], row: Mapping[str, Any]) -> None:
    """Take newer evidence unless what is known comes from a more trusted source."""
    before = known.get(row["field"])
    if before is None or SOURCES.index(row["source"]) <= SOURCES.index(before.source):
        known[row["field"]] = Told(row["value"], row["source"])


class Replies:
    """Replies that worked, by the state they were given in: what the customer wanted, and the step that was right.

    They are those of train conversations, so that validation and sealed see no others' replies.
    """

    def __init__(self, turns: Iterable[Turn]) -> None:
        self._by_state: dict[tuple[Any, Any], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._best: dict[tuple[Any, Any], list[str]] = {}
        for turn in turns:
            reply, state = _worked(turn), _state(turn)
            if turn.place and turn.place.side == "train" and reply and any(state):
                self._by_state[state][reply].append(turn.decision.conversation_id)

    def good(self, turn: Turn) -> list[str]:
        """Return the turn's own reply if it worked, and then the most frequent others; at most MOST_REPLIES."""
        own, state = _worked(turn), _state(turn)
        if state not in self._best:
            given = self._by_state.get(state, {})
            self._best[state] = sorted(given, key=lambda reply: (-len(given[reply]), reply))[:MOST_REPLIES]
        others = self._best[state]
        return [own, *(reply for reply in others if reply != own)][:MOST_REPLIES] if own else list(others)

    def lenders(self, turn: Turn) -> set[str]:
        """Return the conversations whose replies the turn is given."""
        given = self._by_state.get(_state(turn), {})
        return {name for reply in self.good(turn) for name in given.get(reply, ())}


def _worked(turn: Turn) -> str | None:
    reply = turn.truth.get("proposed_response")
    return reply if reply and turn.decision.workflow_outcome not in ("failure", "abandoned") else None


def _state(turn: Turn) -> tuple[Any, Any]:
    return turn.truth.get("intent"), turn.truth.get("next_step")
