"""The gym's file: how it is opened, migrated, read and written, and what is said when it cannot be."""

import errno
import fcntl
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from understudy.checkpoints.schema import migrations
from understudy.intake import UnderstudyError

BUSY_SECONDS = 10
"""How long a statement waits for another process's write."""


class GymError(UnderstudyError):
    """The gym's file cannot be used; the message names the file and what to do."""


class GymFile:
    """The open file: its schema is up to date, and its statements run one after the other; thread-safe.

    One connection, one writer at a time: a lock inside the process, SQLite's own between processes. A commit survives a
    killed process (WAL, synchronous=NORMAL).

    Args:
        path: the file; it is made with mode 0600 if it is not there, and migrated if it is older.

    Raises:
        GymError: the file is no gym, was made by a newer version, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self.explained():
            _touch(path)
            self.connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            self.connection.row_factory = sqlite3.Row
            try:
                # Whoever is first with a new file has it alone: else all would wait for each other's first writes.
                with _alone(path) if path.stat().st_size == 0 else nullcontext():
                    # A decision fills half of SQLite's usual page of 4,096 bytes and leaves the other half empty.
                    self.connection.execute("PRAGMA page_size=8192")
                    self.connection.execute("PRAGMA journal_mode=WAL")
                    self.connection.execute("PRAGMA synchronous=NORMAL")
                    self.connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
                    self._migrate()
            except BaseException:
                self.connection.close()
                raise

    def close(self) -> None:
        """Close the file; the log that SQLite keeps beside it is folded in by the last one to close."""
        with self._lock:
            self.connection.close()

    def _migrate(self) -> None:
        """Bring the schema up to date, one process at a time."""
        db = Database(self.connection)
        known = {migration.name for migration in migrations.pending(db)} | {m.name for m in migrations.applied(db)}
        if unknown := known - {migration.name for migration in migrations._migrations}:
            raise GymError(f"{self.path} was made by a newer understudy ({max(unknown)}); upgrade this one to open it")
        if migrations.pending(db):
            with _alone(self.path):
                migrations.apply(db)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the file for one transaction; inside another one this is a part of it."""
        with self._lock, self.explained():
            if self.connection.in_transaction:
                yield
                return
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn SQLite's and the system's errors into one line that says what to do."""
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            raise GymError(f"gym {self.path}: {error}; {_advice(error)}") from error

    def log_is_empty(self) -> bool:
        """Fold SQLite's log into the file and empty it; False when somebody reads an earlier state of the file.

        It does not wait for readers: others could not write meanwhile.
        """
        with self._lock, self.explained():
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # most of it, beside those who write
            self.connection.execute("PRAGMA busy_timeout=0")
            try:
                return bool(self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
            finally:
                self.connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows of a statement."""
        with self._lock, self.explained():
            return self.connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """Return the first row of a statement, or None."""
        with self._lock, self.explained():
            found: sqlite3.Row | None = self.connection.execute(sql, values).fetchone()
            return found

    def count(self, sql: str, *values: Any) -> int:
        """Return the first column of the first row as a number."""
        found = self.row(sql, *values)
        return int(found[0]) if found else 0


def now() -> str:
    """Return the time in UTC, ISO 8601, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _touch(path: Path) -> None:
    """Make the file readable by its owner alone before SQLite opens it.

    A file that is there is not opened here: to close any descriptor of it would take SQLite's locks on it from this
    process (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return
    is_folder = stat.S_ISDIR(path.stat().st_mode)
    may = os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    wrong = errno.EISDIR if is_folder else 0 if may else errno.EACCES
    if wrong:
        raise OSError(wrong, os.strerror(wrong), str(path))


_held = threading.local()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes and threads from setting the same file up at the same time; within itself it does nothing.

    The lock is on the folder, for the reason told above.
    """
    if getattr(_held, "path", None) == path:
        yield
        return
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _held.path = path
        yield
    finally:
        _held.path = None
        os.close(folder)


def _advice(error: Exception) -> str:
    text = str(error)
    if "full" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return "what was written before is kept; make room and run it again"
    if "locked" in text or "busy" in text:
        return "another program holds it; close that one and run it again"
    if "not a database" in text or "malformed" in text:
        return "it is not a gym or is damaged; move it away, or set RL_GYM_DB_PATH to another file"
    if "readonly" in text or isinstance(error, PermissionError):
        return "it cannot be written; check its owner and mode"
    return "check RL_GYM_DB_PATH"
