"""`Understudy`: what a chat app holds. Whatever happens, the app goes on, and what is lost is counted."""

import asyncio
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from understudy import GymError, InputError, NotObserved, ProfileError, Settings, Understudy, UnderstudyError
from understudy.benchmarks.prove import run_cli, without_checkpoint
from understudy.intake import CUT_MARK, MAX_DEPTH, MAX_TEXT
from understudy.tests.disks import small_disk
from understudy.tests.graph.test_host import everything

GYM = Path("brain_gym.db")


@pytest.fixture
def app(home: Path) -> Iterator[Understudy]:
    with Understudy(Settings()) as app:
        yield app


def rows(sql: str, path: Path = GYM) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as gym:
        return gym.execute(sql).fetchall()


def texts(path: Path = GYM) -> list[str]:
    return [text for (text,) in rows("SELECT text FROM events ORDER BY id", path)]


def until(true: Callable[[], Any]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come")


def test_what_is_said_is_in_the_log_when_the_call_returns(app: Understudy) -> None:
    berlin = datetime(2026, 11, 23, 11, tzinfo=timezone(timedelta(hours=1)))
    assert app.observe("c1", "hello", message_id="m1", profile="star", state={"step": 1}, customer={"name": "Ines"})
    assert app.replied("c1", "Hi", action="greet", message_id="m2", at="2026-11-23T10:00:00")
    assert app.observe("c1", "later", message_id="m3", profile="default", at=berlin)
    assert app.observe("c2", "\ud800\x00") and app.replied("c3", "Welcome")
    assert app.outcome("c1", "success", 0.9) and app.label("c1", 1, intent="weather")
    found = rows("SELECT conversation_id, seq, kind, turn, message_id, text, action, payload, profile FROM events")
    assert found[:3] == [
        (
            "c1",
            0,
            "customer_message",
            0,
            "m1",
            "hello",
            None,
            '{"state":{"step":1},"customer":{"name":"Ines"}}',
            "star",
        ),
        ("c1", 1, "agent_message", 0, "m2", "Hi", "greet", None, "star"),
        ("c1", 2, "customer_message", 1, "m3", "later", None, None, "star"),
    ]
    assert [row[2:6:3] for row in found[3:5]] == [("customer_message", "?\ufffd"), ("agent_message", "Welcome")]
    assert [json.loads(row[7]) for row in found[5:]] == [
        {"workflow_outcome": "success", "user_satisfaction": 0.9}, {"turn": 1, "fields": {"intent": "weather"}},
    ]  # fmt: skip
    ats = [at for (at,) in rows("SELECT at FROM events ORDER BY id")]
    assert ats[1:3] == ["2026-11-23T10:00:00Z"] * 2
    assert abs(datetime.fromisoformat(ats[0]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert len({name for (name,) in rows("SELECT message_id FROM events WHERE conversation_id <> 'c1'")}) == 2
    assert app.losses == {}


def test_a_message_that_repeats_is_written_once(app: Understudy) -> None:
    for text in ("hello", "hello", "changed"):
        assert app.observe("c1", text, message_id="m1")
    app.observe("c1", "more")
    assert rows("SELECT text, turn, seq FROM events") == [("hello", 0, 0), ("more", 1, 1)]


def test_a_reply_with_the_id_of_its_question_is_not_taken_for_a_repetition(
    app: Understudy, caplog: pytest.LogCaptureFixture
) -> None:
    assert app.observe("c1", "hello", message_id="m1") and not app.replied("c1", "Hi", message_id="m1")
    assert app.replied("c1", "Hi", message_id="m2") and app.replied("c2", "Hi", message_id="m1")
    assert not app.observe("c1", "more", message_id="m2")
    assert texts() == ["hello", "Hi", "Hi"] and app.losses == {"refused": 2}
    assert "message_id: a message of the customer has it; each needs one of its own" in caplog.text


def test_a_huge_message_is_cut_and_marked(app: Understudy) -> None:
    assert app.observe("c1", "x" * 3_000_000)
    (text,) = texts()
    assert len(text) == MAX_TEXT and text.endswith(CUT_MARK)


LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP
DEEP: tuple[Any, ...] = ()
for _ in range(MAX_DEPTH):
    DEEP = (DEEP,)  # JSON makes lists of them
WRONG: dict[str, Callable[[Any], Any]] = {
    "no text": lambda app: app.observe("c1", None),
    "bytes": lambda app: app.observe("c1", b"SECRET"),
    "no id": lambda app: app.observe("", "SECRET"),
    "a number for an id": lambda app: app.observe(7, "SECRET"),
    "a huge id": lambda app: app.observe("c" * 1_000_000, "SECRET"),
    "a huge message id": lambda app: app.observe("c1", "SECRET", message_id="m" * 1001),
    "a profile that is none": lambda app: app.observe("c1", "SECRET", profile="../star"),
    "a profile of another kind": lambda app: app.observe("c1", "SECRET", profile=["star"]),
    "a state that is no JSON": lambda app: app.observe("c1", "SECRET", state={"at": datetime.now(UTC)}),
    "a state deeper than can be read": lambda app: app.observe("c1", "SECRET", state={"a": DEEP}),
    "a number that no file holds": lambda app: app.observe("c1", "SECRET", customer={"points": (2**70,)}),
    "a state without end": lambda app: app.observe("c1", "SECRET", state=LOOP),
    "a customer that is no object": lambda app: app.observe("c1", "SECRET", customer="SECRET"),
    "a huge customer": lambda app: app.observe("c1", "SECRET", customer={"note": "SECRET" * 50_000}),
    "a time that is none": lambda app: app.observe("c1", "SECRET", at="yesterday"),
    "a number for a time": lambda app: app.observe("c1", "SECRET", at=1_800_000_000),
    "an action that is none": lambda app: app.replied("c1", "SECRET", action=7),
    "an outcome that is none": lambda app: app.outcome("known", "SECRET"),
    "too content": lambda app: app.outcome("known", user_satisfaction=float("nan")),
    "a turn that is not there": lambda app: app.label("known", 5, intent="booking"),
    "a field that is not there": lambda app: app.label("known", 0, mood="SECRET"),
    "a value that is none": lambda app: app.label("known", 0, intent="SECRET"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_has_not_its_form_is_refused_and_told_without_its_words(
    app: Understudy, caplog: pytest.LogCaptureFixture, wrong: Callable[[Any], Any]
) -> None:
    app.observe("known", "hello")
    assert wrong(app) is False
    assert app.losses == {"refused": 1} and texts() == ["hello"]
    (line,) = caplog.messages
    assert "refused" in line and "SECRET" not in line and len(line) < 1000
    with Understudy(Settings(brain_strict=True)) as strict, pytest.raises((InputError, ProfileError)):
        wrong(strict)


def test_an_outcome_of_an_unknown_conversation_is_counted(app: Understudy) -> None:
    assert not app.outcome("c1", "success") and not app.label("c1", 0, intent="booking")
    assert app.losses == {"unknown": 2} and texts() == []
    with Understudy(Settings(brain_strict=True)) as strict, pytest.raises(NotObserved, match="no message"):
        strict.outcome("c1", "success")


def test_many_threads_and_tasks_lose_nothing_and_keep_the_order(app: Understudy) -> None:
    def talk(name: str) -> bool:
        return all(app.observe(name, str(i)) for i in range(20))

    async def talks(name: str) -> bool:
        return all(await asyncio.gather(*(app.aobserve(name, str(i)) for i in range(20))))

    async def all_tasks() -> bool:
        return all(await asyncio.gather(*(talks(f"task {i}") for i in range(8))))

    with ThreadPoolExecutor(32) as threads:
        tasks = threads.submit(asyncio.run, all_tasks())
        assert all(threads.map(talk, [f"thread {i}" for i in range(32)])) and tasks.result()
    found = rows("SELECT conversation_id, seq, turn, text FROM events ORDER BY id")
    assert len(found) == 40 * 20 and app.losses == {}
    assert all(text == str(seq) == str(turn) for _, seq, turn, text in found)


async def test_the_asynchronous_twins_do_the_same(home: Path) -> None:
    async with Understudy(Settings()) as app:
        assert await app.aobserve("c1", "hello") and await app.areplied("c1", "Hi", action="greet")
        assert await app.aoutcome("c1", "failure") and await app.alabel("c1", 0, intent="booking")
        assert not await app.aobserve("c1", b"bytes")  # type: ignore[arg-type]
    assert [kind for (kind,) in rows("SELECT kind FROM events")] == [
        "customer_message", "agent_message", "outcome", "label",
    ]  # fmt: skip
    assert not await app.aobserve("c1", "late") and not app.observe("c1", "late")
    assert app.losses == {"closed": 2, "refused": 1}
    app.close()


async def test_a_call_that_waits_for_its_turn_is_done_though_its_caller_is_cancelled(app: Understudy) -> None:
    app.wait_seconds = 60.0
    with closing(sqlite3.connect(GYM, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first, second = (asyncio.create_task(app.aobserve("c1", text)) for text in ("one", "two"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait((second,))
        other.execute("ROLLBACK")
    assert await first and second.cancelled()
    await app.aclose()
    assert texts() == ["one", "two"] and app.losses == {}


def test_a_worker_reads_what_comes_and_the_shadow_of_it_is_whole(home: Path) -> None:
    before = set(threading.enumerate())
    with Understudy(Settings(), worker=True) as app:
        for i in range(6):
            assert app.observe(f"c{i}", "Can you take my van on Friday?") and app.replied(f"c{i}", "Yes", action="book")
            assert app.observe(f"c{i}", "thanks") and app.outcome(f"c{i}", "success")
        assert app.label("c0", 0, intent="booking")
        until(lambda: rows("SELECT count(*) FROM events WHERE processed_at IS NULL") == [(0,)])
    assert rows("SELECT conversation_id, turn FROM brain_decisions ORDER BY 1, 2") == [
        (f"c{i}", turn) for i in range(6) for turn in (0, 1)
    ]
    assert rows(
        "SELECT DISTINCT response_sent, action_taken, workflow_outcome FROM brain_decisions WHERE turn = 0"
    ) == [("Yes", "book", "success")]
    assert rows("SELECT value FROM evidence WHERE source = 'human'") == [('"booking"',)]
    assert without_checkpoint(GYM) == 0 and rows("SELECT * FROM lease") == [] and app.losses == {}
    assert not [one.name for one in set(threading.enumerate()) - before if one.name.startswith("understudy")]


def test_a_worker_that_fails_begins_again_and_the_app_does_not_notice(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from understudy import worker

    monkeypatch.setattr(worker, "PAUSE_SECONDS", (0.01, 0.02))
    open_inbox, failures = worker.open_inbox, iter([RuntimeError("SECRET"), GymError("no")])

    def fails(*args: Any) -> Any:
        if error := next(failures, None):
            raise error
        return open_inbox(*args)

    monkeypatch.setattr(worker, "open_inbox", fails)
    with Understudy(Settings(), worker=True) as app:
        assert app.observe("c1", "hello")
        until(lambda: rows("SELECT count(*) FROM brain_decisions") == [(1,)])
    told = [line for line in caplog.messages if "worker has failed" in line]
    assert len(told) == 2 and "SECRET" not in caplog.text and app.losses == {}


def test_a_worker_goes_over_to_the_gym_that_replaces_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.worker.PAUSE_SECONDS", (0.01, 0.02))
    with Understudy(Settings(), worker=True) as app:
        assert app.observe("c1", "hello")
        until(lambda: rows("SELECT count(*) FROM brain_decisions") == [(1,)])
        (home / "before").mkdir()
        for file in list(home.glob("brain_gym.db*")):
            file.rename(home / "before" / file.name)
        assert not app.observe("c1", "lost") and app.observe("c2", "hello")
        until(lambda: rows("SELECT conversation_id FROM brain_decisions") == [("c2",)])
        assert app.losses == {"unusable": 1}


async def test_a_worker_leaves_a_host_s_streams_alone(home: Path) -> None:
    alone = await everything(lambda text: None)
    with Understudy(Settings(), worker=True) as app:
        assert await everything(lambda text: app.observe("c1", text)) == alone
        until(lambda: rows("SELECT count(*) FROM brain_decisions") == [(9,)])


def test_while_another_program_holds_the_file_the_app_goes_on(
    app: Understudy, caplog: pytest.LogCaptureFixture
) -> None:
    app.observe("c1", "before")
    with closing(sqlite3.connect(GYM, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(8) as threads:
            assert not any(threads.map(lambda i: app.observe("c1", f"lost {i}"), range(8)))
        with Understudy(Settings(brain_strict=True)) as strict, pytest.raises(GymError, match="locked"):
            strict.observe("c1", "lost")
        other.execute("ROLLBACK")
    assert app.observe("c1", "after") and texts() == ["before", "after"]
    assert app.losses == {"locked": 8} and len(caplog.messages) == 1
    app.close()
    assert json.loads(run_cli("status", "--json")[1])["lost"] == {"locked": 8}


def test_a_call_waits_for_another_program_s_write(app: Understudy) -> None:
    app.wait_seconds = 60.0
    with closing(sqlite3.connect(GYM, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        ends = threading.Timer(0.1, other.execute, ["ROLLBACK"])
        ends.start()
        assert app.observe("c1", "hello") and app.losses == {}
        ends.join()


def test_on_a_full_disk_the_app_goes_on_and_what_is_lost_is_written_down_later(home: Path) -> None:
    with small_disk(home / "disk", "3m") as disk:
        gym, filler = disk / "brain_gym.db", disk / "filler"
        with Understudy(Settings(rl_gym_db_path=gym)) as app:
            assert app.observe("c1", "before")
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError):
                while file.write(b"x" * 65_536) == 65_536:
                    pass
                os.write(file.fileno(), b"x" * 65_536)
            while app.observe("c1", "x" * 50_000):
                pass
            assert app.losses == {"full": 1}
            filler.unlink()
            assert app.observe("c1", "after")
        assert texts(gym)[0] == "before" and texts(gym)[-1] == "after"
        assert rows("SELECT reason, calls, first_at = last_at FROM losses", gym) == [("full", 1, 1)]


def test_a_gym_that_cannot_be_opened_is_opened_later(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.door.REOPEN_SECONDS", 0.0)
    GYM.mkdir()
    with pytest.raises(GymError):
        Understudy(Settings(brain_strict=True))
    with Understudy(Settings()) as app:
        assert not app.observe("c1", "lost")
        GYM.rmdir()
        assert app.observe("c1", "kept")
    assert texts() == ["kept"] and rows("SELECT reason, calls FROM losses") == [("unusable", 1)]


def test_settings_that_are_wrong_stop_the_start(home: Path) -> None:
    with pytest.raises(UnderstudyError, match="no profile 'nobody'"):
        Understudy(Settings(brain_profile="nobody"))


@pytest.mark.parametrize("name", ["brain_enabled", "rl_gym_enabled"])
def test_switched_off_it_writes_nothing(home: Path, name: str) -> None:
    with Understudy(Settings(**{name: False}), worker=True) as app:
        assert not app.observe("c1", "hello") and not app.label("c1", 0, intent="booking") and app.losses == {}
    assert list(home.iterdir()) == []


def test_a_share_of_the_conversations_is_observed_as_a_whole(home: Path) -> None:
    names = [f"c{i}" for i in range(400)]
    with Understudy(Settings(observe_share=0.5)) as half, Understudy(Settings(observe_share=0.1)) as few:
        taken = {name for name in names if half.observe(name, "hello")}
        assert 150 < len(taken) < 250 and all(half.replied(name, "Hi") == (name in taken) for name in names)
        assert {name for name in names if few.observe(name, "more")} < taken
        assert not any(half.outcome(name, "success") for name in names if name not in taken)
        assert half.losses == few.losses == {}


def test_a_full_inbox_takes_no_new_conversation_and_begins_none_in_its_middle(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.door.COUNT_SECONDS", 0.0)
    with Understudy(Settings(inbox_max=2)) as app:
        assert app.observe("c1", "one") and app.observe("c2", "two")
        assert not app.observe("c3", "three") and app.observe("c1", "four") and app.replied("c2", "five")
        with closing(sqlite3.connect(GYM)) as gym, gym:
            gym.execute("UPDATE events SET processed_at = 'now'")
        assert not app.replied("c3", "six") and not app.outcome("c3", "success") and app.observe("c4", "seven")
    assert texts() == ["one", "two", "four", "five", "seven"] and app.losses == {"inbox_full": 3}


def test_the_log_beside_the_gym_is_folded_in_when_it_is_long(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.keeper.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("understudy.keeper.LOG_BYTES", 10_000_000)
    with Understudy(Settings()) as app:
        for i in range(400):
            assert app.observe(f"c{i}", "x" * 90_000)
        until(lambda: Path("brain_gym.db-wal").stat().st_size < 10_000_000)
        assert app.observe("c1", "more") and len(texts()) == 401


def run(code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_loads_neither_dspy_nor_langgraph(home: Path) -> None:
    code = (
        "import sys, understudy\nwith understudy.Understudy() as app:\n assert app.observe('c1', 'hello')\n"
        "print([m for m in ('dspy', 'langgraph', 'langchain_core') if m in sys.modules])"
    )
    out, err = run(code).communicate()
    assert (out, err) == ("[]\n", "") and texts() == ["hello"]


FORK = """
import os
from understudy import Understudy
app = Understudy(worker=True)
app.observe("parent", "0")
children = []
for i in range(3):
    if (child := os.fork()) == 0:
        told = [app.observe(f"child {i}", str(n)) for n in range(50)]
        app.close()
        os._exit(0 if all(told) and not app.losses else 1)
    children.append(child)
    app.observe("parent", str(i + 1))
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
assert app.observe("parent", "4") and app.losses == {}
app.close()
"""


def test_forks_write_beside_each_other(home: Path) -> None:
    out, err = run(FORK).communicate(timeout=60)
    # A child's worker may say that another one reads the inbox.
    assert out == "" and all("this one takes over when that has ended" in line for line in err.splitlines())
    found = rows("SELECT conversation_id, text FROM events ORDER BY conversation_id, seq")
    assert found == [(f"child {i}", str(n)) for i in range(3) for n in range(50)] + [
        ("parent", str(n)) for n in range(5)
    ]
    assert rows("PRAGMA integrity_check") == [("ok",)]


TORN = """
import os, subprocess, sys, threading
from understudy import Understudy, door
app = Understudy()
app.wait_seconds, door.SECONDS_BEFORE_FORK = 60.0, 0.01
app.observe("parent", "0")
code = "import sqlite3; c = sqlite3.connect('brain_gym.db').execute('BEGIN IMMEDIATE'); print(flush=True); input()"
other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
other.stdout.readline()
call = threading.Thread(target=app.observe, args=("parent", "1"))
call.start()
while not app._door._lock.locked():
    pass
if (child := os.fork()) == 0:
    app.observe("child", "0")
    app.close()
    os._exit(app.losses != {"closed": 1})
assert os.waitpid(child, 0)[1] == 0
other.communicate(b"end")
call.join()
assert app.observe("parent", "2") and app.losses == {}
app.close()
"""


def test_a_fork_in_the_middle_of_a_call_holds_up_nobody(home: Path) -> None:
    out, err = run(TORN).communicate(timeout=30)
    assert out == "" and err.startswith("1 not observed") and err.count("\n") == 1 and "start it again" in err
    assert texts() == ["0", "1", "2"]


CHATTER = """
import sys
from understudy import Understudy
app = Understudy(worker=True)
for n in range(100_000):
    if app.observe(f"{sys.argv[1]} {n % 5}", str(n), message_id=str(n)):
        print(n, flush=True)
"""


def test_what_a_killed_app_was_told_is_written_is_read_once_and_in_order(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEASE_SECONDS", "1")
    told: dict[str, list[str]] = {}
    for name in ("one", "two"):
        process = run(CHATTER, name)
        assert process.stdout is not None
        told[name] = [process.stdout.readline().strip() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        told[name] += process.stdout.read().split()
        process.communicate()
    with Understudy(Settings(), worker=True):
        until(lambda: rows("SELECT count(*) FROM events WHERE processed_at IS NULL") == [(0,)])
    found = rows("SELECT conversation_id, turn, message_id FROM brain_decisions ORDER BY conversation_id, turn")
    for name, numbers in told.items():
        written = {message for c, _, message in found if c.startswith(name)}
        assert set(numbers) <= written and len(written) - len(numbers) <= 1
    for c in {c for c, _, _ in found}:
        numbers = [int(message) for other, _, message in found if other == c]
        assert numbers == sorted(set(numbers)) and [t for o, t, _ in found if o == c] == list(range(len(numbers)))
    assert without_checkpoint(GYM) == 0


def test_an_app_that_forgets_to_close_ends_all_the_same(home: Path) -> None:
    code = (
        "from understudy import Understudy\napp = Understudy(worker=True)\napp.observe('c1', 'x')\napp.observe('c1', 7)"
    )
    process = run(code)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (0, "", 1) and "refused" in err
    assert texts() == ["x"] and rows("SELECT reason, calls FROM losses") == [("refused", 1)]


def test_a_host_s_log_is_told_once_a_minute(app: Understudy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(100):
        app.observe("c1", None)  # type: ignore[arg-type]
    assert len(caplog.messages) == 1 and app.losses == {"refused": 100}
