"""From evidence to an answer: labels with honest odds, numbers, lists and text taken from what was said."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.lm.clauses import Rule
from understudy.lm.evidence import (
    CLOSE,
    EXAMPLE_PULL,
    SHARPNESS,
    Book,
    Hit,
    Near,
    allowed,
    fired,
    hits_of,
    neighbours,
    score,
)
from understudy.lm.phrasing import explain, propose, retrieve
from understudy.lm.shape import Field
from understudy.lm.words import Scene, read_scene

KIN = 0.3
STEP_KIN = 0.3
REPEATED = -1.0
IN_LIST = 0.55
START_LEVEL = 0.5
DEFAULT_PULL = 1.2


@dataclass(slots=True)
class Turn:
    """One answer in the making: what was read, what was found, what is decided so far."""

    book: Book
    scene: Scene
    hits: dict[str, Hit]
    found: dict[str, list[tuple[Rule, Hit | None]]]
    near: list[Near]
    chosen: dict[str, str] = field(default_factory=dict)
    sureness: float | None = None
    main: str = ""


def fill(book: Book, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Answer every field of the book for these inputs, in an order that lets later fields see earlier ones."""
    scene = read_scene(inputs)
    hits = hits_of(book, scene)
    turn = Turn(book, scene, hits, fired(book, scene, hits), neighbours(book, scene))
    values: dict[str, Any] = {}
    for kind in ("label", "labels", "number", "texts", "text", "other"):
        for one in book.fields:
            if one.kind == kind:
                values[one.name] = _value(one, turn, values)
    return {one.name: values[one.name] for one in book.fields}


def _value(one: Field, turn: Turn, values: Mapping[str, Any]) -> Any:
    match one.kind:
        case "label":
            return _label(one, turn)
        case "labels":
            return _labels(one, turn)
        case "number":
            return _number(one, turn)
        case "texts":
            return _phrases(one, turn)
        case "text":
            return _text(one, turn)
    return one.blank


def label_scores(one: Field, turn: Turn) -> dict[str, float]:
    """Add what labels already chosen and steps already taken say to the score of rules and words."""
    scores = score(one, turn.book, turn.scene, turn.found[one.name])
    hints = [(earlier, KIN) for earlier in turn.chosen.values()]
    hints += [(turn.scene.last_action or "", STEP_KIN)]
    for earlier, weight in hints:
        for label in turn.book.kin.get(earlier, {}).get(one.name, ()):
            scores[label] = scores.get(label, 0.0) + weight
    if turn.book.rules.no_repeat:
        for step in turn.scene.actions:
            scores[step] = scores.get(step, 0.0) + REPEATED
    return scores


def _label(one: Field, turn: Turn) -> str:
    scores = label_scores(one, turn)
    logits = {label: SHARPNESS * value for label, value in scores.items()}
    _lean_on_examples(one, turn, logits)
    default = turn.book.rules.defaults.get(one.name)
    if default is not None:
        label, strength = default
        logits[label] = logits.get(label, 0.0) + DEFAULT_PULL * strength
    label, chance = pick(one.labels, logits)
    turn.chosen[one.name] = label
    turn.scene.facts.add(label)
    if turn.sureness is None:
        turn.sureness, turn.main = chance, one.name
    return label


def pick(labels: Sequence[str], logits: Mapping[str, float]) -> tuple[str, float]:
    """Give the best label and its softmax share; the first of equals in the schema's order wins."""
    known = [(logits[label], -i, label) for i, label in enumerate(labels) if label in logits]
    silent = len(labels) - len(known)
    best = max(known, default=(-1.0, 0, labels[0]))
    if best[0] <= 0.0 and silent:
        best = (0.0, 0, next(label for label in labels if label not in logits))
    total = sum(math.exp(min(value - best[0], 50.0)) for value, _, _ in known) + silent * math.exp(-best[0])
    return best[2], 1.0 / max(total, 1.0)


def _lean_on_examples(one: Field, turn: Turn, logits: dict[str, float]) -> None:
    votes: dict[str, float] = {}
    for near in turn.near:
        label = turn.book.examples[near.number][1].get(one.name)
        if isinstance(label, str) and label in one.labels:
            votes[label] = votes.get(label, 0.0) + near.beside**3
    total = sum(votes.values())
    pull = EXAMPLE_PULL * math.log1p(len(one.labels)) / 2 * min(1.0, turn.near[0].likeness / CLOSE) if votes else 0.0
    for label, vote in votes.items():
        logits[label] = logits.get(label, 0.0) + pull * vote / total


def _labels(one: Field, turn: Turn) -> list[str]:
    scores = score(one, turn.book, turn.scene, turn.found[one.name])
    heard = sum(near.beside**3 for near in turn.near[:5])
    for near in turn.near[:5]:
        listed = turn.book.examples[near.number][1].get(one.name)
        for label in listed if isinstance(listed, list) else ():
            if isinstance(label, str):
                scores[label] = scores.get(label, 0.0) + near.beside**3 / heard
    chosen = [label for label in one.labels if scores.get(label, 0.0) >= IN_LIST]
    return _sized(one, chosen, one.labels)


def _sized(one: Field, chosen: list[str], spare: Sequence[str]) -> list[str]:
    """Keep a list within the schema's minItems and maxItems."""
    lowest, highest = int(one.schema.get("minItems") or 0), one.schema.get("maxItems")
    if len(chosen) < lowest:
        chosen = chosen + [label for label in spare if label not in chosen][: lowest - len(chosen)]
        chosen += [(chosen or ["-"])[-1]] * (lowest - len(chosen))
    return chosen[: int(highest)] if highest is not None else chosen


def _number(one: Field, turn: Turn) -> float:
    pulls = [(rule.weight * (hit.weight if hit else 1.0), rule.level) for rule, hit in _met(one, turn)]
    if one.name.endswith("confidence"):
        value = turn.sureness if turn.sureness is not None else _sureness(turn)
        pulls = [(2.0, value)] + pulls
    else:
        pulls = [(0.4, turn.book.rules.levels.get(one.name, START_LEVEL))] + pulls + _example_levels(one, turn)
    total = sum(abs(weight) for weight, _ in pulls)
    value = sum(abs(w) * (level if w > 0 else 1.0 - level) for w, level in pulls) / total
    value = min(max(value, one.lowest), one.highest)
    return int(value) if one.schema.get("type") == "integer" else round(value, 4)


def _met(one: Field, turn: Turn) -> list[tuple[Rule, Hit | None]]:
    return [(rule, hit) for rule, hit in turn.found[one.name] if allowed(rule, turn.scene, False)]


def _example_levels(one: Field, turn: Turn) -> list[tuple[float, float]]:
    levels = []
    for near in turn.near[:5]:
        level = turn.book.examples[near.number][1].get(one.name)
        if isinstance(level, int | float):
            levels.append((near.beside**3, float(level)))
    return levels


def _sureness(turn: Turn) -> float:
    """Say how much there was to go by when no label was chosen: half without a rule, more with each."""
    met = sum(len(_met(one, turn)) for one in turn.book.fields if one.kind == "number")
    return 1.0 - 0.5 / (1 + met + len(turn.near[:2]))


def _phrases(one: Field, turn: Turn) -> list[str]:
    items = [rule.label for rule, _ in _met(one, turn) if rule.weight > 0]
    if not items and any(word in one.name for word in ("issue", "problem")):
        low = [hit for rule, hit in _low(turn) if hit is not None]
        items = [retrieve(hit) for hit in low[:3]]
    if not items and turn.near:
        listed = turn.book.examples[turn.near[0].number][1].get(one.name)
        items = [item for item in listed if isinstance(item, str)] if isinstance(listed, list) else []
    return _sized(one, list(dict.fromkeys(items))[:6], ())


def _low(turn: Turn) -> list[tuple[Rule, Hit | None]]:
    numbers = [one for one in turn.book.fields if one.kind == "number"]
    return [(rule, hit) for one in numbers for rule, hit in _met(one, turn) if rule.level < START_LEVEL]


def _text(one: Field, turn: Turn) -> str:
    if any(word in one.name for word in ("response", "reply", "message", "draft")):
        text = propose(one, turn.book, turn.scene, turn.hits, turn.near)
    else:
        text = explain(turn.scene, _support(turn))
    shortest, longest = int(one.schema.get("minLength") or 0), one.schema.get("maxLength")
    text = text[: int(longest)] if longest is not None else text
    return text + " " * (shortest - len(text))


def _support(turn: Turn) -> list[Hit]:
    """Give the hits that spoke for the main label, strongest first."""
    label = turn.chosen.get(turn.main)
    backing = [
        (-rule.weight * hit.weight, hit.phrase, hit)
        for rule, hit in turn.found.get(turn.main, [])
        if hit is not None and rule.label == label and rule.weight > 0
    ]
    return [hit for _, _, hit in sorted(backing, key=lambda b: (b[0], b[1]))]
