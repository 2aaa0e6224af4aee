"""Dream: run the dream graph, or go on with the cycle that was killed."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig

from understudy.checkpoints.file import explained
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.dream import create_dream_workflow
from understudy.nodes.brain import Brain, WithBrain, gym_of, own_brain
from understudy.nodes.memory import forget_cycle
from understudy.nodes.recall import next_cycle
from understudy.optimize import NoRun, alone

STEPS = 20_000
"""Steps of the graph at most: more than three tries of the most dreams take, eight at a time."""


def run_dream_cycle() -> dict[str, Any]:
    """Dream of the conversations of BRAIN_PROFILE, with the settings of this process.

    Returns:
        What `understudy dream --json` prints: status, dreams, replayed, invented, screened_out and more.

    Raises:
        UnderstudyError: the cycle could not begin; the message says why.
    """
    return asyncio.run(dream(own_brain()))


async def dream(
    brain: Brain,
    *,
    profile: str | None = None,
    count: int | None = None,
    cycle: str | None = None,
    on_kept: Callable[[int, int], None] = lambda kept, of: None,
) -> dict[str, Any]:
    """Run a dream cycle; one of the profile that was killed is taken up where it was.

    Args:
        brain: what to work with.
        profile: whose conversations; None takes BRAIN_PROFILE.
        count: how many dreams are wanted; None takes DREAM_COUNT.
        cycle: its name; one that has ended is reported, not dreamt again. None gives it one.
        on_kept: told how many dreams of how many have passed the screen.

    Returns:
        The cycle's report.

    Raises:
        OptimizationBusy: another process is at it.
        ModelError: the model server is down; the same command goes on from there.
    """
    gym, name = gym_of(brain), brain.profile(profile).name
    started = time.perf_counter()
    with alone(brain.settings.optimized_modules_dir / name, "dreaming"), explained(gym.path):
        if cycle and (known := gym.dreams.report(name, cycle)):
            return known
        cycle = gym.dreams.unfinished_cycle(name) or cycle or next_cycle(gym, name)
        async with open_checkpointer(gym.path) as saver:
            graph = create_dream_workflow(checkpointer=saver)
            config = RunnableConfig(configurable={"thread_id": cycle}, recursion_limit=STEPS)
            begun = (await graph.aget_state(config)).next
            given: Any = None if begun else {"profile": name, "cycle": cycle, **({"count": count} if count else {})}
            stream = graph.astream(
                given, config, context=WithBrain(brain=brain), stream_mode="values", durability="sync"
            )
            try:
                async for state in stream:
                    if state.get("plans"):
                        on_kept(len(state.get("kept") or {}), sum(state["wanted"].values()))
            finally:
                forget_cycle(cycle)
            report = dict((await graph.aget_state(config)).values["report"])
            # The dreams are in their table: what they were made of, and what did not pass, is not to stay.
            await saver.adelete_thread(cycle)
    return {**report, "seconds": round(time.perf_counter() - started, 3)}


def last_cycle(
    brain: Brain, profile: str | None = None, newest: int = 3
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the report of a profile's last cycle, and the newest dreams: dream_id, kind, intent, parents, messages.

    Raises:
        NoRun: there has been none.
    """
    gym, name = gym_of(brain), brain.profile(profile).name
    report = gym.dreams.report(name)
    if report is None:
        raise NoRun(f"no dream cycle of profile {name} in {gym.path}; `understudy dream` makes one")
    keys = ("dream_id", "kind", "intent", "parents")
    dreams = [
        {**{key: one[key] for key in keys}, "messages": one["conversation"]["messages"]}
        for one in gym.dreams.newest(name, newest)
    ]
    return report, dreams
