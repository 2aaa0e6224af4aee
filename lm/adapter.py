"""Hand a DSPy signature to a model as a structured request, and check the answer against it.

The system text has two parts: the instruction, and what the fields mean and how the answer must look. The examples and
the inputs are JSON objects in messages; the output fields are a JSON schema. One pydantic model per signature makes
that schema and checks the answer, so labels and bounds hold on both ways (DSPy itself carries no bounds of an output
field to either).
"""

from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any

import dspy
from dspy.adapters.base import Adapter
from dspy.lm15 import Config, Message, Request, Response, TextPart
from pydantic import BaseModel, ConfigDict, Field, create_model

from understudy.lm.errors import AnswerCut, AnswerError
from understudy.lm.prompt import dump, form
from understudy.lm.repair import fields_of, fit


class AnswerAdapter(Adapter):
    """Speak to one model for one call; an answer that does not fit is asked for once more, with what is wrong.

    Attributes:
        spent: what the call has cost, under the names that a `Reading` has for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spent: dict[str, Any] = {"tokens_in": 0, "tokens_out": 0}

    def __call__(
        self,
        lm: dspy.LM,
        lm_kwargs: dict[str, Any],
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Ask and return one checked answer; AnswerError when the second one does not fit either."""
        request = _request(lm, lm_kwargs, signature, demos, inputs)
        try:
            return [self._read(signature, lm(request))]
        except AnswerError as error:
            again = self._again(request, error)
        return [self._read(signature, lm(again))]

    async def acall(
        self,
        lm: dspy.LM,
        lm_kwargs: dict[str, Any],
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Ask and return one checked answer; AnswerError when the second one does not fit either."""
        request = _request(lm, lm_kwargs, signature, demos, inputs)
        try:
            return [self._read(signature, await lm.acall(request))]
        except AnswerError as error:
            again = self._again(request, error)
        return [self._read(signature, await lm.acall(again))]

    def _read(self, signature: Any, response: Response) -> dict[str, Any]:
        self.spent["tokens_in"] += response.usage.input_tokens or 0
        self.spent["tokens_out"] += response.usage.output_tokens or 0
        for name, value in (response.provider_data or {}).items():
            self.spent[name] = round(self.spent.get(name, 0) + value, 3)
        text = response.message.text or ""
        if response.finish_reason == "length":
            raise AnswerCut("the answer was cut off before its end; be brief", text, signature)
        fields, rules = fit(text, answer_model(signature), signature)
        if rules:
            self.spent["repairs"] = [*self.spent.get("repairs", ()), *rules]
        return fields

    def _again(self, request: Request, error: AnswerError) -> Request:
        """Return the request with the useless answer and what is wrong with it."""
        self.spent["repairs"] = [f"again:{type(error).__name__}"]
        said = Message.assistant(error.text or "-")
        complaint = Message.user(f"That answer is of no use: {error.reason}. Answer again, with the JSON object alone.")
        return replace(request, messages=(*request.messages, said, complaint))


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
    return create_model("Answer", __config__=ConfigDict(extra="forbid", strict=True), **fields)


@lru_cache(maxsize=512)
def _form(signature: Any) -> TextPart:
    return TextPart(form(signature, fields_of(answer_model(signature))))


@lru_cache(maxsize=512)
def _config(
    signature: Any, temperature: float | None, top_p: float | None, seed: int | None, most: int | None
) -> Config:
    schema = answer_model(signature).model_json_schema()
    asked = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    return Config(temperature=temperature, top_p=top_p, seed=seed, max_tokens=most, response_format=asked)


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
    messages.append(Message.user(dump({name: inputs.get(name) for name in signature.input_fields})))
    return Request(
        model=lm.model,
        system=(TextPart(signature.instructions), _form(signature)),
        messages=tuple(messages),
        config=_config(signature, *map(options.get, ("temperature", "top_p", "seed", "max_tokens"))),
    )


def _example(signature: type[dspy.Signature], demo: dict[str, Any]) -> tuple[Message, Message]:
    asked = {name: demo.get(name) for name in signature.input_fields if name in demo}
    answered = {name: demo.get(name) for name in signature.output_fields if name in demo}
    return Message.user(dump(asked)), Message.assistant(dump(answered))
