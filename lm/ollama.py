"""Models of an Ollama server, behind `dspy.LM(engine=...)`: its native API, through ChatOllama.

The OpenAI-compatible endpoint ignores num_ctx and cuts prompts without a word, so it is not used.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import httpx
import ollama
from dspy.lm15 import Message, Request, Response, StreamAssemblyError, TextPart, Usage, response_to_events
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_ollama import ChatOllama
from langsmith import tracing_context

from understudy.intake import clean_text
from understudy.lm.errors import (
    AnswerEndless,
    AnswerTimeout,
    ConnectionCut,
    ModelError,
    ModelMissing,
    NotOllama,
    RequestRefused,
    ServerBroke,
    ServerBusy,
    ServerRefused,
    ServerUnknown,
)
from understudy.lm.prompt import chat, shortened
from understudy.lm.server import CONNECT_SECONDS, ModelServer, server_at, start
from understudy.settings import Settings

ANSWER_TOKENS = 1024
"""Tokens of an answer when the model's role does not say how many it may have."""

LOOK_SECONDS = 10.0
"""How long the server may take to say what it has."""

CHARACTERS_A_TOKEN = 16
"""A stream that is longer than this for each token it may have never ends."""

_MESSAGES: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
_UNSEEN: RunnableConfig = {"callbacks": [], "tags": ["nostream", "langsmith:hidden"]}
_TIMES = {"load_ms": "load_duration", "prompt_ms": "prompt_eval_duration", "generate_ms": "eval_duration"}


class OllamaEngine:
    """The engine `dspy.LM` calls for a model of an Ollama server.

    Every call carries num_ctx, so that the server never loads the model twice; a prompt that does not fit is shortened
    here (`understudy.lm.prompt.shortened`), not there.

    Args:
        model: as Ollama names it, `gemma3:4b`.
        settings: address, limits and times.
        reasoning: let the model think before it answers; not together with a JSON schema, which thinking breaks.
    """

    supports_response_schema = True
    supported_params = frozenset({"temperature", "top_p", "max_tokens", "stop", "seed", "response_format"})

    def __init__(self, model: str, settings: Settings, *, reasoning: bool = False) -> None:
        self.model = model
        self.server = _server(settings)
        self._reasoning = reasoning
        self._seconds = settings.ollama_timeout
        self._num_ctx = settings.ollama_num_ctx
        self._keep_alive = _duration(settings.ollama_keep_alive)
        self._traced = None if settings.brain_tracing else False
        self._chat = ChatOllama(
            model=model,
            base_url=self.server.url,
            keep_alive=self._keep_alive,
            client_kwargs=dict(self.server.http),
            async_client_kwargs={"transport": self.server.transport()},
            cache=False,
        )
        self._loader = ollama.AsyncClient(self.server.url, **self.server.http, transport=self.server.transport())

    def complete(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            ModelError: there is no answer; its class says why.
            StreamAssemblyError: the answer was cut off at its last token; `partial` is what there is of it.
        """
        self.server.check()
        future = start(self.answer(request))
        try:
            return future.result()
        finally:
            future.cancel()

    def stream(self, request: Request) -> Iterator[Any]:
        """Give the whole answer as a stream."""
        yield from response_to_events(self.complete(request))

    def close(self) -> None:
        """Do nothing; connections are shared and end with the process."""

    async def answer(self, request: Request) -> Response:
        """Answer a request, on the models' own event loop."""
        most = request.config.max_tokens or ANSWER_TOKENS
        # In a thread: what is very long takes a while, and the loop is everybody's.
        request, left_out, cut = await asyncio.to_thread(shortened, request, self._num_ctx - most)
        response = await self.server.call(self.model, self._seconds, self._load, lambda: self._ask(request, most))
        if left_out or cut:
            told = {**(response.provider_data or {}), "left_out": left_out, "cut": cut}
            response = replace(response, provider_data=told)
        if response.finish_reason == "length":
            raise StreamAssemblyError(f"{self.model}: cut off after {most} tokens", partial=response)
        return response

    async def _load(self) -> None:
        with _typed(self.server.url, self.model):
            options = {"num_ctx": self._num_ctx}
            await self._loader.generate(model=self.model, prompt="", keep_alive=self._keep_alive, options=options)

    async def _ask(self, request: Request, most: int) -> Response:
        said: list[str] = []
        size, done = 0, None
        with _typed(self.server.url, self.model):
            async for chunk in self._chunks(request, most):
                said.append(str(chunk.text))
                size += len(said[-1]) + 1
                if size > CHARACTERS_A_TOKEN * most:
                    raise AnswerEndless(f"{self.server.url}: {self.model} went on beyond {most} tokens")
                done = chunk if chunk.response_metadata.get("done") else done
            if done is None:
                raise ConnectionCut(f"{self.server.url}: the answer of {self.model} ended in the middle")
            return _response(self.model, clean_text("".join(said)), done)

    async def _chunks(self, request: Request, most: int) -> AsyncIterator[AIMessageChunk]:
        config = request.config
        schema = (config.response_format or {}).get("schema")
        options = {
            "num_ctx": self._num_ctx,
            "num_predict": most,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": config.seed,
            "stop": list(config.stop) or None,
        }
        parts = self._chat.astream(
            [_MESSAGES[role](text) for role, text in chat(request)],
            _UNSEEN,
            options={name: value for name, value in options.items() if value is not None},
            format=schema,
            reasoning=self._reasoning and schema is None,
        )
        with tracing_context(enabled=self._traced):
            async with aclosing(parts) as chunks:  # type: ignore[type-var]  # declared as an iterator only
                async for chunk in chunks:
                    yield chunk


class AsyncOllamaEngine:
    """The twin for asynchronous callers."""

    def __init__(self, engine: OllamaEngine) -> None:
        self._engine = engine

    async def complete(self, request: Request) -> Response:
        """Answer as OllamaEngine does; a caller that leaves ends the call."""
        self._engine.server.check()
        return await asyncio.wrap_future(start(self._engine.answer(request)))

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        """Give the whole answer as a stream."""
        for event in response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Do nothing; connections are shared and end with the process."""


T = TypeVar("T")


def asked(settings: Settings, question: Callable[[ollama.AsyncClient], Awaitable[T]], model: str = "") -> T:
    """Ask the server something else than a chat; ModelError when it does not answer."""
    return start(_asked(_server(settings), question, model)).result()


async def _asked(server: ModelServer, question: Callable[[ollama.AsyncClient], Awaitable[T]], model: str) -> T:
    with _typed(server.url, model):
        client = ollama.AsyncClient(server.url, **server.http, transport=server.transport())
        async with asyncio.timeout(LOOK_SECONDS), client._client:
            return await question(client)


def version(settings: Settings) -> str:
    """Return the server's version; ModelError when it does not answer, or is no Ollama."""

    async def ask(client: ollama.AsyncClient) -> str:
        answer = await client._client.get("/api/version")
        return str(answer.raise_for_status().json()["version"])

    return asked(settings, ask)


def _server(settings: Settings) -> ModelServer:
    return server_at(settings.ollama_base_url, settings.ollama_num_parallel, settings.brain_allow_remote_model)


def _response(model: str, text: str, done: AIMessageChunk) -> Response:
    told, usage = done.response_metadata, done.usage_metadata
    read, written = (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0)
    times = {ours: told[theirs] for ours, theirs in _TIMES.items() if told.get(theirs)}
    if not all(0 <= number < 2**53 for number in (read, written, *times.values())):
        raise ValueError("counts that cannot be")
    return Response(
        id=None,
        model=model,
        message=Message.assistant([TextPart(text)]),
        finish_reason="length" if told.get("done_reason") == "length" else "stop",
        usage=Usage(input_tokens=read, output_tokens=written, total_tokens=read + written),
        provider_data={name: round(time / 1e6, 3) for name, time in times.items()},
    )


@contextmanager
def _typed(url: str, model: str) -> Iterator[None]:
    """Give every failure of a call its name."""
    try:
        yield
    except ModelError:
        raise
    except ollama.ResponseError as error:
        raise _of_status(url, model, error.status_code, error.error) from None
    except httpx.HTTPStatusError as error:
        raise _of_status(url, model, error.response.status_code, error.response.text) from None
    except (httpx.ConnectError, ConnectionError) as error:
        raise _of_connecting(url, error) from None
    except httpx.ConnectTimeout:
        raise ServerRefused(f"{url}: no connection within {CONNECT_SECONDS:g} s; is the server running?") from None
    except (httpx.TimeoutException, TimeoutError):
        raise AnswerTimeout(f"{url}: no answer within {LOOK_SECONDS:g} s") from None
    except httpx.HTTPError as error:
        raise ConnectionCut(f"{url}: {str(error) or type(error).__name__}") from None
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise NotOllama(f"{url}: what came is no answer of Ollama's ({type(error).__name__})") from None


def _of_status(url: str, model: str, status: int, text: str) -> ModelError:
    """Name a failure by the status of the answer; -1 is an error in the middle of a stream."""
    text = " ".join(str(text).split())[:200]
    if 300 <= status < 400:
        return NotOllama(f"{url}: it redirects ({status}), which is not followed; set OLLAMA_BASE_URL to where it is")
    if text[:1] == "<":
        return NotOllama(f"{url}: a page of HTML came ({status}), from a proxy perhaps; check OLLAMA_BASE_URL")
    if status == 404 and "model" in text:
        return ModelMissing(f"{url}: {text}; run: ollama pull {model}")
    if status in (404, 405):
        return NotOllama(f"{url}: it does not know Ollama's API ({status}); check OLLAMA_BASE_URL")
    if status in (429, 503):
        return ServerBusy(f"{url}: {text} ({status})")
    if 400 <= status < 500:
        return RequestRefused(f"{url}: {text} ({status})")
    return ServerBroke(f"{url}: {text}" + (f" ({status})" if status > 0 else ""))


def _of_connecting(url: str, error: BaseException) -> ModelError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return ServerUnknown(f"{url}: {cause.strerror}; check OLLAMA_BASE_URL")
        cause = cause.__cause__ or cause.__context__
    return ServerRefused(f"{url}: nothing listens there; start it with: ollama serve")


def _duration(text: str) -> str:
    """Return a time as Ollama takes it: a bare number is seconds."""
    return f"{text}s" if text.lstrip("-").replace(".", "", 1).isdigit() else text
