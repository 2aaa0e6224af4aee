"""The answer's JSON schema as the embedded student fills it: one field a property, and a blank that is always valid."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["label", "labels", "number", "text", "texts", "other"]


class Field(NamedTuple):
    """A property of the answer: what kind it is, what it may hold, and a value to fall back on."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    lowest: float
    highest: float
    description: str
    schema: Mapping[str, Any]
    blank: Any


def read_fields(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """Read the properties of a schema in order; raise ValueError when it has none."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise ValueError("the schema of the answer has no properties")
    defs = schema.get("$defs") or schema.get("definitions") or {}
    return tuple(_field(name, part, defs) for name, part in properties.items())


def _field(name: str, part: Any, defs: Mapping[str, Any]) -> Field:
    given = part if isinstance(part, dict) else {}
    full = resolve(given, defs)
    description = str(given.get("description") or full.get("description") or "")
    lowest, highest = _bounds(full)
    kind, labels = _kind(full, defs)
    return Field(name, kind, labels, lowest, highest, description, full, blank(full, defs))


def _kind(full: Mapping[str, Any], defs: Mapping[str, Any]) -> tuple[Kind, tuple[str, ...]]:
    choices = _choices(full)
    if choices:
        return "label", choices
    if full.get("type") == "array":
        items = resolve(full.get("items") or {}, defs)
        choices = _choices(items)
        if choices:
            return "labels", choices
        return ("texts", ()) if items.get("type") == "string" else ("other", ())
    if full.get("type") in ("number", "integer"):
        return "number", ()
    return ("text", ()) if full.get("type") == "string" else ("other", ())


def _choices(full: Mapping[str, Any]) -> tuple[str, ...]:
    choices = full.get("enum") or ([full["const"]] if "const" in full else [])
    return tuple(choices) if all(isinstance(c, str) for c in choices) else ()


def _bounds(full: Mapping[str, Any]) -> tuple[float, float]:
    lowest = full.get("minimum", full.get("exclusiveMinimum", 0.0))
    return float(lowest), float(full.get("maximum", full.get("exclusiveMaximum", max(1.0, lowest))))


def resolve(part: Any, defs: Mapping[str, Any], depth: int = 8) -> Mapping[str, Any]:
    """Follow $ref, one-armed allOf and optional anyOf to the schema that says something."""
    if not isinstance(part, dict) or depth == 0:
        return {}
    if "$ref" in part:
        return resolve(defs.get(str(part["$ref"]).rsplit("/", 1)[-1]), defs, depth - 1)
    arms = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
    if arms:
        useful = [arm for arm in arms if not (isinstance(arm, dict) and arm.get("type") == "null")]
        return resolve(useful[0], defs, depth - 1) if useful else {"type": "null"}
    return part


def blank(full: Mapping[str, Any], defs: Mapping[str, Any], depth: int = 6) -> Any:
    """Give the plainest value the schema allows."""
    if "const" in full or full.get("enum"):
        return full["const"] if "const" in full else full["enum"][0]
    kind = full.get("type")
    if kind == "object" and depth:
        parts = full.get("properties") or {}
        return {n: blank(resolve(parts.get(n), defs), defs, depth - 1) for n in full.get("required") or ()}
    if kind == "array":
        item = resolve(full.get("items") or {}, defs) if depth else {}
        return [blank(item, defs, depth - 1) for _ in range(int(full.get("minItems") or 0))]
    if kind in ("number", "integer"):
        return int(_bounds(full)[0]) if kind == "integer" else _bounds(full)[0]
    return {"string": " " * int(full.get("minLength") or 0), "boolean": False, "object": {}}.get(str(kind))
