"""A web chat whose bot streams its replies, with the understudy beside it.

    python examples/chat_app/app.py --port 8000        # then open http://localhost:8000

The bot is this app's own: it picks the answer that shares the rarest words with the question. The understudy is shown
what is said in three places below (`aobserve`, `areplied`, `aoutcome`), and changes nothing of what the customer gets.
"""

import argparse
import asyncio
import json
import math
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar
from uuid import UUID, uuid4

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, StringConstraints, ValidationError

from understudy import Understudy, UnderstudyError

COOKIE = "chat"
"""Holds the id of the conversation. The page cannot read it, and other sites cannot send it."""

MOST_CHARACTERS = 2000
MOST_BYTES = 20_000

M = TypeVar("M", bound=BaseModel)


class Said(BaseModel):
    """A customer's message."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_CHARACTERS)]


class Ended(BaseModel):
    """What the customer says of it all."""

    helped: bool


# The bot


class Answer(NamedTuple):
    """What the bot can say, what that is about, and what it does by it, as the profile `default` names it."""

    action: str
    about: str
    text: str


ANSWERS = (
    Answer("quote_price", "price cost much expensive pay full clean", "A full clean is 149, inside and out."),
    Answer("explain_service", "long take time hours ready", "A full clean takes about three hours. You can wait here."),
    Answer("offer_times", "book appointment friday slot free tomorrow week day", "Friday is free at nine and at two."),
    Answer("confirm_booking", "nine two yes fine good works", "Done. See you then!"),
    Answer("ask_reference", "cancel change move reschedule booking", "Of course. What is your booking reference?"),
    Answer("apologise", "scratch damage dirty wrong bad complaint refund", "I am sorry. A manager will call you."),
    Answer("explain_service", "pet hair dog cat smell smoke", "We take hair and smells out; that is 30 more."),
    Answer("close", "thanks thank bye great", "You are welcome. Have a good day!"),
)
WORDS = [set(answer.about.split()) for answer in ANSWERS]
NONE_FITS = Answer("clarify", "", "I can tell prices and free times, and change bookings. What can I do for you?")


def answer(message: str) -> Answer:
    """Return the answer whose words are in the message, rare ones counting most."""
    said = set(re.findall(r"[a-z]+", message.lower()))

    def score(words: set[str]) -> float:
        return sum(math.log(1 + len(WORDS) / sum(word in one for one in WORDS)) for word in sorted(words & said))

    best = max(range(len(ANSWERS)), key=lambda i: score(WORDS[i]))
    return ANSWERS[best] if score(WORDS[best]) else NONE_FITS


# The app


def create_app(understudy: Understudy, seconds_a_word: float = 0.04) -> FastAPI:
    """Return the app; `understudy` is shown what is said."""
    app = FastAPI(title="Chat", docs_url=None, redoc_url=None)

    @app.post("/messages")
    async def post_message(request: Request) -> StreamingResponse:
        """Stream the reply to a message, word by word, as server-sent events."""
        said = await read(request, Said)
        known = conversation_of(request)
        conversation = known or str(uuid4())
        response = StreamingResponse(reply(conversation, said.text), media_type="text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        if not known:
            response.set_cookie(COOKIE, conversation, httponly=True, samesite="strict")
        return response

    async def reply(conversation: str, text: str) -> AsyncIterator[str]:
        await understudy.aobserve(conversation, text)
        found = answer(text)
        for word in re.findall(r"\s*\S+", found.text):
            yield event("word", word)
            await asyncio.sleep(seconds_a_word)
        # The customer has it all. Before "end", so that the next message cannot overtake the reply in the log.
        await understudy.areplied(conversation, found.text, action=found.action)
        yield event("end", "")

    @app.post("/outcome", status_code=204)
    async def post_outcome(request: Request) -> Response:
        """Take the customer's word on whether it helped; the next message begins a new conversation."""
        ended = await read(request, Ended)
        conversation = conversation_of(request)
        if conversation is None:
            raise HTTPException(409, "There is no conversation to speak of yet.")
        outcome = ("success", 1.0) if ended.helped else ("failure", 0.0)
        await understudy.aoutcome(conversation, *outcome)
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    app.mount("/", StaticFiles(directory=Path(__file__).parent / "page", html=True))
    return app


def conversation_of(request: Request) -> str | None:
    """Return the conversation that the cookie names, None if it names none."""
    try:
        return str(UUID(request.cookies.get(COOKIE, "")))
    except ValueError:
        return None


async def read(request: Request, kind: type[M]) -> M:
    """Return what is posted, without reading more of it than fits."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"That is too long; up to {MOST_CHARACTERS:,} characters, please.")
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        raise HTTPException(422, f"Please write something, up to {MOST_CHARACTERS:,} characters.") from None


def event(name: str, data: str) -> str:
    """Return a server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def main() -> None:
    """Serve this machine until Ctrl-C."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--port", type=int, default=8000)
    port = options.parse_args().port
    try:
        understudy = Understudy(worker=True)
    except UnderstudyError as error:
        sys.exit(str(error))
    with understudy:
        uvicorn.run(create_app(understudy), host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
