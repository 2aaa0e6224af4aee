"""Is a module ready to be trusted? Judged by the last closed conversations of which the truth is known.

A module is ready when all of this holds of its last MOST conversations with evidence (LEAST of them at least):

- what it said agrees with the evidence: the lower 95 % bound of the mean agreement is the profile's `ready_at` or more;
- it answered: less than MOST_FAULTS of its turns are without an answer;
- the version in use has lost no A/B test.

A conversation counts once, by the mean over its turns with evidence; a turn by the mean over the main fields, compared
as the module's metric compares them, with the most trusted evidence; talks.py reads them. A turn without an answer
agrees with nothing. The teacher's labels are no evidence here. What the agents did is: agreement with it is agreement
with the agent, not accuracy, so `sources` says what a figure rests on. Labels from the review queue are of the turns
that teach most, so agreement with those alone is lower than with all turns.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from understudy.checkpoints.trials import Trial
from understudy.nodes.ab_life import in_a_sentence, lost
from understudy.nodes.bound import lower_bound
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.faculty import Faculty
from understudy.nodes.modules import MODULES
from understudy.profile import Profile
from understudy.state import Context
from understudy.talks import Talk, last_talks

MOST, LEAST = 200, 30
"""Conversations that are looked at, and that are needed."""

MOST_FAULTS = 0.01
"""Share of turns without an answer from which on a module is not ready."""

BLOCK = 20
"""Conversations of one point of the course."""

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


def readiness(brain: Brain, profile: str | None = None) -> dict[str, Readiness]:
    """Say of every module whether it is ready, and what is missing.

    Raises:
        UnderstudyError: there is no gym, or no such profile.
    """
    gym, known = gym_of(brain), brain.profile(profile)
    talks = last_talks(gym, known, brain.settings.brain_conversation_idle_hours, MOST)
    return {name: _judged(brain, faculty, known, talks[name]) for name, faculty in MODULES.items()}


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


def _judged(brain: Brain, faculty: Faculty, profile: Profile, talks: Sequence[Talk]) -> Readiness:
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


def _course(talks: Sequence[Talk]) -> Iterator[Point]:
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
