"""The app that `langgraph.json` names: the API and the dashboard, and learning and dreaming while the server is up.

Who may call is in guard.py. Turns are not read here: a run on the server reads its own, and `understudy serve` those in
the log.
"""

import asyncio
import gc
import logging
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.routing import Mount, Route

import understudy.server.starting  # noqa: F401
from understudy.graph.schedule import Scheduler
from understudy.intake import UnderstudyError
from understudy.nodes.brain import own_brain
from understudy.server import jobs
from understudy.server.api import api
from understudy.server.guard import DASHBOARD, MIDDLEWARE
from understudy.server.login import ROUTES
from understudy.server.logs import guard_logs
from understudy.server.problems import answer, answer_ours
from understudy.server.telling import HOST

log = logging.getLogger("understudy")

COMMAND = "langgraph dev"

NO_DASHBOARD = "the dashboard needs NiceGUI: pip install 'understudy[dashboard]'"


@asynccontextmanager
async def scheduled(app: FastAPI) -> AsyncIterator[None]:
    """Run the scheduler, which neither keeps the server waiting nor keeps it from starting; at the end, end all."""
    gc.freeze()  # what is imported stays: looking through it for garbage would hold a page up by a third of a second
    if not HAS_DASHBOARD:
        log.warning(NO_DASHBOARD)
    starting = asyncio.create_task(asyncio.to_thread(start))
    try:
        yield
    finally:
        scheduler = await starting
        ends = [jobs.STARTED.stop, HOST.close, *([scheduler.stop] if scheduler else [])]
        await asyncio.gather(*map(asyncio.to_thread, ends))


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


def keep_posts_in_memory() -> None:
    """Keep what is posted to `langgraph dev` out of the server's own files: the gym alone holds customers' words.

    The server writes its list of threads and runs, with their inputs, every ten seconds and at its end, and its command
    line overrules the setting against it, LANGGRAPH_DISABLE_FILE_PERSISTENCE. After a restart the list is empty, and
    what waited in it is not run; a thread that is made again with its old id, and its graph_id in its metadata, has its
    states from the gym. A file that an earlier server left is deleted: it holds words, and the server would run again
    what is unfinished in it.
    """
    runtime = sys.modules.get("langgraph_runtime_inmem.database")
    if runtime is not None:
        runtime.GLOBAL_STORE.flag = "r"  # langgraph's PersistentDict is then never written
        Path(runtime.GLOBAL_STORE.filename).unlink(missing_ok=True)


async def no_dashboard(request: Request) -> Response:
    """Say at the dashboard's address what it needs."""
    return answer(404, NO_DASHBOARD)


HAS_DASHBOARD = find_spec("nicegui") is not None  # an extra
keep_posts_in_memory()
guard_logs()
app = FastAPI(routes=[*ROUTES], lifespan=scheduled, middleware=MIDDLEWARE, openapi_url=None)
app.exception_handler(UnderstudyError)(answer_ours)  # also what LangGraph's routes meet in our graphs and saver
if HAS_DASHBOARD:
    from understudy.server.pages.mount import add_dashboard

    add_dashboard(app)
else:
    app.router.routes.append(Route(DASHBOARD + "{rest:path}", no_dashboard))
brain = Mount("/brain", api)
brain.path_regex = re.compile(brain.path_regex.pattern, re.DOTALL)  # also a path with a line break in it is the API's
app.router.routes.append(brain)
