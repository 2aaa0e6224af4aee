"""Rewrite a module's instruction: GEPA, with a teacher's proposals, scored on validation conversations."""

import asyncio
import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import dspy
from gepa.utils.stop_condition import MaxCandidateProposalsStopper, NoImprovementStopper, TimeoutStopCondition
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from understudy.checkpoints.private import make_private
from understudy.intake import public
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.errors import AnswerError, ModelError
from understudy.lm.reflection import InstructionProposer, describe
from understudy.lm.roles import get_teacher_lm, reflection
from understudy.nodes.brain import Brain, brain_of
from understudy.nodes.dataset import Dataset
from understudy.nodes.faculty import seen_by_nobody
from understudy.nodes.job import Job, dataset_of, faculty_of, learnt_from, program_of
from understudy.nodes.redaction import Redaction, Said, said_in
from understudy.nodes.silence import silent
from understudy.state import Context

WITHOUT_IMPROVEMENT = 10
"""Proposals in a row that bring nothing, after which no more are asked for."""

TIMED_CALLS = 5

Tell = Callable[[dict[str, Any]], None]


async def compile_module(job: Job, runtime: Runtime[Context]) -> Command[Any]:
    """Look for a better instruction; go on to `evaluate` with it, or to `conclude` when there is none."""
    brain, stop = brain_of(runtime.context), threading.Event()
    try:
        compiled = await asyncio.to_thread(_compile, brain, job, stop, runtime.stream_writer)
    finally:
        stop.set()
    if compiled["instruction"] is None:
        result = {**compiled["figures"], "status": "rejected", "reason": _nothing(compiled["figures"])}
        return Command(update={"results": {job["module"]: result}}, goto="conclude")
    return Command(goto=Send("evaluate", {**job, "compiled": compiled}))


def _nothing(figures: dict[str, Any]) -> str:
    useless = figures["proposals_rejected"]
    if figures["candidates_tried"] > sum(useless.values()):
        return "no better instruction was found"
    kinds = ", ".join(f"{kind} {count}" for kind, count in useless.items())
    return f"the teacher proposed nothing of use ({kinds or 'it was not asked'})"


def run_folder(brain: Brain, job: Job) -> Path:
    """Return where GEPA keeps its state while a module of a profile is compiled; customers' words are in it."""
    return brain.settings.optimized_modules_dir / job["profile"] / ".runs" / job["module"]


def _compile(brain: Brain, job: Job, stop: threading.Event, tell: Tell) -> dict[str, Any]:
    dataset, program = dataset_of(brain, job), program_of(brain, job)
    work = _Work(brain, job, dataset, program, stop, tell)
    started = time.monotonic()
    with silent(), seen_by_nobody(brain.student, work.adapter):
        work.preflight()
        better = work.run()
    found = better.detailed_results
    best = found.val_aggregate_scores[found.best_idx]
    instruction = None if found.best_idx == 0 else better.signature.instructions
    if instruction is None and not stop.is_set():
        shutil.rmtree(run_folder(brain, job), ignore_errors=True)
    return {
        "instruction": instruction,
        "learnt_from": learnt_from(dataset.conversations),
        "figures": {
            "avg_score": round(best, 6),
            "validation_before": round(found.val_aggregate_scores[0], 6),
            "metric_calls": found.total_metric_calls or 0,
            "seconds": round(time.monotonic() - started, 3),
            "train_size": len(dataset.train),
            "val_size": len(dataset.validation),
            "test_size": len(dataset.sealed),
            "data_hash": dataset.data_hash,
            "lineage": _lineage(found),
            "candidates_tried": work.proposer.asked,
            "candidates_accepted": len(found.val_aggregate_scores) - 1,
            "proposals_rejected": dict(work.proposer.rejected),
            "masked": dict(sorted(work.redaction.replaced.items())),
        },
    }


def _lineage(found: Any) -> list[dict[str, Any]]:
    return [
        {
            "candidate": number,
            "parent": (parents or [None])[0],
            "val_score": round(score, 6),
            "best": number == found.best_idx,
        }
        for number, (parents, score) in enumerate(zip(found.parents, found.val_aggregate_scores, strict=True))
    ]


class _Work:
    """One run of GEPA on one module."""

    def __init__(
        self, brain: Brain, job: Job, dataset: Dataset, program: dspy.Module, stop: threading.Event, tell: Tell
    ) -> None:
        settings, self.faculty = brain.settings, faculty_of(job)
        self.brain, self.job, self.dataset, self.program = brain, job, dataset, program
        self.stop, self.tell = stop, tell
        self.adapter = _Watching(stop)
        self.teacher = get_teacher_lm(settings)
        self.examples, budget = reflection(settings)
        said = said_in(brain.gym, dataset.conversations) if brain.gym else Said()
        self.redaction = Redaction(said, [brain.profile(job["profile"])])
        self.proposer = InstructionProposer(
            self.teacher, describe(program.signature), self.redaction, budget=budget, progress=self._proposed
        )
        self.proposals = settings.gepa_breadth * settings.gepa_depth
        self.calls = round(len(dataset.validation) * (1 + self.proposals / 2) + 2 * self.minibatch * self.proposals)
        self.folder = run_folder(brain, job) / self._key()

    @property
    def minibatch(self) -> int:
        """Examples that the teacher is shown at a time."""
        return min(self.examples, len(self.dataset.train))

    def preflight(self) -> None:
        """Time a few calls, and say what is ahead."""
        timed = self.dataset.train[:TIMED_CALLS]
        started = time.monotonic()
        for example in timed:
            with suppress(AnswerError):  # an answer that does not fit takes as long
                self.program(**example.inputs())
        expected = (time.monotonic() - started) / len(timed) * self.calls / self.brain.parallel
        self._say(calls=self.calls, proposals=self.proposals, expected_seconds=round(expected, 1))

    def run(self) -> Any:
        """Return the best program that GEPA has found; the one it began with if there is none.

        Raises:
            ModelError: the model server went down; the next run goes on from here.
        """
        for other in self.folder.parent.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)  # of a run that nobody can take up any more
        _prepare(self.folder)
        try:
            found = self._gepa()
        except (UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
            # What a killed run has left behind is half a file: begin again.
            logging.getLogger("understudy").warning("%s: cannot be read (%s); begun again", self.folder, public(error))
            shutil.rmtree(self.folder)
            _prepare(self.folder)
            found = self._gepa()
        down = self.adapter.down or self.proposer.down
        if down is not None:
            raise down
        return found

    def _gepa(self) -> Any:
        gepa = dspy.GEPA(
            metric=self.faculty.metric,
            max_metric_calls=self.calls,
            reflection_lm=self.teacher,
            instruction_proposer=self.proposer,
            reflection_minibatch_size=self.minibatch,
            num_threads=self.brain.parallel,
            use_merge=False,
            seed=self.brain.settings.gepa_seed,
            log_dir=str(self.folder),
            track_stats=True,
            warn_on_score_mismatch=False,
            gepa_kwargs={"callbacks": [self], "stop_callbacks": self._stoppers()},
        )
        return gepa.compile(self.program, trainset=self.dataset.train, valset=self.dataset.validation)

    def _stoppers(self) -> list[Any]:
        return [
            lambda state: self.stop.is_set() or self.proposer.down is not None,
            NoImprovementStopper(WITHOUT_IMPROVEMENT),
            # Useless proposals cost few calls: the budget alone would let a silent teacher be asked hundreds of times.
            MaxCandidateProposalsStopper(self.proposals),
            TimeoutStopCondition(self.brain.settings.gepa_max_minutes * 60),
        ]

    def on_valset_evaluated(self, event: Any) -> None:
        """GEPA has scored a candidate on all of validation."""
        self._say(
            candidate=event["candidate_idx"], score=round(event["average_score"], 4), best=event["is_best_program"]
        )

    def on_budget_updated(self, event: Any) -> None:
        """GEPA has called the metric."""
        self._say(used=event["metric_calls_used"], left=event["metric_calls_remaining"])

    def _proposed(self, component: str, reason: str | None) -> None:
        self._say(tried=self.proposer.asked, useless=reason)

    def _say(self, **news: Any) -> None:
        self.tell({"module": self.job["module"], **news})

    def _key(self) -> str:
        """Name the run folder by all that a run depends on, so that another one never goes on from it."""
        settings = self.brain.settings
        parts = (
            self.dataset.data_hash, self.program.signature.instructions, self.brain.student.model, self.teacher.model,
            self.calls, self.minibatch, settings.gepa_seed, self.faculty.metric_version,
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class _Watching(AnswerAdapter):
    """Ends the run when the model server is down: its silence says nothing about an instruction."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop
        self.down: ModelError | None = None

    def __call__(self, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        """Ask and return one checked answer."""
        try:
            return super().__call__(*arguments, **options)
        except ModelError as error:
            if error.down:
                self.down = error
                self.stop.set()
            raise


def _prepare(folder: Path) -> None:
    make_private(folder)
    (folder / "gepa.stop").unlink(missing_ok=True)  # a run that was stopped has left it, and it would end this one
