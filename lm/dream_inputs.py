"""What a dream is asked for: a plan, the conversation to retell, and what others said; of any shape, and bounded."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from understudy.lm.retelling import plain

MOST_BEATS, MOST_LINES, MOST_PHRASES, MOST_ACTIONS, MOST_REPLIES = 12, 64, 400, 60, 40


class _Line(NamedTuple):
    role: str
    text: str
    action: str


class Inputs:
    """The inputs of one dream, as far as they are of use; what is missing or malformed is empty."""

    def __init__(self, inputs: Any) -> None:
        inputs = _mapping(inputs)
        plan, phrases = _mapping(inputs.get("plan")), _mapping(inputs.get("phrases"))
        self.wanted = len(_items(plan.get("beats")))
        self.beats = [_mapping(beat) for beat in _items(plan.get("beats"))[:MOST_BEATS]]
        self.mood, self.outcome = str(plan.get("mood") or "calm"), plan.get("outcome")
        self.tone = str(plan.get("register")) if plan.get("register") in ("formal", "casual") else "plain"
        meanings = list(_mapping(inputs.get("meanings")).items())[:1000]
        self.meanings = {str(label): _meaning(text) for label, text in meanings}
        self.about = _meaning(plan.get("about"))
        self.source = [_line(line) for line in _items(inputs.get("source"))[:MOST_LINES]]
        self.others = list(filter(None, map(plain, _items(phrases.get("customer"))[:MOST_PHRASES])))
        pools = list(_mapping(phrases.get("agent")).items())[:MOST_ACTIONS]
        self.agents = {str(one): list(filter(None, map(plain, _items(told)[:MOST_REPLIES]))) for one, told in pools}
        # Every dream hangs on this text, so on the name and the fields of _Line too.
        told = repr((plan, self.meanings, self.source, self.others, self.agents, phrases.get("names")))
        self.seed = int.from_bytes(hashlib.blake2b(told.encode(errors="replace"), digest_size=8).digest())
        given = {"names": phrases.get("names"), **_mapping(phrases.get("details"))}
        self.given = {str(kind): list(filter(None, map(plain, _items(values)))) for kind, values in given.items()}

    def said(self, role: str) -> list[str]:
        """Return every text of a role's, from the source and from other conversations."""
        others = self.others if role == "customer" else [text for texts in self.agents.values() for text in texts]
        return [line.text for line in self.source if line.role == role] + others

    def called(self) -> list[str]:
        """Return the short answers to what holds the word name."""
        pairs = zip(self.source, self.source[1:], strict=False)
        return [line.text for before, line in pairs if "name" in before.text.lower() and len(line.text.split()) <= 3]

    def aligned(self) -> list[str]:
        """Return for each beat the text of the source that it retells, or an empty one."""
        if [line.role for line in self.source] == [role_of(beat) for beat in self.beats]:
            return [line.text for line in self.source]
        found: list[str] = []
        at = 0
        for beat in self.beats:
            left = [n for n in range(at, len(self.source)) if self.source[n].role == role_of(beat)]
            same = [n for n in left if beat.get("action") and self.source[n].action == beat.get("action")]
            chosen = (same or left or [-1])[0]
            found.append(self.source[chosen].text if chosen >= 0 else "")
            at = max(at, chosen + 1)
        return found


def role_of(one: Mapping[str, Any]) -> str:
    """Return agent or customer."""
    return "agent" if one.get("role") == "agent" else "customer"


def _meaning(value: Any) -> str:
    """Return what a label means, without the cues that a profile may list behind a colon."""
    return plain(value).split(":")[0].rstrip(". ")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _line(value: Any) -> _Line:
    line = _mapping(value)
    return _Line(role_of(line), plain(line.get("text")), str(line.get("action") or ""))
