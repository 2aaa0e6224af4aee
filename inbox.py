"""The inbox: reads the turns that come to the log; one process at a time does, `serve` or a host with a worker."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from understudy.checkpoints.file import GymError, explained
from understudy.checkpoints.jobs import INBOX
from understudy.checkpoints.lease import Lease
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain
from understudy.observing import Observer, gym_to_observe

Say = Callable[[str], object]

POLL_SECONDS = 0.2
"""How often the log is looked at while nothing waits in it."""

SECONDS_TO_FINISH = 4.0
"""How long the turns at work may take to finish when `serve` is told to end."""

ASIDE_SECONDS = 60.0
"""How long a conversation is left alone that could not be observed."""


@dataclass
class Inbox(Observer):
    """Reads what comes to the log, as long as this process holds the inbox's lease.

    Attributes:
        lease: so that no turn is read by two processes.
        say: told what is waited for.
        seconds_to_finish: how long the turns at work may take to finish when it is told to stop; then they are put
            off, and wait in the log.
        stopping: set by whoever wants it to stop.
        turns: how many have been read.
        conversations: the ids of those in which something was read.
    """

    lease: Lease
    say: Say
    seconds_to_finish: float = SECONDS_TO_FINISH
    turns: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    conversations: set[str] = field(default_factory=set)
    _at_work: set[str] = field(default_factory=set)
    _aside: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    async def read(self) -> None:
        """Read until told to stop, and give the lease back.

        Raises:
            GymError: the gym's file has been removed or replaced.
        """
        self.lease.start()
        reading = asyncio.create_task(self.observe_all(self.arrivals()))
        stop = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait((reading, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stopping.set()
            try:
                await self._finished(reading)
            finally:
                await asyncio.to_thread(self.lease.stop)

    async def arrivals(self) -> AsyncIterator[tuple[str, int]]:
        """Yield the conversations in which something waits, for ever.

        Raises:
            GymError: the gym's file has been removed or replaced; what comes now is in another one.
        """
        ours = False
        while not self.stopping.is_set():
            self.gym.still_there()
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

    def turn_read(self, ms: float) -> None:
        """Count a turn, and note that there is nothing to wait for any more."""
        self.turns += 1
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

    async def _finished(self, reading: "asyncio.Task[None]") -> None:
        """Let the turns at work finish; those that take too long are put off."""
        await asyncio.wait((reading,), timeout=self.seconds_to_finish)
        if not reading.done():
            reading.cancel()
        try:
            await reading
        except asyncio.CancelledError:
            pass


@asynccontextmanager
async def open_inbox(brain: Brain, command: str, say: Say) -> AsyncIterator[Inbox]:
    """Open what is needed to read turns; the gym itself stays open.

    Args:
        brain: what to work with.
        command: what this process is, for people who look who reads.
        say: told a line at a time what is waited for.

    Raises:
        ReplayError: the brain or its gym is switched off.
        GymError: the gym cannot be used.
    """
    gym = gym_to_observe(brain)
    lease = Lease(gym.jobs, INBOX, brain.settings.lease_seconds, command)
    with explained(gym.path):
        async with open_checkpointer(gym.path) as saver:
            graph = create_shadow_workflow(checkpointer=saver)
            inbox = Inbox(
                graph, brain, gym, lambda _: None, lambda ms: inbox.turn_read(ms),
                lambda why: inbox.tell("model server", f"waiting for the model server: {why}"), lease, say,
                SECONDS_TO_FINISH,
            )  # fmt: skip
            yield inbox
