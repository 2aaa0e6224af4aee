"""Make a model's answer fit, where it is plain what was meant; otherwise say what is wrong with it.

The rules, in this order. Nothing is guessed: what could be meant in two ways is refused.

1. thinking: what stands before a closing `</think>` is left out.
2. prose: of a text that holds one JSON object, the object counts (a fence of backticks is prose as well).
3. comma: in broken JSON, a comma before a closing bracket is left out, and a comma between digits is the decimal point
   when a number stands alone as a field's value.
4. field_name: a field is known by its name in other case or with other separators.
5. extra_field: fields that nobody asked for are left out.
6. spelling: a label is known by its name in other case or with other separators; so is each label of a list.
7. number: a number may come as text, with a comma for the point, or with a per cent sign.
8. single: one value instead of a list is the list of it.

Each rule that was needed is named beside the reading, so that they can be counted.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError

from understudy.lm.errors import AnswerEmpty, AnswerError, FieldMissing, NotJson, OutOfRange, WrongLabel, WrongType
from understudy.lm.shape import Field, read_fields

_KINDS: dict[str, type[AnswerError]] = {
    "missing": FieldMissing,
    "literal_error": WrongLabel,
    "greater_than_equal": OutOfRange,
    "less_than_equal": OutOfRange,
    "finite_number": OutOfRange,
}
_NUMBER = re.compile(r"\s*(-?\d+)(?:[.,](\d+))?\s*(%?)\s*")
_STRING = re.compile(r'("(?:[^"\\]|\\.)*")')


def fit(text: str, model: type[BaseModel], signature: Any) -> tuple[dict[str, Any], list[str]]:
    """Return an answer's fields, checked, and the rules that were needed to make it fit.

    Raises:
        AnswerError: it does not fit; the kind of error says why, and its text is the answer.
    """
    try:
        return dict(model.model_validate_json(text)), []
    except ValidationError:
        pass
    if not text.strip():
        raise AnswerEmpty("the answer is empty", text, signature)
    rules: list[str] = []
    found = _object(text, rules)
    if isinstance(found, str):
        raise NotJson(found, text, signature)
    try:
        return dict(model.model_validate(_repaired(found, fields_of(model), rules))), list(dict.fromkeys(rules))
    except ValidationError as error:
        wrong = error.errors()
        kind = _KINDS.get(wrong[0]["type"], WrongType)
        raise kind("; ".join(map(_line, wrong[:3])), text, signature) from None


@lru_cache(maxsize=512)
def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """Return the fields of an answer model as its JSON schema tells them."""
    return read_fields(model.model_json_schema())


def _object(text: str, rules: list[str]) -> dict[str, Any] | str:
    """Return the one JSON object in a text, or what is wrong."""
    before, tag, after = text.rpartition("</think>")
    if tag:
        rules.append("thinking")
        text = after
    for rule, version in (("", text), ("comma", _without_commas(text))):
        found = list(_objects(version))
        if any(value != found[0][0] for value, _ in found):
            return f"the answer holds {len(found)} JSON objects; one is wanted"
        if found:
            value, alone = found[0]
            rules.extend(name for name, needed in (("prose", not alone), (rule, bool(rule))) if needed)
            return value
    return "the answer holds no JSON object"


def _objects(text: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the JSON objects that stand in a text side by side, each with whether nothing else stands there."""
    decoder, start = json.JSONDecoder(), text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
            yield value, text.strip() == text[start:end]
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)


def _without_commas(text: str) -> str:
    """Put right commas that JSON does not allow, outside its strings."""
    parts = _STRING.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r",(\s*[}\]])", r"\1", re.sub(r"(:\s*-?\d+),(\d+)(?=\s*[,}]|\s*$)", r"\1.\2", parts[i]))
    return "".join(parts)


def _repaired(given: dict[str, Any], fields: Iterable[Field], rules: list[str]) -> dict[str, Any]:
    """Return the fields under their own names, each value repaired as its kind allows."""
    spare = {_folded(key): key for key in given}
    values: dict[str, Any] = {}
    taken = set()
    for one in fields:
        key = one.name if one.name in given else spare.get(_folded(one.name))
        if key is None:
            continue
        if key != one.name:
            rules.append("field_name")
        taken.add(key)
        values[one.name] = _value(given[key], one, rules)
    if given.keys() - taken:
        rules.append("extra_field")
    return values


def _value(value: Any, one: Field, rules: list[str]) -> Any:
    match one.kind:
        case "label":
            return _label(value, one, rules)
        case "number" if isinstance(value, str):
            return _number(value, rules)
        case "labels" | "texts":
            if isinstance(value, str):
                rules.append("single")
                value = [value]
            return [_label(v, one, rules) for v in value] if one.labels and isinstance(value, list) else value
    return value


def _label(value: Any, one: Field, rules: list[str]) -> Any:
    if not isinstance(value, str) or value in one.labels:
        return value
    alike = [label for label in one.labels if _folded(label) == _folded(value)]
    if len(alike) != 1:
        return value
    rules.append("spelling")
    return alike[0]


def _number(text: str, rules: list[str]) -> Any:
    found = _NUMBER.fullmatch(text)
    if not found:
        return text
    rules.append("number")
    value = float(f"{found[1]}.{found[2] or 0}")
    return value / 100 if found[3] else value


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")


def _line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "answer"
    message = error["msg"] if len(error["msg"]) <= 200 else "must be one of the labels that are listed"
    return f"{where}: {message}, got {json.dumps(error['input'], ensure_ascii=False, default=str)[:60]}"
