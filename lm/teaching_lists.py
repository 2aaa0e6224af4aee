"""Which cues put a label on a list: each label is decided by itself, over or under the student's mark."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from understudy.lm.answering import IN_LIST, begin, decide
from understudy.lm.evidence import Book, score
from understudy.lm.shape import Field
from understudy.lm.teaching_cues import Bag, often
from understudy.lm.teaching_material import Case
from understudy.lm.teaching_sheet import NAMED, Cue, Rules
from understudy.lm.teaching_turns import anywhere, named

MARGIN = 0.45
LEAST = 2
LEAST_GAIN = 1.5
LISTED = 0.6
"""How much less a phrase is worth than a step or a fact, which do not depend on how somebody speaks."""

MOST = 30
"""Cues of a label that are looked at."""

ROUNDS = 4

Rows = Mapping[Cue, Sequence[tuple[int, float]]]


class Listing(NamedTuple):
    """A turn: the cues in it, the student's score of each label, the labels that are right, the conversation."""

    bag: Bag
    scores: dict[str, float]
    right: frozenset[str]
    talk: str


def listings(one: Field, cases: Sequence[Case], book: Book) -> Iterator[Listing]:
    """Give the cases as turns to learn a list from."""
    for case in cases:
        turn = begin(book, case.inputs)
        for other in book.fields:
            if other.kind == "label":
                decide(other, turn)
        bag = anywhere(case.inputs)
        bag.update((Cue("seen", step), 1.0) for step in turn.scene.actions if "_" in step and named(step))
        bag.update((Cue("for", label), 1.0) for label in turn.chosen.values())
        yield Listing(bag, score(one, book, turn.scene, turn.hits), frozenset(_texts(case.right[one.name])), case.talk)


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def teach_list(one: Field, turns: Sequence[Listing], rules: Rules, barred: frozenset[str]) -> Rules:
    """Return better rules for a list of labels."""
    known = {cue for cues in rules.values() for cue in cues}
    kept = often([turn.bag for turn in turns], [turn.talk for turn in turns], LEAST, barred) | known
    rows: dict[Cue, list[tuple[int, float]]] = defaultdict(list)
    for i, turn in enumerate(turns):
        for cue in turn.bag.keys() & kept:
            rows[cue].append((i, turn.bag[cue]))
    found: Rules = {}
    for label in one.labels:
        found[label] = _Labelled(label, turns, rows, rules.get(label, {})).learn()
    return {label: cues for label, cues in found.items() if cues}


class _Labelled:
    """Improves the cues of one label."""

    def __init__(self, label: str, turns: Sequence[Listing], rows: Rows, cues: Mapping[Cue, float]) -> None:
        self.turns, self.rows, self.cues = turns, rows, dict(cues)
        self.values = [turn.scores.get(label, 0.0) for turn in turns]
        self.right = [label in turn.right for turn in turns]

    def learn(self) -> dict[Cue, float]:
        """Put one cue after the other at the strength that mends most."""
        for _ in range(ROUNDS):
            gain, cue, new = max(self._tries(), default=(0.0, Cue("", ""), 0.0))
            if gain < LEAST_GAIN:
                break
            for i, x in self.rows[cue]:
                self.values[i] += (new - self.cues.get(cue, 0.0)) * x
            self.cues[cue] = new
        return {cue: weight for cue, weight in self.cues.items() if weight}

    def _tries(self) -> Iterator[tuple[float, Cue, float]]:
        wrong = [i for i, right in enumerate(self.right) if self._fault(right, self.values[i]) > 1]
        for missing, new in ((True, 1.0), (False, -1.0)):
            faulty = [i for i in wrong if self.right[i] == missing]
            among = Counter(cue for i in faulty for cue in self.turns[i].bag.keys() & self.rows.keys())
            ranked = sorted(
                ((n * n / len(self.rows[cue]), cue) for cue, n in among.items() if n >= LEAST), reverse=True
            )
            for _, cue in ranked[:MOST]:
                old = self.cues.get(cue, 0.0)
                weight = 0.0 if old * new < 0 else new
                if weight != old:
                    yield self._gain(cue, weight - old), cue, weight

    def _gain(self, cue: Cue, more: float) -> float:
        """Return how much nearer the values come, in conversations rather than turns."""
        gain = 0.0
        talks: dict[str, float] = defaultdict(float)
        for i, x in self.rows[cue]:
            right, value = self.right[i], self.values[i]
            change = self._fault(right, value) - self._fault(right, value + more * x)
            talks[self.turns[i].talk] += change
            gain += change
        helped = sum(change > 0 for change in talks.values())
        return gain * (1.0 if cue.place in NAMED else LISTED) if helped >= LEAST else 0.0

    @staticmethod
    def _fault(right: bool, value: float) -> float:
        """Return how far a value is on the wrong side: 0 well on the right one, 1 on the mark, 2 at most."""
        over = (value - IN_LIST) / MARGIN
        return min(2.0, max(0.0, 1 - over if right else 1 + over))
