"""LangGraph's checkpoints, in the gym's file: one a run, plain data only, and never traced."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4
from zlib import compress, decompress

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context
from langsmith.utils import tracing_is_enabled

from understudy.checkpoints.file import BUSY_SECONDS
from understudy.checkpoints.gym import Gym
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


class GymSaver(SqliteSaver):
    """LangGraph's SQLite saver for asynchronous graphs, with short version numbers.

    Its calls run in a thread, one hop each; the saver that LangGraph has for asynchronous graphs takes a hop for every
    statement, cursor and commit.
    """

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Count channel versions with whole numbers; LangGraph's are 50 characters for each of 25 channels."""
        return 1 if current is None else int(current) + 1

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(self, config: RunnableConfig | None, **options: Any) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, the newest first."""
        for found in await asyncio.to_thread(lambda: list(self.list(config, **options))):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints of a thread."""
        await asyncio.to_thread(self.delete_thread, thread_id)


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
    # Autocommit: the file's write lock is held for one statement only.
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous=NORMAL")
    saver = GymSaver(connection, serde=SmallSerializer(allowed_msgpack_modules=None))
    saver.setup()
    return saver


def _close(saver: GymSaver) -> None:
    # SQLite folds the log beside the file in when the last connection closes; a server that is told to end closes this
    # one, and the gym's own goes down with the process.
    saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    saver.conn.close()


class UntracedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph whose runs are not traced unless BRAIN_TRACING says so, whatever the host exports."""

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        """Run as LangGraph does."""
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


class OneCheckpointGraph(UntracedGraph):
    """A compiled graph that saves once, at the end of a run, whatever durability its caller picked.

    Every checkpoint has its run's `run_id` in its metadata.
    """

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        """Run as LangGraph does, with durability "exit"."""
        options["durability"] = None
        if isinstance(self.checkpointer, BaseCheckpointSaver):
            given, metadata = config or {}, (config or {}).get("metadata") or {}
            run_id = str(given.get("run_id") or metadata.get("run_id") or uuid4())
            config = cast(RunnableConfig, {**given, "metadata": {**metadata, "run_id": run_id}})
            options["durability"] = "exit"
        async for part in super().astream(input, config, **options):
            yield part


def save_once(graph: CompiledStateGraph[Any, Any, Any, Any]) -> OneCheckpointGraph:
    """Turn a compiled graph into one that saves once a run, and is not traced."""
    graph.__class__ = OneCheckpointGraph
    return cast(OneCheckpointGraph, graph)


def untraced(graph: CompiledStateGraph[Any, Any, Any, Any]) -> UntracedGraph:
    """Turn a compiled graph into one that is not traced."""
    graph.__class__ = UntracedGraph
    return cast(UntracedGraph, graph)
