"""A program as text: what DSPy itself can load, and enough beside it to build the program anew without our code.

The text is DSPy's own state. Its key `metadata`, where DSPy wants the versions of its dependencies, holds the kind of
program and its signature in DSPy's notation too: `message: str -> intent: Literal['a', 'b'], confidence: float`. That
notation has no negative numbers, and only types that can be imported.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dspy
from dspy.utils.saving import get_dependency_versions
from pydantic.fields import FieldInfo

from understudy.checkpoints.metadata import check_plain, digest

State = dict[str, Any]
Order = Callable[[Iterable[str]], list[str]]

_KINDS = {"dspy.Predict": dspy.Predict, "dspy.ChainOfThought": dspy.ChainOfThought}


def dump(program: dspy.Module) -> str:
    """Return a program as JSON text. The model it was bound to is left out: who speaks is for the settings to say.

    Raises:
        ValueError: it holds something that is not JSON; the message says where.
    """
    state = program.dump_state()
    for part in parts(state).values():
        part["lm"] = None
    state["metadata"] = {"dependency_versions": get_dependency_versions(), "program": _kind(program), "signature": None}
    check_plain(state, "program")
    if state["metadata"]["program"] in _KINDS:
        state["metadata"]["signature"] = _signature_text(program)
        if not _is_same(program, state):
            state["metadata"]["signature"] = None
    return json.dumps(state, ensure_ascii=False, indent=1)


def build(state: State) -> dspy.Module:
    """Return the program that a state describes, with nothing but DSPy.

    Raises:
        ValueError: it is not one of DSPy's own kinds, or its fields have types that only its code knows.
    """
    made = state["metadata"]
    if not made["signature"]:
        raise ValueError(f"{made['program']} with code or types of its own; make a fresh one for load_into()")
    return fill(_KINDS[made["program"]](made["signature"]), state)


def fill(program: dspy.Module, state: State) -> dspy.Module:
    """Load a state into a fresh program, and return it."""
    program.load_state({name: part for name, part in state.items() if name != "metadata"})
    return program


def parts(state: State) -> dict[str, State]:
    """Return the states of a program's predictors by name."""
    return {"self": state} if "demos" in state else {name: part for name, part in state.items() if name != "metadata"}


def instruction(state: State) -> str:
    """Return a program's instruction; those of several predictors one after the other, under their names."""
    texts = {name: str(part["signature"]["instructions"]) for name, part in parts(state).items()}
    return next(iter(texts.values())) if len(texts) == 1 else "\n\n".join(f"[{n}]\n{text}" for n, text in texts.items())


def signature_hash(program: dspy.Module) -> str:
    """Return a hash of the fields' names, types and labels; the instruction and the order of labels do not matter."""
    fields = [
        (name, part, role, _type_text(field.annotation, field.metadata, sorted))
        for name, predictor in program.named_predictors()
        for role, some in _roles(predictor.signature).items()
        for part, field in some.items()
    ]
    return digest(json.dumps(fields))


def lines(state: State, path: Path) -> list[str]:
    """Return three lines of Python that load the program from its file in plain DSPy."""
    made, file = state["metadata"], repr(str(path))
    if made["signature"]:
        signature = f'json.load(open({file}, "rb"))["metadata"]["signature"]'
        return ["import dspy, json", f"program = {made['program']}({signature})", f"program.load({file})"]
    if made["program"] in _KINDS:
        return ["import dspy", f"program = {made['program']}(...)  # its own signature", f"program.load({file})"]
    home, _, name = made["program"].rpartition(".")
    return [f"from {home} import {name}", f"program = {name}()", f"program.load({file})"]


def _kind(program: dspy.Module) -> str:
    """Name the code of a program; what only asks in a way of its own, as ours does, is a plain dspy.Predict."""
    if isinstance(program, dspy.Predict):
        return "dspy.Predict"
    if type(program) is dspy.ChainOfThought:
        return "dspy.ChainOfThought"
    return f"{type(program).__module__}.{type(program).__qualname__}"


def _is_same(program: dspy.Module, state: State) -> bool:
    """Say whether a program can be built anew from its state."""
    try:
        return signature_hash(build(state)) == signature_hash(program)
    except (ValueError, TypeError, SyntaxError, AttributeError, LookupError):
        return False


def _signature_text(program: dspy.Module) -> str:
    """Return the signature as DSPy would read it; ChainOfThought puts its own field in front again."""
    is_plain = isinstance(program, dspy.Predict)
    roles = _roles(program.signature if is_plain else program.predict.signature)
    if not is_plain:
        roles["output"].pop("reasoning", None)
    texts = [
        ", ".join(f"{name}: {_type_text(field.annotation, field.metadata)}" for name, field in some.items())
        for some in roles.values()
    ]
    return " -> ".join(texts)


def _roles(signature: Any) -> dict[str, dict[str, FieldInfo]]:
    return {"input": dict(signature.input_fields), "output": dict(signature.output_fields)}


def _type_text(annotation: Any, metadata: Iterable[Any] = (), order: Order = list) -> str:
    """Return a type with its bounds in Python's notation."""
    if metadata:
        return f"Annotated[{_type_text(annotation, (), order)}, Field({_bounds(metadata)})]"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_text(arguments[0], arguments[1:], order)
    if origin is Literal:
        return f"Literal[{', '.join(order(map(_label, arguments)))}]"
    inner = [_type_text(argument, (), order) for argument in arguments]
    if origin in (Union, UnionType):
        return " | ".join(inner)
    return f"{_name(origin)}[{', '.join(inner)}]" if inner else _name(annotation)


def _label(label: Any) -> str:
    """Write a label so that DSPy does not take an arrow in it for the one between inputs and outputs."""
    return repr(label).replace("->", "-\\x3e")


def _name(kind: Any) -> str:
    if kind is NoneType:
        return "None"
    if isinstance(kind, EllipsisType):
        return "..."
    if kind is Any or getattr(kind, "__module__", "") == "builtins":
        return str(kind.__name__)
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else repr(kind)


def _bounds(metadata: Iterable[Any]) -> str:
    values: dict[str, Any] = {}
    for item in metadata:
        for bound in item.metadata if isinstance(item, FieldInfo) else [item]:
            named = is_dataclass(bound) and not isinstance(bound, type)
            values |= asdict(bound) if named else getattr(bound, "__dict__", {"by": repr(bound)})
    return ", ".join(f"{name}={value!r}" for name, value in sorted(values.items()))
