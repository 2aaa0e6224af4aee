"""Put tags in the place of what is a customer's own, before a teacher or a dreamer sees it.

Addresses and numbers go by their form (see `masking`), and become [email], [phone] and so on. What a customer's object
holds goes by its words, however they are spaced or written, and becomes [customer]: whole values, the names and codes
in them. Words of the profile and of our own instructions stay, and so does a word that other customers use for itself:
the van of one customer is a van to all.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.nodes.corpus import (
    CODE,
    MIDWAY,
    SHARED,
    SHORTEST,
    SHORTEST_NUMBER,
    SPAN,
    WORD,
    Own,
    bare,
    facts_of,
    hashes,
    is_code,
    joined,
    words_of,
)
from understudy.nodes.customer_data import MOST_WORDS, own_texts
from understudy.nodes.masking import Trace, folded, tagged, traces
from understudy.profile import Profile
from understudy.state import Role

MOST_MESSAGES = 1000
"""Messages of one conversation that are looked at, the newest ones."""


@dataclass
class Said:
    """What was said in some conversations (conversation id, role, text), and what the host says of their customers."""

    messages: list[tuple[str, Role, str]] = field(default_factory=list)
    customers: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)


def said_in(gym: Gym, conversations: Iterable[str]) -> Said:
    """Read some conversations."""
    said = Said()
    for name in conversations:
        events = gym.messages(name, 1 << 62, MOST_MESSAGES)
        said.messages += [
            (name, "customer" if event.kind == "customer_message" else "agent", event.text or "") for event in events
        ]
        known = [*(event.payload.get("customer") for event in events), gym.customer(name, 1 << 62)]
        if known := [customer for customer in known if customer]:
            said.customers[name] = known
    return said


class Redaction:
    """What is replaced in texts of some conversations.

    Attributes:
        replaced: how many of each kind; a text that is shown several times counts once.
    """

    def __init__(self, said: Said, profiles: Iterable[Profile]) -> None:
        """Look at whole conversations, so that it is known which words only one customer uses."""
        self.replaced: Counter[str] = Counter()
        self._seen: dict[str, str] = {}
        own = Own(text for profile in profiles for text in own_texts(profile))
        self._values, self._spans, words = _candidates(said.customers, own)
        self._words = dict(_telling(words, said.messages))
        self._heads = {value[:2] for value in self._values}

    def __call__(self, value: Any) -> Any:
        """Return a text, or plain data with every text, key and whole number in it, with tags put in."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self._text(str(key)): self(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self(inner) for inner in value]
        if isinstance(value, int) and not isinstance(value, bool):
            shown = self._text(str(value))
            return value if shown == str(value) else shown
        return value

    def _text(self, text: str) -> str:
        if text not in self._seen:
            plain = folded(text)
            places = _merged([*traces(plain), *self._own_places(plain)])
            self.replaced.update(place.kind for place in places)
            self._seen[text] = tagged(text, places)
        return self._seen[text]

    def _own_places(self, plain: str) -> Iterator[Trace]:
        """Find values, the words that tell a customer, and what is quoted from a long value."""
        found = list(WORD.finditer(plain))
        words = [match[0].casefold().replace("'", "") for match in found]
        midway = {match.start() for match in MIDWAY.finditer(plain)}
        for first, match in enumerate(found):
            needs_capital = self._words.get(bare(match[0]))
            if (
                needs_capital is False
                or needs_capital
                and match[0][0].isupper()
                and (match.start() in midway or len(found) <= 3)
            ):
                yield Trace("customer", match.start(), match.end())
            value = ""
            for last in range(first, min(first + MOST_WORDS, len(found))):
                value += words[last]
                if len(value) > 1 and value[:2] not in self._heads:
                    break
                if value in self._values:
                    yield Trace("customer", match.start(), found[last].end())
        for first, span in enumerate(hashes(words, SPAN) if self._spans else ()):
            if span in self._spans:
                yield Trace("customer", found[first].start(), found[first + SPAN - 1].end())


@dataclass
class _Word:
    """A word of customers' values: whose it is, how many have it as a whole value, how it is written there."""

    owners: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    is_name: bool = False
    is_value: bool = False
    is_small: bool = True


def _candidates(
    customers: Mapping[str, Sequence[Mapping[str, Any]]], own: Own
) -> tuple[set[str], set[int], dict[str, _Word]]:
    """Return the values of several words or with digits, the spans of long ones, and the words of all."""
    values, spans, words = set[str](), set[int](), defaultdict[str, _Word](_Word)
    for name, objects in customers.items():
        for customer in objects:
            person = json.dumps(customer, sort_keys=True, default=str)
            for key, fact in facts_of([customer]):
                parts, whole = WORD.findall(fact), words_of(fact)
                values.update(code for code in map(joined, CODE.findall(fact)) if is_code(code))
                if len(parts) > MOST_WORDS:
                    spans.update(hashes(whole, SPAN))
                    continue
                if all(word in own.words for word in whole):
                    continue
                value, is_name = "".join(whole), "name" in key.lower()
                alone = value.isalpha() and len(parts) == 1
                if not alone and len(value) >= (SHORTEST_NUMBER if value.isdigit() else SHORTEST):
                    values.add(value)
                told = [part for part in parts if part[0].isupper()] or (parts if is_name or alone else [])
                for word in (bare(part) for part in told):
                    if len(word) >= SHORTEST and word.isalpha() and word not in own.words:
                        known = words[word]
                        known.owners.add(name)
                        known.people.add(person)
                        known.is_name |= is_name
                        known.is_value |= alone
                        known.is_small &= fact.islower()
    return values, spans - own.spans, words


def _telling(words: Mapping[str, _Word], messages: Iterable[tuple[str, Role, str]]) -> Iterator[tuple[str, bool]]:
    """Yield the words that tell a customer; True: only where a capital says that it is no ordinary word."""
    users: dict[str, set[str]] = defaultdict(set)
    for name, _, text in messages:
        for word in words.keys() & {bare(word) for word in WORD.findall(folded(text)) if word.islower()}:
            users[word].add(name)
    for word, known in words.items():
        elsewhere = len(users[word] - known.owners)
        if known.is_name:
            yield word, elsewhere >= SHARED
        elif not known.is_value:
            if elsewhere == 0 and len(known.people) < SHARED:
                yield word, True
        elif elsewhere < (1 if known.is_small else SHARED) and len(known.people) < SHARED:
            yield word, False


def _merged(places: Iterable[Trace]) -> list[Trace]:
    """Return the places in order, those that overlap as one of the kind of the longest."""
    merged: list[Trace] = []
    for place in sorted(places, key=lambda one: (one.start, -one.end)):
        if merged and place.start < merged[-1].end:
            last = merged.pop()
            longest = max(last, place, key=lambda one: one.end - one.start)
            place = Trace(longest.kind, last.start, max(last.end, place.end))
        merged.append(place)
    return merged
