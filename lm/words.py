"""Words of a text and the scene of a turn: what the embedded student looks at.

Texts are cut, lower-cased and stemmed once and kept by their text. Everything here is bounded: the longest text, the
number of messages and the number of leaves of a nested input have a ceiling, so that hostile input costs no more than
long input.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

LONGEST_TEXT = 3000
MOST_MESSAGES = 64
MOST_LEAVES = 200

CUSTOMER, AGENT, MESSAGE, FIRST, LAST_AGENT, OTHER = 1, 2, 4, 8, 16, 32
ANYWHERE = CUSTOMER | AGENT | MESSAGE | FIRST | LAST_AGENT | OTHER

STOP_WORDS = frozenset(
    """a about above after again all also am an and any anything are as at be because been before being but by can could
    did do does doing done dont down each else even few for from further get gets got had has have having he her here
    hers him his how i id if ill im in into is isnt it its ive just let lets like may me might more most much must my no
    nor not now of off on once one only or other our out over own please rather really same say says said shall she
    should so some something such tell than that thats the their them then there these they thing things this those
    through to too under until up upon us very was we well were what whats when where whether which while who whom why
    will with would yes yet you your yours""".split()
)

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[!?]+|\.{3,}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Text(NamedTuple):
    """A text as stems: in order, as one spaced line to look phrases up in, and as a set; `spoken` keeps the words."""

    stems: tuple[str, ...]
    line: str
    vocabulary: frozenset[str]
    spoken: tuple[str, ...]


@lru_cache(maxsize=32768)
def stem(word: str) -> str:
    """Cut the commonest English endings; the same cut is made in rules and in conversations."""
    word = word.lower().replace("'", "").replace("’", "")
    if len(word) > 5 and word.endswith("ing"):
        word = word[:-3]
    elif len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 4 and word.endswith("ed"):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if len(word) > 4 and word[-1] == "e":
        word = word[:-1]
    return word


def cut(text: str) -> str:
    """Keep head and tail of a text over LONGEST_TEXT characters."""
    if len(text) <= LONGEST_TEXT:
        return text
    return text[: LONGEST_TEXT * 2 // 3] + " " + text[-LONGEST_TEXT // 3 :]


@lru_cache(maxsize=4096)
def _read(text: str) -> Text:
    spoken = tuple(_WORD.findall(text))
    stems = tuple(_mark(word) if word[0] in "!?." else stem(word) for word in spoken)
    words = [word for word in stems if word[0] not in "!?."]
    return Text(stems, f" {' '.join(words)} ", frozenset(stems), spoken)


def _mark(run: str) -> str:
    return run[0] * min(len(run), 2) if run[0] != "." else "..."


def read_text(text: str) -> Text:
    """Give the stems of a text, cut to LONGEST_TEXT characters."""
    return _read(cut(text))


@lru_cache(maxsize=8192)
def label_words(label: str) -> tuple[str, ...]:
    """Split a label (snake, camel, dotted) into the stems that carry meaning."""
    words = _read(_CAMEL.sub(" ", label[:200]).replace("_", " ")).stems
    return tuple(dict.fromkeys(word for word in words if word not in STOP_WORDS))


def content_words(text: str) -> list[str]:
    """Give the stems of a text that are no function words, each once, in order."""
    read = read_text(text)
    return list(dict.fromkeys(s for s, w in zip(read.stems, read.spoken, strict=True) if _carries(s, w)))


def _carries(stemmed: str, word: str) -> bool:
    return len(stemmed) > 2 and stemmed not in STOP_WORDS and word.lower().replace("'", "") not in STOP_WORDS


def clean(text: str) -> str:
    """Drop what no terminal, file or JSON reader should get: controls, lone surrogates, runs of blanks."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


@dataclass(slots=True)
class Scene:
    """One turn as the student sees it: texts with where they stand, actions of the agent, facts the host handed in."""

    spots: list[tuple[str, int]] = field(default_factory=list)
    last_action: str | None = None
    begun: bool = False
    actions: set[str] = field(default_factory=set)
    facts: set[str] = field(default_factory=set)
    message: str = ""
    step: str = ""
    replies: list[tuple[str, str]] = field(default_factory=list)


def read_scene(inputs: Mapping[str, Any]) -> Scene:
    """Read the inputs of a module, known and unknown fields alike; newest spot first."""
    scene = Scene()
    turns: list[Mapping[str, Any]] = []
    for name, value in inputs.items():
        if name == "message" and isinstance(value, str):
            scene.message = value
        elif _is_talk(value):
            turns.extend(value[:2] + value[2:][-(MOST_MESSAGES - 2) :])
        else:
            _read_other(scene, value)
    _read_turns(scene, turns)
    return scene


def _is_talk(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "text" in value[0]


def _read_turns(scene: Scene, turns: Sequence[Any]) -> None:
    spots, first, place = scene.spots, -1, AGENT | LAST_AGENT
    if scene.message:
        first = len(spots)
        spots.append((cut(scene.message), MESSAGE | CUSTOMER))
    for turn in reversed(turns):
        text = turn.get("text") if isinstance(turn, dict) else None
        if not isinstance(text, str):
            continue
        if len(text) > LONGEST_TEXT:
            text = cut(text)
        if turn.get("role") == "agent":
            spots.append((text, place))
            _read_action(scene, turn.get("action"), text, place)
            place = AGENT
            continue
        first = len(spots)
        spots.append((text, CUSTOMER if scene.message else CUSTOMER | MESSAGE))
        scene.message = scene.message or text
    scene.begun = place == AGENT
    if first >= 0:
        spots[first] = (spots[first][0], spots[first][1] | FIRST)


def _read_action(scene: Scene, action: object, text: str, place: int) -> None:
    if isinstance(action, str) and action:
        scene.last_action = scene.last_action or action
        if action not in scene.actions:
            scene.actions.add(action)
            scene.replies.append((action, text))
            scene.spots.append((_spaced(action), place))


@lru_cache(maxsize=2048)
def _spaced(action: str) -> str:
    return action[:200].replace("_", " ")


def _read_other(scene: Scene, value: object) -> None:
    if isinstance(value, Mapping) and isinstance(value.get("next_step"), str):
        scene.step = value["next_step"][:200]
    for leaf in leaves(value):
        scene.facts.add(leaf[:200])
        if " " in leaf:
            scene.spots.append((cut(leaf), OTHER))


def leaves(value: object) -> Iterator[str]:
    """Walk the strings inside nested data without recursion, at most MOST_LEAVES of them."""
    open_values, seen = [value], 0
    while open_values and seen < MOST_LEAVES * 5:
        seen += 1
        item = open_values.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            open_values.extend(list(item.values())[:MOST_LEAVES])
        elif isinstance(item, list | tuple):
            open_values.extend(item[:MOST_LEAVES])
