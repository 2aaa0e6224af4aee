"""LangGraph's saver for the gym's file: plain data, one hop to a thread each call, and old threads can be pruned."""

import asyncio
import json
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from zlib import compress, decompress

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from understudy.checkpoints import threads


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
    """LangGraph's SQLite saver for asynchronous graphs, with short version numbers, on the gym's file.

    Its calls run in a thread, one hop each; the saver that LangGraph has for asynchronous graphs takes a hop for every
    statement, cursor and commit.

    A checkpoint of the shadow graph is stored only if the gym's log has its conversation: not with
    RL_GYM_ENABLED=false or BRAIN_ENABLED=false, and not when the conversation was erased while the turn ran. The run
    returns its values all the same.

    Args:
        connection: to the gym's file, in autocommit.
        serde: how checkpoints are written.
        stays: raises GymError once the file has been removed or replaced; then nothing is stored.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        serde: JsonPlusSerializer | None = None,
        stays: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(connection, serde=serde)
        self._stays = stays
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def setup(self) -> None:
        """Make LangGraph's tables, and our indexes and the trigger on them."""
        if not self.is_setup:
            super().setup()
            threads.set_up(self.conn)

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Count channel versions; as LangGraph's server does, so that it and others can go on with each other's.

        The first gyms counted with whole numbers, without noting the graph: such a thread goes on with them.
        """
        return current + 1 if isinstance(current, int) else _version(_number(current or 0) + 1)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint."""
        found = super().get_tuple(config)
        if found is None:
            return None
        self._see(found.config)
        return _widened(found)

    def list(self, config: RunnableConfig | None, **options: Any) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, the newest first."""
        yield from map(_widened, super().list(config, **options))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; the conversation in its metadata is the one in the graph's state, if that knows it."""
        self._stays()
        told: dict[str, Any] = {**get_checkpoint_metadata(config, metadata)}
        shadow = told.get("graph_id") == threads.SHADOW
        if shadow and (known := checkpoint["channel_values"].get("conversation_id")):
            told["conversation_id"] = known
            if checkpoint["channel_values"].get("turn") is not None:
                told["message_id"] = checkpoint["channel_values"].get("message_id")
        # SQLite's JSON knows neither NaN nor infinity, and the indexes read it.
        told = json.loads(json.dumps(told), parse_constant=lambda _: None)
        if "graph_id" in told:
            checkpoint = _with_versions(checkpoint, _number)
        stored = super().put(config, checkpoint, cast(CheckpointMetadata, told), new_versions)
        key = self._see(stored)
        if shadow:
            with self.cursor() as cursor:
                threads.drop_writes(cursor, key)
        return stored

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote, unless its checkpoint has been deleted or was not stored."""
        self._stays()
        super().put_writes(config, writes, task_id, task_path)
        if (key := _key(config)) in self._seen:
            with self.cursor() as cursor:
                threads.drop_writes(cursor, key)

    def delete_thread(self, thread_id: str) -> None:
        """Delete all of a thread."""
        self.prune([thread_id], strategy="delete")

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete all that these runs have stored."""
        with self._transaction() as cursor:
            threads.delete_runs(cursor, run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all of a thread into another."""
        with self._transaction() as cursor:
            threads.copy(cursor, str(source_thread_id), str(target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = threads.KEEP_LATEST) -> None:
        """Delete what threads need no more.

        Args:
            thread_ids: of the threads.
            strategy: "keep_latest" keeps the newest checkpoint, which the next run goes on from, and every decision's;
                "delete" and "delete_all" keep nothing.

        Raises:
            InputError: there is no such strategy.
        """
        with self._transaction() as cursor:
            threads.prune(cursor, thread_ids, strategy)

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
        """Delete all of a thread."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete all that these runs have stored."""
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all of a thread into another."""
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = threads.KEEP_LATEST) -> None:
        """Do as `prune` does."""
        await asyncio.to_thread(lambda: self.prune(thread_ids, strategy=strategy))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self.cursor(transaction=False) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self.conn.in_transaction:
                    cursor.execute("ROLLBACK")
                raise

    def _see(self, config: RunnableConfig) -> tuple[str, str, str]:
        """Note that a checkpoint has been there: writes of one that is not there yet are those of a step that ends."""
        key = _key(config)
        self._seen[key] = None
        if len(self._seen) > 1000:
            self._seen.popitem(last=False)
        return key


def _key(config: RunnableConfig) -> tuple[str, str, str]:
    where = config["configurable"]
    return str(where["thread_id"]), str(where.get("checkpoint_ns", "")), str(where["checkpoint_id"])


def _widened(found: CheckpointTuple) -> CheckpointTuple:
    """Return a checkpoint with the versions of channels as LangGraph's server compares them.

    They are stored as whole numbers: the server's are 50 characters, for each of 25 channels. A checkpoint that is of
    none of our graphs has what was put.
    """
    if "graph_id" not in found.metadata:
        return found
    return found._replace(checkpoint=_with_versions(found.checkpoint, lambda version: _version(_number(version))))


def _with_versions(checkpoint: Checkpoint, told: Callable[[Any], Any]) -> Checkpoint:
    """Return a checkpoint whose versions of channels are told otherwise."""
    channels = {name: told(version) for name, version in checkpoint["channel_versions"].items()}
    seen = {
        node: {name: told(version) for name, version in versions.items()}
        for node, versions in checkpoint["versions_seen"].items()
    }
    return {**checkpoint, "channel_versions": channels, "versions_seen": seen}


def _number(version: Any) -> int:
    return int(str(version).partition(".")[0])


def _version(number: int) -> str:
    return f"{number:032}.0"
