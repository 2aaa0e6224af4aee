"""Check what a person says is true of a turn: any output field of any module, with a value that it could answer."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from understudy.checkpoints.gym import Gym
from understudy.events import Label
from understudy.intake import InputError, plain, shown_error, shown_key
from understudy.lm.adapter import annotation
from understudy.nodes.modules import MODULES
from understudy.profile import Profile

REVIEWED: dict[str, Any] = {"was_better": bool}
"""What can be said of a turn beside the fields that a module answers: was the personalised reply better?"""


def check_labels(labels: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """Return labels as evidence keeps them.

    Raises:
        InputError: a field is none that a module answers, or a value is none that it could answer.
    """
    types = _label_types(profile)
    kept: dict[str, Any] = {}
    for name, value in labels.items():
        if name not in types:
            raise InputError(
                f"labels.{shown_key(name)}: no module has such a field; there are {', '.join(sorted(types))}"
            )
        if name == "required_info" and isinstance(value, list) and all(isinstance(v, str) for v in value):
            value = list(dict.fromkeys(map(profile.data_name, value)))
        kept_value = plain(f"labels.{name}", value)
        try:
            kept[name] = types[name].validate_python(kept_value, strict=True)
        except ValidationError as error:
            raise InputError(f"labels.{name}: {shown_error(error.errors()[0])}") from None
    return kept


def fitting(label: Label, gym: Gym, conversation_id: str, profile: Profile) -> Label:
    """Return a label as it is kept, if it fits the conversation and its profile.

    Raises:
        InputError: it does not.
    """
    if not gym.has_turn(conversation_id, label.turn):
        raise InputError(f"label.turn: conversation {conversation_id!r} has no turn {label.turn}")
    return label.model_copy(update={"fields": check_labels(label.fields, profile)})


def read_labels(fields: dict[str, str], profile: Profile) -> dict[str, Any]:
    """Return labels that a person typed: a list has commas between its values (free phrases: bars).

    Raises:
        InputError: as `check_labels` does.
    """
    return check_labels({name: _typed(name, text.strip(), profile) for name, text in fields.items()}, profile)


def _typed(name: str, text: str, profile: Profile) -> Any:
    kind = _label_types(profile).get(name)
    schema = kind.json_schema() if kind else {}
    if schema.get("type") == "array":
        separator = "," if name in profile.labels else "|"
        return [part.strip() for part in text.split(separator) if part.strip()]
    if schema.get("type") == "boolean":
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    if schema.get("type") == "number":
        try:
            return float(text)
        except ValueError:
            return text
    return text


@cache
def _label_types(profile: Profile) -> dict[str, TypeAdapter[Any]]:
    """Return what an output field may hold, for every field of every module."""
    types = {
        name: TypeAdapter(annotation(info))
        for faculty in MODULES.values()
        for name, info in faculty.signature(profile).output_fields.items()
    }
    return {**types, **{name: TypeAdapter(kind) for name, kind in REVIEWED.items()}}
