"""What a request may hold, checked as the real server does: the same status, the same words."""

import json
import re
from typing import Any

from understudy.tests.ollama.model import Model

DEFAULT_KEEP_ALIVE = 300.0

_COMMON = {"model": "string", "stream": "bool", "format": "", "keep_alive": "", "think": ""} | {
    "options": "map[string]interface {}",
    **dict.fromkeys(("truncate", "shift", "logprobs", "_debug_render_only"), "bool"),
    "top_logprobs": "int",
}
FIELDS = {
    "/api/chat": ("ChatRequest", _COMMON | {"messages": "[]api.Message", "tools": "api.Tools"}),
    "/api/generate": (
        "GenerateRequest",
        _COMMON
        | dict.fromkeys(("prompt", "suffix", "system", "template"), "string")
        | {"raw": "bool", "images": "[]api.ImageData", "context": "[]int"},
    ),
    "/api/show": (
        "ShowRequest",
        dict.fromkeys(("model", "name", "system", "template"), "string")
        | {"verbose": "bool", "options": "map[string]interface {}"},
    ),
}
MESSAGE = dict.fromkeys(("role", "content", "thinking", "tool_name", "tool_call_id"), "string") | {
    "images": "[]api.ImageData",
    "tool_calls": "[]api.ToolCall",
}
RUNNER = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict")
OPTIONS = (
    dict.fromkeys((*RUNNER, "num_keep", "seed", "num_predict", "top_k", "repeat_last_n"), "integer")
    | dict.fromkeys(("top_p", "min_p", "typical_p", "temperature", "repeat_penalty"), "float32")
    | dict.fromkeys(("presence_penalty", "frequency_penalty"), "float32")
    | {"stop": "array", "use_mmap": "boolean"}
)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Refused(Exception):
    """A request the server turns down."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def check(value: Any, go: str, where: str) -> None:
    wanted: dict[str, Any] = {"": object, "string": str, "bool": bool, "int": int, "api.Alias": dict}
    shape = wanted.get(go, dict if go.startswith("map") else list)
    if value is None or (isinstance(value, shape) and (go != "int" or not isinstance(value, bool))):
        return
    kind = f"number {value}" if go == "int" and isinstance(value, float) else kind_of(value)
    raise Refused(400, f"json: cannot unmarshal {kind} into Go struct field {where} of type {go}")


def kind_of(value: Any) -> str:
    names: dict[type, str] = {str: "string", bool: "bool", list: "array", dict: "object"}
    return names.get(type(value), "number")


def option(key: str, value: Any) -> Any:
    """Return an option as the runner gets it; the real server answers a wrong type with 500."""
    kind = OPTIONS[key]
    shapes: dict[str, Any] = {"boolean": bool, "array": list}
    shape = shapes.get(kind, (int, float))
    if not isinstance(value, shape) or (isinstance(value, bool) and kind != "boolean"):
        raise Refused(500, f'option "{key}" must be of type {kind}')
    if kind == "array" and not all(isinstance(one, str) for one in value):
        raise Refused(500, f'option "{key}" must be of an array of strings')
    return int(value) if kind == "integer" else value


def seconds(value: Any) -> float:
    """Return a keep_alive in seconds; a negative one means for ever."""
    if value is None:
        return DEFAULT_KEEP_ALIVE
    if isinstance(value, str):
        sign, rest = (-1 if value.startswith("-") else 1), value.lstrip("+-")
        parts = re.findall(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)", rest)
        if rest != "0" and (not parts or "".join(map("".join, parts)) != rest):
            wrong = "missing unit in" if re.fullmatch(r"[\d.]+", rest) else "invalid"
            raise Refused(400, f'time: {wrong} duration "{value}"')
        value = sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        go = {bool: "bool", list: "[]interface {}"}.get(type(value), "map[string]interface {}")
        raise Refused(400, f"Unsupported type: '{go}'")
    return 9_223_372_036.0 if value < 0 else float(value)


def thinks(body: dict[str, Any], model: Model) -> bool:
    think, levels = body.get("think"), ("high", "medium", "low", "max")
    allowed = '"high", "medium", "low", "max", true, or false'
    if isinstance(think, str) and think not in levels:
        raise Refused(400, f'invalid think value: "{think}" (must be {allowed})')
    if think is not None and not isinstance(think, str | bool):
        raise Refused(400, f"think must be a boolean or string ({allowed})")
    if think and not model.thinking:
        raise Refused(400, f'"{body["model"]}" does not support thinking')
    return model.thinking and think is not False


def form_of(form: Any) -> dict[str, Any] | str | None:
    """Return a `format` the runner knows; the real server looks at it late and answers 500."""
    if form in (None, ""):
        return None
    if isinstance(form, dict):
        return form
    if form == "json":
        return "json"
    quoted = json.dumps(json.dumps(form, ensure_ascii=False), ensure_ascii=False)
    raise Refused(500, f'invalid format: {quoted}; expected "json" or a valid JSON Schema object')
