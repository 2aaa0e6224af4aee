"""Keeps what somebody has said, and what a terminal obeys, out of the server's log."""

import logging
from typing import Any

from understudy.intake import UnderstudyError, public
from understudy.showing import one_line, printable

TOO_TALKATIVE = ("asgi", "langgraph_api", "langgraph_runtime_inmem", "uvicorn.error")
"""Loggers that write bodies, what runs stream, frames of websockets, and headers with proofs, at DEBUG."""


def guard_logs() -> None:
    """Have the loggers of the libraries around write one plain line a record, and no words of anybody's.

    LangGraph's access log writes a path as it was decoded; NiceGUI writes tracebacks, whose message may quote anything,
    and whatever a browser's console says.
    """
    for logger in map(logging.getLogger, TOO_TALKATIVE):
        logger.setLevel(max(logging.INFO, logger.getEffectiveLevel()))
    logging.getLogger("langgraph_api.server").addFilter(plain)
    logging.getLogger("nicegui").addFilter(without_words)


def plain(record: logging.LogRecord) -> bool:
    """Make the message of a record of structlog's printable; a filter that keeps every record."""
    said: Any = record.msg
    if isinstance(said, dict):
        record.msg = {name: printable(one) if isinstance(one, str) else one for name, one in said.items()}
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
