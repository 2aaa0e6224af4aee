"""What the embedded teacher reads: a prompt of `understudy.lm.reflection` taken apart, and what would have been right.

The words of feedback are those of the metrics in `understudy.nodes.scoring`, which say per field what was right.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from understudy.lm.shape import Field, read_fields

TALK = 3
"""First messages by which two examples are known to come from one conversation."""

REPLY = "a reply that worked here: "
_FEEDBACK = re.compile(r"^(\w+) (\d\.\d\d): (.*)$", re.MULTILINE)
_LABEL = re.compile(r"right is ('[^']*'|\"[^\"]*\")\.|^('[^']*'|\"[^\"]*\") is right\.")
_NUMBER = re.compile(r"right is (\d\.\d\d)\.")
_LISTED = re.compile(r"^no list was given; right is (.*)\.$")
_MISSING = re.compile(r"missing ([^;]*?)(?:; wrong|\.$)")
_WRONG = re.compile(r"wrong ([^;]*)\.$")
_SAID = re.compile(r"(\w+)(?: \(([^)\n]*)\))?: (.*)", re.DOTALL)
_TAG = re.compile(r"\[(?:email|url|iban|card|phone|number|customer)\]")
_FIELD = re.compile(r"^- (\w+): (.*)$")


class NoLesson(ValueError):
    """A prompt is none of `understudy.lm.reflection`."""


@dataclass(frozen=True)
class Case:
    """One example: what the student was given, what it answered, what would have been right."""

    inputs: dict[str, Any]
    answer: dict[str, Any]
    turns: list[dict[str, str]]
    """The messages before the new one."""
    right: dict[str, Any]
    missed: frozenset[str]
    """Components of the metric that scored nothing."""
    talk: str
    """What the conversation is known by."""


@dataclass(frozen=True)
class Lesson:
    """Everything a prompt says: the instruction to improve, the schema of the answer, the examples."""

    instruction: str
    schema: dict[str, Any]
    fields: tuple[Field, ...]
    cases: tuple[Case, ...]

    def known(self, field: str) -> list[Case]:
        """Give the cases that tell what is right for a field."""
        return [case for case in self.cases if field in case.right]


def read_lesson(prompt: str) -> Lesson:
    """Take a prompt apart; NoLesson when it lacks a block."""
    schema = read_schema(_block(prompt, "fields"))
    fields = read_fields(schema)
    names = frozenset(one.name for one in fields)
    lines = _block(prompt, "data").splitlines()
    cases = tuple(case for line in lines for case in _case(line, names))
    return Lesson(_block(prompt, "current_instruction"), schema, fields, cases)


def _block(prompt: str, name: str) -> str:
    begun, found, rest = prompt.partition(f"<{name}>\n")
    if not found or f"\n</{name}>" not in rest:
        raise NoLesson(f"the prompt has no closed <{name}> block")
    return rest.partition(f"\n</{name}>")[0]


def read_schema(text: str) -> dict[str, Any]:
    """Make the schema of the answer again from what the student is told about its fields."""
    properties: dict[str, Any] = {}
    labels: dict[str, list[str]] = {}
    name = ""
    for line in text.partition("in this order:\n")[2].splitlines():
        found = _FIELD.match(line)
        if found:
            name, kind = found.groups()
            properties[name] = _property(kind)
        elif name and line.startswith("  - "):
            labels.setdefault(name, []).append(line[4:])
    for name, lines in labels.items():
        part = properties[name]
        part["description"] = "\n".join(f"- {line}" for line in lines)
        (part["items"] if part["type"] == "array" else part)["enum"] = [line.partition(": ")[0] for line in lines]
    if not properties:
        raise NoLesson("the prompt names no fields")
    return {"type": "object", "properties": properties, "required": list(properties)}


def _property(kind: str) -> dict[str, Any]:
    about = kind.partition("; ")[2]
    if kind.startswith("a number"):
        return {"type": "number", "minimum": 0, "maximum": 1, "description": about}
    if kind.startswith("a list"):
        return {"type": "array", "items": {"type": "string"}, "description": about}
    return {"type": "string", "description": about}


def _case(line: str, names: frozenset[str]) -> Iterator[Case]:
    try:
        read = json.loads(_TAG.sub(" ", line))
        given, answer, feedback = read["inputs"], read["answer"], read["feedback"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if isinstance(given, dict) and isinstance(answer, dict) and isinstance(feedback, str):
        inputs = {name: _chat(value) for name, value in given.items()}
        right, missed = read_feedback(feedback, answer, names)
        turns = _turns(inputs.get("history"))
        talk = "\n".join([*(turn["text"] for turn in turns[:TALK]), str(inputs.get("message", ""))][:TALK])
        yield Case(inputs, answer, turns, right, missed, talk)


def _chat(value: Any) -> Any:
    """Read messages written as `role (action): text`."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        turns = [_turn(item) for item in value]
        return [turn for turn in turns if turn] if any(turns) else value
    return value


@lru_cache(maxsize=8192)
def _turn(line: str) -> dict[str, str] | None:
    found = _SAID.fullmatch(line)
    if found is None or found[1] not in ("customer", "agent"):
        return None
    return {"role": found[1], "text": found[3], **({"action": found[2]} if found[2] else {})}


def _turns(history: Any) -> list[dict[str, str]]:
    turns = history if isinstance(history, list) else []
    return [turn for turn in turns if isinstance(turn, dict) and isinstance(turn.get("text"), str)]


def read_feedback(
    feedback: str, answer: Mapping[str, Any], names: frozenset[str]
) -> tuple[dict[str, Any], frozenset[str]]:
    """Return what was right for each field the feedback speaks of, and the components that scored nothing."""
    right: dict[str, Any] = {}
    missed = set()
    for name, score, words in _FEEDBACK.findall(feedback):
        if score == "0.00":
            missed.add(name)
        if words.startswith(REPLY):
            right["proposed_response"] = _unquoted(words.removeprefix(REPLY))
        for field, part in [(name, words)] if name in names else _parts(words, names):
            value = _right(part, answer.get(field))
            if value is not None:
                right[field] = value
    return right, frozenset(missed)


def _parts(words: str, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Split what a component says of several fields, as in `main_goal: 'a' is right. sub_goals: missing b.`."""
    marks = [found for found in re.finditer(r"(?:^|(?<=\. ))(\w+): ", words) if found[1] in names]
    for i, mark in enumerate(marks):
        end = marks[i + 1].start() if i + 1 < len(marks) else len(words)
        yield mark[1], words[mark.end() : end].strip()


def _right(words: str, said: Any) -> Any:
    """Return the value that would have been right, or None when the words do not tell."""
    label = _LABEL.search(words)
    if label:
        return _unquoted(label[1] or label[2])
    number = _NUMBER.search(words)
    if number:
        return float(number[1])
    listed = _LISTED.match(words)
    if listed:
        return [] if listed[1] == "an empty one" else listed[1].split(", ")
    missing, wrong = _MISSING.search(words), _WRONG.search(words)
    if isinstance(said, list) and (missing or wrong or words == "complete and right."):
        extra = set(wrong[1].split(", ")) if wrong else set()
        return [value for value in said if value not in extra] + (missing[1].split(", ") if missing else [])
    return None


def _unquoted(text: str) -> str | None:
    """Return what stands between two marks of quotation, or None where the end has been cut off."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] else None
