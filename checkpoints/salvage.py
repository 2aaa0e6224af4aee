"""Save what can be read of a damaged gym, table by table and row by row around the damaged pages, into a new one."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from understudy.checkpoints.file import GymError, GymFile, explained, open_to_read
from understudy.checkpoints.gym_saver import GymSaver
from understudy.checkpoints.soundness import sync

COUNTED = ("answer_counts", "evidence_sets", "decision_counts")
"""Tables that the new file's triggers fill."""

MISSES = 200_000
"""Rows that are looked for one by one behind a damaged page; a page deep in the tree holds fewer. Then ever fewer."""

LAST_ROW = 2**63 - 1


def salvage(path: Path, into: Path) -> dict[str, tuple[int, int | None]]:
    """Write all that can be read of a damaged gym, which stays as it is, into a new one.

    Args:
        path: the damaged file.
        into: the new file; it is there as a whole or not at all, with mode 0600.

    Returns:
        By table, of those that hold anything, how many rows were saved and how many were not. The latter is None if
        nothing in the file says how many there were.

    Raises:
        GymError: the new file is there already or cannot be written, or of the damaged one nothing can be read.
    """
    if into.exists():
        raise GymError(f"{into} is there already, from an earlier salvage; move it away")
    unfinished = into.with_name(f"{into.name}.{os.getpid()}")
    try:
        found = _salvage(path, unfinished)
        with explained(into, OSError):
            sync(unfinished)
            unfinished.rename(into)
            sync(into.parent)
    finally:
        for end in ("", "-wal", "-shm"):
            unfinished.with_name(unfinished.name + end).unlink(missing_ok=True)
    return found


def _salvage(path: Path, into: Path) -> dict[str, tuple[int, int | None]]:
    with explained(path, OSError), closing(open_to_read(path)) as damaged:
        damaged.execute("PRAGMA writable_schema=ON")  # else nothing is read of a file that has lost its end
        columns = _columns(damaged, path)
        fresh = GymFile(into)
        try:
            GymSaver(fresh.connection).setup()
            guards = fresh.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%(IGNORE)%'")
            for guard in guards:  # a row whose conversation cannot be read is saved all the same
                fresh.connection.execute(f"DROP TRIGGER {guard['name']}")
            found = {}
            for table in _tables(fresh):
                if table in columns and table not in COUNTED:
                    known = [row["name"] for row in fresh.rows(f"PRAGMA table_info({table})")]
                    saved = _copy(damaged, fresh, table, [name for name in known if name in columns[table]])
                    there = _count(damaged, table)
                    if saved or there != 0:
                        found[table] = saved, None if there is None else max(0, there - saved)
            for guard in guards:
                fresh.connection.execute(guard["sql"])
            _never_count_less(damaged, fresh)
        finally:
            fresh.close()
    return found


def _columns(damaged: sqlite3.Connection, path: Path) -> dict[str, list[str]]:
    try:
        names = [row[0] for row in damaged.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
        return {name: [row[1] for row in damaged.execute(f'PRAGMA table_info("{name}")')] for name in names}
    except sqlite3.DatabaseError as error:
        raise GymError(f"{path}: not even its list of tables can be read ({error}); restore a backup") from None


def _tables(gym: GymFile) -> list[str]:
    rows = gym.rows(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_%'"
        " ESCAPE '\\' ORDER BY rowid"
    )
    return [row["name"] for row in rows]


def _copy(damaged: sqlite3.Connection, fresh: GymFile, table: str, columns: list[str]) -> int:
    """Write the readable rows of a table, under their row numbers, into the new file; return how many."""
    keys = [row["name"] for row in fresh.rows(f"PRAGMA table_info({table})") if row["pk"]]
    numbered = _is_numbered(fresh, table)
    names = ", ".join(columns)
    given = columns if not numbered or _is_the_number(fresh, table, keys) else ["rowid", *columns]
    marks = ", ".join("?" for _ in given)
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(given)}) VALUES ({marks})"
    rows = _by_number(damaged, table, names) if numbered else _by_key(damaged, table, names, keys)
    saved = 0
    with fresh.writing():
        for row in rows:
            with suppress(sqlite3.DatabaseError):  # a row that its table, or a trigger that reads it, does not take
                saved += fresh.connection.execute(insert, row[len(row) - len(given) :]).rowcount
    return saved


def _is_numbered(gym: GymFile, table: str) -> bool:
    try:
        gym.rows(f"SELECT rowid FROM {table} LIMIT 0")
    except GymError:
        return False
    return True


def _is_the_number(gym: GymFile, table: str, keys: list[str]) -> bool:
    """Say whether a column is another name of the row number."""
    kinds = {row["name"]: row["type"] for row in gym.rows(f"PRAGMA table_info({table})")}
    return len(keys) == 1 and kinds[keys[0]].upper() == "INTEGER"


# Python looks for the next row before it hands one out, and so keeps back the last one before a damaged page: below,
# that one is asked for alone. A damaged tree may also lead back to rows before the one that is looked for.


def _by_number(damaged: sqlite3.Connection, table: str, names: str) -> Iterator[tuple[object, ...]]:
    """Yield number and columns of the readable rows of a table."""
    select = f"SELECT rowid, {names} FROM {table} NOT INDEXED WHERE rowid >= ? ORDER BY rowid"
    at = -LAST_ROW
    misses, step = 0, 1
    while at <= LAST_ROW:
        try:
            first = damaged.execute(f"{select} LIMIT 1", (at,)).fetchone()
            is_missed = first is not None and first[0] < at
        except sqlite3.DatabaseError:
            is_missed = True
        if is_missed:
            misses += 1
            step = step * 2 if misses > MISSES else 1
            at = max(0, at + step)
            continue
        if first is None:
            return
        at, misses, step = first[0] + 1, 0, 1
        yield first
        with suppress(sqlite3.DatabaseError):
            for row in damaged.execute(select, (at,)):
                if row[0] < at:
                    break
                at = row[0] + 1
                yield row


def _by_key(damaged: sqlite3.Connection, table: str, names: str, keys: list[str]) -> Iterator[tuple[object, ...]]:
    """Yield the columns of the rows before the first damaged page of a table without row numbers, and after the last.

    Their keys are texts: there is no next one to be looked for.
    """
    places = [names.split(", ").index(key) for key in keys]
    key, marks = ", ".join(keys), ", ".join("?" for _ in keys)
    ends: dict[str, tuple[object, ...]] = {}
    for sign, order in ((">", "ASC"), ("<", "DESC")):
        for limit in ("", "LIMIT 1"):
            between = " AND ".join(["true", *(f"({key}) {end} ({marks})" for end in ends)])
            by = ", ".join(f"{name} {order}" for name in keys)
            select = f"SELECT {names} FROM {table} NOT INDEXED WHERE {between} ORDER BY {by} {limit}"
            with suppress(sqlite3.DatabaseError):
                for row in damaged.execute(select, [value for end in ends.values() for value in end]):
                    ends[sign] = tuple(row[place] for place in places)
                    yield row


def _count(damaged: sqlite3.Connection, table: str) -> int | None:
    """Return how many rows a table had, as far as it or one of its indexes can be read."""
    indexes = [row[1] for row in damaged.execute(f"PRAGMA index_list({table})") if not row[4]]
    for how in ("NOT INDEXED", *(f'INDEXED BY "{name}"' for name in indexes)):
        with suppress(sqlite3.DatabaseError):
            return int(damaged.execute(f"SELECT count(*) FROM {table} {how}").fetchone()[0])
    return None


def _never_count_less(damaged: sqlite3.Connection, fresh: GymFile) -> None:
    """Keep how many decisions were ever written: what learning has counted must not be counted again."""
    counts: list[tuple[str, int]] = []
    with suppress(sqlite3.DatabaseError):
        counts = damaged.execute("SELECT profile, written FROM decision_counts").fetchall()
    with fresh.writing():
        for count in counts:
            fresh.connection.execute(
                "INSERT INTO decision_counts VALUES (?, ?)"
                " ON CONFLICT (profile) DO UPDATE SET written = max(written, excluded.written)",
                count,
            )
