"""The gym's file: how it is opened, migrated, read and written, and what is said when it cannot be."""

import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from understudy.checkpoints.private import make_private
from understudy.checkpoints.schema import migrations
from understudy.intake import UnderstudyError

BUSY_SECONDS = 10

LITTLE = 1_000_000
"""Free bytes below which a disk is taken for a full one."""

LOCAL_DISK = (
    "put the gym on a disk of this machine: processes that use it must share memory and locks, which no network share"
    " offers (https://www.sqlite.org/wal.html)"
)
_READ_ONLY = "its disk is read-only; copy it to one that can be written, and set RL_GYM_DB_PATH to the copy"
_FULL = "what was written before is kept; make room and run it again"
_WRITING = (
    "it cannot be written; check its owner and mode",
    "its folder must be writable too: SQLite keeps two files beside it, -wal and -shm",
)
_ADVICE: tuple[tuple[tuple[str, ...], tuple[int, ...], str], ...] = (
    (("is full",), (errno.ENOSPC, errno.EDQUOT), _FULL),
    ((), (errno.EROFS,), _READ_ONLY),
    (("locking protocol",), (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS), f"its disk cannot lock; {LOCAL_DISK}"),
    (("locked", "busy"), (), "another program holds it; close that one and run it again"),
    (
        ("not a database",),
        (),
        "it is not a gym or is damaged; move it away, or set RL_GYM_DB_PATH to another file",
    ),
    (
        ("malformed",),
        (),
        "it is damaged; stop what uses it, and restore a backup or run: understudy doctor --repair; a -wal file that"
        " another gym has left beside it looks the same",
    ),
    (
        ("disk I/O error",),
        (errno.EIO,),
        "its disk fails, or another program has changed the file; stop what uses it, see to the disk and run:"
        " understudy doctor --repair",
    ),
    (("readonly",), (errno.EACCES, errno.EPERM), _WRITING[0]),
    (("unable to open",), (), _WRITING[1]),
)


class GymError(UnderstudyError):
    """The gym's file cannot be used; the message names the file and what to do."""


@contextmanager
def explained(path: Path, *more: type[Exception]) -> Iterator[None]:
    """Turn SQLite's errors about a gym into one line that says what to do, and errors of some more kinds."""
    kinds: tuple[type[Exception], ...] = (sqlite3.DatabaseError, *more)
    try:
        yield
    except kinds as error:
        raise GymError(f"gym {path}: {error}; {_advice(error, path)}") from error


class GymFile:
    """The open file: its schema is up to date, and its statements run one after the other; thread-safe.

    One connection, one writer at a time: a lock inside the process, SQLite's own between processes. A commit survives a
    killed process (WAL, synchronous=NORMAL). On a read-only disk it can be read. Once the file has
    been removed or replaced, nothing is written.

    Args:
        path: the file; it is made with mode 0600 if it is not there, and migrated if it is older.

    Attributes:
        still_there: raises GymError once the file has been removed or replaced.

    Raises:
        GymError: the file is no gym, was made by a newer version, or cannot be opened.
    """

    busy_seconds: float = BUSY_SECONDS
    """How long a statement waits for another process's write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with explained(path, OSError):
            self.is_read_only = path.is_file() and on_read_only_disk(path)
            if not self.is_read_only:
                _touch(path)
            self.connection = open_to_read(path) if self.is_read_only else connect(path, self.busy_seconds)
            self.connection.row_factory = sqlite3.Row
            try:
                if not self.is_read_only:
                    self._prepare()
                self._migrate()
                self.still_there = stays(path)
            except BaseException:
                self.connection.close()
                raise

    def close(self) -> None:
        """Close the file; the log that SQLite keeps beside it is folded in by the last one to close."""
        with self._lock:
            self.connection.close()

    def _prepare(self) -> None:
        """Set what stands in the file itself, and how this connection writes to it."""
        # Whoever is first with a new file has it alone: else all would wait for each other's first writes.
        with _alone(self.path) if self.path.stat().st_size == 0 else nullcontext():
            # A decision fills half of SQLite's usual page of 4,096 bytes and leaves the other half empty.
            self.connection.execute("PRAGMA page_size=8192")
            mode = self.connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise GymError(
                    f"gym {self.path}: SQLite's log for several processes (WAL) cannot be used; {LOCAL_DISK}"
                )
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten

    def _migrate(self) -> None:
        """Bring the schema up to date, one process at a time."""
        db = Database(self.connection)
        pending = migrations.pending(db)
        known = {migration.name for migration in pending} | {m.name for m in migrations.applied(db)}
        if unknown := known - {migration.name for migration in migrations._migrations}:
            raise GymError(f"{self.path} was made by a newer understudy ({max(unknown)}); upgrade this one to open it")
        if pending and self.is_read_only:
            raise GymError(f"{self.path} was made by an older understudy, and {_READ_ONLY}")
        if pending:
            with _alone(self.path):
                migrations.apply(db)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the file for one transaction; inside another one this is a part of it."""
        with self._lock, explained(self.path):
            if self.connection.in_transaction:
                yield
                return
            if not self.is_read_only:
                self.still_there()
            self._begin()
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def log_is_empty(self) -> bool:
        """Fold SQLite's log into the file and empty it; False when somebody reads an earlier state of the file.

        It does not wait for readers: others could not write meanwhile.
        """
        with self._lock, explained(self.path):
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # most of it, beside those who write
            self.connection.execute("PRAGMA busy_timeout=0")
            try:
                return bool(self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
            finally:
                self.connection.execute(f"PRAGMA busy_timeout={self.busy_seconds * 1000:.0f}")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows of a statement."""
        with self._lock, explained(self.path):
            return self.connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """Return the first row of a statement, or None."""
        with self._lock, explained(self.path):
            found: sqlite3.Row | None = self.connection.execute(sql, values).fetchone()
            return found

    def count(self, sql: str, *values: Any) -> int:
        """Return the first column of the first row as a number."""
        found = self.row(sql, *values)
        return int(found[0]) if found else 0


def now() -> str:
    """Return the time in UTC, ISO 8601, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def stays(path: Path) -> Callable[[], None]:
    """Note which file is at a path; return what raises GymError when it is there no more. It costs one os.stat.

    SQLite goes on writing to a file that has been removed, and what it writes goes down with the process.
    """
    place = path.absolute()
    noted = os.stat(place)

    def look() -> None:
        with suppress(OSError):
            if os.path.samestat(os.stat(place), noted):
                return
        raise GymError(f"gym {path}: the file was removed, moved or replaced while it was in use; start again")

    return look


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a gym without changing anything in its file; its schema may be of any age.

    On a read-only disk SQLite cannot make the two files in which it notes who reads what. There the file is taken for
    one that nobody writes to (https://www.sqlite.org/wal.html, "Read-Only Databases"), unless they are there.

    Raises:
        OSError, sqlite3.DatabaseError, GymError: it cannot be opened.
    """
    real = path.resolve(strict=True)
    if real.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    log, notes = (real.with_name(real.name + end) for end in ("-wal", "-shm"))
    is_alone = on_read_only_disk(real) and not notes.exists()
    if is_alone and log.exists() and log.stat().st_size:
        raise GymError(f"gym {path}: its newest rows are in {log.name}; {_READ_ONLY}, with that file beside it")
    return connect(f"{real.as_uri()}?{'immutable=1' if is_alone else 'mode=ro'}")


def is_current(path: Path) -> bool:
    """Say whether a gym's file has the newest schema, without changing it.

    Raises:
        GymError: it cannot be opened.
    """
    with explained(path, OSError), closing(open_to_read(path)) as connection:
        db = Database(connection)
        return "_sqlite_migrations" in db.table_names() and not migrations.pending(db)


def connect(where: Path | str, seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open a file by its path, or by an address that begins with `file:`."""
    return sqlite3.connect(
        where,
        timeout=seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        uri=isinstance(where, str),
    )


def on_read_only_disk(path: Path) -> bool:
    """Say whether a file or folder is on a disk that nothing can be written to, whoever tries."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _touch(path: Path) -> None:
    """Make the file readable by its owner alone before SQLite opens it.

    A file that is there is not opened here: to close any descriptor of it would take SQLite's locks on it from this
    process (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    make_private(path.parent)
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


def _advice(error: Exception, path: Path) -> str:
    """Return what to do; the words are those of SQLite, the numbers those of the system."""
    text, number = str(error), getattr(error, "errno", None)
    with suppress(OSError):
        if "disk I/O error" in text and shutil.disk_usage(path.absolute().parent).free < LITTLE:
            return _FULL  # SQLite had no room for the -shm file
    for words, numbers, advice in _ADVICE:
        if number in numbers or any(word in text for word in words):
            return _READ_ONLY if advice in _WRITING and path.exists() and on_read_only_disk(path) else advice
    return "check RL_GYM_DB_PATH"
