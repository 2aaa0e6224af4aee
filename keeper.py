"""A thread beside a host's calls: it writes down what they lost, and keeps SQLite's log from growing."""

import logging
import threading
from pathlib import Path
from time import monotonic

from understudy.checkpoints.file import GymError
from understudy.checkpoints.host import HostGym
from understudy.losing import Losses

log = logging.getLogger("understudy")

LOOK_SECONDS = 1.0
LOG_BYTES = 64 * 1024 * 1024
"""From this size on SQLite's log is folded into the gym. That holds up a call for some milliseconds, so not often."""

MOST_SECONDS = 1.0
"""How long it waits for other writers and readers."""


class Keeper:
    """Looks after a gym that host calls write to.

    Args:
        path: the gym.
        losses: what is to be written down.
    """

    def __init__(self, path: Path, losses: Losses) -> None:
        self._path, self._losses = path, losses
        self._gym: HostGym | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="understudy-keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        ends = False
        while not ends:
            ends = self._stopping.wait(LOOK_SECONDS)
            try:
                self._look()
            except GymError as error:
                log.debug("keeper: %s", error)  # the calls tell of it
                self._close()
        self._close()

    def _look(self) -> None:
        if not self._losses.are_unwritten and not self._is_long():
            return
        self._gym = gym = self._gym or HostGym(self._path)
        gym.deadline = monotonic() + MOST_SECONDS
        self._losses.write(gym)
        while self._is_long() and not gym.log_is_empty() and monotonic() < gym.deadline:
            self._stopping.wait(0.005)

    def _is_long(self) -> bool:
        try:
            return self._path.with_name(self._path.name + "-wal").stat().st_size > LOG_BYTES
        except OSError:
            return False

    def _close(self) -> None:
        if self._gym is not None:
            self._gym.close()
            self._gym = None
