"""`langgraph dev` as a process of its own, for tests, trials and pictures."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "langgraph.json"
MOST_SECONDS_TO_START = 90
OURS = ("BRAIN_", "OLLAMA_", "LM_", "RL_GYM_", "DREAM_", "GEPA_", "AB_", "LANGSMITH", "LANGCHAIN")
"""Beginnings of the variables of whoever starts it that are not for the server."""


@dataclass(frozen=True)
class DevServer:
    """A server that answers, and its files."""

    url: str
    folder: Path
    pid: int

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


@contextmanager
def langgraph_dev(folder: Path, *flags: str, **environment: str) -> Iterator[DevServer]:
    """Start the server in a folder, which holds its gym, its programs and its log, and end it.

    The gym may be there already; whoever made it has closed it.

    Args:
        folder: where it runs.
        flags: for `langgraph dev`, beside those that keep it from opening a browser and from reloading.
        environment: settings, by the names of their variables.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    files = {"RL_GYM_DB_PATH": str(folder / "brain_gym.db"), "OPTIMIZED_MODULES_DIR": str(folder / "optimized_modules")}
    command = [str(Path(sys.executable).parent / "langgraph"), "dev", "--no-browser", "--no-reload", "--port", port]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config", str(CONFIG), *flags],
            cwd=folder,
            env={**inherited, **files, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = DevServer(f"http://127.0.0.1:{port}", folder, process.pid)
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
