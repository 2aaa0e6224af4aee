"""The saver: LangGraph's checkpoints in the gym's file."""

import asyncio
import math
import operator
import sqlite3
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from understudy.benchmarks.prove_saver import conformance
from understudy.checkpoints.file import GymError
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.gym_saver import GymSaver, SmallSerializer
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.intake import InputError
from understudy.nodes.brain import Brain, WithBrain
from understudy.settings import Settings
from understudy.tests.disks import read_only, small_disk


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


async def test_a_disk_that_cannot_be_written_is_one_line(home: Path) -> None:
    with small_disk(home / "disk", "5m") as disk:
        Gym(disk / "g.db").close()
        read_only(disk)
        with pytest.raises(GymError, match="g.db: .*; its disk is read-only; copy it to one that can be written"):
            async with open_checkpointer(disk / "g.db"):
                pass


async def test_no_checkpoint_is_stored_in_a_file_that_has_gone(home: Path) -> None:
    async with open_checkpointer() as saver:
        (home / "brain_gym.db").rename(home / "moved.db")
        config = at("t", checkpoint_ns="", checkpoint_id="1")
        with pytest.raises(GymError, match="brain_gym.db: the file was removed, moved or replaced"):
            await saver.aput(config, empty_checkpoint(), {}, {})
        with pytest.raises(GymError, match="brain_gym.db: the file was removed, moved or replaced"):
            await saver.aput_writes(config, [("channel", 1)], "task")


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


def at(thread: str, **where: Any) -> Any:
    return {"configurable": {"thread_id": thread, **where}}


async def post(saver: GymSaver, brain: Brain, text: str, thread: str = "t1", **news: Any) -> dict[str, Any]:
    graph = create_shadow_workflow(checkpointer=saver)
    return await graph.ainvoke({"messages": [HumanMessage(text)], **news}, at(thread), context=WithBrain(brain=brain))


async def read(saver: GymSaver, thread: str = "t1") -> list[tuple[int, str]]:
    """Return turn and message of all states of a thread, the oldest first."""
    graph = create_shadow_workflow(checkpointer=saver)
    found = [state async for state in graph.aget_state_history(at(thread))]
    return [(state.values["turn"], state.values["message"]) for state in reversed(found)]


def count(saver: GymSaver, table: str, where: str = "true") -> int:
    return int(saver.conn.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])


class Steps(TypedDict):
    done: Annotated[list[str], operator.add]


def three_steps(saver: GymSaver, middle: Any) -> Any:
    """A graph that is not the understudy's, whose second step is given."""
    graph = StateGraph(Steps)
    graph.add_node("first", lambda state: {"done": ["first"]})
    graph.add_node("middle", middle)
    graph.add_node("last", lambda state: {"done": ["last"]})
    graph.add_edge(START, "first")
    graph.add_edge("first", "middle")
    graph.add_edge("middle", "last")
    return graph.compile(checkpointer=saver)


async def test_the_saver_does_all_that_langgraph_asks_of_one(home: Path) -> None:
    report = await conformance(home)
    assert {name: (found.passed, found.failures) for name, found in report.results.items()} == {
        name: (True, [])
        for name in "put put_writes get_tuple list delete_thread delete_for_runs copy_thread prune".split()
    }


async def test_a_pruned_thread_still_travels_to_every_decision(brain: Brain) -> None:
    async with open_checkpointer() as saver:
        graph = create_shadow_workflow(checkpointer=saver)
        answers = [await post(saver, brain, text, conversation_id="c1") for text in ("zero", "one", "two")]
        await graph.aupdate_state(at("t1"), {"profile": "edited"}, as_node="record")
        await graph.aupdate_state(at("t1"), {"profile": "edited again"}, as_node="record")
        await saver.aprune(["t1"])
        assert await read(saver) == [(0, "zero"), (1, "one"), (2, "two"), (2, "two")]
        for turn, answer in enumerate(answers):
            decision = brain.gym.decision("c1", turn)
            history = graph.aget_state_history(at("t1"), filter={"run_id": decision.run_id})
            (state,) = [state async for state in history]
            assert state.values["readings"] == answer["readings"]
            assert state.values["decision_id"] == decision.decision_id
            loaded = await graph.aget_state(state.config)
            assert loaded.values == state.values and loaded.metadata["conversation_id"] == "c1"
        (first, *_) = [state async for state in graph.aget_state_history(at("t1")) if state.values["turn"] == 0]
        changed = await graph.aupdate_state(first.config, {"profile": "other"}, as_node="record")
        assert (await graph.aget_state(changed)).values["profile"] == "other"
        await post(saver, brain, "three")
        await saver.aprune(["t1"])
        assert await read(saver) == [(0, "zero"), (1, "one"), (2, "two"), (3, "three")]
        assert brain.gym.decision("c1", 3).user_message == "three"


async def test_a_thread_without_decisions_keeps_its_newest_checkpoint_and_resumes(home: Path) -> None:
    async with open_checkpointer() as saver:
        graph = three_steps(saver, lambda state: {"done": [interrupt("which?")]})
        for thread in ("t1", "t2"):
            await graph.ainvoke({"done": [f"run of {thread}"]}, at(thread))
        assert count(saver, "checkpoints") == 6 and count(saver, "writes") > 2
        await saver.aprune(["t1"], strategy="keep_latest")
        assert count(saver, "checkpoints", "thread_id = 't1'") == 1 and count(saver, "checkpoints") == 4
        assert count(saver, "writes", "thread_id = 't1' AND channel <> '__interrupt__'") == 0
        for thread in ("t1", "t2"):
            answer = await graph.ainvoke(Command(resume="this"), at(thread))
            assert answer == {"done": [f"run of {thread}", "first", "this", "last"]}
        await saver.aprune(["t1"], strategy="delete_all")
        assert count(saver, "checkpoints", "thread_id = 't1'") == count(saver, "writes", "thread_id = 't1'") == 0


async def test_a_thread_whose_channels_are_read_back_to_a_snapshot_keeps_all(home: Path) -> None:
    class Deltas(TypedDict):
        done: Annotated[list[str], DeltaChannel(lambda values, news: [*values, *(n for new in news for n in new)])]

    async with open_checkpointer() as saver:
        graph = StateGraph(Deltas)
        graph.add_node("only", lambda state: {"done": ["only"]})
        graph.add_edge(START, "only")
        compiled = graph.compile(checkpointer=saver)
        for _ in range(3):
            await compiled.ainvoke({"done": ["run"]}, at("t1"))
        await saver.aprune(["t1"])
        assert (await compiled.aget_state(at("t1"))).values == {"done": ["run", "only"] * 3}


async def test_a_strategy_that_does_not_exist_deletes_nothing(brain: Brain) -> None:
    async with open_checkpointer() as saver:
        await post(saver, brain, "hello")
        with pytest.raises(InputError, match="strategy: 'some' is none of keep_latest, delete, delete_all"):
            await saver.aprune(["t1"], strategy="some")
        assert count(saver, "checkpoints") == 1


async def test_a_copy_needs_its_source_no_more(brain: Brain) -> None:
    async with open_checkpointer() as saver:
        for text in ("zero", "one"):
            await post(saver, brain, text, conversation_id="c1")
        await saver.acopy_thread("t1", "t2")
        await post(saver, brain, "two")
        assert await read(saver, "t2") == [(0, "zero"), (1, "one")]
        await saver.adelete_thread("t1")
        await post(saver, brain, "three", "t2")
        assert await read(saver, "t1") == []
        assert await read(saver, "t2") == [(0, "zero"), (1, "one"), (3, "three")]


async def test_a_run_in_the_middle_can_be_deleted(brain: Brain) -> None:
    async with open_checkpointer() as saver:
        for text in ("zero", "one", "two"):
            await post(saver, brain, text)
        await saver.adelete_for_runs([brain.gym.decision("t1", 1).run_id])
        assert await read(saver) == [(0, "zero"), (2, "two")]
        await post(saver, brain, "three")
        assert await read(saver) == [(0, "zero"), (2, "two"), (3, "three")]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_thread_can_be_pruned_while_it_runs(home: Path, durability: Any) -> None:
    async with open_checkpointer() as saver:

        async def prune(state: Steps) -> dict[str, list[str]]:
            await saver.aprune(["t1"])
            return {"done": ["pruned"]}

        graph = three_steps(saver, prune)
        for _ in range(2):
            await graph.ainvoke({"done": ["run"]}, at("t1"), durability=durability)
        assert (await graph.aget_state(at("t1"))).values == {"done": ["run", "first", "pruned", "last"] * 2}


async def test_turns_and_prunes_at_the_same_time_lose_nothing(brain: Brain) -> None:
    names = ["t0", "t1", "t2"]

    async def converse_in(thread: str) -> None:
        for number in range(4):
            await post(saver, brain, f"{thread} {number}", thread)

    async def prune_until(turns: "asyncio.Future[Any]") -> None:
        while not turns.done():
            await saver.aprune(names)

    async with open_checkpointer() as saver:
        turns = asyncio.gather(*map(converse_in, names))
        await asyncio.gather(turns, prune_until(turns))
        for thread in names:
            assert await read(saver, thread) == [(number, f"{thread} {number}") for number in range(4)]


async def test_what_is_looked_for_is_found_without_reading_whole_tables(brain: Brain) -> None:
    async with open_checkpointer() as saver:
        await post(saver, brain, "zero", conversation_id="c1")
        said: list[str] = []
        saver.conn.set_trace_callback(said.append)
        await saver.adelete_for_runs(["r1"])
        await saver.aprune(["t1"])
        await saver.aprune(["t1"], strategy="delete")
        await saver.acopy_thread("t1", "t2")
        [state async for state in saver.alist(None, filter={"conversation_id": "c1"})]
        saver.conn.set_trace_callback(None)
        said = [statement for statement in said if statement.startswith(("DELETE", "WITH", "INSERT"))]
        said.append("SELECT 1 FROM checkpoints WHERE json_extract(CAST(metadata AS TEXT), '$.conversation_id') = 'c1'")
        assert len(said) == 9
        for statement in said:
            steps = [row[3] for row in saver.conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
            read_whole = [step for step in steps for table in ("checkpoints", "writes", "brain_decisions", "c", "d")
                          if f"{step} ".startswith(f"SCAN {table} ") or "AUTOMATIC" in step]  # fmt: skip
            assert not read_whole, statement


@pytest.mark.parametrize("named", [True, False])
async def test_a_conversation_that_is_erased_while_its_turn_runs_does_not_come_back(brain: Brain, named: bool) -> None:
    news = {"conversation_id": "c1"} if named else {}
    async with open_checkpointer() as saver:
        await post(saver, brain, "zero", conversation_id="c1")
        storing = saver.put

        def erase_first(*arguments: Any) -> Any:
            with brain.gym.writing():
                for table in ("events", "brain_decisions", "checkpoints", "writes"):
                    brain.gym.connection.execute(f"DELETE FROM {table}")
            return storing(*arguments)

        saver.put = erase_first  # type: ignore[method-assign]
        answer = await post(saver, brain, "one", **news)
        assert answer["turn"] == 1 and len(answer["readings"]) == 5
        assert count(saver, "checkpoints") == count(saver, "writes") == 0


@pytest.mark.parametrize("name", ["rl_gym_enabled", "brain_enabled"])
async def test_a_brain_that_keeps_nothing_keeps_no_checkpoint(home: Path, name: str) -> None:
    brain = Brain(Settings(**{name: False}))
    async with open_checkpointer() as saver:
        answers = [await post(saver, brain, text, conversation_id="c1") for text in ("zero", "one")]
        assert [len(answer["readings"]) for answer in answers] == [5 if name == "rl_gym_enabled" else 0] * 2
        assert count(saver, "checkpoints") == count(saver, "writes") == 0
    if brain.gym:
        brain.gym.close()


async def test_a_refused_post_leaves_nothing_behind(brain: Brain) -> None:
    async with open_checkpointer() as saver:
        with pytest.raises(InputError):
            await post(saver, brain, "secret", conversation_id="c1", outcome={"workflow_outcome": "maybe"})
        assert count(saver, "checkpoints") == count(saver, "writes") == 0
        await post(saver, brain, "zero", conversation_id="c1")
        assert await read(saver) == [(0, "zero")]


async def test_writes_of_a_checkpoint_that_has_been_erased_are_not_kept(home: Path) -> None:
    async with open_checkpointer() as saver:
        config = await saver.aput(at("t1", checkpoint_ns=""), empty_checkpoint(), {}, {})
        await saver.aput_writes(config, [("done", "before")], "task")
        assert count(saver, "writes") == 1
        await saver.adelete_thread("t1")
        await saver.aput_writes(config, [("done", "after")], "task")
        assert count(saver, "writes") == 0
        early = at("t1", checkpoint_ns="", checkpoint_id=empty_checkpoint()["id"])
        await saver.aput_writes(early, [("done", "before its checkpoint")], "task")
        left = at("t1", checkpoint_ns="", checkpoint_id="1effe000-0000-6000-8000-000000000000")
        await saver.aput_writes(left, [("done", "years ago")], "task")
        assert count(saver, "writes") == 2
    async with open_checkpointer() as saver:
        assert saver.conn.execute("SELECT checkpoint_id FROM writes").fetchall() == [
            (early["configurable"]["checkpoint_id"],)
        ]


async def test_writes_that_came_before_a_checkpoint_that_is_not_stored_are_not_kept(home: Path) -> None:
    async with open_checkpointer() as saver:
        checkpoint = empty_checkpoint()
        await saver.aput_writes(at("t1", checkpoint_ns="", checkpoint_id=checkpoint["id"]), [("done", "x")], "task")
        erased: Any = {"graph_id": "shadow", "conversation_id": "c1"}
        await saver.aput(at("t1", checkpoint_ns=""), checkpoint, erased, {})
        assert count(saver, "checkpoints") == count(saver, "writes") == 0


async def test_a_callers_own_metadata_is_no_conversation(brain: Brain) -> None:
    async with open_checkpointer() as saver:
        mine = {**at("t1"), "metadata": {"conversation_id": "the host's", "ratio": math.nan}}
        graph = create_shadow_workflow(checkpointer=saver)
        await graph.ainvoke({"messages": [HumanMessage("zero")]}, mine, context=WithBrain(brain=brain))
        found = await saver.aget_tuple(at("t1"))
        assert (found.metadata["conversation_id"], found.metadata["ratio"]) == ("t1", None)
        other = three_steps(saver, lambda state: {"done": ["middle"]})
        await other.ainvoke({"done": []}, {**mine, **at("t2")})
        assert (await saver.aget_tuple(at("t2"))).metadata["conversation_id"] == "the host's"


async def test_deleted_words_are_in_no_byte_of_the_file(home: Path) -> None:
    async with open_checkpointer() as saver:
        graph = three_steps(saver, lambda state: {"done": ["middle"]})
        for thread in ("t1", "t2"):
            await graph.ainvoke({"done": [f"words of {thread}"]}, at(thread))
        await saver.adelete_thread("t1")
    content = (home / "brain_gym.db").read_bytes()
    assert b"words of t2" in content and b"words of t1" not in content


async def test_a_thread_of_the_first_gyms_goes_on_counting_as_it_did(home: Path) -> None:
    async with open_checkpointer() as saver:
        first = saver.get_next_version(None, None)
        assert first < saver.get_next_version(first, None), "as LangGraph's server does"
        assert saver.get_next_version(7, None) == 8
