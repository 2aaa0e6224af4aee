"""Learning and dreaming by hand, over HTTP: a run is begun, looked at, and given a person's word."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from understudy.nodes.brain import Brain
from understudy.server import jobs
from understudy.server.opening import opened
from understudy.server.problems import Problem
from understudy.server.shapes import Answers, Begun, Dream, RunReport, Runs, Train

running = APIRouter(tags=["runs"])

RunId = Annotated[str, Path(min_length=1, max_length=200)]


@running.post("/train", status_code=202, responses={404: {}, 409: {}})
def train(asked: Train, response: Response) -> Begun:
    """Begin an optimisation, or go on with the profile's that is not done."""
    brain, gym = opened()
    known = brain.profile(asked.profile).name
    if unfinished := gym.runs.unfinished(known):
        _refuse_other(jobs.run(brain, unfinished), asked.modules)
    options = [part for name in asked.modules or () for part in ("--module", name)]
    return _begun(jobs.STARTED.start(brain, "optimize", known, options), response)


@running.post("/dream", status_code=202, responses={404: {}, 409: {}})
def dream(asked: Dream, response: Response) -> Begun:
    """Begin a dream cycle, or go on with the profile's that is not done."""
    brain, _ = opened()
    options = ["--count", str(asked.count)] if asked.count else []
    return _begun(jobs.STARTED.start(brain, "dream", asked.profile, options), response)


@running.get("/runs", responses={404: {}})
def list_runs(
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[str | None, Query(min_length=1, max_length=200, description="A run; older ones come.")] = None,
) -> Runs:
    """List optimisations and dream cycles, whoever began them, the newest first."""
    brain, _ = opened()
    found = jobs.runs(brain, limit + 1, before)
    return Runs.model_validate({"runs": found[:limit], "older": found[limit - 1]["run_id"] if found[limit:] else None})


@running.get("/runs/{run_id}", responses={404: {}})
def show_run(run_id: RunId) -> RunReport:
    """Say what a run is at, and what it has found."""
    brain, _ = opened()
    return RunReport.model_validate(jobs.run(brain, run_id))


@running.post("/runs/{run_id}/approve", status_code=202, responses={404: {}, 409: {}})
def approve(run_id: RunId, answers: Answers, response: Response) -> Begun:
    """Say of modules that a run waits with whether they may be published (PUBLISH_APPROVAL=manual); the run goes on."""
    brain, _ = opened()
    return _begun(answer_run(brain, run_id, answers), response)


def answer_run(brain: Brain, run_id: str, answers: dict[Any, bool]) -> jobs.Begun:
    """Let a run go on that waits for a person's word, in a process of its own.

    Raises:
        NoRun: there is no such run.
        Problem: it does not wait for these modules, or another run is at work.
    """
    found = jobs.run(brain, run_id)
    if unknown := sorted(answers.keys() - set(found["waits_for"])):
        waits = ", ".join(found["waits_for"]) or f"nobody: it is {found['status']}"
        raise Problem(409, f"run {run_id} does not wait for {', '.join(unknown)}; it waits for {waits}")
    options = [part for name, said in answers.items() for part in ("--approve" if said else "--decline", name)]
    return jobs.STARTED.start(brain, "optimize", found["profile"], options)


def _refuse_other(found: Mapping[str, Any], modules: Sequence[str] | None) -> None:
    """Refuse to do something else than the run that is not done yet."""
    if found["waits_for"]:
        waits = ", ".join(found["waits_for"])
        raise Problem(409, f"run {found['run_id']} waits for a person's word on {waits}: POST /brain/runs/.../approve")
    begun = (found["report"] or {}).get("modules") or []
    if found["status"] == "interrupted" and modules and set(modules) != set(begun):
        raise Problem(409, f"run {found['run_id']} of {', '.join(begun)} is not done; without modules it goes on")


def _begun(begun: jobs.Begun, response: Response) -> Begun:
    response.headers["location"] = f"/brain/runs/{begun.run_id}"
    return Begun(run_id=begun.run_id, kind=begun.kind, profile=begun.profile, resumed=begun.resumed)
