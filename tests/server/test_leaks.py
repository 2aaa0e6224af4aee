"""What is told to the server is in the gym alone: in no other file, and in no line of its log, whatever goes wrong."""

import json
import re
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from websockets.sync.client import connect

from understudy.benchmarks.dev_server import DevServer, langgraph_dev
from understudy.tests.ollama.server import OllamaServer
from understudy.tests.test_nothing_leaves import found_below

pytest.importorskip("langgraph_api")
pytest.importorskip("nicegui")

WORD = f"word-{uuid4()}"
ID = "chat\n7/\x1b[2J\u202e"
PAGES = (
    "/", "/conversations", f"/conversations/one?id={quote(ID)}", "/review", "/versions", "/versions/intent", "/ab",
    "/ab/course?test=x", "/dreams", "/jobs", "/settings", "/reports/x", "/nowhere",
)  # fmt: skip
ONE = f"/conversations/{quote(ID, safe='')}"
ROUTES = (ONE, "/conversations", "/decisions", "/status", "/settings", "/runs", "/ab")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server with a model server and the most talkative log; at its end, files and log are looked through."""
    folder = tmp_path_factory.mktemp("leaks")
    with OllamaServer() as models:
        more = {"LOG_LEVEL": "DEBUG", "LOG_COLOR": "false", "LM_PROVIDER": "ollama", "OLLAMA_BASE_URL": models.url}
        with langgraph_dev(folder, "--server-log-level", "DEBUG", SCHEDULER_ENABLED="false", **more) as server:
            yield server
    assert any(WORD in json.dumps(asked.body) for asked in models.requests if asked.path == "/api/chat")
    log = server.log
    assert "/api/chat" not in log, "a line for each call to a model"
    assert "GET /brain/conversations 200" in log and "[debug" in log, "the log is written"
    assert found_below(folder, WORD) == {}, "words outside the gym"
    assert "\x1b[2J" not in log and "\u202e" not in log, "a path is obeyed by a terminal"
    assert "Traceback" not in log


def read(server: DevServer, path: str) -> tuple[int, str]:
    """Return status and text of what a browser is shown."""
    request = urllib.request.Request(f"{server.url}/brain{path}", headers={"accept": "text/html"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_what_is_told_is_shown_and_kept_nowhere_else(server: DevServer) -> None:
    said = {"conversation_id": ID, "text": f"I am {WORD}", "state": {"note": WORD}, "customer": {"name": WORD}}
    server.call("/brain/observe", said)
    server.call("/brain/replied", {"conversation_id": ID, "text": f"Dear {WORD}", "action": WORD})
    server.call("/brain/labels", {"conversation_id": ID, "turn": 0, "fields": {"intent": "booking"}, "author": WORD})
    server.post(server.thread(), input={"messages": [{"role": "user", "content": f"I am {WORD} too"}]})
    for body in ({**said, "profile": WORD}, {**said, WORD: 1}, {**said, "state": [WORD]}, {**said, "at": WORD}):
        assert server.answer("/brain/observe", body)[0] in (404, 422)
    thread = server.thread()
    server.post(thread, input={"messages": [{"role": "user", "content": f"I am {WORD}"}]})
    wrong = {"role": WORD, "content": WORD}
    for route, misshapen, status in (
        ("runs/wait", {"input": {"messages": [{"role": "user", "content": WORD}]}}, 422),  # no assistant
        ("state", {"values": {"messages": [wrong]}, "as_node": "record"}, 422),
        ("state", {"values": [wrong], "as_node": "record"}, 400),
        ("state", {"values": {"readings": {"intent": {WORD: 1}}}, "as_node": "intent"}, 200),
        ("runs/wait", {"assistant_id": "shadow", "input": None}, 200),  # goes on with that reading
        ("runs/wait", {"assistant_id": "shadow", "input": WORD}, 200),
    ):
        assert server.answer(f"/threads/{thread}/{route}", misshapen)[0] == status, misshapen
    shown = {path: read(server, path) for path in (*(f"/ui{page}" for page in PAGES), *ROUTES)}
    missing = {"/ui/nowhere", "/ui/reports/x", "/ui/ab/course?test=x"}
    assert {path for path, (status, _) in shown.items() if status != 200} == missing
    telling = {path for path, (_, text) in shown.items() if WORD in text}
    assert {f"/ui{PAGES[1]}", f"/ui{PAGES[2]}", *ROUTES[:2]} <= telling
    assert not telling & {"/ui/settings", "/ui/jobs", "/settings", "/status"}


def test_a_row_that_cannot_be_read_is_told_without_its_words(server: DevServer) -> None:
    server.call("/brain/observe", {"conversation_id": "damaged", "text": "hello"})
    server.call("/brain/labels", {"conversation_id": "damaged", "turn": 0, "fields": {"intent": "booking"}})
    with closing(sqlite3.connect(server.gym)) as gym, gym:
        gym.execute("UPDATE evidence SET source = ? WHERE conversation_id = 'damaged'", [WORD])
    for path in ("/ui/conversations/one?id=damaged", "/conversations/damaged"):
        status, text = read(server, path)
        assert status == 500 and "a defect of understudy, please report it: ValidationError in" in text, path
        assert WORD not in text and "Traceback" not in text
    assert len(re.findall("a defect of understudy, please report it: ValidationError", server.log)) == 2


def test_what_a_browser_sends_to_a_page_is_not_written_down(server: DevServer) -> None:
    server.call("/brain/observe", {"conversation_id": "asked", "text": "hello"})
    _, html = read(server, "/ui/review")
    query = dict(re.findall(r"'(\w+)': '?([\w-]+)'?", html.partition("query: {")[2].partition("}")[0]))
    _, element, listener = re.findall(r'(,|\{)"(\d+)":\{"tag":"nicegui-keyboard".*?"listener_id":"([\w-]+)"', html)[0]
    query |= {"tab_id": "t", "document_id": "d", "implicit_handshake": "true", "EIO": "4", "transport": "websocket"}
    told = {"client_id": query["client_id"], "level": "error", "message": f"{WORD}\x1b[2J"}
    key = {"client_id": query["client_id"], "id": int(element), "listener_id": listener, "args": [f'"{WORD}"']}
    wire = f"ws://127.0.0.1:{server.port}/brain/ui/_nicegui_ws/socket.io/?{urlencode(query)}"
    secret = {"cookie": f"understudy_session={WORD}", "authorization": f"Bearer {WORD}"}
    with connect(wire, additional_headers=secret, proxy=None) as live:
        live.send("40")
        while not str(live.recv(10)).startswith("40"):
            pass
        for name, sent in (("log", told), ("event", key)):
            live.send(f"42{json.dumps([name, sent])}")
        for _ in range(100):
            if "TypeError in " in server.log:
                break
            time.sleep(0.05)
    assert server.log.count("a defect of understudy, please report it: TypeError in ") == 1


def test_no_number_in_an_address_is_too_large_for_a_page(server: DevServer) -> None:
    for path in ("/dreams?upto=", "/ab?skip=", "/conversations?before=", "/conversations/one?id=x&after="):
        for number in ("9" * 30, f"-{'9' * 30}", "1e5", "\x00", "x" * 10_000):
            assert read(server, f"/ui{path}{quote(number)}")[0] in (200, 404), (path, number[:20])


def test_without_a_gym_every_page_says_so_in_a_line(tmp_path: Path) -> None:
    with langgraph_dev(tmp_path, SCHEDULER_ENABLED="false", RL_GYM_ENABLED="false") as server:
        for page in PAGES:
            status, text = read(server, f"/ui{page}")
            assert status in (200, 404, 503) and "Traceback" not in text, page
            if page not in ("/versions", "/versions/intent", "/settings", "/nowhere"):
                assert "RL_GYM_ENABLED=false: there is" in text, page
        for route in ROUTES:
            assert read(server, route)[0] == (200 if route == "/settings" else 503), route
        assert "Traceback" not in server.log
