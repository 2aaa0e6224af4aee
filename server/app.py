"""The app that `langgraph.json` names: while the server is up, it starts learning and dreaming when it is time.

Turns are not read here: a run on the server reads its own, and `understudy serve` those in the log.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from understudy.graph.schedule import Scheduler
from understudy.intake import UnderstudyError
from understudy.nodes.brain import own_brain

log = logging.getLogger("understudy")

COMMAND = "langgraph dev"


@asynccontextmanager
async def scheduled(app: Starlette) -> AsyncIterator[None]:
    """Run the scheduler, which neither keeps the server waiting nor keeps it from starting."""
    starting = asyncio.create_task(asyncio.to_thread(start))
    try:
        yield
    finally:
        scheduler = await starting
        if scheduler is not None:
            await asyncio.to_thread(scheduler.stop)


def start() -> Scheduler | None:
    """Start the scheduler, or log in one line why there is none."""
    try:
        brain = own_brain()
        if not brain.settings.scheduler_enabled or brain.gym is None:
            name = "RL_GYM_ENABLED" if brain.gym is None else "SCHEDULER_ENABLED"
            log.info("%s=false: nothing is learnt or dreamt by itself", name)
            return None
        scheduler = Scheduler(brain.gym, brain.settings, brain.profile(None).name, COMMAND)
    except UnderstudyError as error:
        log.error("nothing is learnt or dreamt by itself: %s", error)
        return None
    scheduler.start()
    return scheduler


app = Starlette(lifespan=scheduled)
