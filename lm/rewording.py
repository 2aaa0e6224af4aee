"""Say a reply again in a customer's register: the embedded student's answer to a schema that asks for a rewording.

Each operation is a small change of the text that is named only when it changed something. The reply's own sentences
stay, and names, numbers, quotes, addresses and code are out of reach of every operation. Which ones are tried follows
from the instruction, the customer's record and their register (`understudy.lm.wishes`, where the few sentences stand
that switch an operation on or off).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from understudy.lm.courtesy import (
    Turn,
    emoji_added,
    emoji_removed,
    enthusiasm,
    name_used,
    tone_apologetic,
    tone_friendly,
)
from understudy.lm.diction import formality_down, formality_up, tone_urgent, vocabulary_richer, vocabulary_simpler
from understudy.lm.register import Register, language_of, register_of
from understudy.lm.shape import Field, read_fields
from understudy.lm.tastes import read_register, read_tastes
from understudy.lm.wishes import LABELS, Wishes, read_orders, wishes
from understudy.lm.wordings import COMPLAINT, HURRY, PROTECTED

LONGEST = 4000
MOST_LINES = 48
RECENT = 3
MOST_SURE = 0.9

_MARK = 0xF0000
_MARKS = re.compile("[\U000f0000-\U000ffffd]")

OPERATIONS: tuple[tuple[str, Callable[[str, Turn], str]], ...] = (
    ("emoji_removed", emoji_removed),
    ("formality_up", formality_up),
    ("formality_down", formality_down),
    ("vocabulary_simpler", vocabulary_simpler),
    ("vocabulary_richer", vocabulary_richer),
    ("tone_urgent", tone_urgent),
    ("enthusiasm", enthusiasm),
    ("tone_apologetic", tone_apologetic),
    ("tone_friendly", tone_friendly),
    ("name_used", name_used),
    ("emoji_added", emoji_added),
)


def reword(instruction: str, inputs: Mapping[str, Any], schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return personalized_message, modifications, confidence (0 to 1) and reasoning for `inputs["reply"]`.

    Looked at are also `history`, `customer_profile` and `manner` (read off the history when it is not there).
    Without modifications the message is the reply, byte for byte. With a schema only the labels it allows are used, and
    a rewording that would be longer than it allows is not made. Raises nothing, whatever the inputs hold.
    """
    fields = read_fields(schema) if schema else ()
    answer = _reworded(instruction, inputs, *_bounds(fields))
    return {field.name: answer.get(field.name, field.blank) for field in fields} if fields else answer


def _reworded(instruction: str, inputs: Mapping[str, Any], labels: frozenset[str], longest: int) -> dict[str, Any]:
    given = inputs.get("reply")
    reply = given if isinstance(given, str) else ""
    if not reply.strip() or len(reply) > longest:
        return _answer(reply, [], 0.5, "There is no reply to reword, or it is longer than it may be.")
    if language_of(reply) == "other":
        return _answer(reply, [], 0.5, "The reply is not in English, so it stays as it is.")
    messages, replies = _told(inputs.get("history"))
    register = read_register(inputs.get("manner")) or register_of(messages)
    tastes = read_tastes(inputs.get("customer_profile"))
    newest = messages[-1] if messages else ""
    complains, hurries = COMPLAINT.search(newest) is not None, HURRY.search(newest) is not None
    wished = wishes(read_orders(instruction), tastes, register, complains, hurries)
    text, done = _applied(reply, Turn(wished, tastes.name, newest, replies), labels)
    if text == reply or len(text) > longest:
        text, done = reply, []
    return _answer(text, done, _confidence(register, wished), _reason(register, wished, done))


def _answer(text: str, done: list[str], confidence: float, reasoning: str) -> dict[str, Any]:
    return {"personalized_message": text, "modifications": done, "confidence": confidence, "reasoning": reasoning}


def _bounds(fields: Sequence[Field]) -> tuple[frozenset[str], int]:
    """Return the labels that a schema allows, and the length of the longest message."""
    labels, longest = frozenset(LABELS), LONGEST
    for field in fields:
        if field.name == "modifications" and field.kind == "labels":
            labels &= frozenset(field.labels)
        elif field.name == "personalized_message":
            longest = int(field.schema.get("maxLength", LONGEST))
    return labels, longest


def _told(history: object) -> tuple[list[str], tuple[str, ...]]:
    """Return the customer's messages and the agent's last replies, oldest first."""
    told: dict[str, list[str]] = {"customer": [], "agent": []}
    for line in history[-MOST_LINES:] if isinstance(history, list) else ():
        role, text = (line.get("role"), line.get("text")) if isinstance(line, Mapping) else (None, None)
        if isinstance(text, str) and isinstance(role, str) and role in told:
            told[role].append(text[:LONGEST])
    return told["customer"], tuple(told["agent"][-RECENT:])


def _applied(reply: str, turn: Turn, labels: frozenset[str]) -> tuple[str, list[str]]:
    """Run the wanted operations over what of the reply may be touched; a mark stands for each part that may not."""
    if _MARKS.search(reply):
        return reply, []
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return chr(_MARK + len(kept) - 1)

    text = PROTECTED.sub(keep, reply)
    done: list[str] = []
    for label, operation in OPERATIONS:
        if label in labels and label in turn.wishes.labels:
            changed = operation(text, turn)
            if changed != text:
                text, done = changed, [*done, label]
    return _MARKS.sub(lambda mark: kept[ord(mark[0]) - _MARK], text), sorted(done, key=LABELS.index)


def _confidence(register: Register, wished: Wishes) -> float:
    """Start at a half; more messages, a clearer register and a stated preference each add a little."""
    clear = min(1.0, 2 * abs(register.formality - 0.5) + 0.3)
    return round(min(MOST_SURE, 0.5 + 0.04 * min(register.messages, 5) * clear + 0.15 * wished.preferred), 3)


def _reason(register: Register, wished: Wishes, done: list[str]) -> str:
    """Say in one sentence what of the customer, or of the instruction, led to what."""
    known = f"{register.messages} message{'' if register.messages == 1 else 's'} known"
    grounds = ", ".join(wished.grounds) or "shows no clear register"
    ordered = ", and the instruction asks for it" if wished.ordered.intersection(done) else ""
    what = ", ".join(label.replace("_", " ") for label in done) or "nothing to change in this reply"
    return f"The customer {grounds} ({known}){ordered}: {what}."
