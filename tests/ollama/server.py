"""A server that speaks Ollama's native HTTP protocol on a real socket, and can misbehave in every way one has seen.

Written from Ollama's public documentation and behaviour (docs/api.md, docs/api/errors.mdx, api/types.go,
server/routes.go at fb30760). It answers with the embedded student, checks requests as strictly as the real server does,
with the same status and words, and plays faults by name: before the answer, on the wire, or in the answer itself.
"""

import math
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from understudy.tests.ollama.faults import ANSWER_FAULTS, EARLY_FAULTS, FAULTS, spoiled
from understudy.tests.ollama.model import Model
from understudy.tests.ollama.reply import embedded_reply
from understudy.tests.ollama.requests import (
    FIELDS,
    MESSAGE,
    OPTIONS,
    RUNNER,
    Refused,
    check,
    form_of,
    kind_of,
    option,
    seconds,
    thinks,
)
from understudy.tests.ollama.wire import Call, Listener, Seen, line

VERSION = "0.13.5"
DEFAULT_CONTEXT = 4096
THOUGHT = "The customer wants something. I look at the last message, then at the labels."

Reply = Callable[[list[dict[str, Any]], dict[str, Any] | str | None, dict[str, Any]], str]


@dataclass
class _Runner:
    options: dict[str, Any]
    expires: float


@dataclass
class _Faults:
    kinds: tuple[str, ...] = ()
    share: float = 1.0
    left: float = math.inf
    path: str = "/api/chat"


class OllamaServer:
    """An Ollama on 127.0.0.1 that listens from the start until `close`.

    Attributes:
        requests: every request, in the order of arrival.
        warnings: unknown options and fields, which the real server logs or drops.
        truncated: (tokens, num_ctx) of every prompt that did not fit; the oldest messages were left out in silence.
        loads: how often each model was loaded; other runner options than the loaded ones load it again.
        most_at_once: the highest number of chat calls in progress together, waiting ones included.
        crashes: errors of this file itself; a test may check that there are none.
    """

    def __init__(
        self,
        models: Iterable[str | Model] = ("gemma3:4b", "qwen3:8b", "llama3.2:latest"),
        reply: Reply = embedded_reply,
        load_seconds: float = 0.0,
        parallel: int = 8,
        seed: int = 0,
    ) -> None:
        known = [one if isinstance(one, Model) else Model(one, thinking=one.startswith("qwen3")) for one in models]
        self.models = {_full(one.name): one for one in known}
        self.reply = reply
        self.load_seconds = load_seconds
        self.requests: list[Seen] = []
        self.warnings: list[str] = []
        self.truncated: list[tuple[int, int]] = []
        self.crashes: list[BaseException] = []
        self.loads: Counter[str] = Counter()
        self.most_at_once = 0
        self._at_once = 0
        self._runners: dict[str, _Runner] = {}
        self._faults = _Faults()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._slots = threading.Semaphore(parallel)
        self._listener: Listener | None = None
        self._holder: socket.socket | None = None
        self._port = 0
        self.start()

    def __enter__(self) -> "OllamaServer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def loaded(self) -> dict[str, int]:
        """The loaded models and their context length, as /api/ps shows them."""
        return {name: runner.options["num_ctx"] for name, runner in self._running()}

    def play(self, *kinds: str, share: float = 1.0, times: int | None = None, path: str = "/api/chat") -> None:
        """Play one of these faults in that share of the calls from now on, or of the next `times` calls."""
        wrong = [kind for kind in kinds if kind not in FAULTS]
        if wrong or (path not in ("/api/chat", "/api/generate") and set(kinds) & set(ANSWER_FAULTS)):
            raise ValueError(f"no such fault for {path}: {', '.join(wrong or kinds)}")
        with self._lock:
            self._faults = _Faults(kinds, share, math.inf if times is None else times, path)

    def behave(self) -> None:
        """Play no more faults."""
        self.play()

    def start(self) -> None:
        """Listen, on the same port as before; after `stop` this is a server that has just started."""
        if self._listener:
            return
        if self._holder:
            self._holder.close()
        self._listener = Listener(self, self._port)
        self._port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, cut those that are open and forget what is loaded, as when the process ends."""
        if not self._listener:
            return
        self._listener.end()
        self._listener = None
        self._runners.clear()
        # Bound but not listening: a client is refused, and nobody else gets the port.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", self._port))

    def close(self) -> None:
        """Stop for good, within a second."""
        self.stop()
        if self._holder:
            self._holder.close()

    def draw(self, path: str) -> str | None:
        with self._lock:
            faults = self._faults
            if not faults.kinds or path != faults.path or faults.left <= 0:
                return None
            faults.left -= 1
            return self._random.choice(faults.kinds) if self._random.random() < faults.share else None

    @contextmanager
    def counted(self, path: str) -> Iterator[None]:
        one = int(path == "/api/chat")
        with self._lock:
            self._at_once += one
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= one

    def _running(self) -> list[tuple[str, _Runner]]:
        now = time.time()
        for name, runner in list(self._runners.items()):
            if runner.expires <= now:
                self._runners.pop(name, None)
        return list(self._runners.items())

    def _model(self, name: str, nameless: Refused) -> Model:
        if not name.strip():
            raise nameless
        if not re.fullmatch(r"[\w./-]+(:[\w.-]+)?", name):
            raise Refused(400, "invalid model name")
        if _full(name) not in self.models:
            raise Refused(404, f"model '{name}' not found")
        return self.models[_full(name)]

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        for key in given.keys() - OPTIONS.keys():
            self.warnings.append(f'invalid option provided option="{key}"')
        return {key: option(key, value) for key, value in given.items() if key in OPTIONS and value is not None}

    def _load(self, call: Call, model: Model, options: dict[str, Any], keep: float) -> int:
        """Have the model loaded with these options and return its context length."""
        wanted = {key: options[key] for key in RUNNER if key in options}
        wanted["num_ctx"] = min(max(options.get("num_ctx", DEFAULT_CONTEXT), 4), model.context_length)
        name = _full(model.name)
        with self._loading:
            runner = dict(self._running()).get(name)
            if runner is None or runner.options != wanted:
                self._runners.pop(name, None)
                call.wait(self.load_seconds)
                self.loads[name] += 1
            self._runners[name] = _Runner(wanted, time.time() + keep)
        return int(wanted["num_ctx"])

    @contextmanager
    def _slot(self, call: Call) -> Iterator[None]:
        while not self._slots.acquire(timeout=0.02):
            call.wait(0)
        try:
            yield
        finally:
            self._slots.release()

    def _fitted(self, messages: list[dict[str, Any]], num_ctx: int) -> tuple[list[dict[str, Any]], int]:
        """Leave out the oldest messages that do not fit, but no system message and not the last one."""
        tokens = sum(_tokens(one["content"]) for one in messages)
        if tokens > num_ctx:
            self.truncated.append((tokens, num_ctx))
            kept = list(messages)
            for old in [one for one in messages[:-1] if one["role"] != "system"]:
                if tokens <= num_ctx:
                    break
                kept.remove(old)
                tokens -= _tokens(old["content"])
            messages = kept
        return messages, min(tokens, num_ctx)

    def answer(self, call: Call, seen: Seen) -> None:
        """Answer one request; Refused says why not."""
        call.fault = seen.fault
        if seen.fault in EARLY_FAULTS:
            call.play_early(seen.fault, seen.body)
            return
        method, handle = self._routes().get(seen.path, ("", None))
        if handle is None:
            call.send(404, [b"404 page not found"], "text/plain")
        elif seen.method != method and (seen.method != "HEAD" or method == "POST"):
            call.send(405, [b"405 method not allowed"], "text/plain", {"Allow": method})
        elif method == "POST":
            handle(call, self._checked(seen.path, seen.body))
        else:
            handle(call)

    def _routes(self) -> dict[str, tuple[str, Callable[..., None]]]:
        return {
            "/": ("GET", self._root),
            "/api/version": ("GET", self._version),
            "/api/tags": ("GET", self._tags),
            "/api/ps": ("GET", self._ps),
            "/api/show": ("POST", self._show),
            "/api/chat": ("POST", self._chat),
            "/api/generate": ("POST", self._generate),
        }

    def _checked(self, path: str, body: Any) -> dict[str, Any]:
        """Return the body without nulls, which mean nothing to the real server; Refused if a type is wrong."""
        go, fields = FIELDS[path]
        if body is None or isinstance(body, ValueError):
            raise Refused(400, str(body or "missing request body"))
        if not isinstance(body, dict):
            raise Refused(400, f"json: cannot unmarshal {kind_of(body)} into Go value of type api.{go}")
        self.warnings += [f"unknown field {key!r} of {go}" for key in body.keys() - fields.keys()]
        given = {key: value for key, value in body.items() if value is not None}
        for key in given.keys() & fields.keys():
            check(given[key], fields[key], f"{go}.{key}")
        for one in given.get("messages", ()):
            check(one, "api.Alias", f"{go}.messages")
            for key in (one or {}).keys() & MESSAGE.keys():
                check(one[key], MESSAGE[key], f"{go}.messages.{key}")
        return given

    def _root(self, call: Call) -> None:
        call.send(200, [b"Ollama is running"], "text/plain")

    def _version(self, call: Call) -> None:
        call.send_json({"version": VERSION})

    def _tags(self, call: Call) -> None:
        call.send_json({"models": [{**one.listed, "modified_at": _stamp()} for one in self.models.values()]})

    def _ps(self, call: Call) -> None:
        shown = [
            {
                **self.models[name].listed,
                "size_vram": self.models[name].size,
                "context_length": runner.options["num_ctx"],
                "expires_at": _stamp(runner.expires),
            }
            for name, runner in self._running()
        ]
        call.send_json({"models": shown})

    def _show(self, call: Call, body: dict[str, Any]) -> None:
        name = body.get("model") or body.get("name", "")
        model = self._model(_full(name) if name else "", Refused(400, "model is required"))
        info = {
            "general.architecture": model.details["family"],
            f"{model.details['family']}.context_length": model.context_length,
        }
        capabilities = ["completion", *(["thinking"] if model.thinking else [])]
        call.send_json(
            {
                "modelfile": f"FROM {model.name}\n",
                "template": "{{ .Prompt }}",
                "details": model.details,
                "model_info": info,
                "capabilities": capabilities,
                "modified_at": _stamp(),
            }
        )

    def _chat(self, call: Call, body: dict[str, Any]) -> None:
        model = self._model(body.get("model", ""), Refused(400, "model is required"))
        asked = [
            {**one, "role": (one.get("role") or "").lower(), "content": one.get("content") or ""}
            for one in ((one or {}) for one in body.get("messages", ()))
        ]
        self._complete(call, body, model, asked, _chat_part)

    def _generate(self, call: Call, body: dict[str, Any]) -> None:
        name = body.get("model", "")
        model = self._model(name, Refused(404, f"model '{name}' not found"))
        system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        asked = [*system, {"role": "user", "content": body["prompt"]}] if body.get("prompt") else []
        self._complete(call, body, model, asked, _generate_part)

    def _complete(
        self,
        call: Call,
        body: dict[str, Any],
        model: Model,
        messages: list[dict[str, Any]],
        part: Callable[[str, str], dict[str, Any]],
    ) -> None:
        """Load the model, ask it and send the answer; without messages only load or unload it."""
        began = time.perf_counter_ns()
        keep = seconds(body.get("keep_alive"))
        thinking = thinks(body, model)
        options = self._options(body.get("options", {}))
        head = {"model": body["model"], "created_at": _stamp()}
        if not messages and keep == 0:
            self._runners.pop(_full(model.name), None)
            call.send_json({**head, **part("", ""), "done": True, "done_reason": "unload"})
            return
        num_ctx = self._load(call, model, options, keep)
        loaded = time.perf_counter_ns()
        if not messages:
            call.send_json({**head, **part("", ""), "done": True, "done_reason": "load"})
            return
        form = form_of(body.get("format"))
        messages, read = self._fitted(messages, num_ctx)
        with self._slot(call):
            thought, text, reason = self._generated(call.fault, messages, form, options, THOUGHT if thinking else "")
            ended = time.perf_counter_ns()
            last = {
                "done": True,
                "done_reason": reason,
                "total_duration": ended - began,
                "load_duration": loaded - began,
                "prompt_eval_count": read,
                "prompt_eval_duration": (ended - loaded) // 2,
                "eval_count": _tokens(thought) + _tokens(text),
                "eval_duration": (ended - loaded) // 2,
            }
            if body.get("stream", True):
                parts = [part("", piece) for piece in _pieces(thought)] + [part(piece, "") for piece in _pieces(text)]
                lines = [{**head, **one, "done": False} for one in parts] + [{**head, **part("", ""), **last}]
                call.send(200, [line(one) for one in lines], "application/x-ndjson")
            else:
                call.send_json({**head, **part(text, thought), **last})

    def _generated(
        self,
        fault: str | None,
        messages: list[dict[str, Any]],
        form: dict[str, Any] | str | None,
        options: dict[str, Any],
        thought: str,
    ) -> tuple[str, str, str]:
        """Return the thought, the text and why it ended, cut to `num_predict` tokens."""
        try:
            text = self.reply(messages, form, options)
        except Exception as error:  # noqa: BLE001 - whatever the model raises is the model's failure
            raise Refused(500, str(error) or type(error).__name__) from error
        if fault in ANSWER_FAULTS:
            text = spoiled(fault, text, form if isinstance(form, dict) else {})
        limit = options.get("num_predict", -1)
        if limit >= 0 and _tokens(thought) + _tokens(text) > limit:
            room = max(4 * limit - len(thought), 0)
            return thought[: 4 * limit], text[:room], "length"
        return thought, text, "length" if fault == "length" else "stop"


def _chat_part(text: str, thought: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text, **({"thinking": thought} if thought else {})}}


def _generate_part(text: str, thought: str) -> dict[str, Any]:
    return {"response": text, **({"thinking": thought} if thought else {})}


def _pieces(text: str) -> list[str]:
    step = max(4, -(-len(text) // 8))
    return [text[start : start + step] for start in range(0, len(text), step)]


def _tokens(text: str) -> int:
    return -(-len(text) // 4)


def _full(name: str) -> str:
    name = name.lower()
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _stamp(at: float | None = None) -> str:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=time.time() if at is None else at)
    return moment.isoformat().replace("+00:00", "Z")
