"""LangGraph's checkpoints, in the gym's file: one a run, plain data only, and never traced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4
from zlib import compress, decompress

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context
from langsmith.utils import tracing_is_enabled

from understudy.checkpoints.gym import BUSY_SECONDS, Gym
from understudy.settings import current_settings


class SmallSerializer(JsonPlusSerializer):
    """Write what LangGraph writes, compressed: a checkpoint repeats class paths and keys, and shrinks to a third."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return the kind of the data and the data."""
        kind, data = super().dumps_typed(obj)
        return (f"{kind}+zlib", compress(data, 1)) if len(data) > 200 else (kind, data)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Read both the compressed and the plain form."""
        kind, content = data
        return super().loads_typed(
            (kind.removesuffix("+zlib"), decompress(content)) if kind.endswith("+zlib") else data
        )


class GymSaver(AsyncSqliteSaver):
    """LangGraph's SQLite saver with short version numbers: its own are 50 characters for each of 25 channels."""

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Count channel versions with whole numbers; they are compared within one checkpoint only."""
        return 1 if current is None else int(current) + 1


@asynccontextmanager
async def open_checkpointer(path: Path | None = None) -> AsyncIterator[AsyncSqliteSaver]:
    """Open LangGraph's saver on the gym's file; `langgraph.json` names this function.

    Args:
        path: the gym; None takes RL_GYM_DB_PATH.

    Raises:
        GymError: the file cannot be used.
    """
    path = path or current_settings().rl_gym_db_path
    Gym(path).close()
    # Autocommit: the saver must not hold the file's write lock while it waits for the event loop to come back to it.
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        await connection.execute("PRAGMA synchronous=NORMAL")
        saver = GymSaver(connection, serde=SmallSerializer(allowed_msgpack_modules=None))
        await saver.setup()
        yield saver


class OneCheckpointGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph that saves once, at the end of a run, whatever durability its caller picked.

    Every run gets a `run_id` in its checkpoint's metadata, and none is traced unless BRAIN_TRACING says so.
    """

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        """Run as LangGraph does, with durability "exit"."""
        given, metadata = config or {}, (config or {}).get("metadata") or {}
        run_id = str(given.get("run_id") or metadata.get("run_id") or uuid4())
        config = cast(RunnableConfig, {**given, "metadata": {**metadata, "run_id": run_id}})
        options["durability"] = "exit" if isinstance(self.checkpointer, BaseCheckpointSaver) else None
        parts = super().astream(input, config, **options)
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


def save_once(graph: CompiledStateGraph[Any, Any, Any, Any]) -> OneCheckpointGraph:
    """Turn a compiled graph into one that saves once a run."""
    graph.__class__ = OneCheckpointGraph
    return cast(OneCheckpointGraph, graph)
