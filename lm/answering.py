"""From evidence to an answer: labels with honest odds, numbers, lists and text taken from what was said."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.lm.evidence import Book, Hits, Voice, find, score, voices
from understudy.lm.likeness import Near, neighbours
from understudy.lm.phrasing import Found, explain, propose, quote
from understudy.lm.shape import Field
from understudy.lm.words import Scene, clean, read_scene

SHARPNESS = 2.0
DEFAULT_PULL = 1.2
EXAMPLE_PULL = 3.0
CLOSE = 0.4
KIN = 0.8
STEP_KIN = 0.3
REPEATED = -1.0
IN_LIST = 0.55
START_LEVEL = 0.5
START_WEIGHT = 0.4
STEEPEST = 60.0
MOST_PHRASES = 6
ORDER = ("label", "labels", "number", "texts", "text", "other")


@dataclass(slots=True)
class Turn:
    """One answer in the making: what was read, what was found, what is decided so far."""

    book: Book
    scene: Scene
    hits: Hits
    near: list[Near]
    chosen: dict[str, str] = field(default_factory=dict)
    odds: dict[str, float] = field(default_factory=dict)


def begin(book: Book, inputs: Mapping[str, Any]) -> Turn:
    """Read the inputs and find what the book says of them."""
    scene = read_scene(inputs)
    return Turn(book, scene, find(book, scene), neighbours(book.examples, scene))


def fill(book: Book, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Answer every field of the book for these inputs; labels first, so that the rest can lean on them."""
    turn = begin(book, inputs)
    values: dict[str, Any] = {}
    for one in sorted(book.fields, key=lambda one: ORDER.index(one.kind)):
        values[one.name] = _value(one, turn)
    return {one.name: values[one.name] for one in book.fields}


def _value(one: Field, turn: Turn) -> Any:
    match one.kind:
        case "label":
            return decide(one, turn)
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
    scores = score(one, turn.book, turn.scene, turn.hits)
    hints = [(label, KIN * turn.odds[name]) for name, label in turn.chosen.items()]
    hints.append((turn.scene.last_action or "", STEP_KIN))
    for label, weight in hints:
        for kin in turn.book.kin.get(label, {}).get(one.name, ()):
            scores[kin] = scores.get(kin, 0.0) + weight
    if turn.book.rules.no_repeat:
        for step in sorted(turn.scene.actions.intersection(one.labels)):
            scores[step] = scores.get(step, 0.0) + REPEATED
    return scores


def decide(one: Field, turn: Turn) -> str:
    """Choose a label and remember it, its odds and that it is now a fact."""
    logits = {label: SHARPNESS * value for label, value in label_scores(one, turn).items()}
    _lean_on_examples(one, turn, logits)
    default = turn.book.rules.defaults.get(one.name)
    if default is not None:
        label, strength = default
        logits[label] = logits.get(label, 0.0) + DEFAULT_PULL * strength
    label, chance = pick(one.labels, logits)
    turn.chosen[one.name], turn.odds[one.name] = label, chance
    turn.scene.facts.add(label)
    return label


def pick(labels: Sequence[str], logits: Mapping[str, float]) -> tuple[str, float]:
    """Give the best label and its softmax share; labels without a logit stand at 0, and of equals the first wins."""
    top = max(logits.values(), default=0.0)
    silent = len(labels) - len(logits)
    if silent and top <= 0.0:
        best, top = next(label for label in labels if label not in logits), 0.0
    else:
        best = next(label for label in labels if logits.get(label) == top)
    total = sum(math.exp(max(value - top, -STEEPEST)) for value in logits.values())
    return best, 1.0 / (total + silent * math.exp(max(-top, -STEEPEST)))


def _lean_on_examples(one: Field, turn: Turn, logits: dict[str, float]) -> None:
    """Let the nearest examples vote; the less alike even the nearest is, the less they say."""
    votes: dict[str, float] = {}
    for near in turn.near:
        label = near.answer.get(one.name)
        if isinstance(label, str) and label in one.labels:
            votes[label] = votes.get(label, 0.0) + near.beside**3
    if votes:
        full = EXAMPLE_PULL * math.log1p(len(one.labels)) / 2 * min(1.0, turn.near[0].likeness / CLOSE)
        total = sum(votes.values())
        for label, vote in votes.items():
            logits[label] = logits.get(label, 0.0) + full * vote / total


def _labels(one: Field, turn: Turn) -> list[str]:
    scores = score(one, turn.book, turn.scene, turn.hits)
    heard = sum(near.beside**3 for near in turn.near[:5])
    for near in turn.near[:5]:
        listed = near.answer.get(one.name)
        for label in listed if isinstance(listed, list) else ():
            if isinstance(label, str):
                scores[label] = scores.get(label, 0.0) + near.beside**3 / heard
    loud = {label for label, value in scores.items() if value >= IN_LIST}
    return _sized(one, [label for label in one.labels if label in loud], one.labels)


def _sized(one: Field, chosen: list[str], spare: Sequence[str]) -> list[str]:
    """Keep a list within the schema's minItems and maxItems."""
    lowest, highest = int(one.schema.get("minItems") or 0), one.schema.get("maxItems")
    if len(chosen) < lowest:
        chosen = chosen + [label for label in spare if label not in chosen][: lowest - len(chosen)]
        chosen += [(chosen or ["-"])[-1]] * (lowest - len(chosen))
    return chosen[: int(highest)] if highest is not None else chosen


def _number(one: Field, turn: Turn) -> float:
    pulls = [(weight, rule.level) for rule, weight, _ in voices(turn.book, one, turn.scene, turn.hits)]
    if one.name.endswith("confidence"):
        pulls.append((2.0, next(iter(turn.odds.values()), None) or _sureness(turn)))
    else:
        pulls.append((START_WEIGHT, turn.book.rules.levels.get(one.name, START_LEVEL)))
        pulls.extend(_example_levels(one, turn))
    total = sum(abs(weight) for weight, _ in pulls)
    value = sum(abs(w) * (level if w > 0 else 1.0 - level) for w, level in pulls) / total
    value = min(max(value, one.lowest), one.highest)
    return math.ceil(value) if one.schema.get("type") == "integer" else round(value, 4)


def _example_levels(one: Field, turn: Turn) -> list[tuple[float, float]]:
    levels = [(near.beside**3, near.answer.get(one.name)) for near in turn.near[:5]]
    return [(weight, float(level)) for weight, level in levels if isinstance(level, int | float)]


def _sureness(turn: Turn) -> float:
    """Say how much there was to go by when no label is asked for: half without a rule, more with each."""
    met = sum(1 for one in turn.book.fields if one.kind == "number" for _ in _heard(one, turn))
    return 1.0 - 0.5 / (1 + met + min(2, len(turn.near)))


def _heard(one: Field, turn: Turn) -> list[Voice]:
    """Give the voices for a field that have words behind them."""
    return [voice for voice in voices(turn.book, one, turn.scene, turn.hits) if voice[2]]


def _phrases(one: Field, turn: Turn) -> list[str]:
    """List the phrases rules ask for, else what pulled a number down (for issues), else the nearest example's."""
    items = [rule.label for rule, weight, _ in voices(turn.book, one, turn.scene, turn.hits) if weight > 0]
    if not items and ("issue" in one.name or "problem" in one.name):
        numbers = [number for number in turn.book.fields if number.kind == "number"]
        low = [v for number in numbers for v in _heard(number, turn) if v[0].level < START_LEVEL and v[1] > 0]
        items = [quote(Found(rule.phrase, text)) for rule, _, text in low]
    if not items and turn.near:
        listed = turn.near[0].answer.get(one.name)
        items = [item for item in listed if isinstance(item, str)] if isinstance(listed, list) else []
    return _sized(one, list(dict.fromkeys(map(clean, items)))[:MOST_PHRASES], ())


def _text(one: Field, turn: Turn) -> str:
    if any(word in one.name for word in ("response", "reply", "message", "draft")):
        text = propose(one.name, turn.book, turn.scene, turn.hits, turn.near)
    else:
        text = explain(turn.scene, _support(turn))
    shortest, longest = int(one.schema.get("minLength") or 0), one.schema.get("maxLength")
    text = text[: int(longest)] if longest is not None else text
    return text.ljust(shortest)


def _support(turn: Turn) -> list[Found]:
    """Give what was found that spoke for the first label chosen, strongest first."""
    one = next((one for one in turn.book.fields if one.kind == "label"), None)
    if one is None:
        return []
    label = turn.chosen[one.name]
    heard = _heard(one, turn)
    backing = [(-weight, rule.phrase, text) for rule, weight, text in heard if rule.label == label and weight > 0]
    for word, spoken_for in turn.book.words[one.name].items():
        if word in turn.hits.texts:
            backing += [(-w, word, turn.hits.texts[word]) for other, w in spoken_for if other == label]
    return [Found(phrase, text) for _, phrase, text in sorted(backing)]
