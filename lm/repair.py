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

from understudy.intake import cleaned
from understudy.lm.errors import AnswerEmpty, AnswerError, FieldMissing, NotJson, OutOfRange, WrongLabel, WrongType
from understudy.lm.shape import Field, read_fields

_KINDS: dict[str, type[AnswerError]] = {
    "missing": FieldMissing,
    "literal_error": WrongLabel,
    "greater_than_equal": OutOfRange,
    "less_than_equal": OutOfRange,
    "finite_number": OutOfRange,
}
_NUMBER = re.compile(r"\s*(-?\d+)(?:(?:\.|,(?!(?<=[1-9],)\d{3}(?!\d)))(\d+))?\s*(%?)\s*")
_DECIMAL = re.compile(r"(:\s*-?\d+),(?!(?<=[1-9],)\d{3}(?!\d))(\d+)(?=\s*[,}]|\s*$)")
"""A comma between digits that is no comma between thousands."""

_STRING = re.compile(r'("(?:[^"\\]|\\.)*")')


def fit(text: str, model: type[BaseModel], signature: Any) -> tuple[dict[str, Any], list[str]]:
    """Return an answer's fields, checked, and the rules that were needed to make it fit.

    Raises:
        AnswerError: it does not fit; the kind of error says why, and its text is the answer.
    """
    try:
        return cleaned(dict(model.model_validate_json(text))), []
    except ValidationError:
        pass
    if not text.strip():
        raise AnswerEmpty("the answer is empty", text, signature)
    wrong: AnswerError = NotJson("the answer holds no JSON object", text, signature)
    for version, rules in _versions(text):
        found = list(_objects(version))
        if any(value != found[0][0] for value, _ in found):
            wrong = NotJson(f"the answer holds {len(found)} JSON objects; one is wanted", text, signature)
        elif found:
            value, alone = found[0]
            rules = [*rules, *([] if alone else ["prose"])]
            try:
                fields = model.model_validate(_repaired(cleaned(value), fields_of(model), rules), strict=False)
                return dict(fields), list(dict.fromkeys(rules))
            except ValidationError as error:
                wrong = _named(error, text, signature)
    raise wrong


def _named(error: ValidationError, text: str, signature: Any) -> AnswerError:
    wrong = error.errors()
    kind = _KINDS.get(wrong[0]["type"], WrongType)
    return kind("; ".join(map(_line, wrong[:3])), text, signature)


def _versions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the text as it may be meant, with the rules for that; the first in which a fitting object stands counts."""
    _, tag, after = text.rpartition("</think>")
    for version, rules in ((after, ["thinking"]), (text, [])) if tag else ((text, []),):
        yield version, rules
        yield _without_commas(version), [*rules, "comma"]


@lru_cache(maxsize=512)
def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """Return the fields of an answer model as its JSON schema tells them."""
    return read_fields(model.model_json_schema())


def _objects(text: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the JSON objects that stand in a text side by side, each with whether nothing else stands there."""
    decoder, start = json.JSONDecoder(object_pairs_hook=_once), text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
            yield value, text.strip() == text[start:end]
        except RecursionError:
            return  # to begin again at each of its brackets would take seconds
        except ValueError:
            end = start + 1
        start = text.find("{", end)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; one that says two things of the same field says nothing."""
    value: dict[str, Any] = {}
    for key, one in pairs:
        if key in value and value[key] != one:
            raise ValueError(f"{key} is there twice")
        value[key] = one
    return value


def _without_commas(text: str) -> str:
    """Put right commas that JSON does not allow, outside its strings."""
    begin = max(text.find("{"), 0)  # a quote in the prose before it opens no string
    parts = _STRING.split(text[begin:])
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r",(\s*[}\]])", r"\1", _DECIMAL.sub(r"\1.\2", parts[i]))
    return text[:begin] + "".join(parts)


def _repaired(given: dict[str, Any], fields: Iterable[Field], rules: list[str]) -> dict[str, Any]:
    """Return the fields under their own names, each value repaired as its kind allows."""
    spare: dict[str, str] = {}
    for key in given:
        spare[_folded(key)] = "" if _folded(key) in spare else key  # two that could be meant are none
    values: dict[str, Any] = {}
    taken = set()
    for one in fields:
        key = one.name if one.name in given else spare.get(_folded(one.name), "")
        if not key:
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
        case "number" if isinstance(value, str | bool):
            return _number(str(value), rules)
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
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def _line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "answer"
    message = error["msg"] if len(error["msg"]) <= 200 else "must be one of the labels that are listed"
    return f"{where}: {message}, got {json.dumps(error['input'], ensure_ascii=False, default=str)[:60]}"
