"""Run the turns that wait in the log: conversations side by side, the turns of one in order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.saver import OneCheckpointGraph
from understudy.intake import UnderstudyError
from understudy.lm.server import PROBE_SECONDS
from understudy.nodes.brain import Brain, WithBrain


class ReplayError(UnderstudyError):
    """Nothing can be observed, or the gym does not know what is spoken of."""


@dataclass
class Observer:
    """What reads the turns that wait in the log.

    Attributes:
        graph: the shadow graph, with the gym as its checkpointer.
        brain: what it runs with.
        gym: where the turns wait.
        on_conversation: called with the number of its turns when a conversation is done.
        on_turn: called with the milliseconds when a turn is done.
        on_wait: called with the reason whenever a turn waits for the model server.
    """

    graph: OneCheckpointGraph
    brain: Brain
    gym: Gym
    on_conversation: Callable[[int], None]
    on_turn: Callable[[float], None]
    on_wait: Callable[[str], None]

    async def observe_all(self, jobs: AsyncIterator[tuple[str, int]]) -> None:
        """Observe conversations, each given with its number of turns, side by side."""
        places = asyncio.Semaphore(self.brain.parallel)

        async def observe(conversation_id: str, turns: int) -> None:
            try:
                await self.observe(conversation_id)
                self.on_conversation(turns)
            finally:
                places.release()

        try:
            async with asyncio.TaskGroup() as tasks:
                async for conversation_id, turns in jobs:
                    await places.acquire()
                    tasks.create_task(observe(conversation_id, turns))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def observe(self, conversation_id: str) -> None:
        """Run the waiting turns of a conversation one by one; a turn that the model server is down for waits here."""
        for upto in await asyncio.to_thread(self.gym.turns_waiting, conversation_id):
            if not self.goes_on():
                return
            while True:
                started = time.perf_counter()
                answer = await run_turn(self.graph, self.brain, conversation_id, upto=upto)
                if answer["turn"] is None or answer["decision_id"] is not None:
                    break
                self.on_wait(next(fault["message"] for fault in answer["faults"] if fault.get("down")))
                await asyncio.sleep(PROBE_SECONDS)
            self.on_turn((time.perf_counter() - started) * 1000)

    def goes_on(self) -> bool:
        """Say whether the next turn is to be read."""
        return True


def gym_to_observe(brain: Brain) -> Gym:
    """Return the gym when conversations can be observed.

    Raises:
        ReplayError: the brain or its gym is switched off.
        ProfileError: BRAIN_PROFILE names none that can be used.
    """
    gym = brain.gym
    if gym is None or not brain.settings.brain_enabled:
        name = "RL_GYM_ENABLED" if gym is None else "BRAIN_ENABLED"
        raise ReplayError(f"{name}=false: nothing can be observed; set it to true")
    brain.profile(None)
    return gym


async def run_turn(
    graph: OneCheckpointGraph, brain: Brain, conversation_id: str, *, upto: int | None = None, **input: Any
) -> dict[str, Any]:
    """Run the shadow graph once for a conversation, up to a sequence number of its log."""
    answer: dict[str, Any] = await graph.ainvoke(
        {"conversation_id": conversation_id, **input},
        {"configurable": {"thread_id": thread_of(conversation_id)}},
        context=WithBrain(use_optimized=brain.settings.use_optimized_modules, brain=brain, upto=upto),
    )
    return answer


def thread_of(conversation_id: str) -> str:
    """Return the LangGraph thread of a conversation: its id when that is a UUID, else uuid5 of it."""
    try:
        return str(UUID(conversation_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"understudy:{conversation_id}"))
