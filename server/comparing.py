"""Versions and A/B tests over HTTP: which there are, how they compare, and which one is used."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Response

from understudy.checkpoints.trials import Trial
from understudy.nodes import ab_life
from understudy.nodes.ab_life import NoTest
from understudy.nodes.ab_test import look_around
from understudy.nodes.brain import Brain
from understudy.optimize import list_versions, roll_back, show_version, versioning_of
from understudy.server.opening import opened, usable
from understudy.server.problems import Problem
from understudy.server.shapes import (
    ABTest,
    ABTests,
    Begin,
    Compared,
    Damaged,
    Declare,
    Module,
    Name,
    Profile,
    Rollback,
    RolledBack,
    Verdict,
    Version,
    Versions,
    VersionText,
)

comparing = APIRouter()

OfProfile = Annotated[Profile | None, Query(description="BRAIN_PROFILE's when left out.")]
Test = Annotated[Name, Path(description="A test by its name, or by its module: the one that runs, else the last.")]


@comparing.get("/versions", tags=["versions"], responses={404: {}})
def versions(profile: OfProfile = None) -> Versions:
    """List the versions of all modules."""
    return Versions.model_validate({"versions": list_versions(usable(), None, profile)})


@comparing.get("/versions/{module}", tags=["versions"], responses={404: {}})
def versions_of_module(module: Module, profile: OfProfile = None) -> Versions:
    """List the versions of a module: what was proved of each, and which one is in use."""
    return Versions.model_validate({"versions": list_versions(usable(), module, profile)})


@comparing.get("/versions/{module}/{version}", tags=["versions"], responses={404: {}, 409: {}})
def show_a_version(module: Module, version: Version, profile: OfProfile = None) -> VersionText:
    """Show the instruction of a version, and the lines that load it in plain DSPy."""
    return VersionText.model_validate(show_version(usable(), module, profile, version))


@comparing.get("/compare/{module}/{a}/{b}", tags=["versions"], responses={404: {}, 409: {}})
def compare(module: Module, a: Version, b: Version, profile: OfProfile = None) -> Compared:
    """Compare two versions: scores side by side, and what changed in the instruction."""
    return Compared.model_validate(versioning_of(usable(), module, profile).compare_versions(module, a, b))


@comparing.post("/rollback", tags=["versions"], responses={404: {}, 409: {}})
def rollback(asked: Rollback) -> RolledBack:
    """Use another version of a module from the next turn on; v0.0 is the hand-written one."""
    return RolledBack.model_validate(roll_back(usable(), asked.module, asked.version, asked.profile))


@comparing.get("/ab", tags=["ab"], responses={404: {}})
def list_tests(
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[Name | None, Query(description="A test; those that began earlier come.")] = None,
) -> ABTests:
    """List A/B tests, the newest first.

    This only looks: conversations that closed by silence enter while turns are read, and at `declare`.
    """
    brain, gym = opened()
    tests = gym.trials.all()[::-1]
    if before is not None:
        begun = next((place for place, trial in enumerate(tests) if trial.name == before), None)
        if begun is None:
            raise Problem(404, f"before: no A/B test {before[:80]!r}")
        tests = tests[begun + 1 :]
    page = ABTests(tests=[], damaged=[], older=tests[limit - 1].name if tests[limit:] else None)
    for trial in tests[:limit]:
        try:
            page.tests.append(_statistics(brain, trial.name))
        except NoTest as error:
            page.damaged.append(Damaged(test=trial.name, reason=str(error)))
    return page


@comparing.post("/ab", status_code=201, tags=["ab"], responses={404: {}, 409: {}})
def start_test(asked: Begin, response: Response) -> ABTest:
    """Begin a test of two versions of a module; the next turn is answered by both."""
    brain, _ = opened()
    known = brain.profile(asked.profile).name
    trial = ab_life.begin(brain, known, asked.module, asked.a, asked.b, name=asked.name)
    response.headers["location"] = f"/brain/ab/{quote(trial.name, safe='')}"
    return _statistics(brain, trial.name)


@comparing.get("/ab/{name}", tags=["ab"], responses={404: {}, 409: {}})
def show_test(name: Test) -> ABTest:
    """Say how a test goes."""
    brain, _ = opened()
    return _statistics(brain, _found(brain, name).name)


@comparing.post("/ab/{name}/declare", tags=["ab"], responses={404: {}, 409: {}})
def declare(name: Test, asked: Declare | None = None) -> Verdict:
    """Name the winner of a test, if there is one, and carry out what follows.

    With PUBLISH_APPROVAL=manual a candidate that has won waits for this.
    """
    brain, _ = opened()
    look_around(brain)
    least = (asked or Declare()).min_sample_size
    return Verdict.model_validate(ab_life.declare(brain, _found(brain, name).name, least))


@comparing.post("/ab/{name}/stop", tags=["ab"], responses={404: {}, 409: {}})
def stop(name: Test) -> Verdict:
    """End a test that runs, without a verdict; what has been answered is kept."""
    brain, _ = opened()
    return Verdict.model_validate(ab_life.stop(brain, _found(brain, name).name))


def _found(brain: Brain, name: str) -> Trial:
    try:
        return ab_life.find(brain, name)
    except NoTest as error:
        raise Problem(404, str(error)) from None


def _statistics(brain: Brain, name: str) -> ABTest:
    return ABTest.model_validate(ab_life.statistics(brain, name))
