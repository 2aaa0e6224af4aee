"""`langgraph dev`, over a socket: the door that Studio and remote callers use."""

import asyncio
import json
import pickle
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from understudy.benchmarks.dev_server import DevServer, langgraph_dev
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import SCHEDULER
from understudy.graph import dream, optimization, shadow

app = pytest.importorskip("understudy.server.app")
GRAPHS = {"shadow": shadow.graph, "optimization": optimization.graph, "dream": dream.graph}


WORD = f"word-{uuid4()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    pytest.importorskip("langgraph_api")
    folder = tmp_path_factory.mktemp("server")
    left = folder / ".langgraph_api" / ".langgraph_ops.pckl"
    left.parent.mkdir()
    left.write_bytes(pickle.dumps({}))  # an earlier server's
    with langgraph_dev(folder) as server:
        yield server
    with sqlite3.connect(server.gym) as connection:
        assert connection.execute("SELECT * FROM lease").fetchall() == [], "a server that ends gives its lease back"
    written = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(server.gym.name)]
    assert [path for path in written if WORD.encode() in path.read_bytes()] == [], "words outside the gym"
    assert left.parent / "store.pckl" in written and left not in written
    assert "Custom checkpointer missing" not in server.log


def test_no_foreign_page_and_nobody_under_another_name_is_answered(server: DevServer) -> None:
    thread = server.thread()
    own = server.url.removeprefix("http://")
    for path in ("/threads/search", "/runs/stream", "/nowhere"):
        assert server.answer(path, {}, origin="https://evil.example")[0] == 403
        assert server.answer(path, {}, origin="null")[0] == 403
        for host in ("evil.example", f"evil.example:{own.rpartition(':')[2]}", "localhost.evil.example", ""):
            assert server.answer(path, {}, host=host)[0] in (400, 403), host
    for path in ("/internal/truncate", "//internal/truncate", "/internal", "/deploy/x"):
        assert server.answer(path, {})[0] == 403, path
    for host in (own, f"localhost:{own.rpartition(':')[2]}", "LOCALHOST"):
        assert server.answer(f"/threads/{thread}", host=host)[0] == 200, host
    assert server.answer(f"/threads/{thread}", origin=server.url)[0] == 200


def test_studio_may_call_also_from_the_web_into_this_machine(server: DevServer) -> None:
    studio = "https://smith.langchain.com"
    status, headers = server.answer("/threads/search", {}, origin=studio)
    assert status == 200 and headers["access-control-allow-origin"] == studio
    asked = {"access_control_request_method": "POST", "access_control_request_private_network": "true"}
    status, headers = server.answer("/threads", method="OPTIONS", origin=studio, **asked)
    assert status == 200 and headers["access-control-allow-private-network"] == "true"
    assert server.answer("/threads", method="OPTIONS", origin="https://evil.example", **asked)[0] == 403


def test_the_server_runs_the_scheduler_once_and_ends_by_giving_its_lease_back(server: DevServer) -> None:
    with sqlite3.connect(server.gym) as gym:
        for _ in range(500):
            if found := gym.execute("SELECT name, json_extract(what, '$.command') FROM lease").fetchall():
                break
            time.sleep(0.01)
    assert found == [("scheduler", "langgraph dev")]


async def test_a_server_that_reloads_takes_the_lease_again(home: Path) -> None:
    gym = Gym(home / "brain_gym.db")
    owners = []
    for _ in range(2):
        async with app.app.router.lifespan_context(app.app):
            for _ in range(500):
                if held := gym.jobs.holder(SCHEDULER):
                    owners.append(held.owner)
                    break
                await asyncio.sleep(0.01)
        assert gym.jobs.holder(SCHEDULER) is None
    assert len(set(owners)) == 2
    gym.close()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"SCHEDULER_ENABLED": "false"}, "SCHEDULER_ENABLED=false: nothing is learnt or dreamt by itself"),
        ({"RL_GYM_ENABLED": "false"}, "RL_GYM_ENABLED=false: nothing is learnt or dreamt by itself"),
        ({"RL_GYM_DB_PATH": "."}, "nothing is learnt or dreamt by itself: gym .: "),
    ],
)
async def test_a_server_without_a_scheduler_starts_and_says_why(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    environment: dict[str, str],
    says: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    caplog.set_level("INFO", "understudy")
    async with app.app.router.lifespan_context(app.app):
        pass
    (line,) = caplog.messages
    assert line.startswith(says)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_two_posts_on_a_thread_are_one_conversation(server: DevServer) -> None:
    thread = server.thread()
    first = server.post(thread, input={"messages": [user("Can you take my van on Friday?")]})
    reply = {"role": "assistant", "content": "At what time?", "additional_kwargs": {"action": "ask_time"}}
    second = server.post(thread, input={"messages": [reply, user("at nine")]})
    assert (first["turn"], second["turn"]) == (0, 1) and first["faults"] == second["faults"] == []
    state = server.call(f"/threads/{thread}/state")["values"]
    assert [m["content"] for m in state["messages"]] == ["Can you take my van on Friday?", "At what time?", "at nine"]
    assert state["decision_id"] == second["decision_id"] and state["readings"] == second["readings"]
    with sqlite3.connect(server.gym) as gym:
        rows = gym.execute(
            "SELECT turn, response_sent, action_taken, user_response FROM brain_decisions"
            " WHERE thread_id = ? ORDER BY turn",
            [thread],
        ).fetchall()
        saved = gym.execute("SELECT count(*) FROM checkpoints WHERE thread_id = ?", [thread]).fetchone()
        found = gym.execute(
            "SELECT count(*) FROM brain_decisions d JOIN checkpoints c USING (thread_id)"
            " WHERE thread_id = ? AND json_extract(CAST(c.metadata AS TEXT), '$.run_id') = d.run_id",
            [thread],
        ).fetchone()
    assert rows == [(0, "At what time?", "ask_time", "at nine"), (1, None, None, None)]
    assert saved == found == (2,)


def test_what_is_posted_is_in_the_gym_alone(server: DevServer) -> None:
    thread = server.thread()
    server.post(thread, input={"messages": [user(f"please note {WORD}")]})
    wrong = [
        {"messages": [{"role": "user", "text": WORD}]},
        {"messages": [{"role": WORD, "content": "x"}]},
        {"conversation_id": WORD * 9},
        {"state": WORD},
        {"outcome": {"workflow_outcome": WORD}},
        {"label": {"turn": 0, "fields": {"intent": WORD}}},
    ]
    with ThreadPoolExecutor() as callers:
        for answer in callers.map(lambda one: server.post(thread, input={"messages": [], **one}), wrong):
            assert "__error__" in answer
    with sqlite3.connect(server.gym) as gym:
        found = gym.execute("SELECT count(*) FROM events WHERE instr(text, ?)", [WORD]).fetchone()
    assert found == (1,)  # that no other file has it is seen when the server has ended, and has written all it writes


def test_a_thread_is_copied_and_deleted_with_its_checkpoints(server: DevServer) -> None:
    thread = server.thread()
    server.post(thread, input={"messages": [user("Can you take my van on Friday?")]})
    copy = server.call(f"/threads/{thread}/copy", {})["thread_id"]
    assert server.call("/threads/prune", {"thread_ids": [thread], "strategy": "delete"}) == {"pruned_count": 1}
    with sqlite3.connect(server.gym) as gym:
        left = gym.execute("SELECT thread_id FROM checkpoints WHERE thread_id IN (?, ?)", [thread, copy]).fetchall()
    assert left == [(copy,)]
    assert server.post(copy, input={"messages": [user("at nine")]})["turn"] == 1


def test_a_state_can_be_changed_also_where_nothing_was_said_yet(server: DevServer) -> None:
    (assistant,) = server.call("/assistants/search", {"graph_id": "shadow"})
    silent = server.call("/threads", {"metadata": {"graph_id": "shadow", "assistant_id": assistant["assistant_id"]}})
    spoken = server.thread()
    server.post(spoken, input={"messages": [user("Can you take my van on Friday?")]})
    for thread in (str(silent["thread_id"]), spoken):
        server.call(f"/threads/{thread}/state", {"values": {"state": {"tier": "gold"}}, "as_node": "record"})
        assert server.call(f"/threads/{thread}/state")["values"]["state"] == {"tier": "gold"}


def test_a_whole_conversation_can_be_posted_at_once(server: DevServer) -> None:
    thread = server.thread()
    answer = server.post(thread, input={"conversation_id": "long", "messages": [user(f"m{i}") for i in range(12)]})
    assert answer["turn"] == 11 and answer["conversation_id"] == "long"


WRONG_SHAPES: list[tuple[dict[str, Any], str]] = [
    ({"input": {"messages": 5}}, "messages"),
    ({"input": {"messages": [{"foo": 1}]}}, "messages"),
    ({"input": {"messages": [user("x")], "conversation_id": 7}}, "conversation_id"),
    ({"input": {"outcome": {"workflow_outcome": "maybe"}}}, "outcome.workflow_outcome"),
    ({"input": {"state": "abc"}}, "state"),
    ({"input": "abc"}, "dict"),
    ({"input": {"messages": [user("x")]}, "context": {"profile": "../../etc/passwd"}}, "profile"),
]


def test_input_of_the_wrong_shape_says_which_field(server: DevServer) -> None:
    def said(body: dict[str, Any]) -> tuple[str, list[Any]]:
        thread = server.thread()
        try:
            answer = json.dumps(server.post(thread, **body))
            assert "__error__" in answer
        except urllib.error.HTTPError as error:
            assert 400 <= error.code < 500
            answer = error.read().decode()
        return answer, server.post(thread, input={"messages": [user("hello")]})["faults"]

    with ThreadPoolExecutor() as callers:  # each waits for the server's next look at its queue
        for (body, field), (answer, faults) in zip(
            WRONG_SHAPES, callers.map(said, [body for body, _ in WRONG_SHAPES]), strict=True
        ):
            assert field in answer and faults == [], body


HOSTILE = {
    "brain": {"settings": {"rl_gym_db_path": "/nowhere/x.db", "lm_provider": "ollama"}},
    "settings": {"brain_enabled": False},
    "upto": -1,
    "ollama_base_url": "http://192.0.2.1:11434",
    "model": "ollama/other",
    "__post_init__": 1,
}


@pytest.mark.parametrize("posted", [{"context": HOSTILE}, {"config": {"configurable": HOSTILE}}])
def test_a_posted_context_sets_nothing_but_what_its_form_has(server: DevServer, posted: dict[str, Any]) -> None:
    answer = server.post(server.thread(), input={"messages": [user("x")]}, **posted)
    assert answer["turn"] == 0 and answer["faults"] == []
    assert {reading["model"] for reading in answer["readings"].values()} == {"embedded/student"}
    with sqlite3.connect(server.gym) as gym:
        found = gym.execute("SELECT count(*) FROM brain_decisions WHERE decision_id = ?", [answer["decision_id"]])
        assert found.fetchone() == (1,)


@pytest.mark.parametrize("name", GRAPHS)
def test_an_empty_form_is_no_error(server: DevServer, name: str) -> None:
    answer = server.post(server.thread(), assistant_id=name, input={})
    assert answer["report"]["reason"] if name != "shadow" else answer["turn"] is None


@pytest.mark.parametrize("name", GRAPHS)
def test_studio_gets_its_form_and_its_picture(server: DevServer, name: str) -> None:
    (assistant,) = server.call("/assistants/search", {"graph_id": name})
    assert assistant["name"] == name and assistant["description"]
    schemas = server.call(f"/assistants/{assistant['assistant_id']}/schemas")
    assert schemas["input_schema"] == GRAPHS[name].get_input_jsonschema()
    assert set(schemas["context_schema"]["properties"]) == {"profile", "use_optimized", "versions"}
    for xray in ("", "?xray=true"):
        drawing = server.call(f"/assistants/{assistant['assistant_id']}/graph{xray}")
        assert {node["id"] for node in drawing["nodes"]} == set(GRAPHS[name].get_graph().nodes)


def test_a_decision_s_turn_is_read_again_with_another_version(server: DevServer) -> None:
    thread, v0 = server.thread(), {"versions": {"intent": "v0.0"}}
    first, second = (server.post(thread, input={"messages": [user(text)]}) for text in ("a van on Friday?", "at nine"))
    with sqlite3.connect(server.gym) as gym:
        kept = gym.execute("SELECT * FROM brain_decisions WHERE thread_id = ? ORDER BY turn", [thread]).fetchall()
        row = gym.execute("SELECT run_id FROM brain_decisions WHERE decision_id = ?", [first["decision_id"]]).fetchone()
    (turn,) = server.call(f"/threads/{thread}/history", {"metadata": {"run_id": row[0]}, "limit": 9})
    assert turn["values"]["decision_id"] == first["decision_id"]
    begin = {"values": {}, "checkpoint": turn["checkpoint"], "as_node": "__start__"}
    forked = server.call(f"/threads/{thread}/state", begin)["checkpoint"]
    for run in (
        {"input": {"again": 0}},
        {"input": {}, "checkpoint_id": turn["checkpoint"]["checkpoint_id"]},
        {"input": None, "checkpoint": forked},
    ):
        answer = server.post(thread, context=v0, **run)
        assert (answer["turn"], answer["decision_id"], answer["faults"]) == (0, None, [])
        assert answer["readings"]["intent"]["fields"] == first["readings"]["intent"]["fields"]
        (newest,) = server.call(f"/threads/{thread}/history", {"limit": 1})
        assert [message["content"] for message in newest["values"]["messages"]] == ["a van on Friday?"]
    assert server.post(thread, input={"again": 1})["readings"].keys() == second["readings"].keys()
    with sqlite3.connect(server.gym) as gym:
        found = gym.execute("SELECT * FROM brain_decisions WHERE thread_id = ? ORDER BY turn", [thread]).fetchall()
        assert found == kept


def test_an_optimisation_can_be_started_and_says_what_became_of_it(server: DevServer) -> None:
    thread = server.thread()
    server.post(thread, input={"messages": [user("Can you take my van on Friday?")]})
    run = {"assistant_id": "optimization", "input": {"modules": ["intent"]}}
    report = server.call(f"/threads/{server.thread()}/runs/wait", run)["report"]
    assert report["status"] == "skipped" and "are needed" in report["module_results"]["intent"]["reason"]
    page = server.gym.parent / "optimized_modules" / "default" / "reports" / f"{report['run_id']}.html"
    assert "sealed" in page.read_text(encoding="utf-8")
