"""Likeness of a turn to the examples given: shared words, the rarer the better, and the last step taken."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from understudy.lm.clauses import START
from understudy.lm.words import MESSAGE, Scene, content_words, read_scene

NEIGHBOURS = 12
MOST_FACTS = 20


class Near(NamedTuple):
    """An example's answer with its likeness: beside the nearest one (which has 1), and in itself (the cosine)."""

    answer: dict[str, Any]
    beside: float
    likeness: float


@dataclass(slots=True)
class Examples:
    """The answers of the examples, and which of them a word leads to."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    postings: dict[str, tuple[float, tuple[tuple[int, float], ...]]] = field(default_factory=dict)
    unheard: float = 0.0


def read_examples(pairs: Sequence[tuple[str, str]]) -> Examples:
    """Index examples given as JSON inputs and JSON answers; ValueError when one is no JSON."""
    answers, bags = [], []
    for asked, answered in pairs:
        given, wanted = json.loads(asked), json.loads(answered)
        if isinstance(given, dict) and isinstance(wanted, dict):
            answers.append(wanted)
            bags.append(_features(read_scene(given)))
    spread = Counter(word for bag in bags for word in bag)
    rarity = {word: math.log(1 + len(bags) / n) for word, n in spread.items()}
    postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for i, bag in enumerate(bags):
        length = math.sqrt(sum(rarity[word] ** 2 for word in bag)) or 1.0
        for word in bag:
            postings[word].append((i, rarity[word] ** 2 / length))
    found = {word: (rarity[word], tuple(at)) for word, at in postings.items()}
    return Examples(answers, found, math.log(1 + len(bags)))


def neighbours(examples: Examples, scene: Scene) -> list[Near]:
    """Give the nearest examples, nearest first."""
    if not examples.answers:
        return []
    likeness = [0.0] * len(examples.answers)
    length = 0.0
    for word in _features(scene):
        rarity, postings = examples.postings.get(word, (examples.unheard, ()))
        length += rarity * rarity
        for i, weight in postings:
            likeness[i] += weight
    order = sorted(range(len(likeness)), key=lambda i: (-likeness[i], i))[:NEIGHBOURS]
    top, size = likeness[order[0]] or 1.0, math.sqrt(length) or 1.0
    return [Near(examples.answers[i], likeness[i] / top, likeness[i] / size) for i in order if likeness[i] > 0]


def _features(scene: Scene) -> list[str]:
    found = {f"after:{scene.last_action or START}": None}
    for text, places in scene.spots:
        now = places & MESSAGE
        for word in _content(text):
            found[word] = None
            if now:
                found["now:" + word] = None
    found.update((f"fact:{fact}", None) for fact in sorted(scene.facts)[:MOST_FACTS])
    return list(found)


@lru_cache(maxsize=4096)
def _content(text: str) -> tuple[str, ...]:
    return tuple(content_words(text))
