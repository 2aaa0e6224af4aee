"""Observe recorded conversations: feed them to the shadow graph, turn by turn, as if they happened now."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from understudy.checkpoints.file import explained
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.shadow import create_shadow_workflow
from understudy.intake import clean_text
from understudy.nodes.brain import Brain
from understudy.observing import Observer, ReplayError, gym_to_observe, run_turn
from understudy.profile import Profile
from understudy.recording import Lines, Recording


@dataclass
class Report:
    """What a replay did.

    Counts speak of all conversations in the files, whether they were read now or by an earlier, interrupted run; times
    speak of the turns read now.
    """

    lines: Lines
    conversations: set[str] = field(default_factory=set)
    turns: int = 0
    turn_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self, gym: Gym) -> dict[str, Any]:
        """Return the report with the keys of `understudy replay --json`."""
        cuts = quantiles(self.turn_ms, n=20) if len(self.turn_ms) > 1 else self.turn_ms * 19 or [0.0] * 19
        return {
            "conversations": len(self.conversations),
            "turns": self.turns,
            "read_now": len(self.turn_ms),
            **gym.tally(list(self.conversations)),
            "skipped": self.lines.skipped,
            "seconds": round(self.seconds, 3),
            "turn_ms": {"p50": round(cuts[9], 3), "p95": round(cuts[18], 3)},
            "gym": str(gym.path),
        }


async def replay(
    paths: list[Path],
    brain: Brain,
    on_conversation: Callable[[int], None] = lambda turns: None,
    on_wait: Callable[[str], None] = lambda why: None,
    *,
    faults: bool = False,
) -> Report:
    """Observe every conversation of the files; what an earlier run has observed is not observed again.

    Conversations run side by side (`brain.parallel`), the turns of one in order. A bad line is skipped and told in
    `report.lines.errors`. `on_conversation` is called with the number of turns when one is done, `on_wait` with the
    reason whenever a turn waits for the model server. With `faults` the turns that lack an answer, and those that still
    wait, are read as well.

    Raises:
        ReplayError: the brain or its gym is switched off.
        ProfileError: BRAIN_PROFILE names none that can be used.
        GymError: the gym cannot be written; what was written before is kept.
    """
    gym = gym_to_observe(brain)
    report = Report(Lines(paths, brain.settings.brain_profile))
    started = time.perf_counter()
    gym.requeue_unsaved()
    with explained(gym.path):
        async with open_checkpointer(gym.path) as saver:
            graph = create_shadow_workflow(checkpointer=saver)
            observer = Observer(graph, brain, gym, on_conversation, report.turn_ms.append, on_wait)
            await observer.observe_all(_recorded(gym, report))
            if faults:
                await observer.observe_all(_lacking(gym, report))
    report.seconds = time.perf_counter() - started
    return report


async def _recorded(gym: Gym, report: Report) -> AsyncIterator[tuple[str, int]]:
    """Yield what the files hold: conversation and number of turns."""
    for where, recording in report.lines:
        if await asyncio.to_thread(_log, gym, where, recording, report):
            yield recording.conversation_id, recording.turns


async def _lacking(gym: Gym, report: Report) -> AsyncIterator[tuple[str, int]]:
    """Yield the conversations with turns that lack an answer or wait: conversation and number of such turns."""
    await asyncio.to_thread(gym.requeue_faults)
    for conversation_id in await asyncio.to_thread(gym.inbox):
        turns = len(await asyncio.to_thread(gym.turns_waiting, conversation_id))
        report.conversations.add(conversation_id)
        report.turns += turns
        yield conversation_id, turns


async def tell(brain: Brain, conversation_id: str, **news: Any) -> dict[str, Any]:
    """Give the graph an outcome or a label of a conversation that the gym knows, and return its answer.

    Raises:
        InputError: the news do not have their shape.
        ReplayError: the gym does not know the conversation, or is switched off.
    """
    async with teller(brain) as say:
        return await say(conversation_id, **news)


@asynccontextmanager
async def teller(brain: Brain) -> AsyncIterator[Callable[..., Awaitable[dict[str, Any]]]]:
    """Open the gym once for many calls as those to `tell`."""
    if (gym := brain.gym) is None:
        raise ReplayError("RL_GYM_ENABLED=false: there is no gym; set it to true")
    with explained(gym.path):
        async with open_checkpointer(gym.path) as saver:
            graph = create_shadow_workflow(checkpointer=saver)

            async def say(conversation_id: str, **news: Any) -> dict[str, Any]:
                known(brain, conversation_id)
                return await run_turn(graph, brain, conversation_id, **news)

            yield say


def known(brain: Brain, conversation_id: str) -> tuple[Gym, Profile]:
    """Return the gym and the profile of a conversation that it knows.

    Raises:
        ReplayError: the gym does not know the conversation, or is switched off.
    """
    if (gym := brain.gym) is None:
        raise ReplayError("RL_GYM_ENABLED=false: there is no gym; set it to true")
    profile = gym.profile_of(conversation_id) if clean_text(conversation_id) == conversation_id else None
    if profile is None:
        raise ReplayError(f"no conversation {conversation_id!r} in {gym.path}; check its id and RL_GYM_DB_PATH")
    return gym, brain.profile(profile)


def _log(gym: Gym, where: str, recording: Recording, report: Report) -> bool:
    """Write a recording to the log and say whether it is to be observed."""
    there = gym.first_payload(recording.conversation_id)
    if there is None:
        gym.append(recording.conversation_id, list(recording.events()), recording.profile or "")
    elif there.get("digest") != recording.digest:
        report.lines.refuse(
            f"{where}: conversation_id: {recording.conversation_id!r} is in {gym.path} with other content;"
            " give it another id, or RL_GYM_DB_PATH another file"
        )
        return False
    if recording.conversation_id in report.conversations:
        return False
    report.conversations.add(recording.conversation_id)
    report.turns += recording.turns
    return True
