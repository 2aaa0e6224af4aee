"""Which cues tell labels apart: rules are added, weighed and dropped by what they do to the student's own odds.

Each round looks at every cue that goes with a label in enough conversations, takes the step of Newton's method on the
log loss towards it, and puts the best cue of each label at the strength nearest to that step. A rule that misled the
student has a slope the other way and loses strength or goes.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from understudy.lm.answering import DEFAULT_PULL, SHARPNESS, Turn, begin, decide, label_scores
from understudy.lm.evidence import Book
from understudy.lm.shape import Field
from understudy.lm.teaching_sheet import Cue, Rules

Bag = dict[Cue, float]


class Sight(NamedTuple):
    """A turn as the learner sees it: the cues in it, the student's logits, the right label, the conversation."""

    bag: Bag
    logits: dict[str, float]
    right: str
    talk: str


class Taste(NamedTuple):
    """How to choose cues."""

    least: int = 2
    """Conversations that must carry a cue for a label."""
    most: int = 30
    """Cues of a label that are looked at."""
    shrink: float = 2.0
    """How many turns that say otherwise every cue is held back by."""
    surprise: float = 2.0
    """Least squared distance from chance, in variances."""
    rarity: float = 2.0
    """Most that a turn of a rare label counts."""
    rounds: int = 8
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0)


def logits_of(book: Book, inputs: Mapping[str, object], field: str) -> dict[str, float]:
    """Return the student's logits for a label field; a label that is not there stands at 0."""
    turn = begin(book, inputs)
    for one in book.fields:
        if one.name == field:
            return _logits(one, turn)
        if one.kind == "label":
            decide(one, turn)
    return {}


def _logits(one: Field, turn: Turn) -> dict[str, float]:
    logits = {label: SHARPNESS * value for label, value in label_scores(one, turn).items()}
    default = turn.book.rules.defaults.get(one.name)
    if default is not None:
        logits[default[0]] = logits.get(default[0], 0.0) + DEFAULT_PULL * default[1]
    return logits


def often(bags: Iterable[Bag], talks: Iterable[str], least: int, barred: frozenset[str]) -> set[Cue]:
    """Return the cues that occur in so many conversations and hold no barred word."""
    among: dict[str, set[Cue]] = defaultdict(set)
    for bag, talk in zip(bags, talks, strict=True):
        among[talk].update(bag.keys())
    counted = Counter(cue for cues in among.values() for cue in cues)
    return {cue for cue, n in counted.items() if n >= least and barred.isdisjoint(cue.phrase.split())}


class Learner:
    """Improves the rules of one field on a set of turns."""

    def __init__(
        self, sights: Sequence[Sight], labels: Sequence[str], rules: Rules, taste: Taste, barred: frozenset[str]
    ) -> None:
        self.labels, self.taste = labels, taste
        self.sights = [sight for sight in sights if sight.right in labels]
        self.rules: Rules = {label: dict(cues) for label, cues in rules.items()}
        self.logits = [dict(sight.logits) for sight in self.sights]
        self.rows: dict[Cue, list[tuple[int, float]]] = defaultdict(list)
        kept = often([one.bag for one in self.sights], [one.talk for one in self.sights], taste.least, barred)
        kept.update(cue for cues in rules.values() for cue in cues)
        for i, sight in enumerate(self.sights):
            for cue in sight.bag.keys() & kept:
                self.rows[cue].append((i, sight.bag[cue]))
        self.counts = self._counts()
        self.pool = self._pool()

    def _counts(self) -> list[float]:
        """Give what each turn counts for: those of a rare label more, so that it is heard beside a common one."""
        total = Counter(sight.right for sight in self.sights)
        most = max(total.values(), default=1)
        return [min(self.taste.rarity, math.sqrt(most / total[sight.right])) for sight in self.sights]

    def _pool(self) -> dict[Cue, list[str]]:
        """Give the labels each cue may speak for: those it goes with in enough conversations, and those it has."""
        pool: dict[Cue, set[str]] = defaultdict(set)
        total = Counter(sight.right for sight in self.sights)
        ranked: dict[str, list[tuple[float, Cue]]] = defaultdict(list)
        for cue, row in self.rows.items():
            talks: dict[str, set[str]] = defaultdict(set)
            hits = Counter(self.sights[i].right for i, _ in row)
            for i, _ in row:
                talks[self.sights[i].right].add(self.sights[i].talk)
            for label, n in hits.items():
                share = total[label] / len(self.sights)
                more = n - share * len(row)
                if len(talks[label]) >= self.taste.least and more > 0:
                    ranked[label].append((more * more / (len(row) * share * (1 - share) + 1), cue))
        for label, found in ranked.items():
            for _, cue in sorted(found, reverse=True)[: self.taste.most]:
                pool[cue].add(label)
        for label, cues in self.rules.items():
            for cue in cues:
                if cue in self.rows:
                    pool[cue].add(label)
        return {cue: sorted(labels) for cue, labels in pool.items()}

    def learn(self) -> Rules:
        """Take rounds until nothing is gained, and return the rules."""
        for _ in range(self.taste.rounds):
            if not self._round():
                break
        return {label: cues for label, cues in self.rules.items() if cues}

    def _round(self) -> bool:
        best: dict[str, tuple[float, Cue, float]] = {}
        moved = False
        chances = [_softmax(logits, len(self.labels)) for logits in self.logits]
        for cue, labels in self.pool.items():
            for label in labels:
                slope, curve = self._slope(cue, label, chances)
                old = self.rules.get(label, {}).get(cue, 0.0)
                new = self._strength(old, old + slope / (curve + self.taste.shrink) / SHARPNESS)
                gain = slope * slope / (curve + self.taste.shrink)
                if new < old:
                    moved = True
                    self._put(label, cue, old, new)
                elif new > old and slope * slope > self.taste.surprise * curve:
                    best[label] = max(best.get(label, (0.0, cue, 0.0)), (gain, cue, new))
        for label, (gain, cue, new) in best.items():
            if gain > 0:
                moved = True
                self._put(label, cue, self.rules.get(label, {}).get(cue, 0.0), new)
        return moved

    def _slope(self, cue: Cue, label: str, chances: Sequence[tuple[dict[str, float], float]]) -> tuple[float, float]:
        slope = curve = 0.0
        for i, x in self.rows[cue]:
            known, silent = chances[i]
            chance = known.get(label, silent)
            x_counted = x * self.counts[i]
            slope += x_counted * ((self.sights[i].right == label) - chance)
            curve += x_counted * x * chance * (1 - chance)
        return slope, curve

    def _strength(self, old: float, wanted: float) -> float:
        """Give the strength nearest to the wanted one; a rule that spoke against a label stays as it is."""
        if old < 0:
            return old
        return min((0.0, *self.taste.strengths), key=lambda strength: abs(strength - wanted))

    def _put(self, label: str, cue: Cue, old: float, new: float) -> None:
        cues = self.rules.setdefault(label, {})
        if new:
            cues[cue] = new
        else:
            cues.pop(cue, None)
        for i, x in self.rows[cue]:
            logits = self.logits[i]
            logits[label] = logits.get(label, 0.0) + SHARPNESS * (new - old) * x


def _softmax(logits: Mapping[str, float], labels: int) -> tuple[dict[str, float], float]:
    """Return the chances of the labels with a logit, and that of each label without."""
    top = max(0.0, max(logits.values(), default=0.0))
    parts = {label: math.exp(value - top) for label, value in logits.items()}
    silent = math.exp(-top)
    total = sum(parts.values()) + silent * (labels - len(parts))
    return {label: part / total for label, part in parts.items()}, silent / total


def worth(rules: Rules, sights: Iterable[Sight]) -> dict[tuple[str, Cue], float]:
    """Say how well each rule has done: right turns it was in, less twice the wrong ones; unheard ones stand at 1."""
    found: dict[tuple[str, Cue], float] = {(label, cue): 1.0 for label, cues in rules.items() for cue in cues}
    owners: dict[Cue, list[str]] = defaultdict(list)
    for label, cue in found:
        owners[cue].append(label)
    for sight in sights:
        for cue in sight.bag.keys() & owners.keys():
            for label in owners[cue]:
                found[label, cue] += 1.0 if sight.right == label else -0.5
    return found
