"""Hand a DSPy signature to a model as a structured request, and check the answer against it.

The system text is the instruction and nothing else; the examples and the inputs are JSON objects in messages; the
output fields are a JSON schema. One pydantic model per signature makes that schema and checks the answer, so labels and
bounds hold on both ways (DSPy itself carries no bounds of an output field to either).
"""

import json
from functools import lru_cache
from typing import Annotated, Any

import dspy
from dspy.adapters.base import Adapter
from dspy.lm15 import Config, Message, Request, Response
from dspy.utils.exceptions import AdapterParseError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model


class AnswerAdapter(Adapter):
    """Speak to one model for one call, and count its tokens.

    Attributes:
        tokens_in, tokens_out: what the answers so far have cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tokens_in = 0
        self.tokens_out = 0

    def __call__(
        self,
        lm: dspy.LM,
        lm_kwargs: dict[str, Any],
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Ask and return one checked answer."""
        return [self._read(signature, lm(_request(lm, lm_kwargs, signature, demos, inputs)))]

    async def acall(
        self,
        lm: dspy.LM,
        lm_kwargs: dict[str, Any],
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Ask and return one checked answer."""
        return [self._read(signature, await lm.acall(_request(lm, lm_kwargs, signature, demos, inputs)))]

    def _read(self, signature: Any, response: Response) -> dict[str, Any]:
        self.tokens_in += response.usage.input_tokens or 0
        self.tokens_out += response.usage.output_tokens or 0
        text = response.message.text or ""
        try:
            return dict(answer_model(signature).model_validate_json(text))
        except ValidationError as error:
            raise AdapterParseError(
                adapter_name="AnswerAdapter", signature=signature, lm_response=text[:2000], message=_line(error)
            ) from None


class Predict(dspy.Predict):
    """`dspy.Predict` for answers that AnswerAdapter reads.

    DSPy searches every label of every field for types of its own at each call, which for 154 labels takes longer than
    the embedded engine's answer; these signatures have none. With another adapter it is DSPy's own.
    """

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Ask once."""
        adapter = dspy.settings.adapter
        if not isinstance(adapter, AnswerAdapter):
            return super().forward(**inputs)
        lm, config, signature, demos, inputs = self._forward_preprocess(**inputs)
        return self._forward_postprocess(adapter(lm, config, signature, demos, inputs), signature, **inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Ask once."""
        adapter = dspy.settings.adapter
        if not isinstance(adapter, AnswerAdapter):
            return await super().aforward(**inputs)
        lm, config, signature, demos, inputs = self._forward_preprocess(**inputs)
        return self._forward_postprocess(await adapter.acall(lm, config, signature, demos, inputs), signature, **inputs)


@lru_cache(maxsize=512)
def answer_model(signature: Any) -> type[BaseModel]:
    """Return the model of a signature's output fields: labels, bounds, meanings."""
    fields: dict[str, Any] = {
        name: (annotation(field), Field(description=(field.json_schema_extra or {}).get("desc") or None))
        for name, field in signature.output_fields.items()
    }
    return create_model("Answer", __config__=ConfigDict(extra="forbid"), **fields)


@lru_cache(maxsize=512)
def _config(signature: Any, temperature: float | None, max_tokens: int | None) -> Config:
    schema = answer_model(signature).model_json_schema()
    form = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    return Config(temperature=temperature, max_tokens=max_tokens, response_format=form)


def annotation(field: Any) -> Any:
    """Return what an output field may hold, with its bounds."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _request(
    lm: dspy.LM,
    lm_kwargs: dict[str, Any],
    signature: Any,
    demos: list[dict[str, Any]],
    inputs: dict[str, Any],
) -> Request:
    options = {**lm.kwargs, **lm_kwargs}
    messages = [message for demo in demos for message in _example(signature, demo)]
    messages.append(Message.user(_json({name: inputs.get(name) for name in signature.input_fields})))
    return Request(
        model=lm.model,
        system=signature.instructions,
        messages=tuple(messages),
        config=_config(signature, options.get("temperature"), options.get("max_tokens")),
    )


def _example(signature: type[dspy.Signature], demo: dict[str, Any]) -> tuple[Message, Message]:
    asked = {name: demo.get(name) for name in signature.input_fields if name in demo}
    answered = {name: demo.get(name) for name in signature.output_fields if name in demo}
    return Message.user(_json(asked)), Message.assistant(_json(answered))


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "answer"
    return f"{where}: {first['msg']}"[:300]
