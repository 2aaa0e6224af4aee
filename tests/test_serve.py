"""`understudy serve`: it reads what comes, one process at a time, and ends when it is told to."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.benchmarks.prove import COMMAND, run_cli, without_checkpoint
from understudy.checkpoints.file import GymError
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import INBOX, SCHEDULER
from understudy.events import Event
from understudy.graph.due import outlook
from understudy.nodes.brain import Brain
from understudy.serve import serve
from understudy.settings import Settings
from understudy.tests.ollama.reply import embedded_reply
from understudy.tests.ollama.server import OllamaServer


@pytest.fixture
def gym(home: Path) -> Iterator[Gym]:
    gym = Gym(home / "brain_gym.db")
    yield gym
    gym.close()


def post(gym: Gym, conversation_id: str, *texts: str, profile: str = "default") -> None:
    gym.append(conversation_id, [Event(kind="customer_message", text=text, message_id=text) for text in texts], profile)


def decisions(gym: Gym) -> int:
    return gym.counts()["decisions"]


async def until(true: Callable[[], Any]) -> None:
    for _ in range(3000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come")


class Served:
    """`understudy serve` in a process of its own."""

    def __init__(self, name: str, **environment: str) -> None:
        self.log = Path(f"{name}.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--json"], env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=log
            )

    def said(self, text: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return text in self.log.read_text()

    def end(self, how: signal.Signals) -> dict[str, Any]:
        self.process.send_signal(how)
        out, _ = self.process.communicate(timeout=10)
        assert self.process.returncode == 0, self.log.read_text()
        found: dict[str, Any] = json.loads(out)
        return found


async def run(brain: Brain, during: Callable[[list[str]], Any]) -> tuple[dict[str, Any], list[str]]:
    """Serve in this process until `during` is done."""
    said: list[str] = []
    serving = asyncio.create_task(serve(brain, said.append))
    await until(lambda: any(line.startswith("gym ") for line in said))
    try:
        await during(said)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        found = await serving
    return found, said


async def test_it_reads_what_is_posted_and_says_what_it_did(gym: Gym) -> None:
    post(gym, "c1", "hello", "a wash please")

    async def during(said: list[str]) -> None:
        await until(lambda: decisions(gym) == 2)
        post(gym, "c2", "and mine?")
        post(gym, "c1", "on Friday")
        await until(lambda: decisions(gym) == 4 and gym.inbox() == [])

    found, said = await run(Brain(Settings()), during)
    assert {k: found[k] for k in ("turns", "conversations", "stopped")} == {
        "turns": 4, "conversations": 2, "stopped": "SIGTERM",
    }  # fmt: skip
    assert said[0] == "gym brain_gym.db, profile default, engine embedded; Ctrl-C ends it"
    assert said[1].startswith("optimize: after 100 more decisions") and said[2].startswith("dream: ")
    assert without_checkpoint(gym.path) == 0 and not gym.jobs.holder(SCHEDULER) and not gym.jobs.holder(INBOX)


async def test_a_conversation_that_cannot_be_read_holds_up_no_other(gym: Gym) -> None:
    post(gym, "odd", "hello", profile="no_such_profile")
    post(gym, "fine", "hello")

    async def during(said: list[str]) -> None:
        await until(lambda: decisions(gym) == 1)

    found, said = await run(Brain(Settings()), during)
    assert found["turns"] == 1 and gym.inbox() == ["odd"]
    told = [line for line in said if "no_such_profile" in line]
    assert len(told) == 1 and told[0].startswith("conversation 'odd': no profile") and "tried again" in told[0]


async def test_it_ends_when_its_gym_is_another_file(home: Path) -> None:
    said: list[str] = []
    serving = asyncio.create_task(serve(Brain(Settings()), said.append))
    await until(lambda: any(line.startswith("gym ") for line in said))
    os.rename("brain_gym.db", "moved.db")
    with pytest.raises(GymError, match="removed, moved or replaced while it was in use; start again"):
        await asyncio.wait_for(serving, 30)


async def test_while_the_model_server_is_down_it_waits_and_says_so_once(
    gym: Gym, ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.observing.PROBE_SECONDS", 0.05)
    monkeypatch.setattr("understudy.lm.server.PROBE_SECONDS", 0.05)
    monkeypatch.setattr("understudy.lm.server.PAUSE_SECONDS", 0.01)
    ollama.stop()
    post(gym, "c1", "hello")

    async def during(said: list[str]) -> None:
        await until(lambda: any("waiting for the model server" in line for line in said))
        await asyncio.sleep(0.5)
        assert decisions(gym) == 0 and gym.inbox() == ["c1"]
        ollama.start()
        await until(lambda: decisions(gym) == 1)

    found, said = await run(Brain(Settings()), during)
    assert found["turns"] == 1 and sum("waiting for the model server" in line for line in said) == 1


async def test_without_a_scheduler_the_inbox_is_read_and_status_says_why_nothing_else_runs(gym: Gym) -> None:
    post(gym, "c1", "hello")
    brain = Brain(Settings(scheduler_enabled=False))

    async def during(said: list[str]) -> None:
        await until(lambda: decisions(gym) == 1)
        assert gym.jobs.holder(SCHEDULER) is None and gym.jobs.holder(INBOX) is not None

    _, said = await run(brain, during)
    assert "SCHEDULER_ENABLED=false" in said[1] and "SCHEDULER_ENABLED=false" in said[2]
    assert {one["reason"] for one in outlook(gym, brain.settings, "default")} == {"SCHEDULER_ENABLED=false"}


@pytest.mark.parametrize("name", ["BRAIN_ENABLED", "RL_GYM_ENABLED"])
def test_switched_off_it_says_so(home: Path, name: str) -> None:
    status, out, err = run_cli("serve", **{name: "false"})
    assert (status, out) == (1, "")
    assert err == f"understudy: {name}=false: nothing can be observed; set it to true\n"


async def test_a_second_one_waits_and_takes_over(gym: Gym) -> None:
    first = Served("first", LEASE_SECONDS="2")
    await until(lambda: gym.jobs.holder(INBOX) and gym.jobs.holder(SCHEDULER))
    second = Served("second", LEASE_SECONDS="2")
    await until(lambda: second.said(f"the inbox is read by process {first.process.pid} (understudy serve)"))
    jobs = json.loads(run_cli("status", "--json")[1])["jobs"]
    assert {one["owner"]["pid"] for one in jobs} == {first.process.pid} and {one["name"] for one in jobs} == {
        "optimize", "dream", "retention",
    }  # fmt: skip
    assert "optimize after 100 more decisions; has not run yet" in run_cli("status")[1]
    for i in range(3):
        post(gym, f"c{i}", "hello", "a wash please")
    # A turn that has its row and not yet its checkpoint is read again by the next one: see to it that none is.
    await until(lambda: decisions(gym) == 6 and without_checkpoint(gym.path) == 0)
    first.process.kill()
    first.process.communicate()
    for i in range(30):
        post(gym, f"d{i}", "hello", "a wash please")
    await until(lambda: decisions(gym) > 10)
    found = second.end(signal.SIGINT)  # in the middle of it
    assert found["stopped"] == "SIGINT" and 0 < found["turns"] == decisions(gym) - 6
    assert gym.jobs.holder(INBOX) is None and gym.jobs.holder(SCHEDULER) is None
    counts = gym.counts()
    assert counts["decisions"] + counts["backlog"] == 66 and without_checkpoint(gym.path) == 0


async def test_a_turn_of_a_slow_model_is_put_off_and_not_lost(
    gym: Gym, ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    quick = threading.Event()

    def slowly(messages: Any, form: Any, options: Any) -> str:
        asked.append(messages)
        quick.wait(30)
        return embedded_reply(messages, form, options)

    monkeypatch.setattr("understudy.inbox.SECONDS_TO_FINISH", 0.2)
    ollama.reply = slowly
    post(gym, "c1", "hello")

    async def during(said: list[str]) -> None:
        await until(lambda: len(asked) >= 4)

    found, _ = await run(Brain(Settings()), during)
    assert (found["turns"], decisions(gym), gym.inbox()) == (0, 0, ["c1"])
    quick.set()

    async def later(said: list[str]) -> None:
        await until(lambda: decisions(gym) == 1)

    found, _ = await run(Brain(Settings()), later)
    assert (found["turns"], gym.inbox(), without_checkpoint(gym.path)) == (1, [], 0)


def test_a_signal_ends_it_in_time_whatever_the_model_does(gym: Gym, ollama: OllamaServer) -> None:
    ollama.reply = lambda messages, form, options: time.sleep(12) or embedded_reply(messages, form, options)
    post(gym, "c1", "hello")
    served = Served("slow", OLLAMA_TIMEOUT="30")
    for _ in range(3000):
        if any(seen.path == "/api/chat" and seen.body.get("messages") for seen in ollama.requests):
            break
        time.sleep(0.01)
    found = served.end(signal.SIGTERM)
    assert (found["turns"], gym.inbox()) == (0, ["c1"])


async def test_it_says_so_when_another_program_holds_the_gym_to_the_end(
    gym: Gym, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.serve.SECONDS_TO_END", 0.2)
    ended: list[int] = []
    said: list[str] = []
    other = sqlite3.connect(gym.path, isolation_level=None, check_same_thread=False)

    def end(code: int) -> None:
        ended.append(code)
        other.execute("ROLLBACK")

    monkeypatch.setattr("understudy.serve.os._exit", end)
    serving = asyncio.create_task(serve(Brain(Settings()), said.append))
    await until(lambda: gym.jobs.holder(INBOX) and gym.jobs.holder(SCHEDULER))
    other.execute("BEGIN IMMEDIATE")
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    other.close()
    assert ended == [1] and said[-1].startswith("gym brain_gym.db: could not be closed in 0 s, another program seems")
