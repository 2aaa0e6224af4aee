"""A text on its way through a dream: plain when read, in nobody's own words when retold, tidy when written."""

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from understudy.lm.paraphrases import ADVERBS, ASIDES, SWAPS, SYNONYMS
from understudy.lm.phrasebook import DAYS, MONTHS
from understudy.lm.words import clean

SPAN = 6
"""Words in a row that are somebody's own."""

LONGEST = 600
MOST_WORDS, MOST_LETTERS = 60, 500
MOST_REPAIRS = 40

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_FULL = {"n't": " not", "'m": " am", "'d": " would", "'ll": " will", "'re": " are", "'ve": " have", "'s": " is"}
_SHORTENED = re.compile(r"(?<=[^\W_])(n't|'(?:m|d|ll|re|ve)|(?<=it)'s|(?<=hat)'s)\b")
_SAME = frozenset([*DAYS, *MONTHS]) - {"may", "march"}
_AUXILIARY = frozenset("am is are was were has had will would could can i'm it's".split())
_PRONOUNS = frozenset("i we they you it he she there this that me us".split())
_BEFORE = frozenset("in at for from with near before after".split())


@lru_cache(maxsize=4096)
def _folded(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate({0x2019: "'", 0x2018: "'", 0x02BC: "'"})
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn"))
    return clean(re.sub(r"\S{40,}", "", re.sub(r"\s*\n\s*", ". ", text.strip())))[:LONGEST]


def plain(text: object) -> str:
    """Return a text with compatible letters, straight quotes and no control characters, cut to LONGEST."""
    return _folded(text[: 4 * LONGEST]) if isinstance(text, str) else ""


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters, `I'm` as two."""
    return _WORD.findall(_SHORTENED.sub(lambda match: _FULL[match[1]], text.casefold()))


@lru_cache(maxsize=8192)
def _compared(text: str) -> tuple[str, ...]:
    """Return the words of a text as two texts are compared: every number, day and month is the same."""
    return tuple("0" if word in _SAME or any(map(str.isdigit, word)) else word for word in words_of(text))


def spans(texts: Iterable[str], size: int = SPAN) -> Counter[tuple[str, ...]]:
    """Count in how many texts each row of words is."""
    return Counter(span for text in texts for span in set(_rows(_compared(text), size)))


def _rows(words: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[skip:] for skip in range(size)), strict=False)


def unsaid(text: str, told: Collection[tuple[str, ...]], rng: random.Random) -> str:
    """Break every row of words that was told; an empty text where that cannot be done."""
    for _ in range(MOST_REPAIRS):
        tokens = text.split()
        places = [(word, at) for at, token in enumerate(tokens) for word in _compared(token)]
        words = [word for word, _ in places]
        rows = ((first, size) for size in (SPAN - 1, SPAN) for first in range(len(words) - size + 1))
        hit = next((row for row in rows if tuple(words[row[0] : sum(row)]) in told), None)
        if not hit:
            return text
        text = _broken(tokens, sorted({at for _, at in places[hit[0] : sum(hit)]}), rng)
        if not text:
            break
    return ""


def _broken(tokens: list[str], places: Sequence[int], rng: random.Random) -> str:
    """Change one word of a row: an aside before a preposition, an adverb behind a pronoun, or another word."""
    # A change near the end of the row breaks the rows that begin in it too.
    inner = sorted(places, key=lambda at: (abs(at - places[-1] + 1.4), at))
    said = frozenset(token.strip(",").casefold() for token in tokens)
    adverbs = [word for word in ADVERBS if word not in said]
    asides = [words for words in ASIDES if words.split()[-1].strip(",") not in said]
    for at in inner:
        low = tokens[at].casefold().strip(".,!?")
        last = tokens[at - 1].casefold() if at else ""
        if low in SYNONYMS and " " not in low and low == tokens[at]:
            return " ".join([*tokens[:at], rng.choice(SYNONYMS[low].split("|")), *tokens[at + 1 :]])
        spoken = last in _AUXILIARY and low not in _PRONOUNS or last in ("i", "we", "they") and low not in _AUXILIARY
        if adverbs and spoken:
            return " ".join([*tokens[:at], rng.choice(adverbs), *tokens[at:]])
        if (
            asides
            and low in _BEFORE
            and last[-1:].isalnum()
            and last not in _AUXILIARY | _PRONOUNS
            and at < len(tokens) - 1
        ):
            return " ".join([*tokens[: at - 1], f"{tokens[at - 1]},", rng.choice(asides), *tokens[at:]])
    for at in inner:
        low = tokens[at].casefold().strip(".,!?")
        if low in SWAPS:
            other = rng.choice(SWAPS[low].split("|"))
            if ({*other.split()} - {low}) & {*tokens[at - 1 : at], *tokens[at + 1 : at + 2]}:
                continue
            return " ".join([*tokens[:at], re.sub(re.escape(low), other, tokens[at], flags=re.I), *tokens[at + 1 :]])
    return ""


def tidy(text: str, loose: bool) -> str:
    """Put blanks, capitals and points where they belong; loosely, in small letters and without the last point."""
    text = re.sub(r"\s+([,.!?:;])", r"\1", re.sub(r"([,.!?])(?:\s*[,.])+", r"\1", " ".join(text.split())))
    text = re.sub(r"\b(a) (?=[aeio]\w)", r"\1n ", re.sub(r"\bi\b(?!\.)", "I", text), flags=re.IGNORECASE)
    text = text.rstrip(",:; ")
    if loose:
        return re.sub(r"(?<=[.?!,] )[A-Z](?=[a-z])|^[A-Z](?=[a-z])", lambda m: m[0].lower(), text).rstrip(".")
    text = re.sub(r"(^|[.!?] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    return text if not text or text[-1] in ".!?" else text + "."


def fits(text: str) -> bool:
    """Say whether a text is of the length of a chat message."""
    return len(text.split()) <= MOST_WORDS and len(text) <= MOST_LETTERS
