"""Stay and watch: read turns as they come to the log, and start learning and dreaming when it is time."""

import asyncio
import os
import signal
import threading
import time
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.graph.due import in_words, outlook
from understudy.graph.schedule import Scheduler
from understudy.inbox import Say, open_inbox
from understudy.nodes.brain import Brain
from understudy.observing import gym_to_observe

COMMAND = "understudy serve"
SECONDS_TO_END = 9.0
"""After a signal; a gym that another program has locked holds nobody up longer."""


async def serve(brain: Brain, say: Say) -> dict[str, Any]:
    """Read turns and run the jobs until SIGTERM or SIGINT comes; then end within ten seconds.

    Args:
        brain: what to work with.
        say: told a line at a time what happens.

    Returns:
        What `understudy serve --json` prints: turns, conversations, seconds, and by which signal it was stopped.

    Raises:
        ReplayError: the brain or its gym is switched off.
        GymError: the gym cannot be used.
    """
    gym, started = gym_to_observe(brain), time.monotonic()
    profile = brain.profile(None).name
    scheduler = Scheduler(gym, brain.settings, profile, COMMAND, say=say) if brain.settings.scheduler_enabled else None
    async with open_inbox(brain, COMMAND, say) as inbox:
        stopped = _Stopped(inbox.stopping, gym, say)
        _greet(brain, profile, say)
        if scheduler:
            scheduler.start()
        ended = asyncio.create_task(_end(scheduler, inbox.stopping))
        try:
            await inbox.read()
        finally:
            inbox.stopping.set()
            await ended
    gym.close()
    stopped.in_time()
    return {
        "turns": inbox.turns,
        "conversations": len(inbox.conversations),
        "seconds": round(time.monotonic() - started, 3),
        "stopped": stopped.by,
    }


async def _end(scheduler: Scheduler | None, stopping: asyncio.Event) -> None:
    """End the jobs as soon as it is time to, beside the turns at work."""
    await stopping.wait()
    if scheduler:
        await asyncio.to_thread(scheduler.stop)


def _greet(brain: Brain, profile: str, say: Say) -> None:
    gym = gym_to_observe(brain)
    say(f"gym {gym.path}, profile {profile}, engine {brain.settings.lm_provider}; Ctrl-C ends it")
    for one in outlook(gym, brain.settings, profile, starting=True):
        say(f"{one['name']}: {in_words(one)}")


class _Stopped:
    """Has SIGTERM and SIGINT set an event, and sees to it that the process ends then."""

    def __init__(self, stopping: asyncio.Event, gym: Gym, say: Say) -> None:
        self.by: str | None = None
        self._stopping, self._gym, self._say = stopping, gym, say
        self._last = threading.Timer(SECONDS_TO_END, self._end)
        self._last.daemon = True
        for one in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(one, self._stop, one.name)

    def _stop(self, name: str) -> None:
        if self.by is None:
            self.by = name
            self._say(f"{name}: ending; turns that are not read yet stay in the log")
            self._stopping.set()
            self._last.start()

    def _end(self) -> None:
        """End the process, whatever it waits for."""
        self._say(
            f"gym {self._gym.path}: could not be closed in {SECONDS_TO_END:.0f} s, another program seems to hold it;"
            " ended all the same: what is written is kept"
        )
        os._exit(1)

    def in_time(self) -> None:
        """Say that all has ended."""
        self._last.cancel()
