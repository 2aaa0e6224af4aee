"""Stay and watch: read turns as they come to the log, and start learning and dreaming when it is time."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from understudy.checkpoints.file import GymError, explained
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.jobs import INBOX
from understudy.checkpoints.lease import Lease
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.due import in_words, outlook
from understudy.graph.schedule import Scheduler
from understudy.graph.shadow import create_shadow_workflow
from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain
from understudy.observing import Observer, gym_to_observe

Say = Callable[[str], object]

COMMAND = "understudy serve"
POLL_SECONDS = 0.2
"""How often the log is looked at while nothing waits in it."""

SECONDS_TO_FINISH = 4.0
"""How long the turns at work may take to finish after a signal; then they are put off: they wait in the log."""

SECONDS_TO_END = 9.0
"""After a signal; a gym that another program has locked holds nobody up longer."""

ASIDE_SECONDS = 60.0
"""How long a conversation is left alone that could not be observed."""


@dataclass
class _Inbox(Observer):
    """Reads what comes to the log, as long as this process holds the inbox's lease.

    Attributes:
        lease: so that no turn is read by two processes.
        say: told what is waited for.
    """

    lease: Lease
    say: Say
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    conversations: set[str] = field(default_factory=set)
    _at_work: set[str] = field(default_factory=set)
    _aside: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    async def arrivals(self) -> AsyncIterator[tuple[str, int]]:
        """Yield the conversations in which something waits, for ever."""
        ours = False
        while not self.stopping.is_set():
            waiting: list[str] = []
            if not self.lease.held:
                ours = False
                self._tell_of_the_other()
            else:
                try:
                    if not ours:
                        await asyncio.to_thread(self.gym.requeue_unsaved)
                        ours = True
                    waiting = await asyncio.to_thread(self.gym.inbox)
                except GymError as error:
                    self.tell("gym", str(error))
            found = 0
            for conversation_id in waiting:
                if not self.goes_on():
                    break
                if self._is_free(conversation_id):
                    found += 1
                    self._at_work.add(conversation_id)
                    yield conversation_id, 0
            if not found:
                await self._rest()

    async def observe(self, conversation_id: str) -> None:
        """Run the waiting turns of a conversation; what fails is told and tried again later."""
        try:
            with explained(self.gym.path):
                await super().observe(conversation_id)
            self.conversations.add(conversation_id)
        except UnderstudyError as error:
            self._aside[conversation_id] = time.monotonic() + ASIDE_SECONDS
            what = f"conversation {conversation_id!r}: {error.public}; tried again in {ASIDE_SECONDS:.0f} s"
            self.tell(conversation_id, what)
        finally:
            self._at_work.discard(conversation_id)

    def goes_on(self) -> bool:
        """Say whether the next turn is to be read here."""
        return self.lease.held and not self.stopping.is_set()

    def tell(self, topic: str, what: str) -> None:
        """Say something of a topic once, until a turn is read."""
        if topic not in self._told:
            self._told.add(topic)
            self.say(what)

    def turn_read(self) -> None:
        """Note that there is nothing to wait for any more."""
        self._told.clear()

    def _is_free(self, conversation_id: str) -> bool:
        if self._aside and self._aside.get(conversation_id, 0.0) <= time.monotonic():
            self._aside.pop(conversation_id, None)
        return conversation_id not in self._at_work and conversation_id not in self._aside

    def _tell_of_the_other(self) -> None:
        if (other := self.lease.other) is not None:
            process = f"process {other.what['pid']} ({other.what['command']})"
            self.tell(other.owner, f"the inbox is read by {process}; this one takes over when that has ended")

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), POLL_SECONDS)
        except TimeoutError:
            pass


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
    gym, started, turns = gym_to_observe(brain), time.monotonic(), 0
    profile = brain.profile(None).name
    lease = Lease(gym.jobs, INBOX, brain.settings.lease_seconds, COMMAND)
    scheduler = Scheduler(gym, brain.settings, profile, COMMAND, say=say) if brain.settings.scheduler_enabled else None

    def count(ms: float) -> None:
        nonlocal turns
        turns += 1
        inbox.turn_read()

    with explained(gym.path):
        async with open_checkpointer(gym.path) as saver:
            graph = create_shadow_workflow(checkpointer=saver)
            inbox = _Inbox(
                graph, brain, gym, lambda _: None, count,
                lambda why: inbox.tell("model server", f"waiting for the model server: {why}"), lease, say,
            )  # fmt: skip
            stopped = _Stopped(inbox.stopping, gym, say)
            _greet(brain, profile, say)
            lease.start()
            if scheduler:
                scheduler.start()
            reading = asyncio.create_task(inbox.observe_all(inbox.arrivals()))
            stop = asyncio.create_task(inbox.stopping.wait())
            try:
                await asyncio.wait((reading, stop), return_when=asyncio.FIRST_COMPLETED)
            finally:
                inbox.stopping.set()
                child = asyncio.create_task(asyncio.to_thread(scheduler.stop if scheduler else lambda: None))
                await _finished(reading)
                await child
                await asyncio.to_thread(lease.stop)
    gym.close()
    stopped.in_time()
    return {
        "turns": turns,
        "conversations": len(inbox.conversations),
        "seconds": round(time.monotonic() - started, 3),
        "stopped": stopped.by,
    }


async def _finished(reading: "asyncio.Task[None]") -> None:
    """Let the turns at work finish for some seconds; those that do not are put off."""
    await asyncio.wait((reading,), timeout=SECONDS_TO_FINISH)
    if not reading.done():
        reading.cancel()
    try:
        await reading
    except asyncio.CancelledError:
        pass


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
