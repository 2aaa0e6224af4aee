"""Is a module ready to be trusted? Judged by the last closed conversations of which the truth is known.

A module is ready when all of this holds of its last MOST conversations with evidence (LEAST of them at least):

- what it said agrees with the evidence: the lower 95 % bound of the mean agreement is the profile's `ready_at` or more;
- it answered: less than MOST_FAULTS of its turns are without an answer;
- the version in use has lost no A/B test.

A conversation counts once, by the mean over its turns with evidence; a turn by the mean over the main fields, compared
as the module's metric compares them, with the most trusted evidence. A turn without an answer agrees with nothing. The
teacher's labels are no evidence here. What the agents did is: agreement with it is agreement with the agent, not
accuracy, so `sources` says what a figure rests on. Labels from the review queue are of the turns that teach most, so
agreement with those alone is lower than with all turns.
"""

import heapq
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import islice
from statistics import fmean
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.readiness import Known, evidenced, of_profile, truths, turns_of
from understudy.checkpoints.trials import Trial
from understudy.events import SOURCES, BrainDecision, WorkflowOutcome
from understudy.nodes.ab_life import in_a_sentence, lost
from understudy.nodes.bound import lower_bound
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.faculty import Faculty
from understudy.nodes.modules import MODULES
from understudy.nodes.turns import is_closed, silent_since
from understudy.profile import Profile
from understudy.state import Context

MOST, LEAST = 200, 30
"""Conversations that are looked at, and that are needed."""

MOST_FAULTS = 0.01
"""Share of turns without an answer from which on a module is not ready."""

BLOCK = 20
"""Conversations of one point of the course."""

MOST_TURNS = 30
"""Turns of a conversation that are looked at, the newest ones."""

MOST_EVIDENCE = 20_000
"""Pieces of evidence of a field in which conversations are looked for, the newest ones."""

AT_ONCE = 100

SECONDS_KEPT = 60

AGREES_WITH = {
    "human": "people's labels",
    "outcome": "how conversations ended",
    "hindsight": "what the agents did",
}


@dataclass(frozen=True)
class Point:
    """One block of conversations in the course: their mean agreement, when they began and ended, what answered."""

    agreement: float
    conversations: int
    begun: str
    ended: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class Readiness:
    """What is known of one module; agreement and its bound are 0..1, None without evidence.

    `sources` counts fields of turns by who says what is true of them.
    """

    module: str
    version: str
    missing: tuple[str, ...]
    agreement: float | None
    lower: float | None
    ready_at: float
    conversations: int
    turns: int
    fault_rate: float
    sources: Mapping[str, int]
    ab: str | None
    course: tuple[Point, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


@dataclass(frozen=True)
class _Talk:
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


def readiness(brain: Brain, profile: str | None = None) -> dict[str, Readiness]:
    """Say of every module whether it is ready, and what is missing.

    Raises:
        UnderstudyError: there is no gym, or no such profile.
    """
    gym, known = gym_of(brain), brain.profile(profile)
    kept_for = int(time.monotonic() // SECONDS_KEPT)  # conversations close by silence, and some are erased
    idle_hours = brain.settings.brain_conversation_idle_hours
    talks = _talks(gym, known, idle_hours, tuple(gym.newest_ids().items()), kept_for)
    return {name: _judged(brain, faculty, known, talks[name]) for name, faculty in MODULES.items()}


@lru_cache(maxsize=2)
def _talks(
    gym: Gym, profile: Profile, idle_hours: float, newest: tuple[tuple[str, int], ...], kept_for: int
) -> dict[str, list[_Talk]]:
    """Return by module what the conversations say that are looked at, the last learnt of first.

    It is kept as long as the gym stands as it does, but not for longer than SECONDS_KEPT.
    """
    marks, since = dict(newest), silent_since(idle_hours)
    closed: dict[str, bool] = {}
    chosen = {
        name: list(islice(_conversations(gym, faculty, profile, marks, since, closed), MOST))
        for name, faculty in MODULES.items()
    }
    turns = _turns(gym, list(dict.fromkeys(name for names in chosen.values() for name in names)), marks)
    said = {
        name: [_talk(MODULES[name], profile, turns.get(one, ())) for one in names] for name, names in chosen.items()
    }
    return {name: [talk for talk in talks if talk is not None] for name, talks in said.items()}


def rests_on(sources: Mapping[str, int]) -> str:
    """Say what an agreement is an agreement with."""
    known = {source: sources[source] for source in AGREES_WITH if sources.get(source)}
    share = {
        source: f" ({100 * count / sum(known.values()):.0f} %)" if len(known) > 1 else ""
        for source, count in known.items()
    }
    parts = [AGREES_WITH[source] + share[source] for source in known]
    agents = "; with the agents it is agreement, not accuracy" if "hindsight" in known else ""
    return "Agreement with " + ", ".join(parts) + agents + "." if parts else "Nothing to agree with yet."


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
        endings = gym.endings(new, marks["decisions"], marks["events"])
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


def _judged(brain: Brain, faculty: Faculty, profile: Profile, talks: Sequence[_Talk]) -> Readiness:
    values = [talk.agreement for talk in talks]
    asked = sum(talk.turns for talk in talks)
    version = brain.version(faculty, profile.name, Context())
    trials = [t for t in gym_of(brain).trials.all() if (t.profile, t.module) == (profile.name, faculty.name)]
    found = Readiness(
        module=faculty.name,
        version=version,
        missing=(),
        agreement=round(fmean(values), 4) if values else None,
        lower=round(lower_bound(values), 4) if values else None,
        ready_at=profile.ready_at,
        conversations=len(talks),
        turns=asked,
        fault_rate=round(sum(talk.faults for talk in talks) / asked, 4) if asked else 0.0,
        sources=dict(sum((talk.sources for talk in talks), Counter[str]()).most_common()),
        ab=in_a_sentence(trials[-1]) if trials else None,
        course=tuple(_course(talks)),
    )
    return replace(found, missing=tuple(_missing(found, lost(trials, version))))


def _missing(found: Readiness, defeat: Trial | None) -> Iterator[str]:
    if found.conversations < LEAST:
        yield f"{found.conversations} of {LEAST} conversations with evidence"
    elif found.lower is not None and found.lower < found.ready_at:
        yield f"agreement at least {found.lower:.2f}, needed {found.ready_at:.2f}"
    if found.fault_rate >= MOST_FAULTS:
        yield f"{found.fault_rate:.1%} of the turns without an answer, needed under {MOST_FAULTS:.0%}"
    if defeat:
        yield f"{found.version} has lost the A/B test {defeat.name}"


def _talk(faculty: Faculty, profile: Profile, turns: Sequence[_Turn]) -> _Talk | None:
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
    return _Talk(fmean(scores), len(scores), faults, begun, ended, versions, sources)


@cache
def _ended(outcome: WorkflowOutcome | None) -> BrainDecision:
    """Return a decision of which only that is known."""
    return BrainDecision.model_construct(workflow_outcome=outcome)


def _course(talks: Sequence[_Talk]) -> Iterator[Point]:
    """Yield the blocks of the course, the oldest first; only the oldest may be short."""
    ordered = sorted(reversed(talks), key=lambda talk: talk.ended)
    first = len(ordered) % BLOCK or BLOCK
    for start, end in [(0, first), *((at, at + BLOCK) for at in range(first, len(ordered), BLOCK))] if ordered else ():
        block = ordered[start:end]
        versions = sum((talk.versions for talk in block), Counter[str]())
        yield Point(
            agreement=round(fmean(talk.agreement for talk in block), 4),
            conversations=len(block),
            begun=block[0].begun,
            ended=block[-1].ended,
            versions=tuple(name for name, _ in versions.most_common()),
        )
