"""A model server as this process meets it: how many calls at a time, what is loaded, when to hold back.

All models at one address share a `ModelServer`. Calls run on one event loop in a thread of their own, in an empty
context: whoever asks, from whichever loop or thread, nothing of the call shows in the asker's streams or traces, and
the count of calls is true for the whole process.
"""

import asyncio
import os
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from contextvars import Context
from functools import cache, wraps
from time import monotonic
from typing import Any, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from understudy.lm.errors import (
    AnswerEndless,
    AnswerTimeout,
    LoadTimeout,
    ModelError,
    ModelMissing,
    PromptTooLong,
    RequestRefused,
    ServerDown,
)

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 4
PAUSE_SECONDS = 0.2
"""The first pause between two tries is up to twice as long, each further one twice the last, up to 5 s."""

FAILURES = 10
"""Failures in a row after which calls are held back."""

PROBE_SECONDS = 5.0
"""How long they are held back before one may try again."""

KNOCK_SECONDS = 1.0
CONNECT_SECONDS = 5.0
LOAD_SECONDS = 300.0
"""How long a model may take to load."""

MOST_BYTES = 8_000_000
"""Bytes of one answer: a line of JSON for each of some thousand tokens."""

FRESH_SECONDS = 60.0
"""How long after its last answer a model is taken for loaded."""

_NOT_ITS_FAULT = (ModelMissing, RequestRefused, AnswerEndless, PromptTooLong)


@cache
def _trusted(trust_env: bool) -> ssl.SSLContext:
    """Return whose certificates are believed; to read them takes 20 ms, also for a client that needs none."""
    return httpx.create_ssl_context(trust_env=trust_env)


class ModelServer:
    """The calls to one address: each in one of a few places, tried again when that may help, held back when not.

    Args:
        url: of the server, without a path.
        places: calls that may be under way at a time.
        remote: the server may be on another machine, so the proxies of the environment count.
    """

    def __init__(self, url: str, places: int, remote: bool) -> None:
        parts = urlsplit(url)
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # a password is in no message
        # No connection is kept: one that the server closes meanwhile would fail the next call, and opening one costs
        # nothing beside an answer.
        self.http: dict[str, Any] = {
            "limits": httpx.Limits(max_keepalive_connections=0),
            "follow_redirects": False,
            "timeout": httpx.Timeout(None, connect=CONNECT_SECONDS),
            "trust_env": remote,
            "verify": _trusted(remote),
        }
        if parts.username is not None:
            self.http["auth"] = (unquote(parts.username), unquote(parts.password or ""))
        self._count = places
        self.begin()

    def begin(self) -> None:
        """Know nothing of the server yet; a forked process begins anew as well."""
        self._places = asyncio.Semaphore(self._count)
        self._failures = 0
        self._last: ModelError | None = None
        self._next_probe = 0.0
        self._knocking: asyncio.Task[None] | None = None
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._fresh: dict[str, float] = {}

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return what carries the calls, and gives up an answer that never ends."""
        return _Bounded(**{name: self.http[name] for name in ("limits", "trust_env", "verify")})

    def check(self) -> None:
        """Say at once, in any thread, that calls are held back; ServerDown says until when."""
        if self._failures < FAILURES:
            return
        wait = self._next_probe - monotonic()
        if wait > 0:
            raise ServerDown(
                f"{self.url}: {self._failures} failures in a row, the last: {self._last}; the next call is let through"
                f" in {wait:.0f} s"
            )

    async def call(
        self, model: str, seconds: float, load: Callable[[], Awaitable[Any]], ask: Callable[[], Awaitable[T]]
    ) -> T:
        """Ask, up to 4 times while that may help; a try may take `seconds`, all of them together twice that.

        The model is loaded before, if it may not be; neither that nor waiting for a place counts.

        Raises:
            ModelError: it did not help.
        """
        left = 2 * seconds

        def may_help(error: BaseException) -> bool:
            return isinstance(error, ModelError) and error.retryable and left > 0

        tries = AsyncRetrying(
            retry=retry_if_exception(may_help),
            stop=stop_after_attempt(TRIES),
            wait=wait_random_exponential(multiplier=PAUSE_SECONDS, max=5),
            reraise=True,
        )

        async def once() -> T:
            nonlocal left
            await self._loaded(model, load)
            async with self._place():
                started = monotonic()
                try:
                    async with asyncio.timeout(min(seconds, left)):
                        answer = await ask()
                except TimeoutError as error:
                    if isinstance(error, ModelError):
                        raise
                    raise AnswerTimeout(f"{self.url}: no whole answer of {model} within {seconds:g} s") from None
                finally:
                    left -= monotonic() - started
                self._fresh[model] = monotonic()
                return answer

        return await tries(once)

    async def _loaded(self, model: str, load: Callable[[], Awaitable[Any]]) -> None:
        """See that a model is loaded: who asks while it loads waits for the same load, which nobody's leaving ends."""
        if self._fresh.get(model, -FRESH_SECONDS) > monotonic() - FRESH_SECONDS:
            return
        task = self._loading.get(model)
        if task is None:
            task = self._loading[model] = asyncio.create_task(self._load(model, load))
            task.add_done_callback(lambda done: (self._loading.pop(model, None), done.cancelled() or done.exception()))
        await asyncio.shield(task)

    async def _load(self, model: str, load: Callable[[], Awaitable[Any]]) -> None:
        async with self._watched(proves=False):
            try:
                async with asyncio.timeout(LOAD_SECONDS):
                    await load()
            except TimeoutError as error:
                if isinstance(error, ModelError):
                    raise
                raise LoadTimeout(f"{self.url}: {model} was not loaded within {LOAD_SECONDS:g} s") from None
        self._fresh[model] = monotonic()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold one of the places, unless calls are held back by then."""
        self.check()
        async with self._places, self._watched():
            yield

    @asynccontextmanager
    async def _watched(self, *, proves: bool = True) -> AsyncIterator[None]:
        """Let a call through unless calls are held back, and note how it went; a load proves nothing for a chat."""
        await self._admitted()
        try:
            yield
            if proves:
                self._failures = 0
        except ModelError as error:
            self._note(error)
            raise

    async def _admitted(self) -> None:
        """Return when calls are not held back; when it is time to see whether the server is back, one looks for all."""
        if self._failures < FAILURES:
            return
        self.check()
        if self._knocking is None:
            self._knocking = asyncio.create_task(self._knock())
            self._knocking.add_done_callback(self._knocked)
        await asyncio.shield(self._knocking)

    def _knocked(self, task: asyncio.Task[None]) -> None:
        self._knocking = None
        if not task.cancelled():
            task.exception()  # everybody who waits for it raises it

    def _note(self, error: ModelError) -> None:
        if isinstance(error, _NOT_ITS_FAULT):
            self._failures = 0
        else:
            self._failures += 1
            self._last = error
            self._fresh.clear()
            self._next_probe = monotonic() + PROBE_SECONDS

    async def _knock(self) -> None:
        """Ask for the version before a real call: a server that is down would keep that for as long as it may take."""
        try:
            async with asyncio.timeout(KNOCK_SECONDS), httpx.AsyncClient(**self.http) as client:
                answer = await client.get(f"{self.url}/api/version")
                answer.raise_for_status()
                answer.json()["version"]
        except (httpx.HTTPError, TimeoutError, ValueError, LookupError, TypeError) as error:
            self._next_probe = monotonic() + PROBE_SECONDS
            raise ServerDown(f"{self.url}: {self._failures} failures in a row, and still: {error!r}") from None
        self._failures = FAILURES - 1  # the next call decides


class _Bounded(httpx.AsyncHTTPTransport):
    """Carry answers of up to MOST_BYTES."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and count what comes."""
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Counted(response.stream, str(request.url.copy_with(userinfo=b"")))
        return response


class _Counted(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, url: str) -> None:
        self._stream, self._url = stream, url

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > MOST_BYTES:
                raise AnswerEndless(f"{self._url}: the answer went on beyond {MOST_BYTES:,} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def made_once(make: Callable[P, T]) -> Callable[P, T]:
    """Call a function once for the same arguments, however many threads ask at the same time."""
    made, lock = cache(make), threading.RLock()

    @wraps(make)
    def call(*arguments: P.args, **options: P.kwargs) -> T:
        with lock:
            return made(*arguments, **options)  # type: ignore[arg-type]

    call.cache_clear = made.cache_clear  # type: ignore[attr-defined]
    return call


_servers: list[ModelServer] = []


@made_once
def server_at(url: str, places: int, remote: bool) -> ModelServer:
    """Return the one server of this process at an address."""
    server = ModelServer(url, places, remote)
    _servers.append(server)
    return server


def start(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Start some work on the models' own event loop, in an empty context."""
    return Context().run(asyncio.run_coroutine_threadsafe, work, _loop())


@made_once
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="understudy-models", daemon=True).start()
    return loop


def _begin_anew() -> None:
    """Forget the parent's loop, whose thread is not in a forked process."""
    _loop.cache_clear()  # type: ignore[attr-defined]
    for server in _servers:
        server.begin()


os.register_at_fork(after_in_child=_begin_anew)
