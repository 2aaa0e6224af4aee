"""How a host's calls get into the gym: one at a time, without waiting for long, also after a fork."""

import atexit
import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from understudy.checkpoints.file import GymError
from understudy.checkpoints.host import HostGym, waiting
from understudy.events import Event
from understudy.keeper import Keeper
from understudy.losing import Losses, NotObserved, reason_of
from understudy.settings import Settings

if TYPE_CHECKING:
    from understudy.worker import Worker

COUNT_SECONDS = 1.0
"""How often it is counted what waits in the log, for INBOX_MAX."""

REOPEN_SECONDS = 1.0
"""How often it is tried to open a gym that could not be opened."""

SECONDS_TO_FINISH = 3.0
"""How long the worker's turns may take to finish at the end."""

SECONDS_TO_FORK = 1.0
"""How long they may take when the process is forked."""

SECONDS_BEFORE_FORK = 10.0
"""How long a fork waits for a call that is being done. That takes some milliseconds, unless thousands of messages are
written at once, or the disk is slow; a child that does not wait can write nothing."""

MOST_LEFT_OUT = 100_000
"""Conversations that are remembered as left out, so that none is begun in its middle."""

_CLOSED = "close() has been called"
_TORN = "the process was forked in the middle of a call, and SQLite's files do not survive that; start it again"
_FULL = "INBOX_MAX={}: so many events wait, and the conversation is a new one; it is left out as a whole"


class Door:
    """Writes to the log of a gym, with a keeper beside it and maybe a worker; thread-safe.

    Nothing of SQLite may cross a fork: everything is closed before one, and opened again behind it when it is needed.

    Args:
        settings: name the gym.
        has_worker: turns are read in this process.
    """

    def __init__(self, settings: Settings, has_worker: bool) -> None:
        self._settings, self._has_worker = settings, has_worker
        self.losses = Losses()
        self._lock = threading.Lock()
        self._closed = ""
        """Why nothing is written any more."""
        self._gym: HostGym | None = None
        self._hindrance: tuple[float, GymError] | None = None
        self._keeper: Keeper | None = None
        self._worker: Worker | None = None
        self._is_full, self._next_count = False, 0.0
        self._left_out: dict[str, None] = {}

    def open(self) -> None:
        """Open the gym now.

        Raises:
            GymError: it cannot be opened; that is tried again later.
        """
        _doors.add(self)
        with self._lock:
            self._start()
            self._opened()

    def write(
        self, name: str, events: Callable[[HostGym, str], list[Event]], profile: str, *, begins: bool, deadline: float
    ) -> None:
        """Write events of a conversation, all of them or none.

        Args:
            name: of the conversation.
            events: what is written, in view of the gym.
            profile: of the conversation, if it begins here.
            begins: whether they may be the first of their conversation.
            deadline: when to give up, in seconds of `time.monotonic`.

        Raises:
            GymError: the file cannot be written, or not before the deadline.
            NotObserved: it is not to be written.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - monotonic())):
            raise NotObserved("locked", "other calls wait for the gym as well; another program seems to hold it")
        try:
            if self._closed:
                raise NotObserved("closed", self._closed)
            self._start()
            gym = self._opened()
            gym.deadline = deadline
            try:
                self._check_place(gym, name, begins)
                if new := events(gym, name):
                    gym.append(name, new, profile)
            except GymError as error:
                if reason_of(error) == "unusable":
                    self._shut()
                raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the worker, write down what is lost, and close the gym."""
        with self._lock:
            if not self._closed:
                self._closed = _CLOSED
                self._stop(SECONDS_TO_FINISH)
        _doors.discard(self)

    def hold(self) -> bool:
        """Close all and keep it closed until `let_go`; say whether that is possible."""
        if not self._lock.acquire(timeout=SECONDS_BEFORE_FORK):
            return False
        self._stop(SECONDS_TO_FORK)
        return True

    def let_go(self) -> None:
        """Let calls come again."""
        if not self._closed:
            self._start()
        self._lock.release()

    def begin_in_child(self, is_whole: bool) -> None:
        """Begin in a process that has been forked: with nothing lost, and with threads when it is called.

        Args:
            is_whole: it was held. Else a thread that this process does not have is at work in it, for ever: what it has
                open can neither be used nor closed.
        """
        self._lock, self.losses = threading.Lock(), Losses()
        self._closed = self._closed if is_whole else _TORN

    def _check_place(self, gym: HostGym, name: str, begins: bool) -> None:
        """Refuse what is not to be written: of a conversation that the gym does not know, or has no place for."""
        if name in self._left_out:
            raise NotObserved("inbox_full", _FULL.format(self._settings.inbox_max))
        if begins and monotonic() >= self._next_count:
            self._is_full = waiting(gym, self._settings.inbox_max) >= self._settings.inbox_max
            self._next_count = monotonic() + COUNT_SECONDS
        if (begins and not self._is_full) or gym.profile_of(name) is not None:
            return
        if not begins:
            raise NotObserved("unknown", "no message of the conversation is in the gym")
        self._left_out[name] = None
        if len(self._left_out) > MOST_LEFT_OUT:
            self._left_out.pop(next(iter(self._left_out)))
        raise NotObserved("inbox_full", _FULL.format(self._settings.inbox_max))

    def _opened(self) -> HostGym:
        if self._gym is None:
            if self._hindrance and monotonic() < self._hindrance[0]:
                raise self._hindrance[1].with_traceback(None)  # else it would grow by its traceback at every call
            try:
                self._gym = HostGym(self._settings.rl_gym_db_path)
            except GymError as error:
                self._hindrance = monotonic() + REOPEN_SECONDS, error
                raise
        return self._gym

    def _shut(self) -> None:
        if self._gym is not None:
            self._gym.close()
            self._gym = None

    def _start(self) -> None:
        """Start the threads that do not run."""
        if self._keeper is None:
            self._keeper = Keeper(self._settings.rl_gym_db_path, self.losses)
            self._keeper.start()
        if self._has_worker and self._worker is None:
            from understudy.worker import Worker  # DSPy and LangGraph

            self._worker = Worker(self._settings)
            self._worker.start()

    def _stop(self, seconds: float) -> None:
        if self._worker is not None:
            self._worker.stop(seconds)
            self._worker = None
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None
        self._shut()


_doors: set[Door] = set()
_held: list[Door] = []


@atexit.register
def _close_all() -> None:
    for door in list(_doors):
        door.close()


def _hold_all() -> None:
    _held.extend(door for door in list(_doors) if door.hold())


def _let_go_all() -> None:
    while _held:
        _held.pop().let_go()


def _begin_all_in_child() -> None:
    for door in list(_doors):
        door.begin_in_child(is_whole=door in _held)
    _held.clear()


os.register_at_fork(before=_hold_all, after_in_parent=_let_go_all, after_in_child=_begin_all_in_child)
