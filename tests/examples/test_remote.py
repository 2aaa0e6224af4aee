"""An app with its understudy behind a real `langgraph dev`: what it says is the same, whatever the server does."""

import asyncio
import io
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("langgraph_api")

from understudy.benchmarks.dev_server import DevServer, langgraph_dev  # noqa: E402
from understudy.examples.remote import remote as example  # noqa: E402

Run = Callable[..., tuple[str, str]]
TALK = "can you do friday?\nat two\n<b>bye</b> \u2603\n"
SAID = "".join(f"{line}\n" for line in (example.ANSWERS["friday"][1], example.ANSWERS["two"][1], "How can I help?"))


ended = threading.Event()
"""Set when the customer has all the answers."""


class Customer(io.StringIO):
    def readline(self, *size: int) -> str:
        line = super().readline()
        (ended.clear if line else ended.set)()
        return line


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with langgraph_dev(tmp_path_factory.mktemp("remote")) as server:
        yield server


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What runs the app, and returns what it says to the customer, and what on stderr."""

    def run(url: str | None = None, token: str | None = None) -> tuple[str, str]:
        for name, value in (("UNDERSTUDY_URL", url), ("BRAIN_API_TOKEN", token)):
            monkeypatch.delenv(name, raising=False)
            if value:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.stdin", Customer(TALK))
        asyncio.run(example.main())
        said, seen = capsys.readouterr()
        return said, seen

    return run


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[str | None]]]:
    """A server that fails as late as it can; it notes the keys it is given, or that the app has waited for it."""
    keys: list[str | None] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers["content-length"]))
            keys.append(self.headers["x-api-key"] if ended.wait(20) else "the app has waited")
            self.send_error(401)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refuses:
        thread = threading.Thread(target=refuses.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{refuses.server_port}", keys
        refuses.shutdown()
        thread.join()


def test_an_app_elsewhere_is_observed_and_says_the_same(server: DevServer, run: Run) -> None:  # noqa: F811
    said, seen = run(server.url)
    assert said == SAID == run()[0]
    assert [line.split(":")[0] for line in seen.splitlines()] == ["turn 0", "turn 1", "turn 2"], seen
    assert "None" not in seen
    with closing(sqlite3.connect(server.gym)) as gym:
        found = gym.execute("SELECT turn, user_message, response_sent, action_taken FROM brain_decisions ORDER BY turn")
        assert found.fetchall() == [
            (0, "can you do friday?", example.ANSWERS["friday"][1], "offer_times"),
            (1, "at two", example.ANSWERS["two"][1], "confirm_booking"),
            (2, "<b>bye</b> \u2603", "How can I help?", "greet"),
        ]
        assert gym.execute("SELECT count(DISTINCT conversation_id), count(*) FROM events").fetchone() == (1, 6)


def test_a_server_that_refuses_changes_nothing_and_gets_no_other_key(
    refusing: tuple[str, list[str | None]], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, keys = refusing
    monkeypatch.setenv("LANGSMITH_API_KEY", "SECRET")
    said, seen = run(url)
    assert said == SAID and set(keys) == {None}
    assert seen.startswith("not all was shown to the understudy: ") and "401" in seen and seen.count("\n") == 1
    keys.clear()
    run(url, "token")
    assert set(keys) == {"token"}


def test_a_server_that_is_not_there_changes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "SECONDS", 0.2)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        said, seen = run(f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert said == SAID and seen.startswith("not all was shown to the understudy: ")
