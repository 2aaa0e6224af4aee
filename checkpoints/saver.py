"""LangGraph's checkpoints, in the gym's file: how its saver is opened, and graphs that save once and are not traced."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.graph import Graph
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context
from langsmith.utils import tracing_is_enabled

from understudy.checkpoints.file import BUSY_SECONDS, explained, stays
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.gym_saver import GymSaver, SmallSerializer
from understudy.checkpoints.threads import SHADOW
from understudy.settings import current_settings


@asynccontextmanager
async def open_checkpointer(path: Path | None = None) -> AsyncIterator[GymSaver]:
    """Open LangGraph's saver on the gym's file; `langgraph.json` names this function.

    Args:
        path: the gym; None takes RL_GYM_DB_PATH.

    Raises:
        GymError: the file cannot be used.
    """
    saver = await asyncio.to_thread(_open, path)
    try:
        yield saver
    finally:
        await asyncio.to_thread(_close, saver)


def _open(path: Path | None) -> GymSaver:
    path = path or current_settings().rl_gym_db_path
    Gym(path).close()
    with explained(path, OSError):
        # Autocommit: the file's write lock is held for one statement only.
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA secure_delete=ON")
            saver = GymSaver(connection, SmallSerializer(allowed_msgpack_modules=None), stays(path))
            saver.setup()
        except BaseException:
            connection.close()
            raise
    return saver


def _close(saver: GymSaver) -> None:
    # SQLite folds the log beside the file in when the last connection closes; a server that is told to end closes this
    # one, and the gym's own goes down with the process.
    # Whoever empties the log holds up those who write: not for the bulk of it, and not while others read.
    saver.conn.execute("PRAGMA wal_checkpoint(PASSIVE)")
    saver.conn.execute("PRAGMA busy_timeout=0")
    saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    saver.conn.close()


class UntracedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph whose runs are not traced unless BRAIN_TRACING says so, whatever the host exports."""

    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Draw it without the handlers of its nodes' errors: they are no steps, and nothing leads to them."""
        drawn = super().get_graph(config, xray=xray)
        for name in [name for name in drawn.nodes if name.startswith("__error_handler__")]:
            del drawn.nodes[name]
        return drawn

    async def aget_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Draw it as `get_graph` does, for LangGraph's server."""
        return self.get_graph(config, xray=xray)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        """Run as LangGraph does; checkpoints say of which graph they are."""
        given = config or {}
        metadata = {"graph_id": self.get_name(), **(given.get("metadata") or {})}
        parts = super().astream(input, cast(RunnableConfig, {**given, "metadata": metadata}), **options)
        if current_settings().brain_tracing or not tracing_is_enabled():
            async for part in parts:
                yield part
            return
        while True:
            # Only while the graph works: between two parts the context is the host's.
            with tracing_context(enabled=False):
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
            yield part


class OneCheckpointGraph(UntracedGraph):
    """A compiled graph that saves once, at the end of a run, whatever durability its caller picked.

    The metadata of every checkpoint holds its run's `run_id`, the `conversation_id` that was posted, or else the
    thread's, and `graph_id`.
    """

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        """Run as LangGraph does, with durability "exit"."""
        options["durability"] = None
        if isinstance(self.checkpointer, BaseCheckpointSaver):
            given, metadata = config or {}, (config or {}).get("metadata") or {}
            posted = input.get("conversation_id") if isinstance(input, Mapping) else None
            said = {
                "run_id": str(given.get("run_id") or metadata.get("run_id") or uuid4()),
                "conversation_id": posted if posted and isinstance(posted, str) else _thread(given),
                "graph_id": SHADOW,
            }
            config = cast(RunnableConfig, {**given, "metadata": {**metadata, **said}})
            options["durability"] = "exit"
        async for part in super().astream(input, config, **options):
            yield part


def _thread(config: Mapping[str, Any]) -> str:
    return str(config.get("configurable", {}).get("thread_id", ""))


def save_once(graph: CompiledStateGraph[Any, Any, Any, Any]) -> OneCheckpointGraph:
    """Turn a compiled graph into one that saves once a run, and is not traced."""
    graph.__class__ = OneCheckpointGraph
    return cast(OneCheckpointGraph, graph)


def untraced(graph: CompiledStateGraph[Any, Any, Any, Any]) -> UntracedGraph:
    """Turn a compiled graph into one that is not traced."""
    graph.__class__ = UntracedGraph
    return cast(UntracedGraph, graph)
