"""Other names, places, numbers and days in the place of those that may be somebody's."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from understudy.lm.figures import Figures, ranked
from understudy.lm.phrasebook import COUNTS, DAYS, FIRST_NAMES, MONTHS, NAMES, PARTS, PLACES
from understudy.lm.retelling import words_of
from understudy.lm.words import STOP_WORDS

SHARED = 8
"""Texts from which on a name of a place or a thing is common property."""

_TITLES = frozenset("dr mr mrs ms miss doctor captain".split())
_ORDINARY = STOP_WORDS | frozenset(
    [*DAYS, *MONTHS, *_TITLES]
    + """north south east west center centre northern southern eastern western airport university hospital ok okay id
    pin dob tv am pm asap hello hi hey thanks thank please sorry yes no yeah great good well oh wow sure sir madam mon
    tue wed thu fri sat sun jan feb mar apr jun jul aug sep oct nov dec mother god bye alright""".split()
)
_CALLED = re.compile(
    r"\b(?:(?i:name(?:'s| is|:)|this is|i am|i'm|im|call me|dear|hi|hello|hey|thanks|dr\.?|mrs?\.?|ms\.?|doctor)),?"
    r" ((?:[A-Z][^\W\d_]+ ?){1,2})"
)
_TRIP = re.compile(r"\bfrom ([a-z]{2,}) to ([a-z]{2,})\b(?! [a-z]+ing\b)")
_PLACED = frozenset("in at to from near by around towards of on onto called past and between for leaving".split())
_COMPASS = frozenset("North South East West Center Centre Downtown New San Los".split())
_CALENDAR = frozenset([*DAYS, *MONTHS, *PARTS, *COUNTS])
_SMALL = STOP_WORDS | _CALENDAR | _TITLES
_TOLD = re.compile(r"\bname(?:'s| is|:)? (?:is )?([^\W\d_]+)", re.IGNORECASE)
_TOKEN = re.compile(
    r"\[[a-z]+\]|[$€£#]?(?:(?<![^\W_])\d|[a-z]{1,4}-?\d)[^\W_]*(?:[.,:/-]\d[^\W_]*|(?<=\d)[ -]\d{2,}\b)*"
    r"(?:\s?[ap]\.?m\b\.?)?|[^\W\d_]+(?:'[^\W\d_]+)*|\s+|.",
    re.IGNORECASE | re.DOTALL,
)


class Details:
    """What stands within one dream for a name, number, date or place; the same always for the same."""

    def __init__(
        self, rng: random.Random, texts: Sequence[str], called: Iterable[str], given: Mapping[str, list[str]]
    ) -> None:
        """Read everybody's texts, those that are a name and nothing else, and the invented values by kind."""
        self.rng = rng
        self.swapped: dict[str, str] = {}
        self.small: Counter[str] = Counter()
        self.capital: Counter[str] = Counter()
        self.names = {word for text in called for word in words_of(text) if word not in _ORDINARY}
        self.names |= FIRST_NAMES
        self.trips: set[str] = set()
        for text in texts:
            self._read(text)
        self.trips = {word for word in self.trips if self.small[word] < SHARED}
        words = {*self.small, *self.capital}
        self.given = given
        fresh = [name for name in given.get("names", []) if name.casefold() not in words]
        self.fresh = fresh or [name for name in NAMES if name.casefold() not in words] or ["Ilse"]
        rng.shuffle(self.fresh)
        self.places = given.get("places") or PLACES
        self.shift = rng.randrange(1, 6)
        self.figures = Figures(rng, texts)

    def _read(self, text: str) -> None:
        words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text)
        self.small.update({word for word in words if word.islower()})
        if len(words) > 2 and 2 * sum(word[0].isupper() for word in words) <= len(words) + 1:
            midway = re.findall(r"(?<=[\w,'] )[A-Z][^\W\d_]+", text)
            self.capital.update({word.casefold() for word in midway} - _ORDINARY)
        for match in _TRIP.finditer(text):
            self.trips.update({match[1], match[2]} - _ORDINARY - {*COUNTS, "one", "home", "work", "start", "time"})
        for match in (*_CALLED.finditer(text), *_TOLD.finditer(text)):
            self.names.update(word for word in words_of(match[1]) if word not in _ORDINARY and len(word) > 1)

    def slots(self) -> dict[str, str]:
        """Invent what a customer may be asked for."""
        rng = self.rng
        hour, day = rng.choice((7, 8, 9, 10, 11, 1, 2, 4, 5, 6)), rng.choice(DAYS).capitalize()
        return {
            "name": self.fresh[0],
            "number": self.figures.code("0000"),
            "count": rng.choice(COUNTS[:7]),
            "time": f"{hour} {rng.choice(('am', 'pm'))}",
            "day": rng.choice((day, f"{day} {rng.choice(PARTS)}", f"the {ranked(rng.randrange(2, 29))}")),
            "date": f"{rng.randrange(2, 29)} {rng.choice(MONTHS).capitalize()} {rng.randrange(1955, 2003)}",
            "place": rng.choice(self.places),
        }

    def telling(self, word: str) -> bool:
        """Say whether a word as it is compared may be a detail of somebody's."""
        return word == "0" or word in self.names or 2 * self.capital[word] > self.small[word]

    def swap(self, text: str) -> str:
        """Put other details in the place of those of a text."""
        words = re.findall(r"[^\W\d_]{2,}", text)
        if 0 < len(words) < 3 and text.replace(" ", "").isalpha() and all(map(self._unknown, words)):
            return self._person(words[0].casefold())
        shouted = len(words) > 2 and sum(word[0].isupper() for word in words) * 2 > len(words) + 1
        tokens = _TOKEN.findall(text.lower() if shouted else text)
        parts: list[str] = []
        at = 0
        while at < len(tokens):
            size = self._named(tokens, at)
            if size:
                noun = "".join(tokens[at + size + 1 : at + size + 2])
                self._put_name(parts, tokens[at : at + size], noun.islower() and noun not in STOP_WORDS)
            else:
                parts.append(self._thing(tokens, at))
            at += size or 1
        return re.sub(r"\b(the|The) (?:the )+", r"\1 ", "".join(parts))

    def _named(self, tokens: Sequence[str], at: int) -> int:
        """Return how many tokens from here on are a name of a person, a place or a thing that is somebody's own."""
        begun = tokens[at] in _COMPASS or _capital(tokens[at]) and _midway(tokens, at)
        if begun and self._own("".join(tokens[at + 2 : at + 3])):
            return 2 + self._named(tokens, at + 2)
        size = int(self._own(tokens[at]))
        while size:
            # "Craig and Center" is one place, and so is "West Bay Venue"
            after = [*tokens[at + size : at + size + 4], "", "", "", ""]
            if after[1] in ("and", "of", "&") and (self._own(after[3]) or after[3] in _COMPASS):
                size += 4
            elif after[0] == " " and (self._own(after[1]) or _capital(after[1])):
                size += 2
            else:
                break
        return size

    def _thing(self, tokens: Sequence[str], at: int) -> str:
        """Return what stands for one token that is no name."""
        token, low = tokens[at], tokens[at].casefold()
        if low in ("may", "march") and not re.search(r"\d|\b[io]n\b", "".join(tokens[max(0, at - 3) : at + 3])):
            return token
        strange = token.isalpha() and low not in _ORDINARY and self.capital[low] < SHARED
        return low if strange and _midway(tokens, at) and low not in _CALENDAR else self._other(token)

    def _unknown(self, word: str) -> bool:
        """Say whether a word may be a name for all that is known: it has a capital and is nowhere without."""
        low = word.casefold()
        return word[0].isupper() and low not in _ORDINARY and not self.small[low] and self.capital[low] < SHARED

    def _own(self, token: str) -> bool:
        word = token.casefold().removesuffix("'s")
        if not token[:1].isalpha() or word in _ORDINARY or len(word) < 2 or word.split("'")[0] in STOP_WORDS:
            return False
        if word in self.trips:
            return True
        if word in self.names:
            return token[0].isupper() or self.small[word] < SHARED
        return 2 * self.small[word] < self.capital[word] < SHARED

    def _put_name(self, parts: list[str], tokens: Sequence[str], leans: bool) -> None:
        """Add what stands for a name; one that leans on a noun (`any Thai food`) is left out where a word allows it."""
        before = [part for part in parts[-4:] if part.strip()]
        last = before[-1].casefold() if before else ""
        words = [token.casefold().removesuffix("'s") for token in tokens if token[0].isalpha()]
        owner = tokens[-1].endswith("'s")
        person = owner or any(word in self.names for word in words) or last.strip(".") in _TITLES
        key = words[0] if person or words[0] in self.swapped else " ".join(words)
        if not person and (last.isdigit() or last in COUNTS):
            parts.append("of them")
            return
        if not person and leans and last in ("a", "an", "the", "any", "some", "no", "good"):
            parts.pop()
            return
        if key not in self.swapped:
            placed = last in _PLACED or last in ("a", "an", "the", "my") or key in self.trips
            if person:
                self._person(key)
            else:
                self.swapped[key] = self.rng.choice(self.places) if placed else "that one"
        if not person and last in ("a", "an", "the", "my"):
            while parts.pop().casefold() != last:
                pass
        parts.append(self.swapped[key] + ("'s" if owner else ""))

    def _person(self, key: str) -> str:
        if key not in self.swapped:
            self.fresh.append(self.fresh.pop(0))
            self.swapped[key] = self.fresh[-1]
        return self.swapped[key]

    def _other(self, token: str) -> str:
        """Return what stands for a tag, a number, a day, a month; any other token as it is."""
        low = token.casefold()
        if token[0].isspace() or not (token[0] in "[$€£#" or token[0].isalnum()) or len(token) < 2 and token.isalpha():
            return token
        if low not in self.swapped:
            other = self._new(token, low)
            if other == token:
                return token
            self.swapped[low] = other
        return self.swapped[low]

    def _new(self, token: str, low: str) -> str:
        if token[0] == "[":
            return self._tagged(token[1:-1])
        if any(map(str.isdigit, token)):
            return self.figures.number(token)
        for words, shift in ((DAYS, self.shift), (MONTHS, self.shift), (PARTS, 1), (COUNTS, 1)):
            if low in words and (low not in ("may", "march") or token[0].isupper()):
                other = words[(words.index(low) + shift) % len(words)]
                return other.capitalize() if token[0].isupper() else other
        return token

    def _tagged(self, kind: str) -> str:
        values = self.given.get(kind) or self.given.get(f"{kind}s")
        if values:
            return self.rng.choice(values)
        number = self.figures.code("0000")
        known = {"email": "the e-mail on file", "url": "the website", "phone": f"the one ending in {number}"}
        return known.get(kind, number)


def _capital(token: str) -> bool:
    return token[:1].isupper() and token.casefold() not in _SMALL


def _midway(tokens: Sequence[str], at: int) -> bool:
    return at > 1 and tokens[at - 1] == " " and tokens[at - 2][-1] not in ".!?"
