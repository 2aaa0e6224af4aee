r"""How the phrase book is written down, and how a text is made of it.

In a template `{a|b|}` stands for one of its parts, `<thing>` for something the dream is about, `\1` for words kept.
"""

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache

Ways = tuple[str, ...]
"""Templates that say the same."""

_CHOICE = re.compile(r"\{([^{}]*)\}")


def ways(text: str) -> Ways:
    """Read `a template / another`."""
    return tuple(" ".join(text.split()).split(" / "))


def table(text: str) -> dict[str, str]:
    """Read `word: other|other; word: other`."""
    pairs = (entry.split(":") for entry in " ".join(text.split()).split(";"))
    return {word.strip(): others.strip() for word, others in pairs}


def frames(text: str) -> tuple[tuple[str, Ways], ...]:
    """Read `? pattern`, and on the next lines the ways to say it otherwise."""
    blocks = [block.partition("\n") for block in re.split(r"^ *\? ", text, flags=re.MULTILINE)[1:]]
    return tuple((pattern, ways(others)) for pattern, _, others in blocks)


def spin(template: str, rng: random.Random, slots: Mapping[str, str]) -> str:
    """Make a text of a template: one part of each choice, and what the slots hold."""
    text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)
    return " ".join(re.sub(r"<(\w+)>", lambda match: slots.get(match[1], "it"), text).split())


def reframed(clause: str, rng: random.Random, beginnings: Sequence[tuple[str, Ways]]) -> str:
    """Begin a clause in another way, where there is one."""
    for beginning, others in beginnings:
        if match := _pattern(beginning).match(clause):
            return match.expand(spin(rng.choice(others), rng, {})) + clause[match.end() :]
    return clause


def reworded(text: str, rng: random.Random, words: Mapping[str, str], share: float) -> str:
    """Put other words from a table in the place of a share of those it holds."""

    def other(match: re.Match[str]) -> str:
        if rng.random() >= share:
            return match[0]
        word = rng.choice(words[match[0].lower()].split("|"))
        return word[0].upper() + word[1:] if match[0][0].isupper() and match[0] not in ("I", "I'm") else word

    return _any_of(tuple(words)).sub(other, text)


@cache
def _pattern(beginning: str) -> re.Pattern[str]:
    return re.compile(beginning, re.IGNORECASE)


@cache
def _any_of(words: Ways) -> re.Pattern[str]:
    longest = sorted(words, key=lambda word: (-len(word), word))
    return re.compile(rf"(?<![\w'-])(?:{'|'.join(map(re.escape, longest))})(?![\w'-])", re.IGNORECASE)
