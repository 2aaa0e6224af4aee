"""LangGraph's checkpoints, in the gym's file: one a run, plain data only, and never traced."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph.state import CompiledStateGraph
from langsmith import tracing_context

from understudy.checkpoints.gym import BUSY_SECONDS, Gym
from understudy.settings import current_settings


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
        saver = AsyncSqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        await saver.setup()
        yield saver


class OneCheckpointGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph that saves once, at the end of a run, whatever durability its caller picked.

    Every run gets a `run_id` in its checkpoint's metadata, and none is traced unless BRAIN_TRACING says so.
    """

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        """Run as LangGraph does, with durability "exit"."""
        config = ensure_config(config)
        run_id = config.get("run_id") or config["metadata"].get("run_id") or uuid4()
        config["metadata"] = {**config["metadata"], "run_id": str(run_id)}
        options["durability"] = "exit" if isinstance(self.checkpointer, BaseCheckpointSaver) else None
        parts = super().astream(input, config, **options)
        while True:
            # Only while the graph works: between two parts the context is the host's.
            with _untraced():
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
            yield part


def save_once(graph: CompiledStateGraph[Any, Any, Any, Any]) -> OneCheckpointGraph:
    """Turn a compiled graph into one that saves once a run."""
    graph.__class__ = OneCheckpointGraph
    return cast(OneCheckpointGraph, graph)


def _untraced() -> AbstractContextManager[None]:
    return nullcontext() if current_settings().brain_tracing else tracing_context(enabled=False)
