"""What speaks for each label: cue rules, words of labels and descriptions, and the examples given.

Everything about an instruction, a schema and a set of examples is worked out once (`study`); a turn then costs one
look-up per message and a few additions per cue found in it.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from understudy.lm.clauses import START, Rule
from understudy.lm.rules import Rulebook, parse
from understudy.lm.shape import Field, read_fields
from understudy.lm.words import ANYWHERE, MESSAGE, STOP_WORDS, Scene, content_words, label_words, read_scene, read_text

SHARPNESS = 2.0
EARLIER = 0.8
LISTED_WORD = 0.6
CHANCE = 0.22
MOST_LABEL_WORD = 2.3
MEANING_WORD = 0.3
OWN_WORD = -1.0
NEIGHBOURS = 12
EXAMPLE_PULL = 3.0
RARE = 10
CLOSE = 0.4
MOST_KEPT = 4096


class Hit(NamedTuple):
    """A phrase of the book found in a scene: the places it stood in, how much it counts, the newest text with it."""

    phrase: str
    places: int
    weight: float
    text: str


@dataclass(slots=True)
class Book:
    """An instruction, a schema and examples, ready to be looked up."""

    fields: tuple[Field, ...]
    rules: Rulebook
    index: dict[str, list[str]] = field(default_factory=dict)
    by_phrase: dict[str, list[Rule]] = field(default_factory=dict)
    bare: list[Rule] = field(default_factory=list)
    kin: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    examples: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    postings: dict[str, tuple[float, tuple[tuple[int, float], ...]]] = field(default_factory=dict)
    unheard: float = 0.0
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def phrases_in(self, text: str) -> tuple[str, ...]:
        """Give the phrases of the book that stand in a text."""
        known = self.found.get(text)
        if known is None:
            read = read_text(text)
            keys = read.vocabulary & self.index.keys()
            known = tuple(p for key in sorted(keys) for p in self.index[key] if _stands(p, read.line, key))
            if len(self.found) >= MOST_KEPT:
                self.found.clear()
            self.found[text] = known
        return known


def _stands(phrase: str, line: str, key: str) -> bool:
    return phrase == key or f" {phrase} " in line


@lru_cache(maxsize=64)
def study(instruction: str, schema: str, examples: tuple[tuple[str, str], ...]) -> Book:
    """Make the book of an instruction, a JSON schema and JSON examples; ValueError for a schema without properties."""
    fields = read_fields(json.loads(schema))
    labels: dict[str, list[str]] = defaultdict(list)
    for one in fields:
        for label in one.labels:
            labels[label].append(one.name)
    kinds = {one.name: one.kind for one in fields}
    book = Book(fields, parse(instruction, labels, dict(kinds)))
    for one in fields:
        if one.description:
            own = {label: [one.name] for label in one.labels}
            book.rules.rules.extend(parse(one.description, own, {one.name: one.kind}).rules)
    rules = book.rules.rules + [rule for one in fields for rule in _label_rules(one)]
    _index(book, rules)
    _relate(book)
    _learn(book, examples)
    return book


def _label_rules(one: Field) -> Iterable[Rule]:
    """Turn the words of labels into cues; a word many labels share says less, and among many labels chance is rarer."""
    spread = Counter(word for label in one.labels for word in label_words(label))
    chance = min(MOST_LABEL_WORD, CHANCE * math.log(len(one.labels) + 1) ** 2)
    full = chance if one.kind == "label" else LISTED_WORD
    for label in one.labels:
        words = label_words(label)
        for word in words:
            rarity = math.log((len(one.labels) + 1) / spread[word]) / math.log(len(one.labels) + 2)
            weight = full * rarity / math.sqrt(len(words))
            yield Rule(one.name, label, OWN_WORD, weight, word, ANYWHERE, frozenset(), frozenset(), frozenset())


def _index(book: Book, rules: Sequence[Rule]) -> None:
    for rule in rules:
        if not rule.phrase:
            book.bare.append(rule)
            continue
        if rule.phrase not in book.by_phrase:
            key = max(rule.phrase.split(), key=lambda w: (w not in STOP_WORDS, len(w)))
            book.index.setdefault(key, []).append(rule.phrase)
        book.by_phrase.setdefault(rule.phrase, []).append(rule)


def _relate(book: Book) -> None:
    """Note which labels share a rare word, across fields and within one: what is decided, or was done, hints at them."""
    enums = [one for one in book.fields if one.kind == "label"]
    for i, one in enumerate(enums):
        for later in enums[i:]:
            spread = Counter(word for label in later.labels for word in label_words(label))
            rare = {word for word, n in spread.items() if n <= max(2, len(later.labels) / RARE)}
            for label in one.labels:
                words = rare.intersection(label_words(label))
                kin = [other for other in later.labels if other != label and words.intersection(label_words(other))]
                if kin:
                    book.kin.setdefault(label, {})[later.name] = kin


def features(scene: Scene) -> list[str]:
    """Give what a scene is compared by: words said now and before, and the last step."""
    found = [f"after:{scene.last_action or START}"]
    for text, places in scene.spots:
        mark = "now:" if places & MESSAGE else ""
        for word in content_words_kept(text):
            found.append(word)
            if mark:
                found.append(mark + word)
    found.extend(f"fact:{fact}" for fact in sorted(scene.facts)[:20])
    return list(dict.fromkeys(found))


@lru_cache(maxsize=8192)
def content_words_kept(text: str) -> tuple[str, ...]:
    """Keep the content words of a text."""
    return tuple(content_words(text))


def _learn(book: Book, examples: Sequence[tuple[str, str]]) -> None:
    bags = []
    for asked, answered in examples:
        given, wanted = json.loads(asked), json.loads(answered)
        if isinstance(given, dict) and isinstance(wanted, dict):
            book.examples.append((given, wanted))
            bags.append(features(read_scene(given)))
    spread = Counter(word for bag in bags for word in bag)
    rarity = {word: math.log(1 + len(bags) / n) for word, n in spread.items()}
    book.unheard = math.log(1 + len(bags))
    postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for i, bag in enumerate(bags):
        length = math.sqrt(sum(rarity[word] ** 2 for word in bag)) or 1.0
        for word in bag:
            postings[word].append((i, rarity[word] ** 2 / length))
    book.postings = {word: (rarity[word], tuple(found)) for word, found in postings.items()}


class Near(NamedTuple):
    """An example with its likeness: beside the nearest one (1.0), and in itself (the cosine)."""

    number: int
    beside: float
    likeness: float


def neighbours(book: Book, scene: Scene) -> list[Near]:
    """Give the nearest examples, nearest first."""
    if not book.examples:
        return []
    likeness = [0.0] * len(book.examples)
    length = 0.0
    for word in features(scene):
        rarity, postings = book.postings.get(word, (book.unheard, ()))
        length += rarity * rarity
        for i, weight in postings:
            likeness[i] += weight
    order = sorted(range(len(likeness)), key=lambda i: (-likeness[i], i))[:NEIGHBOURS]
    top, size = likeness[order[0]] or 1.0, math.sqrt(length) or 1.0
    return [Near(i, likeness[i] / top, likeness[i] / size) for i in order if likeness[i] > 0]


def hits_of(book: Book, scene: Scene) -> dict[str, Hit]:
    """Find every phrase of the book in the scene once, with its best place."""
    places: dict[str, int] = {}
    texts: dict[str, str] = {}
    for text, place in scene.spots:
        for phrase in book.phrases_in(text):
            if phrase in places:
                places[phrase] |= place
            else:
                places[phrase], texts[phrase] = place, text
    return {p: Hit(p, at, 1.0 if at & MESSAGE else EARLIER, texts[p]) for p, at in places.items()}


def allowed(rule: Rule, scene: Scene, listed: bool) -> bool:
    """Tell whether the conditions of a rule hold; for lists a step counts as long as it was ever taken."""
    last = scene.last_action or ("" if scene.begun else START)
    if rule.after and last not in rule.after and not (listed and rule.after & scene.actions):
        return False
    if rule.given and not rule.given & scene.facts:
        return False
    return not rule.seen or bool(rule.seen & scene.actions or rule.seen & scene.facts)


def fired(book: Book, scene: Scene, hits: dict[str, Hit]) -> dict[str, list[tuple[Rule, Hit | None]]]:
    """Sort the rules whose phrase stands where they look by field; conditions are checked later."""
    found: dict[str, list[tuple[Rule, Hit | None]]] = {one.name: [] for one in book.fields}
    for phrase, hit in hits.items():
        for rule in book.by_phrase[phrase]:
            if rule.scope & hit.places:
                found[rule.field].append((rule, hit))
    for rule in book.bare:
        found[rule.field].append((rule, None))
    return found


def score(one: Field, book: Book, scene: Scene, found: Sequence[tuple[Rule, Hit | None]]) -> dict[str, float]:
    """Add up what rules and label words say for each label; labels nothing speaks of are left out."""
    scores: dict[str, float] = {}
    listed = one.kind == "labels"
    steps = not scene.actions.isdisjoint(one.labels)
    for rule, hit in found:
        if steps and rule.level == OWN_WORD and hit is not None and not hit.places & MESSAGE:
            continue
        if (rule.after or rule.given or rule.seen) and not allowed(rule, scene, listed):
            continue
        weight = rule.weight if hit is None or rule.scope != ANYWHERE else rule.weight * hit.weight
        scores[rule.label] = scores.get(rule.label, 0.0) + weight
    return scores
