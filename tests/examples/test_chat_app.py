"""The web chat: what a customer gets is the same with and without an understudy, over real sockets, byte by byte."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from understudy import Settings, Understudy

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
from understudy.examples.chat_app import app as example  # noqa: E402

ID = "5f0c2b7e-9a34-4c1d-8f21-0d6b3a9e7c55"
TALK = ["How much is a full clean?", "  Is Friday free? \u2603 ", "at two", "<img src=x onerror=alert(1)>", "thanks"]
BAD = [b"", b"{", b'{"text": " "}', b'{"text": 5}', json.dumps({"text": "x" * 2001}).encode(), b"x" * 30_000]


@contextmanager
def served(**settings: Any) -> Iterator[tuple[int, Understudy]]:
    """Serve the chat from a thread; it is given by its port."""
    with Understudy(Settings(**settings), worker=True) as app, socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        config = uvicorn.Config(example.create_app(app, seconds_a_word=0), log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([door],))
        thread.start()
        try:
            yield door.getsockname()[1], app
        finally:
            server.should_exit = True
            thread.join()


def exchange(port: int, method: str, path: str, body: bytes = b"", cookie: str = f"chat={ID}") -> bytes:
    """Return the answer as it comes over the wire, without the time of day."""
    head = f"{method} {path} HTTP/1.1\r\nhost: chat\r\nconnection: close\r\n"
    head += f"cookie: {cookie}\r\ncontent-length: {len(body)}\r\n\r\n"
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        wire.sendall(head.encode() + body)
        while part := wire.recv(65_536):
            found += part
    return re.sub(rb"\r\ndate: [^\r]*| expires=[^;]*;", b"", found)


def said(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


def everything(port: int) -> list[bytes]:
    """All that a customer's browser can get."""
    answers = [exchange(port, "GET", path) for path in ("/", "/chat.js", "/style.css", "/icon.svg", "/app.py")]
    answers += [exchange(port, "POST", "/messages", said(text)) for text in TALK]
    answers += [exchange(port, "POST", path, body) for path in ("/messages", "/outcome") for body in BAD]
    answers += [exchange(port, "POST", "/outcome", json.dumps({"helped": helped}).encode()) for helped in (True, False)]
    answers.append(exchange(port, "POST", "/outcome", b'{"helped": true}', cookie="chat=x"))
    return answers


def rows(sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect("brain_gym.db")) as gym:
        return gym.execute(sql).fetchall()


def events(answer: bytes) -> list[tuple[str, str]]:
    """The events of a stream, in chunks as they were sent."""
    found = re.findall(rb"\r\n[0-9a-f]+\r\nevent: (\w+)\ndata: (.*)\n\n", answer)
    return [(name.decode(), json.loads(data)) for name, data in found]


def test_a_customer_gets_the_same_bytes_with_and_without_an_understudy(home: Path) -> None:
    with served(brain_enabled=False) as (port, app):
        alone = everything(port)
        assert app.losses == {} and list(home.iterdir()) == []
    with served() as (port, app):
        assert everything(port) == alone
        assert app.losses == {}
    (home / "file").touch()
    with served(rl_gym_db_path=home / "file" / "brain_gym.db") as (port, app):
        assert everything(port) == alone
        assert app.losses == {"unusable": 2 * len(TALK) + 2}
    statuses = [int(answer.split()[1]) for answer in alone]
    assert statuses == [200] * 4 + [404] + [200] * len(TALK) + ([422] * 5 + [413]) * 2 + [204] * 2 + [409]
    assert [text for _, _, text, _ in [*kept()]][::2] == [text.strip() for text in TALK]


def kept() -> list[tuple[Any, ...]]:
    return rows("SELECT turn, kind, text, action FROM events WHERE text IS NOT NULL ORDER BY seq")


def test_what_is_said_is_shown_to_the_understudy_and_read(home: Path) -> None:
    with served() as (port, _):
        first = exchange(port, "POST", "/messages", said(TALK[0]), cookie="")
        (cookie,) = re.findall(rb"\r\nset-cookie: ([^\r]*)", first)
        name = cookie.decode().partition("=")[2].partition(";")[0]
        assert UUID(name).version == 4 and b"HttpOnly" in cookie and b"SameSite=strict" in cookie
        price = example.answer(TALK[0])
        assert price.action == "quote_price" and len(events(first)) == len(price.text.split()) + 1
        assert "".join(word for kind, word in events(first) if kind == "word") == price.text
        second = exchange(port, "POST", "/messages", said(TALK[1]), cookie=f"chat={name}")
        assert b"set-cookie" not in second and events(second)[-1] == ("end", "")
        ended = exchange(port, "POST", "/outcome", b'{"helped": true}', cookie=f"chat={name}")
        assert b'set-cookie: chat="";' in ended
        for _ in range(600):
            if rows("SELECT count(workflow_outcome) FROM brain_decisions") == [(2,)]:
                break
            time.sleep(0.05)
    assert kept() == [
        (0, "customer_message", TALK[0], None), (0, "agent_message", price.text, "quote_price"),
        (1, "customer_message", TALK[1].strip(), None), (1, "agent_message", example.ANSWERS[2].text, "offer_times"),
    ]  # fmt: skip
    assert rows("SELECT conversation_id, action_taken, workflow_outcome FROM brain_decisions ORDER BY turn") == [
        (name, "quote_price", "success"), (name, "offer_times", "success"),
    ]  # fmt: skip


def test_the_page_asks_nobody_else_and_shows_text_as_text() -> None:
    page = Path(example.__file__).parent / "page"
    for path in page.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", "") and not re.search("innerHTML|insertAdjacent|eval|srcdoc", text), path
    html = (page / "index.html").read_text(encoding="utf-8")
    assert "default-src 'self'" in html and 'role="log"' in html and '<label for="message">' in html
    assert set(re.findall(r'(?:src|href)="([^"]*)"', html)) == {p.name for p in page.iterdir()} - {"index.html"}


def test_one_command_runs_it_and_ctrl_c_ends_it(home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, example.__file__, "--port", str(port)]
    wrong = subprocess.run(command, env={**os.environ, "BRAIN_PROFILE": "no"}, capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("no profile 'no'") and wrong.stderr.count("\n") == 1
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                answer = exchange(port, "POST", "/messages", said("hello"))
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        assert "".join(word for _, word in events(answer)) == example.NONE_FITS.text
    finally:
        process.send_signal(2)
        process.wait(20)
    assert [text for _, _, text, _ in kept()] == ["hello", example.NONE_FITS.text]
