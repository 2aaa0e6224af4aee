"""A lease: of several processes that ask for it one holds it, as long as it renews it."""

import fcntl
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from understudy.checkpoints.file import GymError
from understudy.checkpoints.jobs import Holder, Jobs

log = logging.getLogger("understudy")


class Lease:
    """Asks for a lease and renews it, in a thread of its own, from `start` to `stop`.

    Args:
        jobs: of the gym that the lease is in.
        name: of the lease.
        seconds: how long it is good for; it is renewed three times as often.
        command: what this process is, for people.
        on_taken: called in that thread whenever the lease has come here.
        on_beat: called in that thread at least three times in `seconds`, whoever holds the lease.
    """

    def __init__(
        self,
        jobs: Jobs,
        name: str,
        seconds: float,
        command: str,
        on_taken: Callable[[], None] = lambda: None,
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self.owner = name, str(uuid4())
        self.other: Holder | None = None
        """Who else holds it, as far as is known."""
        self._jobs, self._seconds = jobs, seconds
        self._what: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "command": command}
        self._on_taken, self._on_beat = on_taken, on_beat
        self._until = float("-inf")
        self._failed = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"understudy-lease-{name}", daemon=True)

    @property
    def held(self) -> bool:
        """Whether this process may act as the owner just now.

        It ends by itself, before anybody else can take the lease, when it could not be renewed: after a suspension, or
        while the file was locked.
        """
        return monotonic() < self._until

    def start(self) -> None:
        """Begin to ask for it."""
        self._thread.start()

    def stop(self) -> None:
        """Give it back at once."""
        self._stopped.set()
        self._thread.join()
        self._until = float("-inf")
        try:
            self._jobs.release(self.name, self.owner)
        except GymError as error:
            log.warning("lease %s: not given back, it expires by itself: %s", self.name, error)

    def _run(self) -> None:
        while not self._stopped.is_set():
            seconds = self.ask()
            self._on_beat()
            self._stopped.wait(seconds)

    def ask(self) -> float:
        """Ask for it, or renew it; return in how many seconds to do so again."""
        began, held = monotonic(), self.held
        try:
            self.other = self._jobs.take(self.name, self.owner, self._what, self._seconds)
        except GymError as error:
            if not self._failed:
                log.warning("lease %s: not renewed: %s", self.name, error)
            self._failed = True
            return self._seconds / 10
        self._failed = False
        if self.other is not None:
            self._until = float("-inf")
            return min(self._seconds / 6, self.other.left + 0.005)
        # Counted from before it was asked for: it is over here before it is over in the gym.
        self._until = began + self._seconds
        if not held:
            self._on_taken()
        return self._seconds / 3


def is_locked(path: Path) -> bool:
    """Say whether a process holds a file's lock (flock)."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no such file, or its disk cannot lock
        return False
    return False
