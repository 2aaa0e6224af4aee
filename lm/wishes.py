"""Which rewordings are wanted for a customer: the instruction first, then their preferences, then their register.

The instruction speaks in sentences. `never`, `no`, `not`, `without`, `avoid` and a topic switch an operation off; a
clause that begins with `always`, `keep`, `be`, `use`, `add`, `write`, `make`, `prefer` or `remove` and holds a topic
switches it on. Topics: emoji; the customer's name, first name, by name; formal, casual, contractions, formality; simple
words, rich words, vocabulary; exclamation marks, enthusiastic; friendly; apologise; urgent. "Never add emoji.", "Do not
use the customer's name.", "Keep the reply formal." and "Do not change the vocabulary." are such sentences. One that
holds `if`, `when`, `unless`, `only`, `most`, `who` or the like tells what the engine decides anyway; it is passed over.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

from understudy.lm.register import Register
from understudy.lm.tastes import CASUAL, FORMAL, Tastes

Modification = Literal[
    "formality_up",
    "formality_down",
    "emoji_added",
    "emoji_removed",
    "tone_friendly",
    "tone_urgent",
    "tone_apologetic",
    "vocabulary_simpler",
    "vocabulary_richer",
    "enthusiasm",
    "name_used",
]
"""What may be changed in a reply."""

LABELS: tuple[str, ...] = get_args(Modification)
SHORT_MESSAGES = 6.5
LONG_MESSAGES = 18.0
USES_EMOJI = 0.2
EXCLAIMS = 0.4
LONGEST_INSTRUCTION = 20000

_SENTENCE = re.compile(r"(?<=[.!?;\n])\s+|\n")
_CLAUSE = re.compile(r",|\b(?:and|but|or|nor)\b")
_DEPENDS = re.compile(r"\b(?:if|when|unless|only|most|where|who|whose|once|sparingly|may|like|as|than|match)\b", re.I)
_OFF = re.compile(r"\b(?:never|no|not|don['\u2019]t|without|avoid)\b", re.I)
_ON = re.compile(r"^\W*(?:please )?(?:always|keep|be|use|add|write|make|prefer|remove|drop|strip)\b", re.I)
_REMOVE = re.compile(r"\b(?:remove|drop|strip)\b", re.I)
_PLAIN_WORDS = r"\b(?:simple|plain|easy)(?:r)? (?:words|vocabulary|language|english)\b|\bsimplify\b"
_RICH_WORDS = r"\brich(?:er)? (?:words|vocabulary|language)\b"
_TOPICS = tuple(
    (re.compile(pattern, re.I), wanted, refused)
    for pattern, wanted, refused in (
        (r"\bemojis?\b|\bemoticons?\b|\bsmileys?\b", ("emoji_added",), ("emoji_removed",)),
        (r"\bcustomer['\u2019]?s? (?:first )?names?\b|\b(?:first|their) names?\b|\bby name\b", ("name_used",), ()),
        (r"\b(?:formal|formally|professional)\b", ("formality_up",), ("formality_down",)),
        (r"\b(?:casual|informal|colloquial|contractions?)\b", ("formality_down",), ("formality_up",)),
        (r"\b(?:formality|level of formality)\b", ("formality_up", "formality_down"), ()),
        (_PLAIN_WORDS, ("vocabulary_simpler",), ("vocabulary_richer",)),
        (_RICH_WORDS, ("vocabulary_richer",), ("vocabulary_simpler",)),
        (r"(?<!simple )(?<!plain )(?<!rich )\bvocabulary\b", ("vocabulary_simpler", "vocabulary_richer"), ()),
        (r"\bexclamations?\b|\benthusias(?:m|tic)\b", ("enthusiasm",), ()),
        (r"\b(?:friendly|friendliness|warm)\b", ("tone_friendly",), ()),
        (r"\bapologi[sz]e\b|\bapologetic\b|\bapolog(?:y|ies)\b", ("tone_apologetic",), ()),
        (r"\burgent\b|\burgency\b", ("tone_urgent",), ()),
    )
)


class Orders(NamedTuple):
    """What an instruction switches on and off, whoever the customer is."""

    on: frozenset[str]
    off: frozenset[str]


@lru_cache(maxsize=256)
def read_orders(instruction: str) -> Orders:
    """Read the sentences of an instruction that switch an operation; the later one wins."""
    switched: dict[str, bool] = {}
    for sentence in _SENTENCE.split(instruction[:LONGEST_INSTRUCTION]):
        if _DEPENDS.search(sentence):
            continue
        polarity: bool | None = None
        for clause in _CLAUSE.split(sentence):
            polarity = False if _OFF.search(clause) else True if _ON.match(clause) else polarity
            if polarity is not None:
                switched.update(_switches(clause, polarity))
    return Orders(
        frozenset(label for label, on in switched.items() if on),
        frozenset(label for label, on in switched.items() if not on),
    )


def _switches(clause: str, on: bool) -> Iterator[tuple[str, bool]]:
    for topic, wanted, refused in _TOPICS:
        if not topic.search(clause):
            continue
        if wanted == ("emoji_added",) and _REMOVE.search(clause):
            wanted, refused = ("emoji_removed",), ("emoji_added",) if on else ()
        if on and len(wanted) > 1:
            continue  # "keep the vocabulary": no side is named
        yield from ((label, on) for label in wanted)
        yield from ((label, False) for label in refused if on)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted for a customer.

    Attributes:
        labels: the operations to try.
        formal: whether words that are added should be formal ones.
        plain: whether words should be simpler.
        rich: whether words should be richer.
        brief: whether long sentences should be split.
        lengthy: whether short sentences should be joined.
        grounds: what led to it, in words.
        preferred: whether the customer has stated a preference.
        ordered: the operations that the instruction switched on.
    """

    labels: frozenset[str]
    formal: bool
    plain: bool
    rich: bool
    brief: bool
    lengthy: bool
    grounds: tuple[str, ...]
    preferred: bool
    ordered: frozenset[str]


def wishes(orders: Orders, tastes: Tastes, register: Register, complains: bool, hurries: bool) -> Wishes:
    """Weigh what the instruction, the record, the register and the newest message (complains, hurries) say."""
    formal = register.formality >= FORMAL if tastes.formal is None else tastes.formal
    casual = register.formality <= CASUAL if tastes.formal is None else not tastes.formal
    short, long = _lengths(tastes, register)
    emoji = register.emoji >= USES_EMOJI if tastes.emoji is None else tastes.emoji
    none = formal and register.emoji == 0 if tastes.emoji is None else not tastes.emoji
    warm = max(register.emoji, register.exclaims) >= EXCLAIMS and not (formal or short)
    lively = register.exclaims >= EXCLAIMS and register.messages > 1 and not formal
    told = (
        ("formality_up", formal, "prefers formal replies" if tastes.formal else "writes formally"),
        ("formality_down", casual, "writes casually" if tastes.formal is None else "prefers casual replies"),
        ("emoji_added", emoji, "prefers emoji" if tastes.emoji else "uses emoji"),
        ("emoji_removed", none, "uses no emoji" if tastes.emoji is None else "prefers no emoji"),
        ("tone_friendly", tastes.friendly or warm, "prefers a friendly tone" if tastes.friendly else "writes warmly"),
        ("tone_apologetic", complains, "has reason to complain"),
        ("tone_urgent", hurries, "is in a hurry"),
        ("vocabulary_simpler", short, "prefers short replies" if tastes.short else "writes briefly"),
        ("vocabulary_richer", long, "writes long messages" if tastes.short is None else "prefers long replies"),
        ("enthusiasm", tastes.lively or lively, "prefers a lively tone" if tastes.lively else "exclaims"),
        ("name_used", bool(tastes.name), "is known by name"),
    )
    labels = {label for label, holds, _ in told if holds} - orders.off | orders.on
    formal, casual = "formality_up" in labels, "formality_down" in labels
    plain = "vocabulary_simpler" in orders.on or casual or (short and not formal)
    rich = "vocabulary_richer" in orders.on or (formal and not short) or (long and not casual)
    implied = {
        "tone_friendly": formal or (casual and not short),
        "vocabulary_simpler": plain,
        "vocabulary_richer": rich,
    }
    return Wishes(
        labels=frozenset(labels | {label for label, holds in implied.items() if holds} - orders.off),
        formal=formal,
        plain=plain,
        rich=rich,
        brief=short,
        lengthy=long and not casual,
        grounds=tuple(ground for _, holds, ground in told if holds),
        preferred=tastes.stated,
        ordered=orders.on,
    )


def _lengths(tastes: Tastes, register: Register) -> tuple[bool, bool]:
    """Say whether replies should be short, and whether long."""
    if tastes.short is not None:
        return tastes.short, not tastes.short
    return register.messages > 1 and register.words <= SHORT_MESSAGES, register.words >= LONG_MESSAGES
