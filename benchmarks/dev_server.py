"""`langgraph dev` as a process of its own, for tests, trials and pictures."""

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
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from understudy.settings import Settings

CONFIG = Path(__file__).parents[1] / "langgraph.json"
MOST_SECONDS_TO_START = 90


class _Still(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *asked: Any) -> None:
        return None


_STILL = urllib.request.build_opener(_Still)


@dataclass(frozen=True)
class DevServer:
    """A server that answers, and its files."""

    port: int
    folder: Path
    pid: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def gym(self) -> Path:
        """The gym's file."""
        return self.folder / "brain_gym.db"

    @property
    def log(self) -> str:
        """What it has written so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def call(self, path: str, body: Any = None) -> Any:
        """Send JSON, get JSON.

        Raises:
            HTTPError: the answer says no.
            OSError: there is no answer.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def thread(self) -> str:
        """Make a thread."""
        return str(self.call("/threads", {})["thread_id"])

    def post(self, thread: str, **body: Any) -> Any:
        """Run a graph on a thread, the shadow if no other is named, and wait for what comes out."""
        return self.call(f"/threads/{thread}/runs/wait", {"assistant_id": "shadow", **body})

    def answer(
        self, path: str, body: Any = None, method: str | None = None, at: str = "127.0.0.1", **headers: str
    ) -> tuple[int, Message]:
        """Return status and headers of an answer; a body of bytes is a form. Redirects are not followed."""
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
def langgraph_dev(folder: Path, *flags: str, **environment: str) -> Iterator[DevServer]:
    """Start the server in a folder, which holds its gym, its programs and its log, and end it.

    The gym may be there already; whoever made it has closed it.

    Args:
        folder: where it runs.
        flags: for `langgraph dev`, beside those that keep it from opening a browser and from reloading.
        environment: settings, by the names of their variables.
    """
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(port, "--no-reload", *flags),
            cwd=folder,
            env=environment_of(folder, **environment),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = DevServer(port, folder, process.pid)
    try:
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def _wait(server: DevServer, process: "subprocess.Popen[bytes]") -> None:
    """Return when it answers."""
    deadline = time.monotonic() + MOST_SECONDS_TO_START
    while True:
        try:
            server.call("/ok")
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"langgraph dev does not answer; its log:\n{server.log[-5000:]}") from None
        time.sleep(0.3)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def command(port: int, *flags: str) -> list[str]:
    """Return what starts the server."""
    langgraph = Path(sys.executable).parent / "langgraph"
    return [str(langgraph), "dev", "--config", str(CONFIG), "--no-browser", "--port", str(port), *flags]


def environment_of(folder: Path, **changed: str) -> dict[str, str]:
    """Return this process's environment without its settings and tracing, and with the files in a folder."""
    left_out = ("LANGSMITH", "LANGCHAIN")
    env = {k: v for k, v in os.environ.items() if not k.startswith(left_out) and k.lower() not in Settings.model_fields}
    own = {"RL_GYM_DB_PATH": folder / "brain_gym.db", "OPTIMIZED_MODULES_DIR": folder / "optimized_modules"}
    return {**env, **{name: str(path) for name, path in own.items()}, "LANGGRAPH_NO_VERSION_CHECK": "true", **changed}
