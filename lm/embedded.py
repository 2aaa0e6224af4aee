"""The embedded student: a small deterministic engine behind `dspy.LM(engine=...)` that needs no model server.

It follows the instruction and the examples it is given and holds no knowledge of its own: rules for labels and numbers
(the grammar is in `understudy.lm.rules`), words of the labels, likeness to examples. It is no substitute for a model.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from dspy.lm15 import (
    InvalidRequestError,
    Message,
    Request,
    Response,
    TextPart,
    Usage,
    response_to_events,
)

from understudy.lm.answering import fill
from understudy.lm.evidence import pack, study
from understudy.lm.rewording import reword

REWORDED = frozenset({"personalized_message", "modifications"})


def answer(
    instruction: str,
    schema: dict[str, Any],
    examples: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    inputs: dict[str, Any],
) -> dict[str, Any]:
    """Answer every property of a JSON schema from the inputs, as the instruction and the examples say."""
    pairs = tuple((json.dumps(given), json.dumps(wanted)) for given, wanted in examples)
    return _filled(instruction, schema, pairs, inputs)


def _filled(instruction: str, schema: Mapping[str, Any], pairs: "_Pairs", inputs: dict[str, Any]) -> dict[str, Any]:
    """Reword a reply when that is what the schema asks for; fill in every property otherwise."""
    properties = schema.get("properties")
    if isinstance(properties, dict) and REWORDED <= properties.keys():
        return reword(instruction, inputs, schema)
    return fill(study(instruction, pack(schema), pairs), inputs)


class WholeAnswers:
    """What an engine needs beside `complete` when its answers are there at once."""

    def complete(self, request: Request) -> Response:
        """Answer a request."""
        raise NotImplementedError

    def stream(self, request: Request) -> Iterator[Any]:
        """Give the whole answer as a stream."""
        yield from response_to_events(self.complete(request))

    def close(self) -> None:
        """Do nothing; there is nothing open."""


class AsyncTwin:
    """The twin of an engine for asynchronous callers; it answers at once and never waits."""

    def __init__(self, engine: WholeAnswers) -> None:
        self._engine = engine

    async def complete(self, request: Request) -> Response:
        """Answer as the engine does."""
        return self._engine.complete(request)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        """Give the whole answer as a stream."""
        for event in self._engine.stream(request):
            yield event

    async def aclose(self) -> None:
        """Do nothing; there is nothing open."""


class EmbeddedStudent(WholeAnswers):
    """The engine `dspy.LM` calls; the same request always gets the same response."""

    supports_response_schema = True
    supported_params = frozenset({"temperature", "max_tokens", "stop", "response_format"})

    def complete(self, request: Request) -> Response:
        """Answer a request whose last message holds the inputs as JSON; InvalidRequestError says what is missing."""
        instruction, schema, pairs, asked = _read(request)
        inputs = _inputs(asked)
        try:
            text = json.dumps(_filled(instruction, schema, pairs, inputs))
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(f"embedded student: {error}") from error
        read, written = 2 + instruction.count(" ") + asked.count(" "), 1 + text.count(" ")
        usage = Usage(input_tokens=read, output_tokens=written, total_tokens=read + written)
        message = Message.assistant([TextPart(text)])
        return Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)


_Pairs = tuple[tuple[str, str], ...]


def _read(request: Request) -> tuple[str, Mapping[str, Any], _Pairs, str]:
    form = request.config.response_format or {}
    schema = form.get("schema")
    if not isinstance(schema, dict):
        raise InvalidRequestError("embedded student: the request carries no JSON schema in config.response_format")
    system = request.system or ""
    # Behind the instruction stands how the answer must look; here the schema says that.
    instruction = system if isinstance(system, str) else str(getattr(system[0], "text", ""))
    texts = [(message.role, message.text or "") for message in request.messages]
    if not texts or texts[-1][0] != "user":
        raise InvalidRequestError("embedded student: the last message must be the user's inputs as a JSON object")
    if len(texts) > 2 and not texts[-1][1].lstrip().startswith("{"):
        texts = texts[:-2]  # an answer and a complaint of it: what was asked stands before them
    told = texts[:-1]
    pairs = tuple((a[1], b[1]) for a, b in zip(told[::2], told[1::2], strict=False))
    return instruction, schema, pairs, texts[-1][1]


def _inputs(asked: str) -> dict[str, Any]:
    try:
        inputs = json.loads(asked)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"embedded student: the last message is no JSON ({error})") from error
    if not isinstance(inputs, dict):
        raise InvalidRequestError(f"embedded student: the inputs must be a JSON object, not {type(inputs).__name__}")
    return inputs
