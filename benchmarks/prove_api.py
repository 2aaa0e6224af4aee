"""A trial of the HTTP API: schemathesis posts to a real `langgraph dev` whatever its document allows, and what not.

Its requests are kept by libraries that LangGraph's server needs in other versions, so it gets a folder of its own,
`.venv/schemathesis`, which the first run fills with pip. Part of `make prove`.
"""

import argparse
import re
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

from understudy.benchmarks.big_gym import make
from understudy.benchmarks.dev_server import langgraph_dev
from understudy.benchmarks.prove_ollama import Line, Trial

ROOT = Path(__file__).parents[1]
TOOL = ROOT / ".venv" / "schemathesis"
VERSION = "schemathesis==4.32.5"
MOST_MINUTES = 5.0

# A label must fit its conversation, and its values the profile, which no schema can say; nor can it how long a whole
# number may be wherever it stands in what a host knows, or that a year has to be one of ours in every zone. 409 is for
# what the gym holds already, as the id of another message.
CONFIG = """
[[operations]]
include-operation-id = ["labels", "observe", "decisions"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 409, 422]
"""

_FAILED = re.compile(
    r"^_+ ([A-Z]+ \S+) _+$(?:(?!^_+ ).)*?^- (ST\d+ [^\n]*)(?:(?!^_+ ).)*?^ +(`[^\n]*`|<[^\n]*>)",
    re.MULTILINE | re.DOTALL,
)
"""Of what the tool prints: the route, the check, and the answer."""


def fuzzed(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Call every route with what its document allows and with what it forbids, alone and one after the other."""
    tool = _tool()
    make(folder / "brain_gym.db")
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    seconds = round(60 * min(options.minutes, MOST_MINUTES))
    with langgraph_dev(folder, SCHEDULER_ENABLED="false") as server:
        command: list[str | Path] = [tool, "--config-file", config, "run", f"{server.url}/brain/openapi.json"]
        command += ["--max-time", str(seconds), "--seed", "20261124", "--continue-on-failure", "--no-color"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        status = server.call("/brain/status")
    for route, what, said in _FAILED.findall(done.stdout):
        yield Line("schemathesis", False, f"{route}: {what}: {said[:300]}")
    counted = re.search(r"^ +(\d+) generated.*", done.stdout, re.MULTILINE)
    operations = re.search(r"Tested: (\d+)", done.stdout)
    told = f"{counted[0].strip() if counted else done.stdout[-300:] + done.stderr[-300:]} in {seconds} s"
    ok = done.returncode == 0 and counted is not None and operations is not None
    yield Line("schemathesis", ok, f"{operations[1] if operations else 0} routes, {told}")
    defects = server.log.count("a defect of understudy")
    yield Line("the server's log", not defects and "Traceback" not in server.log, f"{defects} defects told")
    yield Line("and it still answers", status["decisions"] > 0, f"{status['conversations']} conversations in its gym")


def _tool() -> Path:
    """Return schemathesis; the first time it is installed."""
    command = TOOL / "bin" / "schemathesis"
    if not command.is_file():
        venv.create(TOOL, with_pip=True, clear=True)
        subprocess.run([TOOL / "bin" / "python", "-m", "pip", "install", "--quiet", VERSION], check=True)
    return command


TRIALS: dict[str, Trial] = {"api": fuzzed}
