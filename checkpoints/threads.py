"""LangGraph's rows in the gym: what an old thread keeps, how a thread is copied, and what must not come back.

All of it is SQL on the columns that LangGraph's own saver makes; no checkpoint is decoded.
"""

import json
import sqlite3
import time
from collections.abc import Sequence

from understudy.intake import InputError

SHADOW = "shadow"
"""The `graph_id` in a checkpoint's metadata when its words are those of a conversation in the log."""

KEEP_LATEST, EVERYTHING = "keep_latest", ("delete", "delete_all")
"""How a thread is pruned, in LangGraph's words."""

_RUN = "json_extract(CAST(metadata AS TEXT), '$.run_id')"
_CONVERSATION = "json_extract(CAST(metadata AS TEXT), '$.conversation_id')"
_HOUR = 3600 * 10**7

_SETUP = (
    f"CREATE INDEX IF NOT EXISTS checkpoints_run ON checkpoints ({_RUN})",
    f"CREATE INDEX IF NOT EXISTS checkpoints_conversation ON checkpoints ({_CONVERSATION})",
    "CREATE INDEX IF NOT EXISTS brain_decisions_run ON brain_decisions (run_id)",
    # A conversation that is erased while a turn of it runs would come back with the turn's checkpoint. By then it may
    # have begun anew: the turn's message tells.
    "CREATE TRIGGER IF NOT EXISTS checkpoints_not_in_the_log BEFORE INSERT ON checkpoints"
    f" WHEN json_extract(CAST(NEW.metadata AS TEXT), '$.graph_id') = '{SHADOW}'"
    " AND json_extract(CAST(NEW.metadata AS TEXT), '$.conversation_id') IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM events"
    "  WHERE conversation_id = json_extract(CAST(NEW.metadata AS TEXT), '$.conversation_id')"
    "  AND (json_extract(CAST(NEW.metadata AS TEXT), '$.message_id') IS NULL"
    "   OR message_id = json_extract(CAST(NEW.metadata AS TEXT), '$.message_id')))"
    " BEGIN SELECT RAISE(IGNORE); END",
)

_NO_CHECKPOINT = (
    "NOT EXISTS (SELECT 1 FROM checkpoints c WHERE c.thread_id = writes.thread_id"
    " AND c.checkpoint_ns = writes.checkpoint_ns AND c.checkpoint_id = writes.checkpoint_id)"
)

_KEEP_LATEST = (
    # The newest checkpoint; the newest of each decision's run; all, where LangGraph's channels of the kind "delta" are
    # read by going back to their last snapshot. Beside max(), SQLite gives the rowid of the row that has it.
    "WITH asked AS (SELECT value AS thread_id FROM json_each(?)), kept (row, newest) AS ("
    " SELECT c.rowid, max(checkpoint_id) FROM asked CROSS JOIN checkpoints c USING (thread_id)"
    "  GROUP BY thread_id, checkpoint_ns"
    " UNION SELECT c.rowid, max(checkpoint_id) FROM asked CROSS JOIN checkpoints c USING (thread_id)"
    f"  WHERE EXISTS (SELECT 1 FROM brain_decisions d WHERE d.run_id = {_RUN} AND d.thread_id = c.thread_id)"
    f"  GROUP BY thread_id, checkpoint_ns, {_RUN}"
    " UNION SELECT c.rowid, NULL FROM (SELECT DISTINCT thread_id, checkpoint_ns FROM asked"
    "   CROSS JOIN checkpoints USING (thread_id)"
    "   WHERE json_type(CAST(metadata AS TEXT), '$.counters_since_delta_snapshot') IS NOT NULL)"
    "  CROSS JOIN checkpoints c USING (thread_id, checkpoint_ns))"
    " DELETE FROM checkpoints WHERE rowid IN (SELECT c.rowid FROM asked CROSS JOIN checkpoints c USING (thread_id)"
    "  EXCEPT SELECT row FROM kept)",
    # A step that ends just now may write before its own, newer checkpoint is there.
    f"DELETE FROM writes WHERE thread_id IN (SELECT value FROM json_each(?)) AND {_NO_CHECKPOINT}"
    " AND checkpoint_id < (SELECT max(n.checkpoint_id) FROM checkpoints n"
    "  WHERE n.thread_id = writes.thread_id AND n.checkpoint_ns = writes.checkpoint_ns)",
)

_DELETE = tuple(
    f"DELETE FROM {table} WHERE thread_id IN (SELECT value FROM json_each(?))" for table in ("checkpoints", "writes")
)

_DELETE_RUNS = (
    "DELETE FROM writes WHERE (thread_id, checkpoint_ns, checkpoint_id) IN (SELECT thread_id, checkpoint_ns,"
    f" checkpoint_id FROM checkpoints WHERE {_RUN} IN (SELECT value FROM json_each(?)))",
    f"DELETE FROM checkpoints WHERE {_RUN} IN (SELECT value FROM json_each(?))",
)

_CHECKPOINT = "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
_WRITE = "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value"


def set_up(connection: sqlite3.Connection) -> None:
    """Make the indexes and the trigger, and drop the writes that have waited for their checkpoint for an hour.

    Such are left when a process is killed between a run's writes and its checkpoint.
    """
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints_run'").fetchone():
        _make_readable(connection)
    for statement in _SETUP:
        connection.execute(statement)
    connection.execute(
        f"DELETE FROM writes WHERE checkpoint_id < ? AND {_NO_CHECKPOINT}", [_id_at(time.time_ns() // 100 - _HOUR)]
    )


def _make_readable(connection: sqlite3.Connection) -> None:
    """Write NaN and infinity in metadata, which an earlier saver let pass, as null: SQLite's JSON knows neither."""
    rows = connection.execute(
        "SELECT rowid, CAST(metadata AS TEXT) FROM checkpoints WHERE NOT json_valid(CAST(metadata AS TEXT))"
    ).fetchall()
    for row, text in rows:
        try:
            readable = json.dumps(json.loads(text, parse_constant=lambda _: None))
        except ValueError:
            readable = "{}"
        connection.execute("UPDATE checkpoints SET metadata = ? WHERE rowid = ?", (readable.encode(), row))


def prune(cursor: sqlite3.Cursor, thread_ids: Sequence[str], strategy: str) -> None:
    """Delete of each thread what it does not keep.

    Raises:
        InputError: there is no such strategy.
    """
    if strategy != KEEP_LATEST and strategy not in EVERYTHING:
        raise InputError(f"strategy: {strategy!r} is none of {KEEP_LATEST}, {', '.join(EVERYTHING)}")
    _with_list(cursor, _KEEP_LATEST if strategy == KEEP_LATEST else _DELETE, thread_ids)


def delete_runs(cursor: sqlite3.Cursor, run_ids: Sequence[str]) -> None:
    """Delete what runs have stored, in all threads; what later runs have stored stays, and loads."""
    _with_list(cursor, _DELETE_RUNS, run_ids)


def copy(cursor: sqlite3.Cursor, source: str, target: str) -> None:
    """Copy all of a thread into another."""
    for table, columns in (("checkpoints", _CHECKPOINT), ("writes", _WRITE)):
        cursor.execute(
            f"INSERT OR REPLACE INTO {table} (thread_id, {columns}) SELECT ?, {columns} FROM {table}"
            " WHERE thread_id = ?",
            (target, source),
        )


def drop_writes(cursor: sqlite3.Cursor, key: tuple[str, str, str]) -> None:
    """Delete the writes of a checkpoint that is not there; it is named by thread, namespace and id."""
    cursor.execute(
        f"DELETE FROM writes WHERE (thread_id, checkpoint_ns, checkpoint_id) = (?, ?, ?) AND {_NO_CHECKPOINT}", key
    )


def _with_list(cursor: sqlite3.Cursor, statements: Sequence[str], ids: Sequence[str]) -> None:
    given = json.dumps([str(one) for one in ids])
    for statement in statements:
        cursor.execute(statement, [given])


def _id_at(since_1970: int) -> str:
    """Return how the id of a checkpoint of that time (100 ns) begins: it is a UUID of version 6 (RFC 9562)."""
    ticks = f"{since_1970 + 0x01B21DD213814000:015x}"
    return f"{ticks[:8]}-{ticks[8:12]}"
