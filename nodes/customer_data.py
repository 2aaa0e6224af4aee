"""Find a customer's data in a text: the leak check of the publish gate.

A text may hold no e-mail, URL or long number; no value of a customer; no six words in a row that a customer wrote, or
an agent in fewer than five conversations; no name that fewer than five conversations give. Nor may it repeat an order
that a customer gave to the model. Words of our own (the profile, the baselines) are never a find.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import dspy

from understudy.nodes.corpus import MIDWAY, ORDER_SPAN, SHARED, SHORT_ORDER, SPAN, WORD, Corpus, bare, hashes, joined
from understudy.nodes.masking import folded, origins, traces
from understudy.nodes.modules import PROGRAMS
from understudy.nodes.orders import readings
from understudy.profile import Profile

Kind = Literal["email", "url", "number", "value", "words", "name", "order"]

LONGEST_SHOWN = 80
MOST_WORDS = 12
"""Words of a value; what a longer one holds is found by its spans."""

Words = Sequence[re.Match[str]]


class Find(NamedTuple):
    """A piece of a customer's data in a text, and why it is one."""

    kind: Kind
    text: str
    why: str


class _Place(NamedTuple):
    """A find by where it stands in the folded text."""

    start: int
    end: int
    kind: Kind
    why: str


def finds(text: str, corpus: Corpus) -> list[Find]:
    """Return what of a customer's data is in a text, in the order it stands there."""
    plain = folded(text)
    words = list(WORD.finditer(plain))
    places = [*_addresses(plain, corpus), *_said(words, corpus), *_values(words, corpus), *_names(plain, words, corpus)]
    return _shown(text, places)


def dictated(text: str, corpus: Corpus) -> list[Find]:
    """Return the pieces of a text that repeat an order which a customer gave to the model."""
    plain, *undone = readings(folded(text))
    why = "a customer's message gives this to the model as an order"
    places = [_Place(start, end, "order", why) for start, end in _repeated(plain, corpus)]
    if not places and any(True for reading in undone for _ in _repeated(reading, corpus)):
        places = [_Place(0, len(plain), "order", f"{why}, here in disguise")]
    return _shown(text, places)


def _repeated(plain: str, corpus: Corpus) -> Iterator[tuple[int, int]]:
    """Give the stretches of a text that repeat orders."""
    words = list(WORD.finditer(plain))
    for size in (ORDER_SPAN, SHORT_ORDER):
        yield from ((start, end) for start, end, _ in _runs(words, size, corpus.orders))


def program_texts(program: dspy.Module) -> dict[str, str]:
    """Return all texts that a program would be saved with, by their place: `self.demos[0].history[1].text`.

    Instructions, field texts, examples and whatever else is in its state: keys, long numbers and JSON inside texts too.
    """
    return dict(_texts("", program.dump_state()))


def profile_texts(profile: Profile) -> list[str]:
    """Return the words of a profile: labels, descriptions, names of data."""
    return list(dict(_texts("", profile.model_dump())).values())


def own_texts(profile: Profile) -> list[str]:
    """Return all words of ours that a conversation of a profile may hold: the profile's, and those of the baselines."""
    baselines = (program_texts(faculty.program(profile)) for faculty in PROGRAMS.values())
    return [*profile_texts(profile), *(text for texts in baselines for text in texts.values())]


def _texts(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            inside = f"{place}.{key}".removeprefix(".")
            yield f"{inside} (key)", str(key)
            yield from _texts(inside, inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for number, inner in enumerate(value):
            yield from _texts(f"{place}[{number}]", inner)
    elif isinstance(value, str):
        yield place, value
        yield from _texts(f"{place} (JSON)", _json_in(value))
    elif value is not None and not isinstance(value, bool):
        # A float is a score: only its whole part can be a number of somebody's.
        yield place, f"{value:.0f}" if isinstance(value, float) else str(value)


def _json_in(text: str) -> Any:
    """Return the JSON that a text holds, where an escape could hide an address, or None."""
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _addresses(plain: str, corpus: Corpus) -> Iterator[_Place]:
    for kind, start, end in traces(plain):
        if joined(plain[start:end]) in corpus.own.traces:
            continue
        if kind == "email" or kind == "url":
            yield _Place(start, end, kind, "an e-mail address" if kind == "email" else "an address on the web")
        else:
            yield _Place(start, end, "number", "a number as long as that of a phone, card, account or order")


def _said(words: Words, corpus: Corpus) -> Iterator[_Place]:
    whose = {
        "of a customer's message": corpus.said,
        f"of an agent's message, in fewer than {SHARED} conversations": corpus.rare,
    }
    for name, spans in whose.items():
        for start, end, count in _runs(words, SPAN, spans):
            yield _Place(start, end, "words", f"{count} words in a row {name}")


def _values(words: Words, corpus: Corpus) -> Iterator[_Place]:
    """Find values however they are spaced: DT-3307, dt 3307 and DT3307 are one."""
    for first, word in enumerate(words):
        value = ""
        for last in words[first : first + MOST_WORDS]:
            value += _compared(last)
            if value in corpus.values or last is word and value in corpus.value_words:
                yield _Place(word.start(), last.end(), "value", "a value of a customer's object")


def _names(plain: str, words: Words, corpus: Corpus) -> Iterator[_Place]:
    """Find names in any case; one that may be an ordinary word only where a capital in a sentence tells it."""
    midway = {match.start() for match in MIDWAY.finditer(plain)}
    for word in words:
        needs_capital = corpus.names.get(bare(word[0]))
        if needs_capital is False or needs_capital and word[0][0].isupper() and word.start() in midway:
            why = f"a customer's name, or one that fewer than {SHARED} conversations give"
            yield _Place(word.start(), word.end(), "name", why)


def _runs(words: Words, size: int, spans: Collection[int]) -> list[tuple[int, int, int]]:
    """Return the stretches that consist of the spans: start, end, number of words."""
    runs: list[tuple[int, int]] = []
    for first, span in enumerate(hashes([_compared(word) for word in words], size)):
        if span in spans:
            begin = runs.pop()[0] if runs and runs[-1][1] >= first else first
            runs.append((begin, first + size))
    return [(words[first].start(), words[end - 1].end(), end - first) for first, end in runs]


def _compared(word: re.Match[str]) -> str:
    return word[0].casefold().replace("'", "")


def _shown(text: str, places: Iterable[_Place]) -> list[Find]:
    """Quote the places from the text itself, each once."""
    origin = origins(text)
    quoted = ((text[origin[start] : origin[end - 1] + 1], kind, why) for start, end, kind, why in sorted(set(places)))
    return [Find(kind, " ".join(quote.split())[:LONGEST_SHOWN], why) for quote, kind, why in quoted]
