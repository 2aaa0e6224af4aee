"""Learn from the gym's evidence: run the optimisation graph, or go on with the run that was killed."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from understudy.checkpoints.file import explained
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.lease import is_locked
from understudy.checkpoints.private import make_private
from understudy.checkpoints.saver import open_checkpointer
from understudy.checkpoints.versioning import BASELINE, ModuleVersioning
from understudy.graph.optimization import create_optimization_workflow
from understudy.intake import InputError, UnderstudyError
from understudy.nodes.brain import Brain, WithBrain, gym_of, own_brain
from understudy.nodes.faculty import Faculty
from understudy.nodes.job import builder_for, forget
from understudy.nodes.modules import PROGRAMS

News = Callable[[dict[str, Any]], None]


_HOW = "understudy optimize --approve {module}, or --decline {module}"


class OptimizationBusy(UnderstudyError):
    """Another process is optimising the same profile."""


class RunWaits(UnderstudyError):
    """A run of the profile waits for a person's answer."""


class NoRun(UnderstudyError):
    """There is no such run."""


def run_gepa_optimization(num_iterations: int = 100) -> dict[str, Any]:
    """Learn from the newest decisions, with the settings of this process.

    Args:
        num_iterations: how many of the newest decisions of BRAIN_PROFILE are considered.

    Returns:
        What `understudy optimize --json` prints: status, profile, decisions_processed, optimized_count, module_results.

    Raises:
        UnderstudyError: the run could not begin; the message says why.
    """
    return asyncio.run(optimize(own_brain(), newest=num_iterations))


async def optimize(
    brain: Brain,
    *,
    profile: str | None = None,
    modules: list[str] | None = None,
    newest: int | None = None,
    run_id: str | None = None,
    on_news: News = lambda news: None,
) -> dict[str, Any]:
    """Run the optimisation graph; a run of the profile that was killed is taken up where it was.

    Args:
        brain: what to work with.
        profile: whose decisions; None takes BRAIN_PROFILE.
        modules: which modules; None takes all.
        newest: how many decisions are considered, newest first.
        run_id: of a new run; if that run has ended, its report is returned.
        on_news: told what happens, as the nodes tell it.

    Returns:
        The run's report.

    Raises:
        OptimizationBusy: another process is at it.
        UnderstudyError: it could not begin.
    """
    gym, name = gym_of(brain), brain.profile(profile).name
    asked: dict[str, Any] = {"profile": name, "modules": modules or [], **({"newest": newest} if newest else {})}
    with alone(brain.settings.optimized_modules_dir / name, "optimizing"), explained(gym.path):
        known = gym.runs.find(run_id) if run_id else None
        if known and known.get("ended_at"):
            return known
        unfinished = gym.runs.unfinished(name)
        run_id = unfinished or run_id or str(uuid4())
        async with open_checkpointer(gym.path) as saver:
            graph = create_optimization_workflow(checkpointer=saver)
            config = RunnableConfig(configurable={"thread_id": run_id})
            state = await graph.aget_state(config)
            begun = state.next if unfinished else ()
            if begun:
                _refuse_other(state, asked, run_id)
                on_news({"resumed": run_id})
            given: Any = None if begun else {**asked, "run_id": run_id}
            context = WithBrain(brain=brain)
            stream = graph.astream(given, config, context=context, stream_mode="custom", durability="sync")
            try:
                async for news in stream:
                    on_news(news)
            finally:
                forget(run_id)
            report = await _outcome(graph, config, gym, run_id)
    return report


def _refuse_other(state: Any, asked: dict[str, Any], run_id: str) -> None:
    """Refuse to do something else than the run that is not done yet."""
    waiting = [interrupt.value["module"] for task in state.tasks for interrupt in task.interrupts]
    if waiting:
        raise RunWaits(
            f"run {run_id} waits for a person; answer with: understudy optimize"
            f" {' '.join(f'--approve {name}' for name in waiting)} (or --decline)"
        )
    begun = state.values.get("modules") or []
    if asked["modules"] and set(asked["modules"]) != set(begun):
        raise OptimizationBusy(
            f"run {run_id} of {', '.join(begun)} is not done; `understudy optimize` without --module goes on with it"
        )


async def _outcome(graph: Any, config: RunnableConfig, gym: Gym, run_id: str) -> dict[str, Any]:
    """Return the report of a run that has ended, or what is known of one that waits for a person."""
    state = await graph.aget_state(config)
    report = state.values.get("report")
    if report is not None:
        # The report is in its table; instructions that did not pass the check for customers' words are not to stay.
        await graph.checkpointer.adelete_thread(run_id)
        return dict(report)
    waiting = [interrupt.value for task in state.tasks for interrupt in task.interrupts]
    results = dict(state.values.get("results") or {})
    for one in waiting:
        results[one["module"]] = {**one, "status": "candidate", "reason": f"waits for a person: {_HOW.format(**one)}"}
    count = sum(result["status"] == "published" for result in results.values())
    return {**(gym.runs.find(run_id) or {}), "status": "success", "optimized_count": count, "module_results": results}


async def approve(brain: Brain, profile: str | None, answers: dict[str, bool]) -> dict[str, Any]:
    """Answer whether the versions that a profile's run waits with may be published; return the report.

    Raises:
        NoRun: no run of the profile waits for these modules.
    """
    gym, name = gym_of(brain), brain.profile(profile).name
    with alone(brain.settings.optimized_modules_dir / name, "optimizing"), explained(gym.path):
        run_id = gym.runs.unfinished(name) or ""
        async with open_checkpointer(gym.path) as saver:
            graph = create_optimization_workflow(checkpointer=saver)
            config = RunnableConfig(configurable={"thread_id": run_id})
            tasks = (await graph.aget_state(config)).tasks if run_id else ()
            waiting = {i.value["module"]: i.id for task in tasks for i in task.interrupts}
            if unknown := answers.keys() - waiting.keys():
                there = f"it waits for {', '.join(waiting)}" if waiting else "none waits"
                raise NoRun(f"no run of profile {name} waits for {', '.join(sorted(unknown))}; {there}")
            answer: Command[Any] = Command(resume={waiting[module]: said for module, said in answers.items()})
            await graph.ainvoke(answer, config, context=WithBrain(brain=brain), durability="sync")
            return await _outcome(graph, config, gym, run_id)


async def waiting_runs(gym: Gym, threads: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return which of LangGraph's threads hold a run that waits for a person, and what it asks for each module."""
    waiting = {}
    async with open_checkpointer(gym.path) as saver:
        graph = create_optimization_workflow(checkpointer=saver)
        for thread in threads:
            tasks = (await graph.aget_state(RunnableConfig(configurable={"thread_id": thread}))).tasks
            if asked := [dict(interrupt.value) for task in tasks for interrupt in task.interrupts]:
                waiting[thread] = asked
    return waiting


def find_run(brain: Brain, run_id: str) -> dict[str, Any]:
    """Return the report of a run; `last` is the newest.

    Raises:
        NoRun: there is none of that name.
    """
    gym = gym_of(brain)
    report = gym.runs.find(None if run_id == "last" else run_id)
    if report is None:
        raise NoRun(f"no run {run_id[:60]!r} in {gym.path}; `understudy optimize` makes one")
    return report


def dataset_report(brain: Brain, module: str, profile: str | None = None) -> dict[str, Any]:
    """Return what a module could learn from.

    Raises:
        InputError: there is no such module.
    """
    dataset = builder_for(brain, profile).build(_faculty(module))
    return {"module": module, "profile": dataset.profile, "reason": dataset.reason, **dataset.report}


def versioning_of(brain: Brain, module: str, profile: str | None) -> ModuleVersioning:
    """Return the saved programs of a profile that has such a module.

    Raises:
        InputError: there is no such module.
    """
    _faculty(module)
    return brain.versioning(brain.profile(profile).name)


def roll_back(
    brain: Brain, module: str, version: str, profile: str | None = None, why: str = "rolled back"
) -> dict[str, Any]:
    """Use another version of a module from the next turn on; return module, profile, before and version.

    Raises:
        InputError: there is no such module.
        VersionError: the version cannot be loaded.
    """
    versioning = versioning_of(brain, module, profile)
    versioning.load_into(PROGRAMS[module].program(brain.profile(profile)), module, version)  # or say why it cannot be
    before = versioning.latest(module)
    versioning.rollback(module, version, why)
    return {"module": module, "profile": versioning.profile, "before": before, "version": versioning.latest(module)}


def list_versions(brain: Brain, module: str | None, profile: str | None) -> list[dict[str, Any]]:
    """Return the versions of a module, or of all: module, version, status, latest, improvement, interval, reason."""
    rows = []
    for name in [module] if module else PROGRAMS:
        versioning = versioning_of(brain, name, profile)
        latest = versioning.latest(name)
        for version in versioning.list_versions(name):
            known = versioning.metadata(name, version)
            metrics = known.get("metrics") or {}
            rows.append(
                {
                    "module": name,
                    "version": version,
                    "latest": version == latest,
                    "status": known.get("status"),
                    "created_at": known.get("created_at"),
                    "improvement": metrics.get("improvement"),
                    "interval": metrics.get("interval"),
                    "reason": known.get("reason"),
                }
            )
    return rows


def show_version(brain: Brain, module: str, profile: str | None, version: str) -> dict[str, str]:
    """Return a version's instruction and the lines that load it in plain DSPy.

    The baseline is in the code; a copy is saved so that there is a file to load.
    """
    versioning = versioning_of(brain, module, profile)
    number = versioning.latest(module) if version == "latest" else version
    if number == BASELINE:
        versioning.save_module(module, PROGRAMS[module].program(brain.profile(profile)), BASELINE, {})
    return versioning.shown(module, number)


def _faculty(module: str) -> Faculty:
    if module not in PROGRAMS:
        raise InputError(f"no module {module[:60]!r}; there are {', '.join(PROGRAMS)}")
    return PROGRAMS[module]


def is_busy(folder: Path, what: str) -> bool:
    """Say whether a process is doing that for the profile of the folder; see `alone`."""
    return is_locked(folder / f".{what}")


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Keep others from doing the same for the same profile at the same time.

    Raises:
        OptimizationBusy: another process is at it.
    """
    try:
        make_private(folder)
        opened = os.open(folder / f".{what}", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise UnderstudyError(f"{folder}: cannot be used: {error.strerror}; check OPTIMIZED_MODULES_DIR") from None
    with open(opened, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptimizationBusy(
                f"{folder}: another process is {what} or erasing for this profile; wait for it to end"
            ) from None
        except OSError as error:
            said = (
                f"{folder}: cannot be locked: {error.strerror}; set OPTIMIZED_MODULES_DIR to a folder on a local disk"
            )
            raise UnderstudyError(said) from None
        yield
