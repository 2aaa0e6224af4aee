"""Which turns become examples: balanced over labels, spread over conversations, hard cases first in train."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heapreplace
from itertools import chain
from typing import Any, NamedTuple

from understudy.nodes.faculty import Faculty
from understudy.nodes.scoring import close, number, overlapping, similarity
from understudy.nodes.turns import Turn
from understudy.profile import Profile


def label_of(faculty: Faculty, turn: Turn, profile: Profile) -> tuple[str, str]:
    """Return field and value by which examples are balanced.

    It is the first main field with evidence that has labels; of a score its third, of a list its length. A text has
    none of these: it counts by the next step or the intent.
    """
    for name in label_fields(faculty):
        value = turn.truth.get(name)
        if isinstance(value, str) and (name in profile.labels or name in ("next_step", "intent")):
            return name, value
        if isinstance(value, list):
            return name, str(len(value)) if len(value) < 3 else "3 or more"
        if (score := number(value)) is not None:
            return name, ("low", "middle", "high")[min(2, math.floor(score * 3))]
    return "", "any"


def label_fields(faculty: Faculty) -> tuple[str, ...]:
    """Return the fields that can give a label, the first before the others; none of them is the last."""
    return (*faculty.main_fields, "next_step", "intent", "")


def hardness(faculty: Faculty, turn: Turn, profile: Profile) -> float:
    """Return how much a turn has to teach: 2 for a fault, else 0 (right and sure) to 1.5 (wrong and unsure)."""
    reading = turn.decision.readings.get(faculty.name)
    if reading is None:
        return 2.0
    said = reading["fields"]
    wrong = [
        _wrong(name, said.get(name), turn.truth[name], profile) for name in faculty.main_fields if name in turn.truth
    ]
    confidence = number(said.get("confidence"))
    return sum(wrong) / len(wrong) + (0.0 if confidence is None else (1 - confidence) / 2)


def _wrong(name: str, said: Any, right: Any, profile: Profile) -> float:
    if isinstance(right, str):
        return float(said != right) if name in profile.labels else 1 - similarity(str(said or ""), right)
    _, _, score, _ = overlapping(name, 1, said, right) if isinstance(right, list) else close(name, 1, said, right)
    return 1 - (score or 0.0)


class Candidate(NamedTuple):
    """A turn that may be chosen: a lower tier goes first, then a lower rank."""

    tier: int
    label: tuple[str, str]
    rank: float
    digest: str
    turn: Turn


def balanced(candidates: Iterable[Candidate], cap: int, *, conversations_first: bool = False) -> list[Turn]:
    """Take one of each label in turns, and within a label first of conversations that have given fewest.

    A later tier comes when the earlier ones have no more to give. With `conversations_first` no conversation gives a
    second turn before all have given one, whatever tier and label.
    """
    tiers: dict[int, dict[tuple[str, str], list[_Ranked]]] = defaultdict(lambda: defaultdict(list))
    for one in candidates:
        tiers[one.tier][one.label].append((0, one.rank, one.digest, one.turn))
    heaps = [[heap for _, heap in sorted(tiers[tier].items())] for tier in sorted(tiers)]
    for heap in chain.from_iterable(heaps):
        heapify(heap)
    used: Counter[str] = Counter()
    most = 1.0 if conversations_first else math.inf
    chosen: list[Turn] = []
    while len(chosen) < cap and any(chain.from_iterable(heaps)):
        if taken := next(filter(None, (_round(tier, used, most) for tier in heaps)), None):
            chosen += taken
        else:
            most += 1
    return chosen[:cap]


_Ranked = tuple[int, float, str, Turn]
"""How many turns the conversation had given when this was looked at last, rank, digest, turn."""


def _round(heaps: Iterable[list[_Ranked]], used: Counter[str], most: float) -> list[Turn]:
    """Take one turn of each label that has one to give."""
    taken = []
    for heap in heaps:
        if (turn := _pop(heap, used, most)) is not None:
            used[turn.decision.conversation_id] += 1
            taken.append(turn)
    return taken


def _pop(heap: list[_Ranked], used: Mapping[str, int], most: float) -> Turn | None:
    """Take the best turn of a conversation that has given fewer than `most`."""
    while heap:
        times, rank, digest, turn = heap[0]
        now = used.get(turn.decision.conversation_id, 0)
        if times == now:
            return heappop(heap)[3] if now < most else None
        heapreplace(heap, (now, rank, digest, turn))
    return None
