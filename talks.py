"""What the last closed conversations of which the truth is known say of each module."""

import heapq
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from statistics import fmean
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.readiness import Known, evidenced, new_since, of_profile, truths, turns_of
from understudy.events import SOURCES, BrainDecision, WorkflowOutcome
from understudy.nodes.faculty import Faculty
from understudy.nodes.modules import MODULES
from understudy.nodes.turns import is_closed, silent_since
from understudy.profile import Profile

MOST_TURNS = 30
"""Turns of a conversation that are looked at, the newest ones."""

MOST_EVIDENCE = 20_000
"""Pieces of evidence of a field in which conversations are looked for, the newest ones."""

AT_ONCE = 100

SECONDS_KEPT = 60
"""How long what has been read is kept: conversations close by silence, turns are read again, and some are erased."""


@dataclass(frozen=True)
class Talk:
    """What one conversation says of a module."""

    agreement: float
    turns: int
    faults: int
    begun: str
    ended: str
    versions: Counter[str]
    sources: Counter[str]


@dataclass(frozen=True)
class _Turn:
    """A turn with what its modules said, and what is known of it."""

    known: Known
    said: Mapping[str, Mapping[str, Any] | None]
    """By module its main fields, or None without an answer."""
    versions: Mapping[str, str]
    truth: Mapping[str, Any]
    sources: Mapping[str, str]


class _Memory:
    """What was read of a gym, by conversation and module, and up to which rows."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.marks: dict[str, int] = {}
        self.talks: dict[str, dict[str, Talk | None]] = {}
        self.last: dict[str, list[Talk]] = {}


def last_talks(gym: Gym, profile: Profile, idle_hours: float, most: int) -> dict[str, list[Talk]]:
    """Return by module its last conversations with evidence, the last learnt of first.

    A conversation is read again when something new is in it, and else once in SECONDS_KEPT.
    """
    memory = _memory(gym, profile, idle_hours, most, int(time.monotonic() // SECONDS_KEPT))
    with memory.lock:
        marks = gym.material.newest_ids()
        if marks != memory.marks:
            _read(memory, gym, profile, marks, silent_since(idle_hours), most)
        return memory.last


@lru_cache(maxsize=2)
def _memory(gym: Gym, profile: Profile, idle_hours: float, most: int, kept_for: int) -> _Memory:
    return _Memory()


def _read(memory: _Memory, gym: Gym, profile: Profile, marks: dict[str, int], since: str, most: int) -> None:
    closed: dict[str, bool] = {}
    chosen = {
        name: list(islice(_conversations(gym, faculty, profile, marks, since, closed), most))
        for name, faculty in MODULES.items()
    }
    names = dict.fromkeys(name for names in chosen.values() for name in names)
    old = memory.talks.keys() - new_since(gym, memory.marks) if memory.marks else set[str]()
    turns = _turns(gym, [name for name in names if name not in old], marks)
    memory.talks = {
        name: memory.talks[name]
        if name in old
        else {module: _talk(faculty, profile, turns.get(name, ())) for module, faculty in MODULES.items()}
        for name in names
    }
    said = {module: [memory.talks[name][module] for name in names] for module, names in chosen.items()}
    memory.last = {module: [talk for talk in talks if talk is not None] for module, talks in said.items()}
    memory.marks = marks


def _conversations(
    gym: Gym, faculty: Faculty, profile: Profile, marks: Mapping[str, int], since: str, closed: dict[str, bool]
) -> Iterator[str]:
    """Yield the closed conversations of a profile of which a main field is known, the last learnt of first."""
    found = heapq.merge(
        *(evidenced(gym, field, marks["evidence"], MOST_EVIDENCE) for field in faculty.main_fields), reverse=True
    )
    names = iter(_once(name for _, name in found))
    while some := list(islice(names, AT_ONCE)):
        new = of_profile(gym, [name for name in some if name not in closed], profile.name)
        endings = gym.material.endings(new, marks["decisions"], marks["events"])
        closed |= dict.fromkeys(some, False) | closed
        closed |= {name: ending["turns"] is not None and is_closed(ending, since) for name, ending in endings.items()}
        yield from (name for name in some if closed[name])


def _once(names: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name


def _turns(gym: Gym, names: Sequence[str], marks: Mapping[str, int]) -> dict[str, list[_Turn]]:
    """Return the turns of conversations with what is known of them."""
    found: dict[str, list[Known]] = defaultdict(list)
    for known in turns_of(gym, names, _PATHS, marks["decisions"], MOST_TURNS):
        found[known.conversation_id].append(known)
    spans = [(name, known[0].turn, known[-1].turn) for name, known in found.items()]
    fields = [field for faculty in MODULES.values() for field in faculty.main_fields]
    values: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    sources: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for name, turn, field, value, source in truths(gym, spans, fields, marks["evidence"]):
        before = sources[name, turn].get(field, source)
        if SOURCES.index(source) <= SOURCES.index(before):
            values[name, turn][field], sources[name, turn][field] = _value(value), source
    versions: dict[str, dict[str, str]] = {}  # most turns have the same
    for text in {known.versions for some in found.values() for known in some}:
        versions[text] = json.loads(text)
    return {
        name: [
            _Turn(one, _said(one.said), versions[one.versions], values[key], sources[key])
            for one in some
            for key in [(name, one.turn)]
        ]
        for name, some in found.items()
    }


_PATHS = [
    path
    for faculty in MODULES.values()
    for path in (f"$.{faculty.name}.version", *(f"$.{faculty.name}.fields.{name}" for name in faculty.main_fields))
]

_value = lru_cache(maxsize=4096)(json.loads)
"""What is true of a turn is mostly one of a few labels."""


def _said(values: str) -> dict[str, dict[str, Any] | None]:
    """Return by module what it said in its main fields, or None without an answer, from the values at _PATHS."""
    found, rest = dict[str, dict[str, Any] | None](), iter(json.loads(values))
    for faculty in MODULES.values():
        version = next(rest)
        said = {name: next(rest) for name in faculty.main_fields}
        found[faculty.name] = None if version is None else said
    return found


def _talk(faculty: Faculty, profile: Profile, turns: Sequence[_Turn]) -> Talk | None:
    """Return what a conversation says of a module, or None when nothing of it can be compared."""
    scores, faults = list[float](), 0
    versions, sources = Counter[str](), Counter[str]()
    for turn in turns:
        gold = turn.truth
        if faculty.truth:
            gold = {**gold, **faculty.truth(_ended(turn.known.workflow_outcome), gold, profile)}
        said = turn.said[faculty.name]
        agreement = faculty.agreement(said or {}, gold)
        if agreement:
            scores.append(fmean(agreement.values()))
            faults += said is None
            versions[turn.versions.get(faculty.name, "?")] += 1
            sources.update(turn.sources[field] for field in agreement)
    if not scores:
        return None
    begun, ended = turns[0].known.created_at, turns[-1].known.created_at
    return Talk(fmean(scores), len(scores), faults, begun, ended, versions, sources)


@cache
def _ended(outcome: WorkflowOutcome | None) -> BrainDecision:
    """Return a decision of which only that is known."""
    return BrainDecision.model_construct(workflow_outcome=outcome)
