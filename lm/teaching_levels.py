"""Which words speak for a low or a high number, tried one by one on what the metric would say."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from understudy.lm.answering import START_WEIGHT
from understudy.lm.evidence import Book, find, voices
from understudy.lm.shape import Field
from understudy.lm.teaching_material import Case
from understudy.lm.teaching_privacy import phrases
from understudy.lm.teaching_sheet import CLEAR, HIGH, LOW, Cue, Levels
from understudy.lm.words import AGENT, CUSTOMER, read_scene

LEAST = 4
MOST = 60
ROUNDS = 8
LEAST_GAIN = 0.004


@dataclass
class View:
    """A turn: the cues in it, what pulls the student's number, the right number, the conversation."""

    cues: frozenset[Cue]
    pull: float
    weight: float
    met: int
    right: float
    talk: str

    def value(self, more: float, level: float) -> float:
        """Return how well the student would do with one more rule."""
        said = (self.pull + more * level) / max(self.weight + more, START_WEIGHT)
        correct = 1 - abs(said - self.right)
        sure = 1 - 0.5 / (1 + max(0, self.met + (more > 0) - (more < 0)))
        return 2 / 3 * correct + 1 / 3 * (1 - (sure - correct) ** 2)


def views(one: Field, cases: Sequence[Case], book: Book) -> Iterator[View]:
    """Give the cases as turns to learn a number from."""
    start = book.rules.levels.get(one.name, 0.5)
    for case in cases:
        scene = read_scene(case.inputs)
        heard = list(voices(book, one, scene, find(book, scene)))
        pull = sum(abs(weight) * (rule.level if weight > 0 else 1 - rule.level) for rule, weight, _ in heard)
        cues: set[Cue] = set()
        for text, place in scene.spots:
            side = "agent" if place & AGENT else "customer" if place & CUSTOMER else ""
            cues.update(Cue(side, stems) for stems, _ in phrases(text) if side)
        total = sum(abs(weight) for _, weight, _ in heard)
        right = float(case.right[one.name])
        yield View(frozenset(cues), pull + START_WEIGHT * start, total + START_WEIGHT, len(heard), right, case.talk)


def teach_levels(turns: Sequence[View], known: Levels, barred: frozenset[str]) -> Levels:
    """Return better rules: those that mislead are dropped, those that help added, the best first."""
    rows: dict[Cue, list[int]] = defaultdict(list)
    for i, turn in enumerate(turns):
        for cue in turn.cues:
            rows[cue].append(i)
    found = dict(known)
    for cue, (level, weight) in known.items():
        if _gain(turns, rows[cue], level, -weight) > LEAST_GAIN / 2:
            del found[cue]
            _pull(turns, rows[cue], level, -weight)
    free = {cue: row for cue, row in rows.items() if cue not in found and barred.isdisjoint(cue.phrase.split())}
    tried = _promising(turns, free)
    for _ in range(ROUNDS):
        gains = [(_gain(turns, rows[cue], level, CLEAR), level, cue) for cue, level in tried]
        gain, level, cue = max(gains, default=(0.0, 0.0, Cue("", "")))
        if gain < LEAST_GAIN:
            break
        found[cue] = (level, CLEAR)
        tried = [other for other in tried if other[0] != cue]
        _pull(turns, rows[cue], level, CLEAR)
    return found


def _gain(turns: Sequence[View], row: Sequence[int], level: float, weight: float) -> float:
    """Return what a rule would add to the mean score, less where few conversations speak for it."""
    talks = len({turns[i].talk for i in row})
    gain = sum(turns[i].value(weight, level) - turns[i].value(0.0, 0.0) for i in row)
    return gain / len(turns) * talks / (talks + 2)


def _pull(turns: Sequence[View], row: Sequence[int], level: float, weight: float) -> None:
    for i in row:
        turn = turns[i]
        turn.pull, turn.weight = turn.pull + weight * level, turn.weight + weight
        turn.met += 1 if weight > 0 else -1


def _promising(turns: Sequence[View], rows: dict[Cue, list[int]]) -> list[tuple[Cue, float]]:
    """Give the cues that go best with low and with high numbers, counted by conversation."""
    middle = sum(turn.right for turn in turns) / len(turns)
    ranked: list[tuple[float, Cue, float]] = []
    for cue, row in rows.items():
        talks: dict[str, float] = {turns[i].talk: turns[i].right for i in row}
        if len(talks) >= LEAST:
            lean = sum(right - middle for right in talks.values()) / len(talks) ** 0.5
            ranked.append((abs(lean), cue, HIGH if lean > 0 else LOW))
    ranked.sort(reverse=True)
    counted: Counter[float] = Counter()
    found = []
    for _, cue, level in ranked:
        counted[level] += 1
        if counted[level] <= MOST:
            found.append((cue, level))
    return found
