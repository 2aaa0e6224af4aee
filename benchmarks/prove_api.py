"""A trial of the HTTP API: schemathesis posts to a real `langgraph dev` whatever its document allows, and what not.

Its requests are kept by libraries that LangGraph's server needs in other versions, so it gets a folder of its own,
`.venv/schemathesis`, which the first run fills with pip. Part of `make prove`.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy.benchmarks.prove_ollama import Line, Trial
from understudy.demo import BUNDLED

ROOT = Path(__file__).parents[1]
TOOL = ROOT / ".venv" / "schemathesis"
VERSION = "schemathesis==4.32.5"
MOST_MINUTES = 5.0

# A label must fit its conversation, and its values the profile, which no schema can say; nor can it how long a whole
# number may be wherever it stands in what a host knows.
CONFIG = """
[[operations]]
include-operation-id = ["labels", "observe"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 422]
"""

_FAILED = re.compile(
    r"^_+ ([A-Z]+ \S+) _+$(?:(?!^_+ ).)*?^- (ST\d+ [^\n]*)(?:(?!^_+ ).)*?^ +(`[^\n]*`|<[^\n]*>)",
    re.MULTILINE | re.DOTALL,
)
"""Of what the tool prints: the route, the check, and the answer."""


def fuzzed(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Call every route with what its document allows and with what it forbids, alone and one after the other."""
    tool = _tool()
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    seconds = round(60 * min(options.minutes, MOST_MINUTES))
    with server(folder) as url:
        command: list[str | Path] = [tool, "--config-file", config, "run", f"{url}/brain/openapi.json"]
        command += ["--max-time", str(seconds), "--seed", "20261124", "--continue-on-failure", "--no-color"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        with urllib.request.urlopen(f"{url}/brain/status") as answer:
            status = json.load(answer)
    for route, what, said in _FAILED.findall(done.stdout):
        yield Line("schemathesis", False, f"{route}: {what}: {said[:300]}")
    counted = re.search(r"^ +(\d+) generated.*", done.stdout, re.MULTILINE)
    operations = re.search(r"Tested: (\d+)", done.stdout)
    told = f"{counted[0].strip() if counted else done.stdout[-300:] + done.stderr[-300:]} in {seconds} s"
    ok = done.returncode == 0 and counted is not None and operations is not None
    yield Line("schemathesis", ok, f"{operations[1] if operations else 0} routes, {told}")
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    defects = log.count("a defect of understudy")
    yield Line("the server's log", not defects and "Traceback" not in log, f"{defects} defects told")
    yield Line("and it still answers", status["decisions"] > 0, f"{status['conversations']} conversations in its gym")


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start `langgraph dev` on a gym with the bundled conversations; give its URL."""
    env = {
        **os.environ,
        "RL_GYM_DB_PATH": str(folder / "brain_gym.db"),
        "OPTIMIZED_MODULES_DIR": str(folder / "modules"),
        "SCHEDULER_ENABLED": "false",
    }
    replay = [sys.executable, "-P", "-c", "from understudy.cli import main; main()", "replay", str(BUNDLED)]
    subprocess.run(replay, env=env, cwd=folder, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    langgraph = str(Path(sys.executable).parent / "langgraph")
    command = [langgraph, "dev", "--no-browser", "--no-reload", "--port", str(port)]
    command += ["--config", str(ROOT / "langgraph.json")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _answering(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(20)


def _answering(url: str, process: "subprocess.Popen[bytes]") -> str:
    """Wait until the server answers."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/ok"):
                return url
        except OSError:
            time.sleep(0.3)
    raise SystemExit("langgraph dev has ended before it answered")


def _tool() -> Path:
    """Return schemathesis; the first time it is installed."""
    command = TOOL / "bin" / "schemathesis"
    if not command.is_file():
        venv.create(TOOL, with_pip=True, clear=True)
        subprocess.run([TOOL / "bin" / "python", "-m", "pip", "install", "--quiet", VERSION], check=True)
    return command


TRIALS: dict[str, Trial] = {"api": fuzzed}
