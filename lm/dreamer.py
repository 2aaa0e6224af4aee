"""The embedded dreamer: an engine that varies real conversations and invents customers, by operations on text.

It has a small phrase book (`understudy.lm.phrasebook`) and what it is shown, and knows no language: it writes roughly.
"""

import json
from collections.abc import Mapping
from typing import Any

from dspy.lm15 import InvalidRequestError, Message, Request, Response, TextPart, Usage

from understudy.lm.dream_agent import Agent
from understudy.lm.dream_customer import Customer
from understudy.lm.dream_inputs import Inputs, role_of
from understudy.lm.dream_material import Material
from understudy.lm.embedded import WholeAnswers


class EmbeddedDreamer(WholeAnswers):
    """The engine `dspy.LM` calls; the same request always gets the same dream."""

    supports_response_schema = True
    supported_params = frozenset({"temperature", "top_p", "max_tokens", "stop", "response_format"})

    def complete(self, request: Request) -> Response:
        """Answer a request whose last JSON message from the user holds the inputs; InvalidRequestError without one."""
        asked = [message.text or "" for message in request.messages if message.role == "user"]
        told = next((text for text in reversed(asked) if text.lstrip().startswith("{")), "")
        try:
            inputs = json.loads(told)
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(f"embedded dreamer: no message is a JSON object of inputs ({error})") from error
        text = json.dumps(dream(inputs))
        read, written = 2 + told.count(" "), 1 + text.count(" ")
        usage = Usage(input_tokens=read, output_tokens=written, total_tokens=read + written)
        message = Message.assistant([TextPart(text)])
        return Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)


def dream(inputs: Mapping[str, Any], instruction: str = "") -> dict[str, list[str]]:
    """Write a text for each beat of a plan, as `{"messages": [...]}`; "" where none can be made.

    The inputs are plan, source, phrases and meanings. An instruction says nothing that this engine could follow.
    """
    told = Inputs(inputs)
    material = Material(told)
    customer, agent = Customer(told, material), Agent(told, material)
    made: list[str] = []
    for at, beat in enumerate(told.beats):
        before = made[-1] if made else ""
        made.append(customer.text(at, before) if role_of(beat) == "customer" else agent.text(at))
    return {"messages": made + [""] * (told.wanted - len(made))}
