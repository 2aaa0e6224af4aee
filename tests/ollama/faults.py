"""What can be wrong with an answer, or with the way it comes; by name."""

import json
import re
from collections.abc import Callable
from typing import Any

EARLY_FAULTS = ("reset", "hang", "500", "503", "429", "404", "html", "502", "redirect", "empty_body")
"""Instead of an answer."""

WIRE_FAULTS = ("hang_mid", "drip", "endless", "cut", "no_done", "error_mid", "garbage")
"""On its way."""

NOT_JSON = "I'm sorry, but I can't help with that."


def spoiled(fault: str, text: str, schema: dict[str, Any]) -> str:
    """Return an answer with a fault in it; one that has no place for the fault becomes no JSON at all."""
    if fault in _TEXT_FAULTS:
        return _TEXT_FAULTS[fault](text)
    value = _object(text)
    if value is None:
        return NOT_JSON
    fields = {name: _plain(one, schema) for name, one in schema.get("properties", {}).items() if name in value}
    changed = _VALUE_FAULTS[fault](dict(value), fields)
    return NOT_JSON if changed in (None, value) else re.sub(r'"<([\d,-]+)>"', r"\1", json.dumps(changed))


def _wrong_label(value: dict[str, Any], fields: dict[str, Any], word: str = "no_such_label") -> dict[str, Any] | None:
    name = next((name for name, one in fields.items() if one["labels"]), None)
    return {**value, name: [word] if fields[name]["many"] else word} if name else None


def _label_case(value: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any] | None:
    name = next((name for name, one in fields.items() if one["labels"]), None)
    if name is None:
        return None
    said = value[name] or fields[name]["labels"][0]
    label = said[0] if isinstance(said, list) else said
    return _wrong_label(value, fields, f"  {str(label).upper().replace('_', ' ')} ")


def _number(value: dict[str, Any], fields: dict[str, Any], number: Callable[[float], Any]) -> dict[str, Any] | None:
    name = next((name for name, one in fields.items() if one["type"] in ("number", "integer")), None)
    return {**value, name: number(float(value[name]))} if name else None


def _in_spanish(value: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    for name, one in fields.items():
        if one["labels"] or one["type"] == "string":
            word = "otra cosa" if one["labels"] else "El cliente está esperando una respuesta clara."
            value[name] = [word] if one["many"] else word
    return value


_TEXT_FAULTS: dict[str, Callable[[str], str]] = {
    "not_json": lambda text: NOT_JSON,
    "prose": lambda text: f"Sure! Here is the answer:\n\n{text}\n\nLet me know if you need anything else.",
    "fence": lambda text: f"```json\n{text}\n```",
    "think": lambda text: f"<think>\nThe form is {{...}}, so I fill it in.\n</think>\n\n{text}",
    "think_open": lambda text: "<think>\nOkay, let me see. The customer says",
    "empty": lambda text: "",
    "length": lambda text: text[: len(text) // 2],
}
_VALUE_FAULTS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any] | None]] = {
    "wrong_label": _wrong_label,
    "label_case": _label_case,
    "out_of_range": lambda value, fields: _number(value, fields, lambda number: 761),
    "comma": lambda value, fields: _number(value, fields, lambda number: f"<{number:.2f}>".replace(".", ",")),
    "missing_field": lambda value, fields: dict(list(value.items())[:-1]),
    "extra_field": lambda value, fields: {**value, "note": "I also thought of something else."},
    "other_language": _in_spanish,
}
ANSWER_FAULTS = (*_TEXT_FAULTS, *_VALUE_FAULTS)
FAULTS = EARLY_FAULTS + WIRE_FAULTS + ANSWER_FAULTS


def _plain(part: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return the type and labels of a property, its references followed."""
    options = part.get("anyOf") or part.get("allOf")
    if "$ref" in part:
        return _plain(root["$defs"][part["$ref"].rpartition("/")[2]], root)
    if options:
        return _plain(next((one for one in options if one.get("type") != "null"), {}), root)
    if "items" in part:
        return {**_plain(part["items"], root), "many": True}
    labels = part.get("enum") or [part[key] for key in ("const",) if key in part]
    return {"type": part.get("type"), "labels": labels, "many": False}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
