"""Decide what becomes of a better instruction: published, a candidate to be proved in shadow, or rejected."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt

from understudy.checkpoints.versioning import VersionError
from understudy.lm.roles import model_names
from understudy.nodes.ab_life import begin_after
from understudy.nodes.brain import Brain, brain_of
from understudy.nodes.compile import run_folder
from understudy.nodes.corpus import Corpus
from understudy.nodes.customer_data import Find, dictated, finds, own_texts, program_texts
from understudy.nodes.job import Job, dataset_of, faculty_of, program_of, with_instruction
from understudy.nodes.redaction import Said, said_in
from understudy.state import Context

LEAST_CONVERSATIONS = 30
"""Sealed conversations that it takes to prove anything."""


def publish_module(job: Job, runtime: Runtime[Context]) -> Command[Any]:
    """Save the new version as what it has proved to be, and tell `conclude`.

    With PUBLISH_APPROVAL=manual it waits for a person before anything is published: resume with true or false.
    """
    brain = brain_of(runtime.context)
    result = _weighed(brain, job)
    if result["status"] == "published" and job["asks"]:
        shown = {name: result[name] for name in ("improvement", "interval", "sealed_conversations", "instruction")}
        if not _approved({"question": f"Publish a new version of {job['module']}?", "module": job["module"], **shown}):
            result = {**result, "status": "rejected", "reason": "a person has declined it"}
    if result["status"] != "rejected":
        result = _saved(brain, job, result)
    shutil.rmtree(run_folder(brain, job), ignore_errors=True)
    return Command(update={"results": {job["module"]: result}}, goto="conclude")


def _approved(asked: dict[str, Any]) -> bool:
    """Ask a person until the answer is true or false, or these as text: no other answer is taken for a yes."""
    said = interrupt(asked)
    while str(said).lower() not in ("true", "false"):
        said = interrupt({**asked, "question": f"{asked['question']} Answer true or false."})
    return str(said).lower() == "true"


def verdict(evaluated: Mapping[str, Any], least_effect: float) -> tuple[str, str]:
    """Return status and reason by the figures of the sealed test alone."""
    count, lower, gain = evaluated["sealed_conversations"], evaluated["interval"][0], evaluated["improvement"]
    if evaluated["faults"]["new"] > evaluated["faults"]["old"]:
        return (
            "rejected",
            f"more answers failed than before ({evaluated['faults']['new']}, before {evaluated['faults']['old']})",
        )
    if gain <= least_effect:
        return "rejected", f"no better on conversations it had never seen ({gain:+.3f})"
    if count < LEAST_CONVERSATIONS:
        return (
            "candidate",
            f"better by {gain:+.3f}, but on {count} sealed conversations; {LEAST_CONVERSATIONS} are needed",
        )
    if lower <= least_effect:
        return "candidate", f"better by {gain:+.3f}, but not proved: it may be {lower:+.3f}"
    return "published", f"better by {gain:+.3f}, and at least by {lower:+.3f}"


def _weighed(brain: Brain, job: Job) -> dict[str, Any]:
    """Return the verdict with all the figures; what carries a customer's data is rejected and not shown."""
    status, reason = verdict(job["evaluated"], brain.settings.gate_min_effect)
    old = program_of(brain, job)
    new = with_instruction(old, job["compiled"]["instruction"])
    figures = {**job["compiled"]["figures"], **job["evaluated"], "parent": job["parent"], "version": None}
    found = _found(brain, job, new)
    if found:
        kinds = sorted({find.kind for find in found})
        return {
            **figures,
            "status": "rejected",
            "reason": f"it carries a customer's data ({', '.join(kinds)})",
            "finds": [{"kind": find.kind, "why": find.why} for find in found[:20]],
        }
    shown = {"old": old.signature.instructions, "new": new.signature.instructions}
    return {**figures, "status": status, "reason": reason, "instruction": shown}


def _found(brain: Brain, job: Job, program: Any) -> list[Find]:
    """Return what of customers is in the whole program."""
    said = said_in(brain.gym, dataset_of(brain, job).conversations) if brain.gym else Said()
    customers = [customer for known in said.customers.values() for customer in known]
    corpus = Corpus(said.messages, customers, own_texts(brain.profile(job["profile"])))
    texts = program_texts(program).values()
    return [find for text in texts for find in (*finds(text, corpus), *dictated(text, corpus))]


def _saved(brain: Brain, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """Save the version, read it back, and only then let the shadow load it."""
    name, versioning = job["module"], brain.versioning(job["profile"])
    program = with_instruction(program_of(brain, job), job["compiled"]["instruction"])
    version = _of_run(versioning, name, job["run_id"])
    if version is None:
        versioning.save_module(name, faculty_of(job).program(brain.profile(job["profile"])), "v0.0", {})
        keep = brain.gym.trials.under_test(job["profile"], name) if brain.gym else ()
        metadata = {**_metadata(brain, job, result), "status": "candidate"}
        version = versioning.save_next(name, program, metadata, keep=keep)
    fresh = versioning.load_into(faculty_of(job).program(brain.profile(job["profile"])), name, version)
    if program_texts(fresh) != program_texts(program):
        versioning.reject(name, version)
        return {**result, "status": "rejected", "reason": "it does not load back as it was"}
    latest = versioning.latest(name)
    if result["status"] == "published" and latest not in (job["parent"], version):
        reason = f"better than {job['parent']}, but {latest} has come into use meanwhile"
        result = {**result, "status": "candidate", "reason": reason}
    if result["status"] == "published":
        versioning.publish(name, version, result["reason"])
    before = job["parent"] if latest == version else latest
    return {**result, "version": version, "ab_test": _tested(brain, job, before, version, result["status"])}


def _tested(brain: Brain, job: Job, before: str, version: str, origin: Any) -> str | None:
    """Let what was in use before and the new version answer side by side from now on, and say so."""
    return begin_after(brain, job["profile"], job["module"], before, version, origin) if brain.gym else None


def _of_run(versioning: Any, name: str, run_id: str) -> str | None:
    """Return the version that this run has saved already, before it was killed."""
    for version in reversed(versioning.list_versions(name)):
        try:
            if versioning.load_module(name, version)[1].get("run_id") == run_id:
                return str(version)
        except VersionError:
            continue
    return None


def _of_parent(brain: Brain, job: Job) -> Sequence[str]:
    """Return what the version that this one was made from has learnt from; its file may be gone some day."""
    return brain.versioning(job["profile"]).metadata(job["module"], job["parent"]).get("learnt_from") or ()


def _metadata(brain: Brain, job: Job, result: Mapping[str, Any]) -> dict[str, Any]:
    settings, names = brain.settings, model_names(brain.settings)
    return {
        "learnt_from": sorted({*job["compiled"]["learnt_from"], *_of_parent(brain, job)}),
        "run_id": job["run_id"],
        "parent": job["parent"],
        "metric_version": faculty_of(job).metric_version,
        "gepa_config": {
            "breadth": settings.gepa_breadth,
            "depth": settings.gepa_depth,
            "calls": result["metric_calls"],
            "seed": settings.gepa_seed,
        },
        "metrics": {
            "train_score": result["train_score"],
            "val_score": result["avg_score"],
            "test_score": result["score"],
            "baseline_score": result["baseline_score"],
            "improvement": result["improvement"],
            "interval": result["interval"],
        },
        "data_hash": result["data_hash"],
        "sizes": {"train": result["train_size"], "val": result["val_size"], "test": result["test_size"]},
        "student": names["student"],
        "teacher": names["teacher"],
        "engine": settings.lm_provider,
        "times": {"seconds": result["seconds"]},
        "reason": result["reason"],
    }
