"""How an optimisation begins and how it ends: which modules can learn, and what became of them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from understudy.checkpoints.file import now
from understudy.checkpoints.private import make_private, write_private
from understudy.intake import InputError, UnderstudyError, short_name
from understudy.lm.roles import model_names
from understudy.nodes.brain import Brain, brain_of
from understudy.nodes.dataset import NEWEST
from understudy.nodes.job import Job, builder_for, forget
from understudy.nodes.modules import MODULES, PROGRAMS
from understudy.report import page
from understudy.state import Context, OptimizationState

LAST = "response"
"""It learns on what the readers say, so it comes when they are done."""


def begin(state: OptimizationState, runtime: Runtime[Context]) -> Command[Any]:
    """Note the run, leave out the modules that cannot learn, and send each of the others to `compile`.

    Raises:
        InputError: there is no such module, no such number of decisions can be considered, or the run's name is none.
        ProfileError: there is no such profile.
    """
    brain, context = brain_of(runtime.context), runtime.context or Context()
    profile = brain.profile(state.get("profile") or context.profile or None)
    names = state.get("modules") or list(MODULES)
    if not isinstance(names, list):
        raise InputError('modules: must be a list such as ["intent"]')
    for name in names:
        if name not in PROGRAMS:
            raise InputError(f"modules: no module {str(name)[:60]!r}; there are {', '.join(PROGRAMS)}")
    newest = state.get("newest") or NEWEST
    if not isinstance(newest, int) or newest < 1:
        raise InputError(f"newest: must be a whole number of decisions, 1 or more; got {str(newest)[:40]!r}")
    builder = builder_for(brain, profile.name, newest=newest)
    datasets = {name: builder.build(PROGRAMS[name]) for name in names}
    skipped = {name: _skipped(dataset) for name, dataset in datasets.items() if dataset.reason}
    config = get_config()
    own = str(config["metadata"].get("run_id") or config["configurable"]["thread_id"])
    run_id = short_name("run_id", state.get("run_id") or own)
    begun: dict[str, Any] = {
        "run_id": run_id,
        "profile": profile.name,
        "modules": names,
        "newest": newest,
        "marks": dict(builder.marks),
        "decisions_processed": builder.considered,
        "started_at": now(),
        "results": skipped,
    }
    with builder.gym.writing():
        builder.gym.runs.save({**begun, "ended_at": None, "status": "running"})
        builder.gym.jobs.begun_by_hand(profile.name, run_id)
    jobs = [_job(brain, begun, name) for name in names if name not in skipped and name != LAST]
    return Command(update=begun, goto=[Send("compile", job) for job in jobs] or "conclude")


def conclude(state: OptimizationState, runtime: Runtime[Context]) -> Command[Any]:
    """Send `response` to `compile` when the readers are done; write the report when all are."""
    brain, results = brain_of(runtime.context), state["results"]
    waiting = [name for name in state["modules"] if name not in results]
    if waiting == [LAST]:
        return Command(goto=Send("compile", _job(brain, dict(state), LAST)))
    if waiting:
        return Command()
    report = _report(brain, state)
    _write_page(report_page(brain.settings.optimized_modules_dir, report), page(report))
    if brain.gym is not None:
        brain.gym.runs.save(report)
    forget(state["run_id"])
    return Command(update={"report": report})


def report_page(folder: Path, report: Mapping[str, Any]) -> Path:
    """Return where the page of a run is; a host may have named the run as it liked."""
    name = re.sub(r"[^\w-]", "_", str(report["run_id"]), flags=re.ASCII)[:100]
    return folder / str(report["profile"]) / "reports" / f"{name}.html"


def _write_page(path: Path, text: str) -> None:
    try:
        make_private(path.parent)
        write_private(path, text)
    except OSError as error:
        said = f"{path}: cannot be written: {error.strerror}; see to it and run `understudy optimize` again: it goes on"
        raise UnderstudyError(said) from None


def _skipped(dataset: Any) -> dict[str, Any]:
    return {
        "status": "skipped",
        "reason": dataset.reason,
        "train_size": len(dataset.train),
        "val_size": len(dataset.validation),
        "test_size": len(dataset.sealed),
    }


def _job(brain: Brain, begun: dict[str, Any], name: str) -> Job:
    return Job(
        run_id=begun["run_id"],
        profile=begun["profile"],
        module=name,
        parent=brain.published(PROGRAMS[name], begun["profile"]),
        marks=begun["marks"],
        newest=begun["newest"],
        asks=brain.settings.publish_approval == "manual",
        modules=sum(begun["results"].get(module, {}).get("status") != "skipped" for module in begun["modules"]),
    )


def _report(brain: Brain, state: OptimizationState) -> dict[str, Any]:
    results = state["results"]
    names = model_names(brain.settings)
    kinds = {result["status"] for result in results.values()}
    status = "skipped" if kinds == {"skipped"} else "error" if kinds == {"error"} else "success"
    reasons = sorted({result["reason"] for result in results.values()}) if status != "success" else []
    return {
        "run_id": state["run_id"],
        "started_at": state["started_at"],
        "ended_at": now(),
        "profile": state["profile"],
        "status": status,
        "reason": "; ".join(reasons) or None,
        "engine": brain.settings.lm_provider,
        "student": names["student"],
        "teacher": names["teacher"],
        "decisions_processed": state["decisions_processed"],
        "optimized_count": sum(result["status"] == "published" for result in results.values()),
        "module_results": {name: results[name] for name in state["modules"]},
    }
