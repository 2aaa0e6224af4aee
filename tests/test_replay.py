"""Replay: what it writes, that it goes on where it stopped, and that no turn sees what comes after it."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from understudy.benchmarks.prove import HOW, changed_after, observe, rows, timeless, without_checkpoint, write
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.nodes.brain import Brain
from understudy.observing import ReplayError, thread_of
from understudy.profile import ProfileError
from understudy.replay import replay, tell
from understudy.settings import Settings

RIDE: dict[str, Any] = {
    "conversation_id": "ride",
    "profile": "star",
    "customer": {"name": "Ines"},
    "messages": [
        {"role": "agent", "text": "Hello, how can I help?", "action": "hello"},
        {
            "role": "customer",
            "text": "I need a ride to Craig Street",
            "at": "2026-11-23T10:00:00+01:00",
            "labels": {"intent": "ride_book", "required_info": ["ride_book.ArrivalLocation", "ArrivalLocation"]},
        },
        {"role": "agent", "text": "One moment."},
        {"role": "agent", "text": "Your name?", "action": "ask_name", "at": "2026-11-23T09:01:00Z"},
        {"role": "customer", "text": "Ines, and hurry up"},
    ],
    "outcome": {"workflow_outcome": "failure", "user_satisfaction": 0.25},
}


def recording(id: str, *texts: str, **more: Any) -> dict[str, Any]:
    roles = ("customer", "agent")
    messages = [{"role": roles[i % 2], "text": text} for i, text in enumerate(texts)]
    return {"conversation_id": id, "messages": messages, **more}


def bundled(count: int) -> list[dict[str, Any]]:
    path = Path(__file__).parents[1] / "examples" / "conversations.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:count]]


def evidence(gym: Gym, conversation_id: str, turn: int) -> set[tuple[str, str, str]]:
    found = gym.evidence(conversation_id, turn)
    return {(e["field"], json.dumps(e["value"]), e["source"]) for e in found}


async def test_every_customer_turn_becomes_a_row(home: Path) -> None:
    report = await observe(home / "g.db", write(home / "c.jsonl", [RIDE, recording("two", "hello")]))
    gym = Gym(home / "g.db")
    found = report.to_json(gym)
    assert {k: found[k] for k in ("conversations", "turns", "read_now", "decisions", "faults", "skipped")} == {
        "conversations": 2, "turns": 3, "read_now": 3, "decisions": 3, "faults": 0, "skipped": 0
    }  # fmt: skip
    assert found["evidence"] == sum(len(gym.evidence(*turn)) for turn in (("ride", 0), ("ride", 1), ("two", 0)))
    row = gym.decision("ride", 0)
    assert row is not None
    assert (row.profile, row.user_message, row.message_id) == ("star", "I need a ride to Craig Street", "m1")
    assert sorted(row.readings) == sorted(row.versions) == ["conflict", "goals", "intent", "quality", "response"]
    assert set(row.versions.values()) == {"v0.0"} and row.intent == row.readings["intent"]["fields"]["intent"]
    assert row.thread_id == thread_of("ride") and row.engine == "embedded" and row.brain_mode == "shadow"
    assert gym.inbox() == []
    gym.close()


async def test_what_followed_a_turn_is_filled_in(home: Path) -> None:
    await observe(home / "g.db", write(home / "c.jsonl", [RIDE]))
    gym = Gym(home / "g.db")
    first, last = gym.decision("ride", 0), gym.decision("ride", 1)
    gym.close()
    assert first is not None and last is not None
    assert first.response_sent == "One moment.\nYour name?" and first.action_taken == "ask_name"
    assert first.user_response == "Ines, and hurry up"
    assert (last.response_sent, last.action_taken, last.user_response) == (None, None, None)
    assert {(d.workflow_outcome, d.user_satisfaction) for d in (first, last)} == {("failure", 0.25)}


async def test_evidence_names_its_source(home: Path) -> None:
    await observe(home / "g.db", write(home / "c.jsonl", [RIDE]))
    gym = Gym(home / "g.db")
    assert evidence(gym, "ride", 0) == {
        ("intent", '"ride_book"', "human"),
        ("required_info", '["ArrivalLocation"]', "human"),
        ("proposed_response", '"One moment."', "hindsight"),
        ("proposed_response", '"Your name?"', "hindsight"),
        ("next_step", '"ask_name"', "hindsight"),
        ("user_satisfaction", "0.25", "outcome"),
    }
    assert evidence(gym, "ride", 1) == {("user_satisfaction", "0.25", "outcome")}
    assert {e["at"] for e in gym.evidence("ride", 0) if e["source"] == "human"} == {"2026-11-23T09:00:00Z"}
    gym.close()


@pytest.mark.parametrize(
    ("outcome", "believed"),
    [
        ({"workflow_outcome": "success"}, 1.0),
        ({"workflow_outcome": "failure"}, 0.0),
        ({"workflow_outcome": "abandoned"}, 0.0),
        ({"workflow_outcome": "success", "user_satisfaction": 0.1}, 0.1),
        ({"user_satisfaction": 0.0}, 0.0),
        ({}, None),
        (None, None),
    ],
)
async def test_an_outcome_says_something_of_satisfaction(home: Path, outcome: Any, believed: float | None) -> None:
    await observe(home / "g.db", write(home / "c.jsonl", [recording("c", "a wash please", "when?", outcome=outcome)]))
    gym = Gym(home / "g.db")
    row = gym.decision("c", 0)
    assert gym.truth("c", 0).get("user_satisfaction") == believed
    gym.close()
    assert row is not None and row.workflow_outcome == (outcome or {}).get("workflow_outcome")
    assert row.user_satisfaction == (outcome or {}).get("user_satisfaction")


async def test_again_is_nothing_new(home: Path) -> None:
    file = write(home / "c.jsonl", [RIDE, recording("two", "hello")])
    await observe(home / "g.db", file)
    before = (home / "g.db").read_bytes()
    report = await observe(home / "g.db", file, file)
    assert (home / "g.db").read_bytes() == before
    assert (len(report.conversations), report.turns, report.turn_ms, report.lines.errors) == (2, 3, [], [])


@pytest.mark.parametrize("parallel", [1, 4])
async def test_a_conversation_that_comes_twice_is_observed_once(home: Path, parallel: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(Brain, "parallel", parallel)
    file = write(home / "c.jsonl", [RIDE, RIDE, RIDE])
    report = await observe(home / "g.db", file, file)
    assert (report.turns, len(report.turn_ms), report.lines.skipped) == (2, 2, 0)
    assert without_checkpoint(home / "g.db") == 0


async def test_the_same_id_with_other_content_is_an_error_with_its_line(home: Path) -> None:
    other = {**RIDE, "outcome": None}
    file = write(home / "c.jsonl", [RIDE, other, recording("two", "hello")])
    report = await observe(home / "g.db", file)
    assert report.lines.errors == [
        f"{file}:2: conversation_id: 'ride' is in {home / 'g.db'} with other content;"
        " give it another id, or RL_GYM_DB_PATH another file"
    ]
    assert report.conversations == {"ride", "two"}
    gym = Gym(home / "g.db")
    row = gym.decision("ride", 0)
    gym.close()
    assert row is not None and row.workflow_outcome == "failure"


SAID = st.sampled_from(["hello", "a wash please", "ridiculous, cancel it", "what do you mean?", "my name is Ines", ""])


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # an example takes 0.2 s, and shrinking needs hundreds
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(SAID, min_size=3, max_size=6), st.data())
def test_no_turn_sees_what_comes_after_it(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("ahead")
    whole = recording("c", *texts, outcome={"workflow_outcome": "success"})
    turn = data.draw(st.integers(0, (len(texts) - 1) // 2))
    how = data.draw(st.sampled_from(HOW))
    other = changed_after(whole, 2 * turn, how, random.Random(0))
    found = []
    for name, content in (("whole", whole), ("other", other)):
        asyncio.run(observe(folder / f"{name}.db", write(folder / f"{name}.jsonl", [content])))
        decisions = rows(folder / f"{name}.db")["brain_decisions"]
        found.append([(d["turn"], d["readings"]) for d in decisions if d["turn"] <= turn])
    assert len(found[0]) == turn + 1 and found[0] == found[1]


async def test_real_conversations_are_read_without_looking_ahead(home: Path, data: Path) -> None:
    dice = random.Random(5)
    lines = (data / "star.jsonl").read_text(encoding="utf-8").splitlines()
    whole = [json.loads(line) for line in dice.sample(lines, 3)]
    other, upto = [], {}
    for number, content in enumerate(whole):
        customers = [i for i, m in enumerate(content["messages"]) if m["role"] == "customer"]
        upto[content["conversation_id"]] = turn = dice.randrange(2, len(customers))
        other.append(changed_after(content, customers[turn], HOW[number], dice))
    found = []
    for name, content in (("whole", whole), ("other", other)):
        await observe(home / f"{name}.db", write(home / f"{name}.jsonl", content))
        decisions = rows(home / f"{name}.db")["brain_decisions"]
        found.append([d["readings"] for d in decisions if d["turn"] <= upto[d["conversation_id"]]])
    assert len(found[0]) == sum(upto.values()) + 3 and found[0] == found[1]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads, from Python 3.12 on
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_replay_ends_with_the_same_rows(home: Path, seed: int) -> None:
    dice = random.Random(seed)
    file = write(home / "c.jsonl", bundled(6))
    asyncio.run(observe(home / "undisturbed.db", file))
    wanted = rows(home / "undisturbed.db")
    decisions = dice.randrange(len(wanted["brain_decisions"]))
    had = kill_replay(home / "killed.db", file, decisions, dice.random() * 0.02)
    assert decisions <= had
    asyncio.run(observe(home / "killed.db", file))
    assert rows(home / "killed.db") == wanted
    assert without_checkpoint(home / "killed.db") == 0


def kill_replay(path: Path, file: Path, decisions: int, seconds: float) -> int:
    """Replay in a process of its own until it has written some decisions; a little later kill it, and count them."""
    Gym(path).close()
    if (child := os.fork()) == 0:
        try:
            asyncio.run(observe(path, file))
        finally:
            os._exit(0)
    with closing(sqlite3.connect(path, timeout=10)) as gym:
        count = "SELECT count(*) FROM brain_decisions"
        while gym.execute(count).fetchone()[0] < decisions:
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return int(gym.execute(count).fetchone()[0])


async def test_a_turn_without_its_checkpoint_is_observed_again(home: Path) -> None:
    """A kill may come between the row and the checkpoint."""
    file = write(home / "c.jsonl", [RIDE])
    await observe(home / "g.db", file)
    wanted = rows(home / "g.db")
    with closing(sqlite3.connect(home / "g.db")) as gym:
        newest = "SELECT checkpoint_id FROM checkpoints ORDER BY checkpoint_id DESC LIMIT 1"
        gym.execute(f"DELETE FROM checkpoints WHERE checkpoint_id = ({newest})")
        gym.commit()
    assert without_checkpoint(home / "g.db") == 1
    report = await observe(home / "g.db", file)
    assert len(report.turn_ms) == 1 and without_checkpoint(home / "g.db") == 0
    assert rows(home / "g.db") == wanted


async def test_a_decision_is_read_back_from_its_checkpoint(home: Path) -> None:
    await observe(home / "g.db", write(home / "c.jsonl", [RIDE]))
    gym = Gym(home / "g.db")
    decisions = list(gym.decisions())
    gym.close()
    async with open_checkpointer(home / "g.db") as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        for row in decisions:
            where: Any = {"configurable": {"thread_id": row.thread_id}}
            found = [state async for state in graph.aget_state_history(where, filter={"run_id": row.run_id})]
            assert [state.values["decision_id"] for state in found] == [row.decision_id]
            assert timeless(found[0].values["readings"]) == timeless(row.readings)
            assert found[0].values["message"] == row.user_message
    assert len(decisions) == 2 and without_checkpoint(home / "g.db") == 0


def test_only_the_owner_reads_the_gym(home: Path) -> None:
    old = os.umask(0)
    try:
        asyncio.run(observe(home / "g.db", write(home / "c.jsonl", [RIDE])))
        gym = Gym(home / "g.db")
        gym.append("other", [], "star")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.glob("g.db*")}
        gym.close()
    finally:
        os.umask(old)
    assert modes == {"g.db": 0o600, "g.db-wal": 0o600, "g.db-shm": 0o600}


async def test_what_is_told_later_is_evidence_too(home: Path) -> None:
    brain = Brain(Settings())
    await replay([write(home / "c.jsonl", [recording("c", "a wash please", "when?", "now")])], brain)
    assert brain.gym is not None
    await tell(brain, "c", outcome={"workflow_outcome": "abandoned"})
    await tell(brain, "c", label={"turn": 1, "fields": {"tone": "firm"}, "author": "Ines"})
    with pytest.raises(ReplayError, match="no conversation 'd' in brain_gym.db; check"):
        await tell(brain, "d", outcome={"workflow_outcome": "success"})
    row = brain.gym.decision("c", 1)
    assert row is not None and row.workflow_outcome == "abandoned"
    assert evidence(brain.gym, "c", 1) == {("user_satisfaction", "0.0", "outcome"), ("tone", '"firm"', "human")}
    brain.gym.close()


@pytest.mark.parametrize("name", ["BRAIN_ENABLED", "RL_GYM_ENABLED"])
async def test_a_replay_that_could_observe_nothing_does_not_start(home: Path, name: str) -> None:
    brain = Brain(Settings(**{name.lower(): False}))
    with pytest.raises(ReplayError, match=f"{name}=false: nothing can be observed; set it to true"):
        await replay([write(home / "c.jsonl", [RIDE])], brain)


async def test_a_wrong_profile_of_ones_own_is_told_once(home: Path) -> None:
    with pytest.raises(ProfileError, match="no profile 'nope'; there are airline, default"):
        await replay([write(home / "c.jsonl", [RIDE, RIDE])], Brain(Settings(brain_profile="nope")))
