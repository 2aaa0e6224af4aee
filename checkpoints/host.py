"""The gym as a host's call writes to it: it waits for nobody for long; and what such calls have lost."""

import errno
import sqlite3
from collections.abc import Iterable
from time import monotonic, sleep

from understudy.checkpoints.file import GymFile
from understudy.checkpoints.gym import Gym

PAUSE_SECONDS = 0.0002
"""Between two tries to write. SQLite's own pauses grow from 1 to 100 ms, and a write of another process takes 0.2."""

Loss = tuple[str, int, str, str]
"""Reason, number of calls, and when the first and the last of them was (UTC ISO 8601)."""


class HostGym(Gym):
    """A gym whose writes wait until `deadline` for other processes' writes, and never fold SQLite's log in.

    Whoever opens it sees to the log: folding it in takes the disk long enough to be felt in a host's call.

    Attributes:
        deadline: when a write gives up, in seconds of `time.monotonic`; one try is made in any case.
    """

    busy_seconds = 0.1
    deadline = 0.0

    def _prepare(self) -> None:
        super()._prepare()
        self.connection.execute("PRAGMA wal_autocheckpoint=0")

    def _migrate(self) -> None:
        super()._migrate()
        self.connection.execute("PRAGMA busy_timeout=0")

    def _begin(self) -> None:
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or monotonic() >= self.deadline:
                    raise
            sleep(PAUSE_SECONDS)


def is_busy(error: BaseException | None) -> bool:
    """Say whether SQLite could not have a lock that another connection holds."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_full(error: BaseException | None) -> bool:
    """Say whether the disk, or what may be used of it, is full."""
    return _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def _code(error: BaseException | None) -> int:
    """Return SQLite's primary result code; what Python's module says itself has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def waiting(gym: GymFile, most: int) -> int:
    """Count the events that wait in the log, up to `most`."""
    return gym.count("SELECT count(*) FROM (SELECT 1 FROM events WHERE processed_at IS NULL LIMIT ?)", most)


def add_losses(gym: GymFile, losses: Iterable[Loss]) -> None:
    """Add to what has been lost."""
    with gym.writing():
        gym.connection.executemany(
            "INSERT INTO losses VALUES (?, ?, ?, ?) ON CONFLICT (reason) DO UPDATE SET"
            " calls = calls + excluded.calls, last_at = max(last_at, excluded.last_at)",
            losses,
        )


def losses(gym: GymFile) -> dict[str, int]:
    """Return how many calls wrote nothing, by reason."""
    return {row["reason"]: row["calls"] for row in gym.rows("SELECT reason, calls FROM losses ORDER BY reason")}
