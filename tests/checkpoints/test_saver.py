"""The saver: LangGraph's checkpoints in the gym's file."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.saver import SmallSerializer, open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.nodes.brain import Brain, WithBrain
from understudy.settings import Settings


async def converse(gym: Path, conversations: int, turns: int) -> int:
    """Return by how many bytes a turn the files grow, after close."""
    Gym(gym).close()
    empty = gym.stat().st_size
    brain = Brain(Settings(rl_gym_db_path=gym))
    async with open_checkpointer(gym) as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        for number in range(conversations):
            for turn in range(turns):
                reply = [AIMessage("At nine it is then, shall I write that down?", id=f"a{turn}")] if turn else []
                news = [*reply, HumanMessage(f"I could also come on day {turn}, if that is better", id=f"c{turn}")]
                config = {"configurable": {"thread_id": f"t{number}"}}
                await graph.ainvoke({"messages": news}, config, context=WithBrain(brain=brain))
    brain.gym.close()
    files = [path for path in gym.parent.iterdir() if path.name.startswith(gym.name)]
    return (sum(path.stat().st_size for path in files) - empty) // (conversations * turns)


async def test_the_gym_grows_evenly_however_long_a_conversation_gets(home: Path) -> None:
    short = await converse(home / "short.db", 16, 5)
    long = await converse(home / "long.db", 2, 40)
    assert short < 8192 and long < 1.3 * short


async def test_what_is_no_plain_data_does_not_come_back_as_an_object(home: Path) -> None:
    serializer = SmallSerializer(allowed_msgpack_modules=None)
    for value in ({"a": [1, None, "ü" * 300]}, HumanMessage("hello " * 100, id="m")):
        assert serializer.loads_typed(serializer.dumps_typed(value)) == value
    plain = serializer.loads_typed(serializer.dumps_typed({"settings": Settings()}))
    assert not isinstance(plain["settings"], Settings)


async def test_a_thread_is_listed_and_deleted(brain: Brain) -> None:
    async with open_checkpointer() as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "t1"}}
        for text in ("one", "two"):
            await graph.ainvoke({"messages": [HumanMessage(text)]}, config, context=WithBrain(brain=brain))
        assert [state.values["message"] async for state in graph.aget_state_history(config)] == ["two", "one"]
        assert (await saver.aget_tuple(config)).checkpoint["channel_values"]["message"] == "two"
        await saver.adelete_thread("t1")
        assert await saver.aget_tuple(config) is None


async def test_a_gym_that_cannot_be_opened_says_so(home: Path) -> None:
    (home / "g.db").write_text("no database " * 500)
    with pytest.raises(RuntimeError, match="not a gym or is damaged"):
        async with open_checkpointer(home / "g.db"):
            pass


async def test_after_close_nothing_waits_beside_the_file(brain: Brain, home: Path) -> None:
    async with open_checkpointer() as saver:
        await create_shadow_workflow(checkpointer=saver).ainvoke(
            {"messages": [HumanMessage("hello")]},
            {"configurable": {"thread_id": "t1"}},
            context=WithBrain(brain=brain),
        )
    assert (home / "brain_gym.db-wal").stat().st_size == 0
    with sqlite3.connect(home / "brain_gym.db") as gym:
        assert gym.execute("SELECT count(*) FROM checkpoints").fetchone() == (1,)
