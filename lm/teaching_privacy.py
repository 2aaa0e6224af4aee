"""What the embedded teacher may not write down: names, numbers, and what somebody said in so many words."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from understudy.lm.readable import QUOTE, spans
from understudy.lm.teaching_material import Case
from understudy.lm.words import STOP_WORDS, label_words, read_text, stem

COMMON = 5
"""Conversations from which on a name or an agent's sentence is nobody's own."""

LONGEST_PHRASE = 3

ADDRESSED = frozenset(map(stem, "ignore disregard instruction instructions prompt".split()))
"""Stems of words by which a customer speaks to a model rather than to the agent."""

_TOLD = re.compile(r"(?i:\bname is|\bname's|\bname:)\s+(\w+)(?:\s+([A-Z]\w+))?")
_MEANT = re.compile(r"\b(?i:i am|i'm|this is|it is|it's)\s+([A-Z]\w+)(?:\s+([A-Z]\w+))?")
_TITLED = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Miss|Doctor)\.?\s+([A-Z]\w+)")
_CAPITAL = re.compile(r"(?<![.!?:]\s)(?<!^)\b[A-Z][a-z]+\b")


@lru_cache(maxsize=16384)
def phrases(text: str) -> tuple[tuple[str, str], ...]:
    """Return the phrases of a text that may become cues: their stems, and as they were said in small letters."""
    read = read_text(text)
    words = [(s, w.lower()) for s, w in zip(read.stems, read.spoken, strict=True) if s[0] not in "!?."]
    found = []
    for n in range(1, LONGEST_PHRASE + 1):
        for i in range(len(words) - n + 1):
            part = words[i : i + n]
            if all(word.isalpha() or "'" in word for _, word in part) and any(_tells(s, w) for s, w in part):
                found.append((" ".join(s for s, _ in part), " ".join(w for _, w in part)))
    return tuple(dict.fromkeys(found))


def _tells(stemmed: str, word: str) -> bool:
    return len(stemmed) > 2 and stemmed not in STOP_WORDS and word.replace("'", "") not in STOP_WORDS


def texts_of(case: Case) -> Iterator[tuple[str, str]]:
    """Give role and text of everything said in a case."""
    for turn in case.turns:
        yield turn.get("role", ""), turn["text"]
    message = case.inputs.get("message")
    if isinstance(message, str):
        yield "customer", message


def said(cases: Iterable[Case]) -> dict[str, str]:
    """Return how each phrase of stems is written; the student reads steps as if they were said."""
    texts = {text: None for case in cases for _, text in texts_of(case)}
    texts.update((turn["action"].replace("_", " "), None) for case in cases for turn in case.turns if "action" in turn)
    found: dict[str, str] = {}
    for text in texts:
        found.update(phrases(text))
    return found


class _Written(NamedTuple):
    """Words of a text in small letters: those given as a name, written large within a sentence, and written small."""

    told: frozenset[str]
    large: frozenset[str]
    small: frozenset[str]


@lru_cache(maxsize=16384)
def _written(text: str) -> _Written:
    told = {word for pattern in (_TOLD, _MEANT) for pair in pattern.findall(text) for word in pair if word}
    told.update(_TITLED.findall(text))
    small = frozenset(word for word in re.findall(r"[^\W\d_]+", text) if word.islower())
    return _Written(_lowered(told), _lowered(_CAPITAL.findall(text)), small)


def _lowered(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word.lower() for word in words) - STOP_WORDS


def names(cases: Iterable[Case], allowed: Sequence[str]) -> frozenset[str]:
    """Return the stems that may not be cues: somebody's name, or what may be one as few write it and write it large.

    What is given as a name is one, unless many use the word for something else. Words of the allowed labels are none.
    """
    told: dict[str, set[str]] = defaultdict(set)
    large: dict[str, set[str]] = defaultdict(set)
    small: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        asked = False
        for role, text in texts_of(case):
            written = _written(text)
            answer = asked and role == "customer" and len(text.split()) <= LONGEST_PHRASE
            for name in written.told | (_lowered(re.findall(r"[^\W\d_]+", text)) if answer else frozenset()):
                told[name].add(case.talk)
            for name in written.large:
                large[name].add(case.talk)
            for name in written.small:
                small[name].add(case.talk)
            asked = role == "agent" and "name" in text.lower()
    rare = {name for name, among in large.items() if len(among) < COMMON and len(small[name]) < 2 * len(among)}
    known = {name for name, among in told.items() if len(small[name] - among) < COMMON}
    return ADDRESSED | frozenset(map(stem, rare | known)) - {word for label in allowed for word in label_words(label)}


@lru_cache(maxsize=16384)
def _spans(text: str) -> frozenset[str]:
    return spans(text, QUOTE)


class Quotes:
    """Finds out whether a text repeats what a customer said, or what few agents said."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases

    def in_(self, text: str) -> frozenset[str]:
        """Return the runs of words in a text that are somebody's own."""
        wanted = _spans(text)
        own: set[str] = set()
        talks: dict[str, set[str]] = defaultdict(set)
        for case in self._cases:
            for role, said in texts_of(case):
                found = wanted & _spans(said)
                if role == "customer":
                    own |= found
                for span in found:
                    talks[span].add(case.talk)
        return frozenset(own) | {span for span, among in talks.items() if len(among) < COMMON}
