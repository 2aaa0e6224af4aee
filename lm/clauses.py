"""One piece of advice: as a clause while it is read, and as the rules it comes to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from understudy.lm.prose import REPLY, SLOT, SPEAKERS, Token, phrase_of
from understudy.lm.words import ANYWHERE, STOP_WORDS, content_words

START = "(start)"
PROSE_WORD = 0.3
AGAINST = -0.5
_NONE: frozenset[str] = frozenset()


class Cue(NamedTuple):
    """A phrase with its signed weight and the places it is looked for in; `fact` and `step` are conditions instead."""

    phrase: str
    weight: float
    scope: int
    fact: str = ""
    step: str = ""
    last: str = ""


class Rule(NamedTuple):
    """What a phrase (empty: conditions alone) speaks for: a label, an item of a list, or a level of a number."""

    field: str
    label: str
    level: float
    weight: float
    phrase: str
    scope: int
    after: frozenset[str] = _NONE
    given: frozenset[str] = _NONE
    seen: frozenset[str] = _NONE
    bound: bool = False


class Reply(NamedTuple):
    """A reply the instruction quotes, with the words and cues it is bound to."""

    text: str
    bound: frozenset[str]
    cues: tuple[str, ...]


def read_reply(found: Sequence[Token]) -> Reply | None:
    """Take `... reply "text"`: the quote behind the verb is the reply, all the rest of the sentence binds it."""
    for i, token in enumerate(found):
        if token.low not in REPLY or (i and found[i - 1].low in SPEAKERS):
            continue
        at = next((j for j in range(i + 1, min(i + 4, len(found))) if found[j].kind == "quote"), None)
        if at is not None:
            rest = [*found[:i], *found[at + 1 :]]
            bound = frozenset(t.low for t in rest if t.kind in ("word", "tick"))
            cues = tuple(phrase_of(t.text) for t in rest if t.kind == "quote")
            return Reply(found[at].text, bound - STOP_WORDS, cues)
    return None


@dataclass(slots=True)
class Clause:
    """What has been read of one piece of advice: what it is about, cues, conditions."""

    labels: list[str] = field(default_factory=list)
    avoided: list[str] = field(default_factory=list)
    name: str = ""
    narrow: set[str] = field(default_factory=set)
    level: float | None = None
    items: list[str] = field(default_factory=list)
    cues: list[Cue] = field(default_factory=list)
    after: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    default: bool = False
    head: bool = False
    strength: float = 1.0
    sign: float = 1.0

    @property
    def aimed(self) -> bool:
        """Whether a label or a field to speak for has been named."""
        return bool(self.labels or self.name)

    @property
    def bare(self) -> bool:
        """Whether there is neither cue nor condition."""
        return not (self.cues or self.after or self.given or self.seen or self.items)

    @property
    def weight(self) -> float:
        """The signed weight of the next cue."""
        return self.sign * self.strength

    def subject(self) -> "Clause":
        """Give an empty clause about the same."""
        return Clause(labels=list(self.labels), name=self.name, narrow=set(self.narrow), head=self.head)


def label_rules(clause: Clause, homes: Mapping[str, Sequence[str]], prose: Sequence[Token]) -> Iterator[Rule]:
    """Turn a clause about labels into rules; in a line conditions are cues too, in a sentence all must hold."""
    cues = list(clause.cues)
    if clause.bare:
        cues = _prose_cues(clause, homes, prose)
    elif clause.head:
        cues += _conditions_as_cues(clause)
    elif not cues:
        cues = [Cue("", clause.weight, ANYWHERE)]
    for rank, label in enumerate(clause.labels):
        yield from _spread(clause, label, homes, cues, 1.0 if clause.head else max(0.5, 1.0 - 0.1 * rank))
    for label in clause.avoided:
        yield from _spread(clause, label, homes, cues, AGAINST)


def _prose_cues(clause: Clause, homes: Mapping[str, Sequence[str]], prose: Sequence[Token]) -> list[Cue]:
    loose = " ".join(t.text for t in prose if t.kind == "word" and t.text not in homes and t.low not in SLOT)
    return [Cue(word, PROSE_WORD * clause.sign, ANYWHERE) for word in content_words(loose)[:12]]


def _conditions_as_cues(clause: Clause) -> list[Cue]:
    cues = [Cue("", clause.weight, ANYWHERE, last=step) for step in sorted(clause.after)]
    cues += [Cue("", clause.weight, ANYWHERE, fact=fact) for fact in sorted(clause.given)]
    return cues + [Cue("", clause.weight, ANYWHERE, step=step) for step in sorted(clause.seen)]


def _spread(
    clause: Clause, label: str, homes: Mapping[str, Sequence[str]], cues: Sequence[Cue], share: float
) -> Iterator[Rule]:
    for home in homes.get(label, ()):
        for cue in cues:
            yield _rule(clause, home, label, 0.0, cue._replace(weight=cue.weight * share))


def field_rules(clause: Clause, kind: str) -> Iterator[Rule]:
    """Turn a clause about a number or a list of phrases into rules."""
    if kind == "number" and clause.level is not None:
        for cue in clause.cues or [Cue("", clause.strength, ANYWHERE)]:
            yield _rule(clause, clause.name, "", clause.level, cue)
    elif kind == "texts":
        for item in clause.items:
            for cue in clause.cues:
                yield _rule(clause, clause.name, item, 0.0, cue)


def _rule(clause: Clause, home: str, label: str, level: float, cue: Cue) -> Rule:
    if clause.head:
        after, given, seen = _one(cue.last), _one(cue.fact), _one(cue.step)
    else:
        after, seen = frozenset(clause.after), frozenset(clause.seen)
        given = frozenset(clause.given) | _one(cue.fact)
    return Rule(home, label, level, cue.weight, cue.phrase, cue.scope, after, given, seen, bool(after or given or seen))


def _one(name: str) -> frozenset[str]:
    return frozenset([name]) if name else _NONE
