"""LangChain's messages as the log keeps them; importing this loads LangChain."""

from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from understudy.events import MAX_MESSAGE_ID, Line, line_of
from understudy.intake import InputError, short_name


def chat_of(messages: Iterable[object]) -> Iterator[tuple[BaseMessage, Line]]:
    """Yield what customer and agent said to each other; system and tool messages are none of it.

    An agent's message without text is a step of its work, as a call of a tool is, unless it names its action.
    """
    for message in messages:
        if isinstance(message, HumanMessage):
            yield message, line_of("customer", str(message.text))
        elif isinstance(message, AIMessage):
            action = message.additional_kwargs.get("action")
            if message.text or action:
                yield message, line_of("agent", str(message.text), action)


def chat_by_id(messages: Any) -> dict[str, Line]:
    """Return the same by the ids of the messages.

    Raises:
        InputError: it is no list of LangChain's messages, or one of them has no id.
    """
    if not isinstance(messages, list | tuple):
        raise InputError(f"messages: must be a list, is {type(messages).__name__}")
    if others := [type(one).__name__ for one in messages if not isinstance(one, BaseMessage)]:
        raise InputError(f"messages: must be LangChain's, as LangGraph's add_messages makes them; one is {others[0]}")
    chat = {message.id: line for message, line in chat_of(messages)}
    if None in chat:
        raise InputError("messages: one has no id; LangGraph's reducer add_messages gives each of them one")
    return {short_name("messages: id", name, MAX_MESSAGE_ID): line for name, line in chat.items()}
