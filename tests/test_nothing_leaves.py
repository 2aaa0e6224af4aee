"""Nothing of a customer's leaves the gym: a host that keeps all it can get is looked through, and what it has sent.

Marker words stand in whatever comes from outside. They may be in the gym's own file, and nowhere else.
"""

import gzip
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from understudy.demo import BUNDLED
from understudy.tests.ollama.server import OllamaServer

HOST = Path(__file__).with_name("nosy_host.py")
MARKERS = ("zq0111", "zorvath", "quillfeather", "zq0222", "zq0333", "zq0444", "zq0555", "zq0666", "zq0777", "zq0888")
"""In customers' texts, their names, their objects; in agents' texts, actions, states, labels, authors."""
PERSONAL = (
    "zorvath", "quillfeather", "like zq0333", "0333", "quill.example",
    "zorvath@quill.example", "+31 6 1234 5678", "4111 1111 1111 1111", "NL91 ABNA 0417 1643 00", "https://quill.example/me",
)  # fmt: skip
"""Of which neither the teacher nor the dreamer is told; the last ones for what they are."""
CONTROL = "hostword"
"""What the host itself says: it must be found, or nothing would be."""


class Recorder(ThreadingHTTPServer):
    """Takes whatever is sent to it, as a server for traces would."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Taker)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Taker(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.seen.append(f"{self.path} {self.headers}".encode() + body)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_PUT = do_PATCH = do_POST  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        yield server
        server.shutdown()


def talks(count: int) -> Iterator[dict[str, Any]]:
    """Conversations with a marker in everything that somebody has said or done in them."""
    for number, line in enumerate(BUNDLED.read_text(encoding="utf-8").splitlines()[:count]):
        talk = json.loads(line)
        said = [message for message in talk["messages"] if message["role"] == "customer"]
        answered = [message for message in talk["messages"] if message["role"] == "agent"]
        said[0]["text"] += (
            f" zq0111{number}said, this is Zorvath, I like zq0333{number} best: {' or '.join(PERSONAL[5:])}"
        )
        for message in answered[:1]:
            message["text"] += f"\nThank you, dear\nZorvath, your code is zq0444{number}sent."
        for message in answered[1:][-1:]:
            message["action"] = f"zq0555{number}done"
        talk["customer"] = {
            "name": "Zorvath Quillfeather",
            "email": "zorvath@quill.example",
            "account": {"code": f"zq0222{number}known", "notes": [f"like zq0333{number} best"]},
        }
        if number > count - 4:
            talk["messages"] = [{**message, "labels": {}} for message in talk["messages"]]
        yield talk


def finds(data: bytes, *words: str) -> set[str]:
    """Return the words that are in some bytes, also where they are compressed or in UTF-16."""
    forms = [data.lower()]
    for start in (match.start() for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08", data)):
        try:
            if data[start] == 0x1F:
                forms.append(gzip.decompress(data[start:]).lower())
            else:
                forms.append(zlib.decompressobj().decompress(data[start:]).lower())
        except (OSError, EOFError, zlib.error):
            continue
    return {w for w in words for form in forms if w.encode() in form or w.encode("utf-16-le") in form}


def found_below(root: Path, *words: str) -> dict[str, set[str]]:
    """Return which files hold which of the words; the gym's own are left out."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith("brain_gym.db")]
    found = {str(path.relative_to(root)): finds(path.read_bytes(), *words) for path in files}
    return {name: some for name, some in found.items() if some}


@pytest.fixture
def root(tmp_path: Path, recorder: Recorder) -> Path:
    """The folder that all of the host is in."""
    root = tmp_path / "root"
    for name in ("home", "tmp", "cache", "config", "host"):
        (root / name).mkdir(parents=True)
    return root


@pytest.fixture
def env(tmp_path: Path, root: Path, recorder: Recorder) -> dict[str, str]:
    """Everything of the host below one folder, and tracing on wherever it can be; its input is elsewhere."""
    for name, some in {"talks": list(talks(60)), "more": [{**next(talks(1)), "conversation_id": "more"}]}.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, some)), encoding="utf-8")
    url = f"http://{recorder.address}"
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    folders = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config"}
    return {
        **kept,
        **{name: str(root / folder) for name, folder in folders.items()},
        **{name: "true" for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "OTEL_ENABLED")},
        **{name: url for name in ("LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")},
        "LANGSMITH_API_KEY": "key", "MLFLOW_TRACKING_URI": url, "PYTHONDONTWRITEBYTECODE": "1",
        "TALKS": str(tmp_path / "talks"), "MORE": str(tmp_path / "more"), "KNOWN": next(talks(1))["conversation_id"],
        "LABELS": json.dumps({"reasoning": "zq0888 label"}),
        "GEPA_BREADTH": "1", "GEPA_DEPTH": "2", "DREAM_COUNT": "5",
    }  # fmt: skip


def host(root: Path, env: dict[str, str], *steps: str, **more: str) -> int:
    """Run the host; what it prints stands in files below the folder as well."""
    with (root / f"{steps[0]}.out").open("wb") as out:
        command = [sys.executable, "-P", str(HOST), *steps]
        where: Any = {"cwd": root / "host", "env": {**env, **more}, "umask": 0}
        return subprocess.run(command, stdout=out, stderr=out, **where).returncode


def nothing_left(root: Path, recorder: Recorder, *servers: str) -> None:
    """Assert that no marker is anywhere, and that one would be found if it were."""
    assert not (root / "host" / "excepthook.txt").exists(), (root / "host" / "excepthook.txt").read_text()
    assert found_below(root, *MARKERS) == {}
    assert [words for request in recorder.seen if (words := finds(request, *MARKERS))] == []
    traps = set(found_below(root, CONTROL))
    assert {"host/heard.txt", "host/history.pkl", "host/trace.txt", "host/memory.txt"} <= traps, traps
    assert any(name.startswith("host/cache/") for name in traps)
    assert any(CONTROL.encode() in request for request in recorder.seen), "the host's own work is traced"
    audit = json.loads((root / "host" / "audit.json").read_text())
    assert set(audit["reached"]) == {recorder.address, *servers}
    assert [path for path in audit["written"] if not path.startswith((f"{root}/", "/dev/null"))] == []


def test_not_a_word_leaves_the_gym_whatever_the_host_keeps(root: Path, env: dict[str, str], recorder: Recorder) -> None:
    died = host(root, env, "kill")
    assert died == -signal.SIGKILL, (root / "kill.out").read_text()
    runs = root / "host" / "optimized_modules" / "default" / ".runs"
    left = found_below(root, *MARKERS)
    assert left and all(name.startswith("host/optimized_modules/default/.runs/") for name in left), left
    private = [*runs.parents[:2], runs, *runs.glob("*"), *runs.glob("*/*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o700}
    assert host(root, env, "embedded") == 0
    nothing_left(root, recorder)
    log = (root / "host" / "host.log").read_text()
    assert "compile: ValueError in __call__" in log and "ab_test in conversation posted: ValueError in" in log
    assert list(runs.rglob("*.bin")) == []
    folder = root / "host"
    ours = [*folder.glob("brain_gym.db*"), folder / "course.svg", folder / "optimized_modules"]
    ours += ours[-1].rglob("*")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in ours}
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert {path.suffix for path in ours} >= {".db", ".svg", ".html", ".json"}


def test_with_models_of_a_server_only_the_student_is_told_who_the_customers_are(
    root: Path, env: dict[str, str], recorder: Recorder
) -> None:
    with OllamaServer() as server:
        assert host(root, env, "ollama", LM_PROVIDER="ollama", OLLAMA_BASE_URL=server.url) == 0
        nothing_left(root, recorder, server.url.removeprefix("http://"))
        assert re.search(r"^unsure +[1-9]", (root / "ollama.out").read_text(), re.MULTILINE)
        chats = [seen.body for seen in server.requests if seen.path == "/api/chat"]
    student, teacher, dreamer = (
        "\n".join(json.dumps(chat, ensure_ascii=False).lower() for chat in chats if chat["model"] == name)
        for name in ("gemma3:4b", "qwen3:8b", "llama3.2")
    )
    assert all(word.lower() in student for word in PERSONAL)
    for text in (teacher, dreamer):
        assert [word for word in PERSONAL if word.lower() in text] == []
        assert all(f"[{kind}]" in text for kind in ("customer", "email", "phone", "card", "iban", "url"))
