"""`make bench`: where a turn's time goes, how the gym grows, what an import costs. Figures and ratios, one run."""

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import aiosqlite
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from understudy.benchmarks import ab_power, prompt_cache
from understudy.checkpoints.saver import open_checkpointer
from understudy.demo import BUNDLED
from understudy.graph.shadow import build, create_shadow_workflow
from understudy.lm.embedded import EmbeddedStudent
from understudy.nodes import conflict, goals, intent, personalize, quality, response
from understudy.nodes.ab_life import begin
from understudy.nodes.brain import Brain, WithBrain
from understudy.nodes.faculty import Said
from understudy.settings import Settings, current_settings

READERS = (conflict, goals, intent, quality, response)
Turn = tuple[str, str]


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=400, help="turns per measurement")
    turns = parser.parse_args().turns
    said = list(_turns())
    print(f"{turns} turns per measurement, conversations of 10 turns, texts of {BUNDLED.name}, embedded engine\n")
    asyncio.run(time_of_a_turn(said, turns))
    asyncio.run(growth(said, turns))
    import_time()
    status_time()
    prompt_cache.table(BUNDLED, prompt_cache.MEASURED_TURNS)
    ab_power.table(2000)


async def time_of_a_turn(said: list[Turn], turns: int) -> None:
    """Split a turn's time into engine, DSPy, graph, checkpoint and row."""
    engine: list[float] = []
    working = EmbeddedStudent.complete

    def timed(self: EmbeddedStudent, request: Any) -> Any:
        started = time.perf_counter()
        answer = working(self, request)
        engine.append((time.perf_counter() - started) * 1000)
        return answer

    with mock.patch.object(EmbeddedStudent, "complete", timed):
        full = await _p50(said, turns, _ours)
    engine_ms = sum(engine) / len(engine) * 6
    with _silent_models():
        without_models = await _p50(said, turns, _ours)
        without_saver = await _p50(said, turns, _no_saver)
        bare = await _p50(said, turns, _no_saver, RL_GYM_ENABLED="false")
        stock = await _p50(said, turns, _stock)
        plain = await _p50(said, turns, _ours, PERSONALIZE_ENABLED="false")
    tested = await _p50(said, turns, _tested)
    yardstick = await nine_empty_nodes(turns)
    print("a turn, p50 in ms")
    _row("whole turn", full)
    _row("  engine, 6 answers", engine_ms, f"{engine_ms / 6:.3f} ms an answer, budget 0.3")
    _row("  DSPy, 6 calls", full - without_models - engine_ms)
    _row("  graph", bare)
    _row("  row (log, decision, evidence)", without_saver - bare)
    _row("  checkpoint", without_models - without_saver)
    _row("models and DSPy left out", without_models, "budget 6")
    _row("  of these, the personal touch", without_models - plain, "its node and its row, after the turn's own")
    _row("an A/B test of intent, on top", tested - full, "two answers more; also after the turn's own row")
    _row(
        "  of nine empty nodes", without_models / yardstick, f"times; they take {yardstick:.2f} ms on this machine now"
    )
    _row("  the same with the stock saver", stock, f"default durability; {stock / without_models:.1f} times ours")
    print()


async def nine_empty_nodes(turns: int) -> float:
    """Measure how fast this machine is just now: LangGraph alone, nine nodes, stock saver, durability "exit"."""

    async def nothing(state: MessagesState) -> dict[str, Any]:
        return {}

    graph = StateGraph(MessagesState)
    names = [f"n{number}" for number in range(9)]
    for name in names:
        graph.add_node(name, nothing)
    graph.add_edge(START, names[0])
    for name in names[1:5]:
        graph.add_edge(names[0], name)
        graph.add_edge(name, names[5])
    for before, after in pairwise(names[5:]):
        graph.add_edge(before, after)
    times = []
    with _folder():
        async with AsyncSqliteSaver.from_conn_string("nine.db") as saver:
            compiled = graph.compile(checkpointer=saver)
            for number in range(turns):
                config: Any = {"configurable": {"thread_id": f"t{number // 10}"}}
                started = time.perf_counter()
                await compiled.ainvoke({"messages": [HumanMessage("hello")]}, config, durability="exit")
                times.append((time.perf_counter() - started) * 1000)
    return median(times[len(times) // 10 :])


async def growth(said: list[Turn], turns: int) -> None:
    """Measure the gym's bytes a turn against the length of a conversation, all files, after close."""
    print("gym growth, bytes a turn (budget 8,192; 40 turns at most 1.3 times 5 turns)")
    ours = {length: await _bytes(said, turns, length, _ours) for length in (5, 10, 20, 40)}
    stock = {length: await _bytes(said, turns, length, _stock) for length in (5, 40)}
    for length, size in ours.items():
        beside = f"stock saver {stock[length]:,.0f}" if length in stock else ""
        _row(f"  conversations of {length} turns", size, beside)
    _row("  40 turns / 5 turns", ours[40] / ours[5], f"stock saver {stock[40] / stock[5]:.2f}")
    print()


def import_time() -> None:
    """Measure what `import understudy` costs a host."""

    def run(code: str) -> float:
        def once() -> float:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            return time.perf_counter() - started

        return median(once() for _ in range(7))

    bare, package = run("pass"), run("import understudy")
    door = run("from understudy import create_shadow_workflow")
    print("import, seconds beyond a bare interpreter")
    _row("  import understudy", package - bare, "budget 0.3")
    _row("  and create_shadow_workflow used", door - bare, "LangGraph and DSPy are loaded then")
    print()


def status_time(decisions: int = 1_000_000) -> None:
    """Measure `status` on a large gym."""
    from understudy.status import status

    with _folder():
        brain = Brain(Settings())
        assert brain.gym is not None
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {decisions - 1})"
        with sqlite3.connect(brain.gym.path) as db:
            db.execute(
                f"{numbers} INSERT INTO events (conversation_id, seq, kind, turn, message_id, role, text, profile, "
                "processed_at) SELECT 'c' || (i / 10), i % 10, 'customer_message', i % 10, 'm' || (i % 10), "
                "'customer', 'hello', 'default', '2026' FROM n"
            )
            db.execute(
                f"{numbers} INSERT INTO brain_decisions (decision_id, conversation_id, turn, message_id, profile, "
                "created_at, user_message, history_upto, readings, faults, versions, models, tokens_in, tokens_out, "
                "latency_ms, engine, brain_mode) SELECT 'd' || i, 'c' || (i / 10), i % 10, 'm' || (i % 10), 'default', "
                "'2026', 'hello', 0, json_object('intent', json_object('version', 'v0.0', 'x', printf('%.1000c', 'x')))"
                ", '[]', '{}', '{}', 1, 1, 9.0, 'embedded', 'shadow' FROM n"
            )
            db.execute(
                f"{numbers} INSERT INTO evidence (event_id, conversation_id, turn, field, value, source, at) "
                "SELECT i, 'c' || (i / 10), i % 10, 'intent', '\"booking\"', 'human', '2026' FROM n"
            )
        times = []
        for _ in range(5):
            started = time.perf_counter()
            found = status(brain)
            times.append((time.perf_counter() - started) * 1000)
        brain.gym.close()
    assert found["decisions"] == found["evidence"]["intent"] == decisions
    print(f"status at {decisions:,} decisions, ms")
    _row("  p50 of 5", median(times), "budget 300")


def _turns() -> Iterator[Turn]:
    """Yield customer message and reply, over and over."""
    lines = [json.loads(line) for line in BUNDLED.read_text(encoding="utf-8").splitlines()]
    pairs = [
        (asked["text"], answered["text"])
        for line in lines
        for asked, answered in zip(line["messages"], line["messages"][1:], strict=False)
        if (asked["role"], answered["role"]) == ("customer", "agent")
    ]
    yield from pairs


@contextmanager
def _folder(**settings: str) -> Iterator[Path]:
    """Work in an empty folder with settings of its own."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, settings):
        os.chdir(folder)
        current_settings.cache_clear()
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
            current_settings.cache_clear()


@contextmanager
def _silent_models() -> Iterator[None]:
    """Leave out models and DSPy: every module answers at once with an empty reading."""

    async def read(faculty: Any, state: Any, runtime: Any) -> dict[str, Any]:
        fields = {"reasoning": "x" * 60, "confidence": 0.5}
        reading = {"fields": fields, "version": "v0.0", "model": "none", "tokens_in": 1, "tokens_out": 1, "ms": 0.0}
        return {"readings": {faculty.name: reading}}

    async def ask(brain: Any, program: Any, inputs: Any) -> Said:
        fields = {"personalized_message": inputs["reply"], "modifications": [], "confidence": 0.5, "reasoning": "x"}
        return Said(fields, None, 0.0, 2)

    with mock.patch.multiple(conflict, read=read), mock.patch.multiple(goals, read=read):
        with mock.patch.multiple(intent, read=read), mock.patch.multiple(quality, read=read):
            with mock.patch.multiple(response, read=read), mock.patch.multiple(personalize, ask=ask):
                yield


Runner = Callable[[Brain, Callable[[Any], Awaitable[None]]], Awaitable[None]]


async def _ours(brain: Brain, work: Callable[[Any], Awaitable[None]]) -> None:
    async with open_checkpointer() as saver:
        await work(create_shadow_workflow(checkpointer=saver))


async def _tested(brain: Brain, work: Callable[[Any], Awaitable[None]]) -> None:
    begin(brain, "default", "intent", "v0.0", "v0.0")
    await _ours(brain, work)


async def _no_saver(brain: Brain, work: Callable[[Any], Awaitable[None]]) -> None:
    await work(create_shadow_workflow())


async def _stock(brain: Brain, work: Callable[[Any], Awaitable[None]]) -> None:
    """LangGraph's own saver and compiled graph, with default durability, on the same file."""
    async with aiosqlite.connect("brain_gym.db", isolation_level=None) as connection:
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        await work(build().compile(checkpointer=saver))


async def _p50(said: list[Turn], turns: int, runner: Runner, **settings: str) -> float:
    times: list[float] = []
    with _folder(**settings):
        await _observe(said, turns, 10, runner, times)
    return median(times[len(times) // 10 :])


async def _bytes(said: list[Turn], turns: int, length: int, runner: Runner) -> float:
    with _folder() as folder:
        await _observe(said, turns, length, runner, [])
        return sum(path.stat().st_size for path in folder.iterdir()) / turns


async def _observe(said: list[Turn], turns: int, length: int, runner: Runner, times: list[float]) -> None:
    """Post turn after turn as a chat app does: the reply to the last message together with the new one."""
    brain = Brain(Settings())

    async def work(graph: Any) -> None:
        reply: list[Any] = []
        for number in range(turns):
            asked, answered = said[number % len(said)]
            thread, turn = divmod(number, length)
            news = [*(reply if turn else []), HumanMessage(asked, id=f"c{turn}")]
            config = {"configurable": {"thread_id": f"t{thread}"}}
            started = time.perf_counter()
            await graph.ainvoke(
                {"conversation_id": f"t{thread}", "messages": news}, config, context=WithBrain(brain=brain)
            )
            times.append((time.perf_counter() - started) * 1000)
            reply = [AIMessage(answered, id=f"a{turn}")]

    if brain.gym is not None:
        brain.gym.counts()
    await runner(brain, work)
    if brain.gym is not None:
        brain.gym.close()


def _row(name: str, value: float, remark: str = "") -> None:
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    print(f"{name:<38}{shown:>10}  {remark}".rstrip())


if __name__ == "__main__":
    main()
