"""Start `langgraph dev` in an empty folder, let the shadow graph observe one message, and read the state back."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS_TO_START = 120


def main() -> None:
    """Fail with the server's log when anything is not as it should be."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        log = Path(folder) / "server.log"
        env = {**os.environ, "RL_GYM_DB_PATH": f"{folder}/brain_gym.db"}
        command = [Path(sys.executable).parent / "langgraph", "dev", "--no-browser", "--no-reload", "--port", str(port)]
        with log.open("wb") as out:
            server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT)
            try:
                observe_one(f"http://127.0.0.1:{port}", server)
            except BaseException:
                sys.stderr.write(log.read_text(errors="replace")[-5000:])
                raise
            finally:
                server.terminate()
                server.wait(20)


def observe_one(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Post a message to a new thread and compare the answer with the thread's state."""
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            call(f"{url}/ok")
            break
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.3)
    thread = call(f"{url}/threads", {})["thread_id"]
    text = "Can you take my van on Friday?"
    answer = call(
        f"{url}/threads/{thread}/runs/wait",
        {"assistant_id": "shadow", "input": {"messages": [{"role": "user", "content": text}]}},
    )
    state = call(f"{url}/threads/{thread}/state")["values"]
    assert answer["turn"] == 0 and answer["faults"] == [], answer
    assert sorted(answer["readings"]) == ["conflict", "goals", "intent", "quality", "response"], answer
    assert state["messages"][0]["content"] == text and state["decision_id"] == answer["decision_id"], state
    sys.stdout.write(f"server: one turn observed, decision {answer['decision_id']} read back\n")


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    """Send JSON, get JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
