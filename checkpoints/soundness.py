"""Is the gym's file sound, and do its rows belong together? Every SQL statement on that, and on its copy."""

import errno
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from textwrap import shorten
from typing import TypeVar

from understudy.checkpoints.file import GymFile, connect, explained, open_to_read

T = TypeVar("T")

HOUR = 3600

LOOK_SECONDS = 0.1
"""How often is looked whether a long statement is done, or is to be ended."""

MOST_SAID = 200
"""Characters of what SQLite says of the damage."""

_NO_EVENTS = "NOT EXISTS (SELECT 1 FROM events e WHERE e.conversation_id = {0}.conversation_id)"
_OF_MODULE = "test IN (SELECT name FROM ab_tests WHERE module IS NOT NULL)"

_ORPHANS = {
    "decisions of unknown conversations": ("brain_decisions", _NO_EVENTS),
    "evidence of unknown conversations": ("evidence", _NO_EVENTS),
    "suggestions of unknown conversations": ("personalization_suggestions", _NO_EVENTS),
    # A test without a module is a caller's own, with conversations that the gym need not know.
    "A/B answers of unknown conversations": (
        "ab_results",
        f"{_OF_MODULE} AND {_NO_EVENTS} AND {{0}}.conversation_id NOT LIKE 'erased-%'",
    ),
    "unknown conversations that an A/B test waits for": (
        "ab_conversations",
        f"state IN ('open', 'unscored') AND {_OF_MODULE} AND {_NO_EVENTS}",
    ),
    "near-copies of nothing": (
        "conversation_bands",
        "NOT EXISTS (SELECT 1 FROM conversation_sides s WHERE s.id = {0}.side_id)",
    ),
    "dreams that are no JSON": (
        "dreams",
        "NOT (json_valid(parents) AND json_valid(lenders) AND json_valid(conversation))",
    ),
    # A run writes both; the checkpoint of one that runs now may still be on its way.
    "writes without a checkpoint": (
        "writes",
        "checkpoint_id < ? AND NOT EXISTS (SELECT 1 FROM checkpoints c WHERE c.thread_id = {0}.thread_id"
        " AND c.checkpoint_ns = {0}.checkpoint_ns AND c.checkpoint_id = {0}.checkpoint_id)",
    ),
}


def flaws(path: Path, *, thorough: bool = False) -> str:
    """Return SQLite's own word on a gym's file, which stays as it is: `ok`, or what is damaged.

    Args:
        path: the file.
        thorough: look whether the indexes agree with their tables too.

    Raises:
        GymError: it cannot be opened, or is no SQLite file.
    """
    with explained(path, OSError), closing(open_to_read(path)) as gym:
        try:
            return patiently(gym, lambda: _check(gym, "integrity_check" if thorough else "quick_check"))
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            return str(error)


def _check(gym: sqlite3.Connection, how: str) -> str:
    return shorten("; ".join(row[0] for row in gym.execute(f"PRAGMA {how}(5)")), MOST_SAID, placeholder=" ...")


def rebuild_indexes(path: Path) -> bool:
    """Build all indexes anew if that makes the file sound, and say whether it did; else the file stays as it is."""
    address = f"{path.resolve().as_uri()}?mode=rw"
    with explained(path, OSError), closing(open_to_read(path)) as reader:
        try:
            # It is opened first and closed last: the one that writes would fold the log into the file when it closes.
            reader.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            with closing(connect(address)) as gym:
                return _rebuild(gym)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT):
                raise
            return False


def _rebuild(gym: sqlite3.Connection) -> bool:
    gym.execute("BEGIN IMMEDIATE")
    try:
        patiently(gym, lambda: gym.execute("REINDEX"))
        is_sound = patiently(gym, lambda: _check(gym, "integrity_check")) == "ok"
        if is_sound:
            gym.execute("COMMIT")
        return is_sound
    finally:
        if gym.in_transaction:
            gym.execute("ROLLBACK")


def orphans(gym: GymFile, *, erase: bool = False) -> dict[str, int]:
    """Count the rows that belong to nothing, by what they are, and erase them if that is wanted."""
    tables = {row["name"] for row in gym.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    old = _id_at(time.time() - HOUR)
    found = {}
    for what, (table, where) in _ORPHANS.items():
        if table in tables:
            those, values = f"FROM {table} WHERE {where.format(table)}", (old,) if "?" in where else ()
            found[what] = gym.count(f"SELECT count(*) {those}", *values)
            if found[what] and erase:
                with gym.writing():
                    found[what] = gym.connection.execute(f"DELETE {those}", values).rowcount
    return {what: count for what, count in found.items() if count}


def _id_at(seconds: float) -> str:
    """Return what the id of a checkpoint of a moment begins with: LangGraph makes UUIDs of version 6, in order."""
    ticks = int(seconds * 10_000_000) + 0x01B21DD213814000  # of 100 ns, since 1582
    return f"{ticks >> 28:08x}-{ticks >> 12 & 0xFFFF:04x}-6{ticks & 0xFFF:03x}"


def snapshot(path: Path, copy: Path, on_progress: Callable[[int, int], None]) -> None:
    """Write what the gym holds at this moment into a new file, with mode 0600; no writer has to wait for it.

    Args:
        path: the gym.
        copy: the new file; what is there of it after an error is for the caller to remove.
        on_progress: told how many bytes of about how many are written.

    Raises:
        GymError: the gym cannot be read, or is damaged.
        OSError: the copy cannot be written.
    """
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with explained(path), closing(open_to_read(path)) as gym:
        whole = _used(gym)
        try:
            patiently(
                gym,
                lambda: gym.execute("VACUUM INTO ?", (str(copy),)),
                lambda: on_progress(copy.stat().st_size, whole),
            )
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(copy)) from error
            raise


def room_needed(path: Path) -> int:
    """Return how many bytes a copy of the gym takes, roughly."""
    with explained(path, OSError), closing(open_to_read(path)) as gym:
        return _used(gym)


def _used(gym: sqlite3.Connection) -> int:
    pages, free, size = (
        gym.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def contents(path: Path) -> dict[str, int]:
    """Count the conversations and decisions of a gym of any age, without opening it to be written."""
    with explained(path, OSError), closing(open_to_read(path)) as gym:
        return {
            "conversations": gym.execute("SELECT count(*) FROM events WHERE seq = 0").fetchone()[0],
            "decisions": gym.execute("SELECT count(*) FROM brain_decisions").fetchone()[0],
        }


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk; not for a file that SQLite has open in this process."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def patiently(connection: sqlite3.Connection, work: Callable[[], T], on_wait: Callable[[], None] = lambda: None) -> T:
    """Return what a long statement does, and call `on_wait` every LOOK_SECONDS meanwhile.

    It runs in a thread: SQLite does not look up from its work, and Ctrl-C would have to wait for it.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            while not wait((future,), LOOK_SECONDS).done:
                on_wait()
        except BaseException:
            while not future.done():  # told before the statement has begun, SQLite forgets it
                connection.interrupt()
                wait((future,), LOOK_SECONDS)
            raise
        return future.result()
