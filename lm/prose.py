"""The words by which a person writes rules, and how a line of prose falls into tokens and sentences."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from understudy.lm.words import AGENT, ANYWHERE, CUSTOMER, FIRST, LAST_AGENT, MESSAGE, read_text

STRENGTH = dict.fromkeys("strongly strong surely certainly always clearly definitely".split(), 2.0)
STRENGTH |= dict.fromkeys("usually often likely probably mostly normally".split(), 1.0)
STRENGTH |= dict.fromkeys("perhaps maybe weakly weak slightly possibly sometimes might hint hints".split(), 0.5)
LEVEL = dict.fromkeys("low lower bad poor".split(), 0.15) | dict.fromkeys("high higher good full".split(), 0.85)
LEVEL |= dict.fromkeys("medium middling middle neutral average moderate".split(), 0.5)
SLOT = dict.fromkeys(
    "choose pick use select predict prefer expect then take set return mark add include give".split(), "target"
)
SLOT |= dict.fromkeys("when if where whenever because once while mentions".split(), "seen")
SLOT |= dict.fromkeys("after following follows".split(), "after") | {"for": "given"}
SCOPE = dict.fromkeys("customer customers user users caller they".split(), CUSTOMER)
SCOPE |= {"agent": AGENT, "agents": AGENT, "conversation": ANYWHERE, "history": ANYWHERE}
SCOPE |= dict.fromkeys("message now latest current".split(), MESSAGE)
SCOPE |= dict.fromkeys("first opening begins".split(), FIRST)
REPLY = frozenset("reply replies respond answer write say".split())
SPEAKERS = frozenset("customer customers they agent agents user users you i we".split())
JOINS = frozenset("when if is means for marks covers : - – — =".split())
LISTS = frozenset(", or and /".split())
NEGATES = frozenset("unless except without never".split())
STATES = frozenset("is should must becomes".split())
NEGATED = frozenset("when if for with on after just choose use pick".split())

_DEFAULT = re.compile(
    r"\b(?:by default|default (?:is|to|label)|default ?:|fall ?back|in doubt|when unsure|if unsure"
    r"|nothing(?: else)? (?:match|fit|appl|point)\w*|no (?:rule|cue|other label) (?:match|fit|appl)\w*)"
)
_NO_REPEAT = re.compile(
    r"\b(?:not|never|avoid|rarely|without)\b[^.\n]{0,40}\brepeat\w*\b[^.\n]{0,40}\b(?:step|action)", re.IGNORECASE
)
_TOKEN = re.compile(
    r"""(?P<quote>"[^"\n]{1,400}"|“[^”\n]{1,400}”|«[^»\n]{1,400}»|(?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w)){1,400}'(?!\w))
    |(?P<tick>`[^`\n]{1,400}`)
    |(?P<arrow>->|=>|→)
    |(?P<word>\w(?:[\w.'’-]*\w)?)
    |(?P<mark>[:;,.!?()=/–—-])""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"\w(?:[\w.'’-]*\w)?")
_BULLET = re.compile(r"^\s*(?:[-*•+]\s+|\d{1,3}[.)]\s+|#+\s+)?")


class Token(NamedTuple):
    """A quote, a ticked name, an arrow, a word or a mark of punctuation; kind and text are empty past the ends."""

    kind: str
    text: str

    @property
    def low(self) -> str:
        """The text in small letters."""
        return self.text.lower()


END = Token("", "")


def tokens(line: str) -> list[Token]:
    """Split a line into tokens, quotes without their marks."""
    found = []
    for match in _TOKEN.finditer(_BULLET.sub("", line, count=1)):
        kind, text = match.lastgroup or "mark", match.group()
        found.append(Token(kind, text[1:-1].strip() if kind in ("quote", "tick") else text))
    return found


def sentences(line: Iterable[Token]) -> Iterator[list[Token]]:
    """Split tokens at full stops, question and exclamation marks that stand outside quotes."""
    kept: list[Token] = []
    for token in line:
        if token.kind == "mark" and token.text in ".!?" and not (kept and kept[-1].low in ("e.g", "i.e", "etc", "vs")):
            if kept:
                yield kept
            kept = []
        else:
            kept.append(token)
    if kept:
        yield kept


def phrase_of(text: str) -> str:
    """Bring a quoted cue to the form texts are searched in; marks count only when the cue is nothing else."""
    stems = read_text(text.replace("_", " ")).stems
    words = [s for s in stems if s[0] not in "!?."]
    return " ".join(words[:8] or stems[:1])


def tick_names(text: str, labels: Iterable[str], fields: Iterable[str]) -> str:
    """Mark labels that are no single word with ticks, and write fields named in two words as one."""
    for label in labels:
        if not _PLAIN.fullmatch(label) and label.strip():
            text = re.sub(rf"(?<![\w\"`“'])({re.escape(label)})(?![\w\"`”'])", r"`\1`", text)
    for name in fields:
        if "_" in name:
            text = re.sub(rf"\b{re.escape(name.replace('_', ' '))}\b", name, text, flags=re.IGNORECASE)
    return text


def is_default(sentence: Iterable[Token]) -> bool:
    """Tell whether a sentence says what holds when nothing else does."""
    return _DEFAULT.search(" ".join(token.low for token in sentence if token.kind != "quote")) is not None


def forbids_repeats(text: str) -> bool:
    """Tell whether an instruction asks not to repeat steps."""
    return _NO_REPEAT.search(text) is not None


def narrow_scope(now: int, more: int) -> int:
    """Join two words about the place: customer and message, last agent message, first message."""
    both = {now, more}
    if both == {CUSTOMER, MESSAGE}:
        return MESSAGE
    if both == {AGENT, MESSAGE}:
        return LAST_AGENT
    return FIRST if FIRST in both and both <= {FIRST, CUSTOMER, MESSAGE} else more
