"""A model server that comes and goes, as the one who replays conversations sees it."""

import asyncio
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from understudy.benchmarks.prove import COMMAND, rows, run_cli, timeless, write
from understudy.lm import server as server_file
from understudy.nodes.brain import Brain
from understudy.nodes.modules import MODULES
from understudy.replay import replay
from understudy.settings import Settings
from understudy.status import status
from understudy.tests.gyms import bundled
from understudy.tests.ollama.model import Model
from understudy.tests.ollama.server import OllamaServer

TALKS = [
    {
        "conversation_id": f"c{i}",
        "messages": [
            {"role": "customer", "text": f"this is ridiculous, take my van on day {i}"},
            {"role": "agent", "text": "At what time?", "action": "ask_time"},
            {"role": "customer", "text": "at nine, and hurry up"},
        ],
        "outcome": {"workflow_outcome": "success"},
    }
    for i in range(4)
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_TIMEOUT", "2")
    monkeypatch.setattr(server_file, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(server_file, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr("understudy.observing.PROBE_SECONDS", 0.2)


def readings(path: Path) -> list[Any]:
    told = ("tokens_in", "tokens_out", "load_ms", "prompt_ms", "generate_ms", "model")
    return [
        {
            name: {k: v for k, v in reading.items() if k not in told}
            for name, reading in timeless(row["readings"]).items()
        }
        for row in rows(path)["brain_decisions"]
    ]


async def test_over_a_socket_the_readings_are_those_of_the_engine_itself(
    ollama: OllamaServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(home / "c.jsonl", bundled(6))
    for provider in ("ollama", "embedded"):
        brain = Brain(Settings(lm_provider=provider, rl_gym_db_path=home / f"{provider}.db"))
        report = await replay([file], brain)
        assert brain.gym is not None and report.to_json(brain.gym)["faults"] == 0
        brain.gym.close()
    assert readings(home / "ollama.db") == readings(home / "embedded.db")
    assert ollama.most_at_once > 1


async def test_turns_wait_for_a_server_that_is_down_and_nothing_is_lost(ollama: OllamaServer, home: Path) -> None:
    brain, waits, done, all_wait = Brain(Settings()), [], [], asyncio.Event()

    def on_wait(why: str) -> None:
        waits.append(why)
        if len(waits) == 4:
            all_wait.set()

    ollama.stop()
    task = asyncio.create_task(replay([write(home / "c.jsonl", TALKS)], brain, done.append, on_wait))
    await asyncio.wait_for(all_wait.wait(), 10)
    assert brain.gym is not None and brain.gym.counts() == {"decisions": 0, "conversations": 4, "backlog": 8}
    assert all(ollama.url in why for why in waits) and done == []
    ollama.start()
    report = await asyncio.wait_for(task, 10)
    found = report.to_json(brain.gym)
    assert (found["decisions"], found["faults"], brain.gym.counts()["backlog"]) == (8, 0, 0)
    brain.gym.close()


async def test_a_server_that_goes_in_the_middle_costs_no_row(ollama: OllamaServer, home: Path) -> None:
    brain = Brain(Settings())
    file = write(
        home / "c.jsonl", TALKS * 1 + [{**talk, "conversation_id": f"d{i}"} for i, talk in enumerate(TALKS * 4)]
    )
    task = asyncio.create_task(replay([file], brain))
    for _ in range(3):
        await asyncio.sleep(0.1)
        ollama.stop()
        await asyncio.sleep(0.2)
        ollama.start()
    found = (await asyncio.wait_for(task, 20)).to_json(brain.gym)  # type: ignore[arg-type]
    assert found["turns"] == found["decisions"] == 40
    brain.gym.close()  # type: ignore[union-attr]


async def test_with_fault_turns_are_recorded_and_can_be_read_again(
    ollama: OllamaServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAIN_WHEN_DOWN", "fault")
    brain = Brain(Settings())
    assert brain.gym is not None
    ollama.stop()
    await replay([write(home / "c.jsonl", TALKS)], brain)
    before = [brain.gym.decision(f"c{i}", turn) for i in range(4) for turn in range(2)]
    assert all(len(row.faults) == 5 and row.readings == {} for row in before if row)
    assert {fault["kind"] for row in before if row for fault in row.faults} <= {"ServerRefused", "ServerDown"}
    ollama.start()
    await asyncio.sleep(0.3)
    report = await replay([], brain, faults=True)
    found = report.to_json(brain.gym)
    assert (found["turns"], found["decisions"], found["faults"]) == (8, 8, 0)
    row = brain.gym.decision("c0", 0)
    assert row is not None and sorted(row.readings) == sorted(MODULES) and row.response_sent == "At what time?"
    assert before[0] is not None and row.created_at == before[0].created_at
    assert (await replay([], brain, faults=True)).turns == 0
    brain.gym.close()


async def test_status_tells_what_became_of_the_answers(
    ollama: OllamaServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "1")
    brain = Brain(Settings())
    ollama.play("fence")
    await replay([write(home / "a.jsonl", TALKS[:2])], brain)
    ollama.play("out_of_range")
    await replay([write(home / "b.jsonl", TALKS[2:])], brain)
    found = status(brain)["answers"]
    assert found["conflict"] == {"v0.0": {"turns": 8, "answered": 0.5, "prose": 0.5, "OutOfRange": 0.5}}
    assert brain.gym is not None
    row = brain.gym.decision("c2", 0)
    assert row is not None and {fault["step"] for fault in row.faults} >= {"conflict", "intent", "quality"}
    assert "761" in next(fault["text"] for fault in row.faults if fault["step"] == "conflict")
    ollama.behave()
    await replay([], brain, faults=True)
    assert status(brain)["answers"]["conflict"] == {"v0.0": {"turns": 8, "answered": 1.0, "prose": 0.5}}
    brain.gym.close()


def test_ctrl_c_while_waiting_loses_nothing(home: Path, ollama: OllamaServer) -> None:
    ollama.stop()
    file = write(home / "c.jsonl", TALKS)
    process = subprocess.Popen([*COMMAND, "replay", str(file)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith("understudy: waiting for the model server: ") and "ollama serve" in first
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130 and "what is written is kept" in process.stderr.read()
    process.stderr.close()
    ollama.start()
    status_, out, _ = run_cli("replay", str(file), "--json")
    assert status_ == 0 and json.loads(out)["decisions"] == 8


def test_doctor_looks_at_server_models_and_answers(home: Path, ollama: OllamaServer) -> None:
    status_, out, _ = run_cli("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert status_ == 0 and all(check["ok"] for check in checks.values()), checks
    assert checks["model server"]["detail"].startswith("Ollama 0.")
    assert "thinking switched off" in checks["model of the teacher"]["detail"]
    assert "8,192 of 32,768 tokens" in checks["model of the student"]["detail"]
    for role in ("student", "teacher", "dreamer"):
        assert " s, " in checks[role]["detail"] and "tokens/s" in checks[role]["detail"]


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"OLLAMA_TEACHER_MODEL": "big:70b"}, "model of the teacher", "run: ollama pull big:70b"),
        ({"OLLAMA_NUM_CTX": "65536"}, "model of the student", "set OLLAMA_NUM_CTX to at most"),
        ({"OLLAMA_BASE_URL": "http://127.0.0.1:9"}, "model server", "ollama serve"),
    ],
)
def test_doctor_says_what_to_do(
    ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], name: str, words: str
) -> None:
    for variable, value in change.items():
        monkeypatch.setenv(variable, value)
    status_, out, _ = run_cli("doctor", "--json")
    bad = [check for check in json.loads(out)["checks"] if not check["ok"]]
    assert status_ == 1 and [check["name"] for check in bad] == [name] and words in bad[0]["detail"]


def test_doctor_knows_a_page_from_a_server(ollama: OllamaServer) -> None:
    for fault in ("html", "redirect", "502", "empty_body"):
        ollama.play(fault, path="/api/version")
        status_, out, _ = run_cli("doctor", "--json")
        (bad,) = (check for check in json.loads(out)["checks"] if not check["ok"])
        assert status_ == 1 and bad["name"] == "model server" and ollama.url in bad["detail"]


def test_models_lists_what_the_server_has(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaServer(models=[Model("gemma3:4b"), Model("llama3.2:latest"), Model("other:1b")]) as server:
        monkeypatch.setenv("LM_PROVIDER", "ollama")
        monkeypatch.setenv("OLLAMA_BASE_URL", server.url)
        status_, out, _ = run_cli("models", "--json")
        found = {one["name"]: one["roles"] for one in json.loads(out)["models"]}
        assert status_ == 0
        assert found == {"gemma3:4b": ["student"], "llama3.2:latest": ["dreamer"], "other:1b": []}
        assert "gemma3:4b" in run_cli("models")[1]
    assert run_cli("models")[0] == 1
    monkeypatch.setenv("LM_PROVIDER", "embedded")
    assert json.loads(run_cli("models", "--json")[1])["models"] == [
        {"name": "embedded/student", "roles": ["student"]},
        {"name": "embedded/teacher", "roles": ["teacher"]},
        {"name": "embedded/dreamer", "roles": ["dreamer"]},
    ]


def test_asking_the_server_takes_no_longer_than_it_may(ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.lm.ollama.LOOK_SECONDS", 0.3)
    ollama.play("hang", path="/api/tags")
    started = time.monotonic()
    status_, _, err = run_cli("models")
    assert status_ == 1 and "no answer within 0.3 s" in err and time.monotonic() - started < 3
