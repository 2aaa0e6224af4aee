"""Put tags in the place of what is a customer's own, before a teacher or a dreamer sees it.

Addresses and numbers go by their form (see `masking`), and become [email], [phone] and so on. What a customer's object
holds goes by its words, however they are spaced or written, and becomes [customer]: whole values, the names and codes
in them. Words of the profile and of our own instructions stay, and so does a word that other customers use for itself:
the van of one customer is a van to all.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.events import Role
from understudy.nodes.corpus import (
    CODE,
    MIDWAY,
    SHARED,
    SHORTEST,
    SPAN,
    WORD,
    Own,
    bare,
    facts_of,
    hashes,
    is_code,
    is_han,
    is_name_key,
    joined,
    number_text,
    words_of,
)
from understudy.nodes.customer_data import MOST_WORDS, own_texts
from understudy.nodes.masking import SHORTEST_NUMBER, Trace, folded, tagged, traces
from understudy.profile import Profile

MOST_MESSAGES = 1000
"""Messages of one conversation that are looked at, the newest ones."""

_IDENTITY = ("id", "customer_id", "user_id", "email", "phone", "name")
"""Keys whose value tells one customer from another, the first that is there."""

_COINS = ("$", "€", "£", "¥")


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
        values, self._spans, words = _candidates(said.customers, own)
        _note_users(said.messages, values, words)
        self._values = {value for value, known in values.items() if known.tells}
        self._words = {word: known.needs_capital for word, known in words.items() if known.tells}
        self._heads = {value[:2] for value in self._values}

    def __call__(self, value: Any) -> Any:
        """Return a text, or plain data with every text, key and number in it, with tags put in.

        A number from 0 to 1 is a score. What is below `customer_profile` is a tag as a whole, but for preferences.
        """
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {
                self._text(str(key)): self._hidden(inner) if key == "customer_profile" else self(inner)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self(inner) for inner in value]
        if isinstance(value, int | float) and not 0 <= value <= 1:
            number = number_text(value)
            shown = self._text(number)
            return value if shown == number else shown
        return value

    def _hidden(self, value: Any) -> Any:
        """Return what is known of a customer: only which data there are, and what the customer prefers."""
        if isinstance(value, Mapping):
            return {
                self._text(str(key)): self(inner) if key == "preferences" else self._hidden(inner)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._hidden(inner) for inner in value]
        return None if value is None else "[customer]"

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
        for match in found:
            word = bare(match[0])
            needs_capital = self._words.get(word, self._words.get(word.removesuffix("s")))
            named = match[0][0].isupper() and (match.start() in midway or len(found) <= 3)
            if needs_capital is False or needs_capital and named:
                yield Trace("customer", match.start(), match.end())
        for value, first, last in _stretches(words, self._values, self._heads):
            start, end = found[first].start(), found[last].end()
            # 10:00, 17:30 and $1000, 50 are no account with the same digits.
            if not (value.isdigit() and (":" in plain[start:end] or plain[:start].endswith(_COINS))):
                yield Trace("customer", start, end)
        for first, span in enumerate(hashes(words, SPAN) if self._spans else ()):
            if span in self._spans:
                yield Trace("customer", found[first].start(), found[first + SPAN - 1].end())


@dataclass
class _Known:
    """A word or a value of customers' objects.

    Whose it is (conversations, people), in which conversations somebody uses it; names and what is `sure` tell a
    customer whoever else uses them, anything else only while few have it and nobody else says it.
    """

    owners: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    is_name: bool = False
    is_sure: bool = False
    is_short: bool = False

    @property
    def tells(self) -> bool:
        """Say whether it is a customer's own."""
        return self.is_name or self.is_sure or len(self.people) < SHARED and not self.users - self.owners

    @property
    def needs_capital(self) -> bool:
        """Say whether only a capital tells that it is no ordinary word."""
        return self.is_name and (self.is_short or len(self.users - self.owners) >= SHARED)


def _candidates(
    customers: Mapping[str, Sequence[Mapping[str, Any]]], own: Own
) -> tuple[dict[str, _Known], set[int], dict[str, _Known]]:
    """Return the values of several words or with digits, the spans of long ones, and the words of all."""
    values, spans, words = defaultdict[str, _Known](_Known), set[int](), defaultdict[str, _Known](_Known)
    for name, objects in customers.items():
        for customer in objects:
            person = _person(customer, name)
            for key, fact in facts_of([customer]):
                is_name, compared = is_name_key(key), words_of(fact)
                if len(compared) > MOST_WORDS:
                    spans.update(hashes(compared, SPAN))
                for value, is_sure in _values_in(fact, compared, is_name, own):
                    _note(values[value], name, person, is_name=is_name, is_sure=is_sure)
                for word in _words_in(key, fact, is_name):
                    if len(word) >= (2 if is_name else SHORTEST) and word.isalpha() and word not in own.words:
                        _note(words[word], name, person, is_name=is_name, is_short=len(word) < SHORTEST)
    return values, spans - own.spans, words


def _note(known: _Known, owner: str, person: str, *, is_name: bool, **more: bool) -> None:
    known.owners.add(owner)
    known.people.add(person)
    known.is_name |= is_name
    for name, is_so in more.items():
        setattr(known, name, is_so)


def _person(customer: Mapping[str, Any], conversation: str) -> str:
    """Tell people apart by what does not change in their objects; without that, by their conversations."""
    return next((f"{key} {customer[key]}" for key in _IDENTITY if customer.get(key)), conversation)


def _values_in(fact: str, words: Sequence[str], is_name: bool, own: Own) -> Iterator[tuple[str, bool]]:
    """Yield the codes in a fact and the fact itself, letters and digits alone; True: whoever else has it."""
    yield from ((code, True) for code in map(joined, CODE.findall(fact)) if is_code(code))
    value = "".join(words)
    if len(words) > MOST_WORDS or all(word in own.words for word in words):
        return
    if is_name and is_han(value):
        yield from ((part, True) for part in {value, value[:2], value[-2:]})
    elif len(words) > 1 or not value.isalpha():
        if len(value) >= (SHORTEST_NUMBER if value.isdigit() else SHORTEST):
            yield value, sum(letter.isdigit() for letter in value) >= SHORTEST_NUMBER


def _words_in(key: str, fact: str, is_name: bool) -> Iterator[str]:
    """Yield the words of a fact that may tell a customer: names, capitals, an address's first part, a single word."""
    words = WORD.findall(fact)
    if len(words) > MOST_WORDS:
        told = [word for word in MIDWAY.findall(fact) if word[0].isupper()]
    elif "@" in fact:
        told = WORD.findall(fact.partition("@")[0])
    else:
        told = [word for word in words if word[0].isupper()] or (words if is_name or len(words) == 1 else [])
    yield from map(bare, [*told, *(WORD.findall(folded(key)) if key[:1].isupper() else ())])


def _note_users(
    messages: Iterable[tuple[str, Role, str]], values: Mapping[str, _Known], words: Mapping[str, _Known]
) -> None:
    """Note who uses a word or a value; a name with a capital says nothing of whether it is an ordinary word too."""
    heads = {value[:2] for value in values}
    for name, _, text in messages:
        found = WORD.findall(folded(text))
        for word in found:
            known = words.get(bare(word))
            if known and (word.islower() or not known.is_name):
                known.users.add(name)
        for value, _, _ in _stretches([word.casefold().replace("'", "") for word in found], values, heads):
            values[value].users.add(name)


def _stretches(words: Sequence[str], values: Collection[str], heads: Collection[str]) -> Iterator[tuple[str, int, int]]:
    """Find values in words however they are spaced: the value, its first and its last word."""
    for first in range(len(words)):
        value = ""
        for last in range(first, min(first + MOST_WORDS, len(words))):
            value += words[last]
            if len(value) > 1 and value[:2] not in heads:
                break
            if value in values:
                yield value, first, last


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
