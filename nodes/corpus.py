"""Keep what customers said and who they are as fingerprints, so that a text can be held against them.

Texts are folded (see `masking`) and compared by their words: case, punctuation and hiding tricks make no difference.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from understudy.events import Role
from understudy.lm.words import STOP_WORDS
from understudy.nodes.masking import folded, traces
from understudy.nodes.orders import order_at, readings

SPAN = 6
"""Words in a row that are somebody's own."""

ORDER_SPAN, SHORT_ORDER = 4, 3
"""Words in a row that carry an order, and an order that is complete: cues have one to three words."""

SHARED = 5
"""Conversations from which on what agents say, and a name, is common property."""

SHORTEST, SHORTEST_NUMBER = 3, 4
"""Letters of a value or name, digits of a numeric value."""

ORDINARY = STOP_WORDS | frozenset(
    """january february march april june july august september october november december jan feb mar apr jun jul aug sep
    sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri sat
    sun mrs miss sir madam mister""".split()
)

# An apostrophe joins, an underscore parts. Chinese and Japanese have no blanks between words: a character is a word.
_HAN = "\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+(?:'[^\W_{_HAN}]+)*")
MIDWAY = re.compile(rf"(?:(?<=[\w,'] )|(?<=[\"(]))[^\W\d_{_HAN}][^\W_]+")
"""A word in the middle of a sentence, where a capital letter means a name."""

_NAME_KEYS = frozenset(
    "name firstname lastname middlename givenname fullname surname familyname username customername".split()
)

_TOLD = re.compile(r"\bname(?:'s| is|:) ?((?:[^\W\d_]+ ?){1,3})", re.IGNORECASE)
_ADDRESSED = re.compile(
    r"\b(?:[Hh]i|[Hh]ello|[Hh]ey|[Dd]ear|[Tt]hanks|[Tt]hank you|[Ss]orry|[Oo][Kk]|[Oo]kay|Mrs?\.?|Ms\.?|Miss|Dr\.?"
    r"|[Ii]'m|[Ii] am|[Tt]his is|[Ii]t's),? ([A-Z][^\W\d_]+)"
)
_STOP = re.compile(r"[.!?;,\n]+")
_MEASURE = re.compile(r"\d+[^\W\d]{0,3}")
CODE = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

Lines = list[tuple[Role, str]]


class Corpus:
    """Fingerprints of conversations and customers.

    Attributes:
        said: hashes of SPAN words in a row of customers.
        rare: the same of agents, where fewer than SHARED conversations have them.
        orders: hashes of the words of customers' orders to the model.
        names: names in small letters; True where only a capital tells that it is one.
        values: what customers' objects hold, letters and digits alone; `value_words` are those of one plain word.
        own: what is ours and never a find.
    """

    def __init__(
        self,
        messages: Iterable[tuple[str, Role, str]],
        customers: Iterable[Mapping[str, Any]] = (),
        known: Iterable[str] = (),
    ) -> None:
        """Read messages (conversation id, role, text), the customers' objects, and texts of our own.

        `known` are the profile's words and the baselines' texts: see `profile_texts` and `program_texts`.
        """
        talks = _talks(messages)
        facts = facts_of(customers)
        theirs = [plain for talk in talks for role, plain in talk if role == "customer"] + [fact for _, fact in facts]
        self.own = own = Own(known)
        said = {span for plain in theirs for span in hashes(words_of(plain), SPAN)}
        agents = Counter(chain.from_iterable(map(_agent_spans, talks)))
        names = _Names(talks, facts)
        self.said = said - own.spans
        self.rare = {span for span, count in agents.items() if count < SHARED} - said - own.spans
        self.orders = {span for plain in theirs for span in _order_spans(plain)} - own.spans
        self.names = names.telling(own.words)
        self.values, self.value_words = _values(facts, own, names.ordinary)


class Own:
    """Texts of ours: their words, spans, phrases, numbers and addresses."""

    def __init__(self, texts: Iterable[str]) -> None:
        plain = [folded(version) for text in texts for version in {text, _CAMEL.sub(" ", text)}]
        lines = [words_of(text) for text in plain]
        self.words = ORDINARY | {word for line in lines for word in line}
        self.spans = {span for line in lines for size in (SHORT_ORDER, ORDER_SPAN, SPAN) for span in hashes(line, size)}
        self.traces = {joined(text[start:end]) for text in plain for _, start, end in traces(text)}


class _Names:
    """Words by the conversations that use them: at all, as an ordinary word in small letters, as a name."""

    def __init__(self, talks: Iterable[Lines], facts: Iterable[tuple[str, str]]) -> None:
        self.used: Counter[str] = Counter()
        self.ordinary: Counter[str] = Counter()
        self.called: set[str] = set()
        self.capital: set[str] = set()
        self.known: set[str] = set()
        for talk in talks:
            self._read(talk)
        for key, fact in facts:
            capitals = {bare(word) for word in WORD.findall(fact) if word[0].isupper()}
            self.capital |= capitals
            self.used.update(capitals)
            if is_name_key(key):
                self.known.update(capitals or words_of(fact))

    def _read(self, talk: Lines) -> None:
        cased: set[str] = set()
        called: set[str] = set()
        asked = False
        for role, plain in talk:
            words = WORD.findall(plain)
            cased.update(words)
            called.update(_called(plain, words, asked and role == "customer"))
            self.capital.update(_capitals(plain, words))
            asked = role == "agent" and "name" in plain.lower()
        self.called |= called
        self.used.update({bare(word) for word in cased})
        self.ordinary.update({bare(word) for word in cased if word.islower()} - called)

    def telling(self, own: Collection[str]) -> dict[str, bool]:
        """Return the names that few conversations give and those of known customers; True: only a capital tells."""
        few = {name for name in self.called | self.capital if self.used[name] < SHARED}
        sure = self.called | self.known
        return {
            name: not is_code(name) and (name not in sure or self.ordinary[name] > 0 or len(name) < SHORTEST)
            for name in few | self.known
            if len(name) >= (2 if name in self.known else SHORTEST) and name not in own
        }


def _capitals(plain: str, words: Sequence[str]) -> Iterator[str]:
    """Give the words with a capital in the middle of a sentence, unless most words have one; codes anywhere."""
    if len(words) <= 3 or 2 * sum(word[0].isupper() for word in words) <= len(words):
        yield from (bare(word) for word in MIDWAY.findall(plain) if word[0].isupper())
    yield from (bare(word) for word in words if is_code(word))


def _called(plain: str, words: Sequence[str], asked: bool) -> Iterator[str]:
    """Give the words by which somebody is called: name is ..., Hello ..., Mrs ..., or a short answer to `what name`."""
    named = [word for match in _TOLD.finditer(plain) for word in match[1].split()]
    named += [match[1] for match in _ADDRESSED.finditer(plain)]
    if asked and len(words) <= 3:
        named += words
    return (word for word in map(bare, named) if word.isalpha() and word not in ORDINARY)


def _values(
    facts: Sequence[tuple[str, str]], own: Own, ordinary: Counter[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the values that tell a customer from others, with the codes inside longer ones; single words apart."""
    shared = Counter(joined(fact) for _, fact in facts)
    several: set[str] = set()
    single: set[str] = set()
    for key, fact in facts:
        several.update(code for code in map(joined, CODE.findall(fact)) if is_code(code))
        words, value = words_of(fact), joined(fact)
        if is_name_key(key) and is_han(value):
            several.update((value, value[:2], value[-2:]))
        if all(word in own.words for word in words) or len(value) < (SHORTEST_NUMBER if value.isdigit() else SHORTEST):
            continue
        if len(words) > 1 or not value.isalpha():
            several.add(value)
        elif shared[value] < SHARED and ordinary[value] < (1 if fact.islower() else SHARED):
            single.add(value)
    return frozenset(several), frozenset(single)


def is_code(word: str) -> bool:
    """Say whether a word mixes letters and three or more digits, as HAT085 does; 256gb is a measure."""
    return sum(letter.isdigit() for letter in word) >= SHORTEST and not _MEASURE.fullmatch(word)


def _talks(messages: Iterable[tuple[str, Role, str]]) -> list[Lines]:
    talks: dict[str, Lines] = defaultdict(list)
    for conversation, role, text in messages:
        talks[conversation].append((role, folded(text)))
    return list(talks.values())


def facts_of(customers: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the texts and numbers of customers, each with its nearest key; a customer who comes twice counts once."""
    people = {json.dumps(customer, sort_keys=True, default=str): customer for customer in customers}
    return [(key, folded(leaf)) for customer in people.values() for key, leaf in _leaves(customer, "")]


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, key if is_name_key(key) else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, key)
    elif isinstance(value, str):
        yield key, value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, number_text(value)


def number_text(value: float) -> str:
    """Write a number as people do: 31612345678.0 has no point."""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def is_name_key(key: str) -> bool:
    """Say whether what stands under a key is a person's name, and not that of a hotel."""
    return re.sub(r"[\W_]", "", key).lower() in _NAME_KEYS


def is_han(text: str) -> bool:
    """Say whether a text is Chinese or Japanese, where two characters can be a whole name."""
    return len(text) > 1 and re.fullmatch(f"[{_HAN}]+", text) is not None


def _agent_spans(talk: Lines) -> set[int]:
    return {span for role, plain in talk if role == "agent" for span in hashes(words_of(plain), SPAN)}


def _order_spans(plain: str) -> Iterator[int]:
    """Hash a message's words from where an order to the model begins; an order of three words is complete."""
    for reading in readings(plain):
        sentences = [words_of(sentence) for sentence in _STOP.split(reading)]
        start = order_at(sentences, reading)
        if start is None:
            continue
        yield from hashes([word for words in sentences for word in words][start:], ORDER_SPAN)
        for words in sentences:
            if len(words) == SHORT_ORDER and order_at([words], "") is not None:
                yield from hashes(words, SHORT_ORDER)


def hashes(words: Sequence[str], size: int) -> Iterator[int]:
    """Hash each `size` words in a row."""
    return map(hash, zip(*(words[skip:] for skip in range(size)), strict=False))


def words_of(plain: str) -> list[str]:
    """Return the words of a folded text as they are compared."""
    return [word.replace("'", "") for word in WORD.findall(plain.casefold())]


def joined(plain: str) -> str:
    """Return the letters and digits of a folded text alone."""
    return "".join(words_of(plain))


def bare(word: str) -> str:
    """Return a word as a name is compared: `Mark's` is Mark."""
    return word.casefold().removesuffix("'s").replace("'", "")
