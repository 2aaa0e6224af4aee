"""`langgraph dev` in a process of its own, with a gym of its own, and what may be asked of it over a socket."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from understudy.settings import Settings

ROOT = Path(__file__).parents[2]


class _Still(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *asked: Any) -> None:
        return None


_STILL = urllib.request.build_opener(_Still)


class Server:
    """`port` is where it listens on this machine; `log` what it has written."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.folder = port, folder
        self.url, self.gym, self.log = f"http://127.0.0.1:{port}", folder / "brain_gym.db", folder / "log"
        self.word = f"word-{uuid4()}"

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def post(self, thread: str, **body: Any) -> Any:
        return self.call(f"/threads/{thread}/runs/wait", {"assistant_id": "shadow", **body})

    def thread(self) -> str:
        return str(self.call("/threads", {})["thread_id"])

    def answer(
        self, path: str, body: Any = None, method: str | None = None, at: str = "127.0.0.1", **headers: str
    ) -> tuple[int, Message]:
        """Status and headers of an answer; a body of bytes is a form. Redirects are not followed."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if not isinstance(body, bytes):
            named = {"content-type": "application/json", **named}
        request = urllib.request.Request(f"http://{at}:{self.port}{path}", data, named, method=method)
        try:
            response: HTTPResponse = _STILL.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers
        with response:
            return response.status, response.headers


@contextmanager
def running(folder: Path, *options: str, **environment: str) -> Iterator[Server]:
    """Start it, wait until it answers, and end it."""
    pytest.importorskip("langgraph_api")
    server = Server(free_port(), folder)
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            command(server.port, "--no-reload", *options),
            cwd=folder,
            env=environment_of(folder, **environment),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(200):
            try:
                server.call("/ok")
                break
            except OSError:
                assert process.poll() is None, server.log.read_text()
                time.sleep(0.3)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def command(port: int, *options: str) -> list[str]:
    langgraph = Path(sys.executable).parent / "langgraph"
    config = ["--config", str(ROOT / "langgraph.json"), "--no-browser", "--port", str(port)]
    return [str(langgraph), "dev", *config, *options]


def environment_of(folder: Path, **changed: str) -> dict[str, str]:
    """This process's environment, without settings and tracing."""
    left_out = ("LANGSMITH_", "LANGCHAIN_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(left_out) and k.lower() not in Settings.model_fields}
    own = {"RL_GYM_DB_PATH": folder / "brain_gym.db", "OPTIMIZED_MODULES_DIR": folder / "optimized_modules"}
    return {**env, **{name: str(path) for name, path in own.items()}, "LANGGRAPH_NO_VERSION_CHECK": "true", **changed}
