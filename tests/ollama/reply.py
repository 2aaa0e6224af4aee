"""What the server's models say: what the embedded student says, from the text that a real model would read."""

import json
import re
from typing import Any

from dspy.lm15 import Config, Message, Request

from understudy.lm.embedded import EmbeddedStudent
from understudy.lm.prompt import FORM_START

FREE_TEXT = "Follow the instruction and use the examples."


def embedded_reply(messages: list[dict[str, Any]], form: dict[str, Any] | str | None, options: dict[str, Any]) -> str:
    """Answer as the embedded student does; a prompt without inputs gets a fixed text.

    The inputs are the last user message that holds fields. What follows it complains of an answer.
    """
    system = "\n".join(one["content"] for one in messages if one["role"] == "system")
    told = [(one["role"], one["content"]) for one in messages if one["role"] != "system"]
    instruction, found, given = system.rpartition("\n\n" + FORM_START)
    names = re.findall(r"^- (\w+):", given.partition("\n\n")[0], re.M)
    told = [(role, read_inputs(text, names) if role == "user" else text) for role, text in told]
    asked = [place for place, (role, text) in enumerate(told) if role == "user" and text != "{}"]
    if not found or not asked:
        return FREE_TEXT
    speak = {"user": Message.user, "assistant": Message.assistant}
    answer = EmbeddedStudent().complete(
        Request(
            model="embedded",
            system=instruction,
            messages=tuple(speak[role](text) for role, text in told[: asked[-1] + 1]),
            config=Config(response_format={"type": "json_schema", "name": "answer", "schema": form, "strict": True}),
        )
    )
    return answer.message.text or ""


def read_inputs(text: str, names: list[str]) -> str:
    """Read back as JSON what `understudy.lm.prompt.written` wrote out."""
    found: dict[str, list[str]] = {}
    name = None
    for line in text.split("\n"):
        field, colon, rest = line.partition(":")
        if colon and field in names and field not in found:
            name, line = field, rest
        if name is None:
            return "{}"
        found.setdefault(name, []).append(line)
    return json.dumps({name: _value(name, lines) for name, lines in found.items()})


def _value(name: str, lines: list[str]) -> Any:
    if lines[0] == "":
        said = re.split(r"\n(?=\w)", "\n".join(lines[1:]).removesuffix("\n"))
        return [_line(one) for one in said]
    text = "\n".join([lines[0][1:], *(line[2:] for line in lines[1:])])
    return text if name in ("message", "reply") else json.loads(text)


def _line(text: str) -> dict[str, str]:
    found = re.fullmatch(r"(\w+)(?: \(([^\n]*?)\))?: (.*)", text, re.S)
    assert found is not None, f"no message of a conversation: {text!r}"
    role, action, said = found.groups()
    line = {"role": role, "text": said.replace("\n  ", "\n")}
    return {**line, "action": action} if action else line
