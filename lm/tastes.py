"""What a customer's record says of their taste in replies, and a register read back from JSON; both may be hostile."""

import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from understudy.lm.register import Register

FORMAL = 0.62
CASUAL = 0.38
LONGEST_NAME = 40
MOST_KEYS = 100
MOST_NESTS = 10


class Tastes(NamedTuple):
    """What a customer's record says of them; None where it says nothing."""

    formal: bool | None
    emoji: bool | None
    short: bool | None
    friendly: bool
    lively: bool
    name: str

    @property
    def stated(self) -> bool:
        """Whether any preference is stated."""
        return not {self.formal, self.emoji, self.short} <= {None} or self.friendly or self.lively


_NESTS = frozenset(
    """preferences preference prefs settings style communication communication_style profile customer user contact
    person""".split()
)
_MANNERS = ("formality", "style", "tone", "register", "manner", "voice", "communication_style")
_LENGTHS = ("length", "reply_length", "message_length", "verbosity", "detail")
_EMOJI = ("emoji", "emojis", "use_emoji", "use_emojis", "allow_emoji", "allow_emojis", "likes_emoji", "emoticons")
_NAMES = ("first_name", "firstname", "given_name", "first", "name", "full_name", "display_name", "customer_name")
_SAYS_NO = frozenset("false no none never off 0 without not dont avoid dislike".split())
_SAYS_YES = frozenset("true yes always on often sometimes like likes ok".split())
_NO_NAME = frozenset(
    """null none unknown customer guest test user admin anonymous name nan undefined true false the client na mr mrs ms
    miss dr prof sir madam""".split()
)
_KINDS = {
    "formal": frozenset("formal professional business high".split()),
    "casual": frozenset("casual informal relaxed chatty colloquial low".split()),
    "friendly": frozenset("friendly warm cheerful kind friendlier".split()),
    "lively": frozenset("enthusiastic playful lively energetic".split()),
    "short": frozenset("short brief concise terse shorter low".split()),
    "long": frozenset("long detailed thorough verbose longer high".split()),
}
_NAME_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_LETTERS = re.compile(r"[a-z]+|[01]")


def read_tastes(customer: object) -> Tastes:
    """Read a customer's record, whatever its keys are."""
    told = _flat(customer)
    manner = _said(told, _MANNERS)
    length = _said(told, _LENGTHS)
    return Tastes(
        formal=_formal(told, manner),
        emoji=_yes_or_no(told),
        short=_either(length, "short", "long"),
        friendly=bool(manner & _KINDS["friendly"]),
        lively=bool(manner & _KINDS["lively"]),
        name=_first_name(told),
    )


def _flat(customer: object) -> dict[str, Any]:
    """Return the record's own values and those of nests such as `preferences`; what stands further out wins."""
    told: dict[str, Any] = {}
    level: list[object] = [customer]
    for _ in range(3):
        nests: list[object] = []
        for record in level:
            for key, value in islice(record.items(), MOST_KEYS) if isinstance(record, Mapping) else ():
                plain = key[:40].lower().replace("-", "_").replace(" ", "_") if isinstance(key, str) else ""
                if isinstance(value, Mapping) and (plain in _NESTS or plain in _NAMES):
                    nests.append(value)
                elif isinstance(value, str | bool | int | float):
                    told.setdefault(plain, value)
        level = nests[:MOST_NESTS]
    return told


def _said(told: Mapping[str, Any], keys: tuple[str, ...]) -> frozenset[str]:
    """Return the words under those keys; what is denied says nothing."""
    words: set[str] = set()
    for key in keys:
        value = told.get(key)
        if isinstance(value, str):
            found = set(_LETTERS.findall(value[:200].lower().replace("'", "")))
            words |= set() if found & _SAYS_NO else found
    return frozenset(words)


def _either(words: frozenset[str], one: str, other: str) -> bool | None:
    is_one, is_other = bool(words & _KINDS[one]), bool(words & _KINDS[other])
    return None if is_one == is_other else is_one


def _formal(told: Mapping[str, Any], manner: frozenset[str]) -> bool | None:
    level = told.get("formality")
    if isinstance(level, float | int) and not isinstance(level, bool):
        return True if FORMAL <= level <= 1 else False if 0 <= level <= CASUAL else None
    for key, means in (("formal", True), ("casual", False), ("informal", False)):
        if told.get(key) is True:
            return means
    return _either(manner, "formal", "casual")


def _yes_or_no(told: Mapping[str, Any]) -> bool | None:
    for key in _EMOJI:
        value = told.get(key)
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            words = set(_LETTERS.findall(value[:200].lower().replace("'", "")))
            return False if words & _SAYS_NO else True if words & _SAYS_YES else None
    return None


def _first_name(told: Mapping[str, Any]) -> str:
    """Return the first name when the name is one to three plain words, else an empty string."""
    name = next((told[key] for key in _NAMES if isinstance(told.get(key), str)), "")
    words = name.strip(" ").split(" ") if 1 < len(name) <= LONGEST_NAME else []
    if not 1 <= len(words) <= 3 or not all(_NAME_WORD.fullmatch(word) for word in words):
        return ""
    first = words[0]
    if len(first) < 2 or first.lower() in _NO_NAME:
        return ""
    return first.capitalize() if first.islower() or (first.isupper() and len(first) > 2) else first


def read_register(told: object) -> Register | None:
    """Read a register back from JSON; None when it is none."""
    if not isinstance(told, Mapping) or "formality" not in told:
        return None
    language = told.get("language")
    return Register(
        messages=int(_number(told.get("messages"), 0.0, 1e6)),
        words=_number(told.get("words"), 0.0, 1e6),
        emoji=_number(told.get("emoji"), 0.0, 1.0),
        formality=_number(told.get("formality"), 0.5, 1.0),
        exclaims=_number(told.get("exclaims"), 0.0, 1.0),
        language=language if language in ("en", "other") else "",
    )


def _number(value: object, otherwise: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    try:
        number = float(value)
    except OverflowError:
        return otherwise
    return min(max(number, 0.0), highest) if math.isfinite(number) else otherwise
