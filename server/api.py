"""The HTTP API under /brain: what the command line does, for programs."""

from typing import Any

from fastapi import FastAPI

from understudy.nodes.brain import own_brain
from understudy.server.problems import add_problems
from understudy.server.reading import router as reading
from understudy.status import status as look

api = FastAPI(title="understudy", docs_url=None, redoc_url=None)
add_problems(api)
api.include_router(reading)


@api.get("/status")
def status() -> dict[str, Any]:
    """Say what the gym holds and what runs."""
    return look(own_brain())
