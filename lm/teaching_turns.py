"""The turns that the embedded teacher learns labels from: those of the examples, and the agents' acts before them."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from understudy.lm.clauses import START
from understudy.lm.evidence import EARLIER, Book
from understudy.lm.shape import Field
from understudy.lm.teaching_cues import Bag, Sight, logits_of
from understudy.lm.teaching_material import Case, Lesson
from understudy.lm.teaching_privacy import phrases
from understudy.lm.teaching_sheet import Cue
from understudy.lm.words import MESSAGE, OTHER, read_scene

MOST_ACTS = 450
"""Acts of agents before the turn that are looked at beside the examples."""


def anywhere(inputs: Mapping[str, Any]) -> Bag:
    """Give every phrase that was said with the weight it has for the student."""
    bag: Bag = {}
    # Oldest first, so that what is said in the new message counts as such.
    for text, place in reversed(read_scene(inputs).spots):
        if place != OTHER:
            bag.update(dict.fromkeys(_cues("", text), 1.0 if place & MESSAGE else EARLIER))
    return bag


def now(inputs: Mapping[str, Any]) -> Bag:
    """Give the phrases of the new message and the agent's last step."""
    scene = read_scene(inputs)
    bag = dict.fromkeys((cue for text, place in scene.spots if place & MESSAGE for cue in _cues("now", text)), 1.0)
    last = scene.last_action or ("" if scene.begun else START.strip("()"))
    if named(last):
        bag[Cue("after", last)] = 1.0
    return bag


def named(step: str) -> bool:
    """Tell whether a step has a name that can stand in a sentence."""
    return re.fullmatch(r"\w[\w.-]*", step) is not None


@lru_cache(maxsize=16384)
def _cues(place: str, text: str) -> tuple[Cue, ...]:
    return tuple(Cue(place, stems) for stems, _ in phrases(text))


def is_step(one: Field, lesson: Lesson) -> bool:
    """Tell whether a field's labels are what agents do."""
    labels = set(one.labels)
    return any(turn.get("action") in labels for case in lesson.cases for turn in case.turns)


def sights(one: Field, lesson: Lesson, book: Book, seed: int) -> list[Sight]:
    """Give the turns that tell what is right for a label field."""
    found = [(case.inputs, str(case.right[one.name]), case.talk) for case in lesson.known(one.name)]
    bag = anywhere
    if is_step(one, lesson):
        found += list(acts(lesson.known(one.name), one.labels, seed))
        bag = now
    return [Sight(bag(inputs), logits_of(book, inputs, one.name), right, talk) for inputs, right, talk in found]


def acts(cases: Sequence[Case], labels: Sequence[str], seed: int) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Give what agents did earlier in the conversations: inputs up to the act, the act, the conversation."""
    allowed, seen = frozenset(labels), set()
    found = []
    for case in cases:
        for i, turn in enumerate(case.turns):
            before = case.turns[i - 1] if i else {}
            key = (case.talk, i)
            if turn.get("action") in allowed and before.get("role") == "customer" and key not in seen:
                seen.add(key)
                inputs = {**case.inputs, "history": case.turns[: i - 1], "message": before["text"]}
                found.append((inputs, turn["action"], case.talk))
    found.sort(key=lambda act: mixed(f"{act[2]}{len(act[0]['history'])}", seed))
    yield from found[:MOST_ACTS]


def mixed(text: str, seed: int) -> bytes:
    """Return a number that is the same for the same text and seed, and otherwise random."""
    return hashlib.blake2b(f"{seed} {text}".encode(errors="replace"), digest_size=8).digest()
