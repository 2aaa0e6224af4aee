"""What speaks for each label: cue rules, the words of the labels themselves, and kinship between labels.

Everything about an instruction, a schema and a set of examples is worked out once (`study`); a turn then costs one
look-up per message and a few additions per cue found in it.
"""

import marshal
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from understudy.lm.clauses import START, Rule
from understudy.lm.likeness import Examples, read_examples
from understudy.lm.rules import Rulebook, parse
from understudy.lm.shape import Field, read_fields
from understudy.lm.words import ANYWHERE, MESSAGE, STOP_WORDS, Scene, label_words, read_text

EARLIER = 0.8
LISTED_WORD = 0.6
CHANCE = 0.22
MOST_LABEL_WORD = 2.3
COMMON = 3
RARE = 10
MOST_KEPT = 2048
LONGEST_KEPT = 600


class Hits(NamedTuple):
    """The phrases found in a scene: the places each stood in, and the newest text that has it."""

    places: dict[str, int]
    texts: dict[str, str]


# A rule that holds, the weight its place gives it, and the text its phrase was found in: plain, as there are many.
Voice = tuple[Rule, float, str]


@dataclass(slots=True)
class Book:
    """An instruction, a schema and examples, ready to be looked up."""

    fields: tuple[Field, ...]
    rules: Rulebook
    examples: Examples
    index: dict[str, list[str]] = field(default_factory=dict)
    by_field: dict[str, dict[str, list[Rule]]] = field(default_factory=dict)
    by_name: dict[str, dict[str, list[Rule]]] = field(default_factory=dict)
    words: dict[str, dict[str, list[tuple[str, float]]]] = field(default_factory=dict)
    kin: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def phrases_in(self, text: str) -> tuple[str, ...]:
        """Give the phrases of the book that stand in a text."""
        known = self.found.get(text)
        if known is None:
            read = read_text(text)
            keys = sorted(read.vocabulary & self.index.keys())
            known = tuple(p for key in keys for p in self.index[key] if p == key or f" {p} " in read.line)
            if len(self.found) >= MOST_KEPT:
                self.found.clear()
            if len(text) <= LONGEST_KEPT:
                self.found[text] = known
        return known


def pack(schema: Mapping[str, Any]) -> bytes:
    """Make a schema a key to remember its book by; marshal takes a third of the time JSON takes."""
    return marshal.dumps(dict(schema), 2)


@lru_cache(maxsize=64)
def study(instruction: str, schema: bytes, examples: tuple[tuple[str, str], ...]) -> Book:
    """Make the book of an instruction, a packed schema and JSON examples; ValueError if that has no properties."""
    fields = read_fields(marshal.loads(schema))
    homes: dict[str, list[str]] = defaultdict(list)
    for one in fields:
        for label in one.labels:
            homes[label].append(one.name)
    rules = parse(instruction, homes, {one.name: one.kind for one in fields})
    for one in fields:
        if one.description:
            described = parse(one.description, {label: [one.name] for label in one.labels}, {one.name: one.kind})
            rules.rules.extend(described.rules)
    book = Book(fields, rules, read_examples(examples))
    _index_rules(book)
    _index_words(book)
    _relate(book)
    return book


def _index_rules(book: Book) -> None:
    """Find rules by their phrase; those without one by the step or fact they need."""
    book.by_field = {one.name: {} for one in book.fields}
    book.by_name = {one.name: {} for one in book.fields}
    for rule in dict.fromkeys(book.rules.rules):
        if rule.phrase:
            book.by_field[rule.field].setdefault(rule.phrase, []).append(rule)
        for name in () if rule.phrase else sorted(rule.seen or rule.given or rule.after):
            book.by_name[rule.field].setdefault(name, []).append(rule)
    phrases = {rule.phrase for rule in book.rules.rules} | {cue for reply in book.rules.replies for cue in reply.cues}
    for phrase in sorted(phrases - {""}):
        key = max(phrase.split(), key=lambda word: (word not in STOP_WORDS, len(word)))
        book.index.setdefault(key, []).append(phrase)


def _index_words(book: Book) -> None:
    """Let the words of labels speak for them: the rarer among the labels, and the more labels there are, the louder."""
    for one in book.fields:
        spread = Counter(word for label in one.labels for word in label_words(label))
        size = math.log(len(one.labels) + 1)
        loudest = min(MOST_LABEL_WORD, CHANCE * size * size) if one.kind == "label" else LISTED_WORD
        found: dict[str, list[tuple[str, float]]] = {}
        for label in one.labels:
            words = label_words(label)
            for word in words:
                if spread[word] <= max(COMMON, len(one.labels) / COMMON):
                    rarity = 1 - math.log(spread[word]) / size
                    found.setdefault(word, []).append((label, loudest * rarity / math.sqrt(len(words))))
        book.words[one.name] = found
        for word in found:
            if word not in book.index.setdefault(word, []):
                book.index[word].append(word)


def _relate(book: Book) -> None:
    """Note which labels share a rare word, across fields and within one: what is decided or was done hints at them."""
    enums = [one for one in book.fields if one.kind == "label"]
    for i, one in enumerate(enums):
        for later in enums[i:]:
            spread = Counter(word for label in later.labels for word in label_words(label))
            rare = {word for word, n in spread.items() if n <= max(2, len(later.labels) / RARE)}
            bearers = {label: rare.intersection(label_words(label)) for label in later.labels}
            for label in one.labels:
                words = rare.intersection(label_words(label))
                kin = [other for other, theirs in bearers.items() if other != label and words & theirs]
                if kin:
                    book.kin.setdefault(label, {})[later.name] = kin


def find(book: Book, scene: Scene) -> Hits:
    """Find every phrase of the book in the scene."""
    places: dict[str, int] = {}
    texts: dict[str, str] = {}
    known = book.found
    for text, place in scene.spots:
        phrases = known.get(text)
        for phrase in book.phrases_in(text) if phrases is None else phrases:
            if phrase in places:
                places[phrase] |= place
            else:
                places[phrase], texts[phrase] = place, text
    return Hits(places, texts)


def voices(book: Book, one: Field, scene: Scene, hits: Hits) -> Iterator[Voice]:
    """Give the rules of a field that hold: phrase found where it looks, conditions met."""
    rules, listed = book.by_field[one.name], one.kind == "labels"
    yield from _voices_of_names(book, one, scene, listed)
    if not rules:
        return
    for phrase, place in hits.places.items():
        if phrase in rules:
            for rule in rules[phrase]:
                if rule.scope & place and (not rule.bound or _allowed(rule, scene, listed)):
                    near = rule.scope != ANYWHERE or place & MESSAGE
                    yield rule, rule.weight if near else rule.weight * EARLIER, hits.texts[phrase]


def _voices_of_names(book: Book, one: Field, scene: Scene, listed: bool) -> Iterator[Voice]:
    rules = book.by_name[one.name]
    if not rules:
        return
    names = scene.actions | scene.facts
    names.add("" if scene.begun else START)
    met = dict.fromkeys(rule for name in sorted(names.intersection(rules)) for rule in rules[name])
    for rule in met:
        if _allowed(rule, scene, listed):
            yield rule, rule.weight, ""


def _allowed(rule: Rule, scene: Scene, listed: bool) -> bool:
    """Tell whether the conditions of a rule hold; for lists a step counts as long as it was ever taken."""
    if rule.after:
        last = scene.last_action or ("" if scene.begun else START)
        if last not in rule.after and not (listed and rule.after & scene.actions):
            return False
    if rule.given and not rule.given & scene.facts:
        return False
    return not rule.seen or not (rule.seen.isdisjoint(scene.actions) and rule.seen.isdisjoint(scene.facts))


def score(one: Field, book: Book, scene: Scene, hits: Hits) -> dict[str, float]:
    """Add up what rules and label words say for each label; labels nothing speaks of are left out."""
    scores: dict[str, float] = {}
    for rule, weight, _ in voices(book, one, scene, hits):
        scores[rule.label] = scores.get(rule.label, 0.0) + weight
    steps = not scene.actions.isdisjoint(one.labels)
    words = book.words[one.name]
    for phrase, place in hits.places.items():
        if phrase in words and (place & MESSAGE or not steps):
            share = 1.0 if place & MESSAGE else EARLIER
            for label, weight in words[phrase]:
                scores[label] = scores.get(label, 0.0) + weight * share
    return scores
