"""Keeps what somebody has said, and what a terminal obeys, out of the server's log."""

import logging
import re
from typing import Any

from understudy.intake import MOST_FRAMES, UnderstudyError, public
from understudy.showing import one_line, printable

TOO_TALKATIVE = ("asgi", "langgraph_api", "langgraph_runtime_inmem", "uvicorn.error")
"""Loggers that write bodies, what runs stream, frames of websockets, and headers with proofs, at DEBUG."""

_EVERY_CALL = "httpx"
"""The logger that writes a line for every call to a model: five for a turn."""

_QUOTING = ("error_detail", "exception")
"""What LangGraph adds to a record: the body that does not have its form, and a traceback with its message."""

_MESSAGE = re.compile(r"(<class '(?!understudy\.)[\w.]+'>)\(.*", re.DOTALL)
"""A foreign error as LangGraph's worker tells it, with its message."""

_FRAME = re.compile(r'^  File "(?:[^"]*/)?([^"/]+)", line (\d+), in (\S+)$', re.MULTILINE)


def guard_logs() -> None:
    """Have the loggers of the libraries around write one plain line a record, and no words of anybody's.

    LangGraph's access log writes a path as it was decoded, and a body that does not have its form. Tracebacks end with
    a message that may quote anything. NiceGUI writes whatever a browser's console says.
    """
    for logger in map(logging.getLogger, TOO_TALKATIVE):
        logger.setLevel(max(logging.INFO, logger.getEffectiveLevel()))
    logging.getLogger(_EVERY_CALL).setLevel(logging.WARNING)
    for name in ("langgraph_api.server", "langgraph_api.worker", "langgraph_api.errors"):
        logging.getLogger(name).addFilter(plain)
    for name in ("nicegui", "uvicorn.error"):
        logging.getLogger(name).addFilter(without_words)


def plain(record: logging.LogRecord) -> bool:
    """Make the message of a record of structlog's printable, and take out what it quotes; keeps every record."""
    said: Any = record.msg
    if isinstance(said, dict):
        frames = _FRAME.findall(str(said.get("exception")))[-MOST_FRAMES:]
        place = " > ".join(f"{name} ({file}:{line})" for file, line, name in frames)
        event = _MESSAGE.sub(r"\1", str(said.get("event"))) + (f" in {place}" if place else "")
        kept = {name: one for name, one in {**said, "event": event}.items() if name not in _QUOTING}
        record.msg = {name: printable(one) if isinstance(one, str) else one for name, one in kept.items()}
    return True


def without_words(record: logging.LogRecord) -> bool:
    """Take the message and the traceback of an error out of a record; a filter that drops what a browser reports."""
    if record.funcName == "handle_log_message":
        return False
    caught = record.exc_info[1] if record.exc_info else None
    error = caught or (record.msg if isinstance(record.msg, BaseException) else None)
    if error is not None:
        ours = "" if isinstance(error, UnderstudyError) else "a defect of understudy, please report it: "
        record.msg, record.args = f"{ours}%s", (public(error),)
    record.exc_info = record.exc_text = record.stack_info = None
    return one_line(record)
