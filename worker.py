"""A host's worker: a thread that reads the turns its calls, and those of other processes, have written."""

import asyncio
import contextvars
import logging
import threading
from time import monotonic

from understudy.inbox import Inbox, open_inbox
from understudy.intake import public
from understudy.nodes.brain import Brain
from understudy.observing import gym_to_observe
from understudy.settings import Settings

log = logging.getLogger("understudy")

COMMAND = "Understudy(worker=True)"
PAUSE_SECONDS = (1.0, 60.0)
"""Before it begins again after a failure: at first, and at most."""

SECONDS_TO_CLOSE = 3.0
"""How long it may take to close its files, after the turns at work have ended."""


class Worker:
    """Reads turns in a thread with an event loop and a context of its own, from `start` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._inbox: Inbox | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(
            target=contextvars.Context().run, args=(self._work,), name="understudy-worker", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End; the turns at work may take some seconds to finish, else they wait in the log."""
        self._stopping.set()
        with self._lock:
            if self._loop and self._inbox:
                self._inbox.seconds_to_finish = seconds
                self._loop.call_soon_threadsafe(self._inbox.stopping.set)
        self._thread.join(seconds + SECONDS_TO_CLOSE)
        if self._thread.is_alive():
            log.warning("the worker does not end in %.0f s; what it is at stays in the log", seconds + SECONDS_TO_CLOSE)

    def _work(self) -> None:
        """Read; what fails is tried again, after a second and then ever later."""
        least, most = PAUSE_SECONDS
        pause = least
        while not self._stopping.is_set():
            began = monotonic()
            try:
                asyncio.run(self._read())
            except Exception as error:  # noqa: BLE001  (whatever it is, the host must not see it)
                if not threading.main_thread().is_alive():
                    return  # the interpreter ends, and has ended what this loop needs
                pause = min(2 * pause, most) if monotonic() - began < most else least
                log.warning("the worker has failed and begins again in %.0f s: %s", pause, public(error))
                self._stopping.wait(pause)

    async def _read(self) -> None:
        brain = Brain(self._settings)
        gym = gym_to_observe(brain)
        try:
            async with open_inbox(brain, COMMAND, log.warning) as inbox:
                with self._lock:
                    self._inbox, self._loop = inbox, asyncio.get_running_loop()
                if self._stopping.is_set():
                    inbox.stopping.set()
                try:
                    await inbox.read()
                finally:
                    inbox.lease.stop()  # again: an interpreter that ends has no threads for `read` to do so
        finally:
            with self._lock:
                self._inbox = self._loop = None
            gym.close()
