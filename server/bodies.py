"""Keeps what is posted small: whoever parses it cannot be made to run out of memory, stack or time."""

import asyncio
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.intake import MAX_DEPTH
from understudy.server.problems import Problem, answer

MAX_BODY = 1024 * 1024
"""Bytes: a message of MAX_TEXT characters fits in, however it is encoded, unless it is all escapes of rare ones."""

MAX_LEVELS = MAX_DEPTH + 4
"""Levels of JSON inside JSON in a body; what is kept of it may have MAX_DEPTH."""

# A string without an end reaches to the end of the body: possessive, so that it is looked at once.
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


class Bounded:
    """Reads the whole body of a request first, and answers a problem when it is too much."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or 422, or let the request through with its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(scope, receive)
        except Problem as problem:
            await answer(problem.status, str(problem))(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _again(body, receive), send)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """Return the body, None when the caller is gone before its end."""
    length = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0")
    if length.isdigit() and int(length[:12]) > MAX_BODY:
        raise _too_long()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_long()
        if not message.get("more_body", False):
            break
    if b"\x00" in body:  # a reader of JSON would try other encodings
        raise Problem(422, "body: must be JSON in UTF-8")
    if body.count(b"[") + body.count(b"{") > MAX_LEVELS and await asyncio.to_thread(_is_deep, body):
        raise Problem(422, f"body: JSON inside JSON, more than {MAX_LEVELS} levels deep")
    return bytes(body)


def _too_long() -> Problem:
    return Problem(413, f"body: at most {MAX_BODY:,} bytes are read; send less at a time")


def _is_deep(body: bytearray) -> bool:
    level = 0
    for mark in _MARK.finditer(body):
        level += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(mark[0], 0)
        if level > MAX_LEVELS:
            return True
    return False


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives the body that has been read, and then what comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again
