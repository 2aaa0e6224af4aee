"""`make studio` on a gym that is there already."""

import asyncio
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from understudy.benchmarks.dev_server import DevServer, langgraph_dev
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.nodes.brain import Brain, WithBrain
from understudy.settings import Settings
from understudy.tests.gyms import observing

MAKE = Path(__file__).parents[2] / "Makefile"


@pytest.fixture(scope="module")
def studio(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """The server that `make studio` starts."""
    pytest.importorskip("langgraph_api")
    folder = tmp_path_factory.mktemp("studio")
    gym = observing(kept)(60, rl_gym_db_path=folder / "brain_gym.db").gym
    assert gym is not None
    gym.close()
    (flags,) = re.findall(r"langgraph dev (.*)", MAKE.read_text(encoding="utf-8"))
    with langgraph_dev(folder, *shlex.split(flags), SCHEDULER_ENABLED="false") as server:
        yield server


def test_the_thread_of_a_decision_is_made_again_and_its_turn_read_again(studio: DevServer) -> None:
    with sqlite3.connect(studio.gym) as gym:
        columns = "thread_id, run_id, decision_id, intent, user_message"
        row = gym.execute(f"SELECT {columns} FROM brain_decisions WHERE turn = 1 ORDER BY rowid").fetchone()
    thread, run, decision, intent, message = row
    studio.call("/threads", {"thread_id": thread, "metadata": {"graph_id": "shadow"}})
    (turn,) = studio.call(f"/threads/{thread}/history", {"metadata": {"run_id": run}, "limit": 10})
    assert turn["values"]["decision_id"] == decision and turn["values"]["message"] == message
    answer = studio.post(thread, input={"again": 1}, context={"versions": {"intent": "v0.0"}})
    assert answer["readings"]["intent"]["fields"]["intent"] == intent and answer["decision_id"] is None


async def test_a_conversation_goes_on_in_and_beside_the_server(studio: DevServer) -> None:
    """Whoever reads a turn goes on from the checkpoint of whoever read the one before."""
    brain = Brain(Settings(rl_gym_db_path=studio.gym, optimized_modules_dir=studio.folder / "optimized_modules"))
    thread = studio.thread()
    async with open_checkpointer(studio.gym) as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        config = {"configurable": {"thread_id": thread}}
        for turn in range(0, 4, 2):
            news = {"messages": [HumanMessage("at nine")]}
            assert (await graph.ainvoke(news, config, context=WithBrain(brain=brain)))["turn"] == turn
            posted = {"messages": [{"role": "user", "content": "at ten"}]}
            assert (await asyncio.to_thread(studio.post, thread, input=posted))["turn"] == turn + 1
        states = [state async for state in graph.aget_state_history(config)]
    assert [state.values["turn"] for state in states] == [3, 2, 1, 0]
    assert brain.gym is not None
    brain.gym.close()


def test_conversations_are_dreamt(studio: DevServer) -> None:
    answer = studio.post(studio.thread(), assistant_id="dream", input={"count": 5, "cycle": "by hand"})
    assert answer["report"]["status"] == "success" and answer["report"]["dreams"] == 5, answer


def test_a_turn_is_read_while_an_optimisation_runs(studio: DevServer) -> None:
    learning = studio.thread()
    run = studio.call(f"/threads/{learning}/runs", {"assistant_id": "optimization", "input": {}})["run_id"]
    of_run = f"/threads/{learning}/runs/{run}"
    while studio.call(of_run)["status"] == "pending":
        pass
    answer = studio.post(studio.thread(), input={"messages": [{"role": "user", "content": "at nine"}]})
    assert answer["turn"] == 0 and answer["faults"] == []
    assert studio.call(of_run)["status"] == "running"
    studio.call(f"{of_run}/cancel?wait=1", {})
