"""Old and new version once each on sealed conversations: what is the difference, and how sure is it?"""

import asyncio
import math
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import dspy
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from understudy.lm.adapter import AnswerAdapter
from understudy.lm.errors import ModelError
from understudy.nodes.brain import Brain, brain_of
from understudy.nodes.faculty import Faculty, seen_by_nobody
from understudy.nodes.job import Job, dataset_of, faculty_of, program_of, with_instruction
from understudy.nodes.scoring import FAILED
from understudy.state import Context

ERROR_RATE = 0.05
"""Chance of a false publish that the modules of a run share, with all later runs on the same sealed conversations."""


TRIED_IN_TRAIN = 50
"""Training examples that a new version is tried on, to show how much of its gain it only remembers."""


@dataclass(frozen=True)
class Tried:
    """One program on one example; `right` says of each main field how right it was, 0..1."""

    score: float
    right: dict[str, float]
    failed: bool
    tokens: int
    ms: float


async def evaluate_module(job: Job, runtime: Runtime[Context]) -> Command[Any]:
    """Compare on the sealed test, and go on to `publish`."""
    # In a thread with a loop of its own: the embedded engine computes, and must not hold up the server's.
    stop = threading.Event()
    try:
        evaluated = await asyncio.to_thread(_evaluate, brain_of(runtime.context), job, stop)
    finally:
        stop.set()
    runtime.stream_writer({"module": job["module"], "score": evaluated["score"], "before": evaluated["baseline_score"]})
    return Command(goto=Send("publish", {**job, "evaluated": evaluated}))


def _evaluate(brain: Brain, job: Job, stop: threading.Event) -> dict[str, Any]:
    faculty, dataset = faculty_of(job), dataset_of(brain, job)
    sealed = dataset.sealed
    old = program_of(brain, job)
    new = with_instruction(old, job["compiled"]["instruction"])
    before, after = (asyncio.run(_try_all(brain, faculty, program, sealed, stop)) for program in (old, new))
    learnt = asyncio.run(_try_all(brain, faculty, new, dataset.train[:TRIED_IN_TRAIN], stop))
    dreams = [example for example in dataset.train if example.get("dream")][:TRIED_IN_TRAIN]
    dreamt = asyncio.run(_try_all(brain, faculty, new, dreams, stop))
    by_conversation: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for example, one, two in zip(sealed, before, after, strict=True):
        by_conversation[example.conversation_id].append((one.score, two.score))
    pairs = [(fmean(a for a, _ in turns), fmean(b for _, b in turns)) for turns in by_conversation.values()]
    gated = brain.gym.runs.times_gated(job["profile"], job["module"], job["run_id"]) if brain.gym else 0
    level = ERROR_RATE / (job["modules"] * (gated + 1) * (gated + 2))
    differences = [b - a for a, b in pairs]
    return {
        "sealed_conversations": len(pairs),
        "train_score": _mean([one.score for one in learnt]),
        "dream_score": _mean([one.score for one in dreamt]) if dreamt else None,
        "dream_size": sum(bool(example.get("dream")) for example in dataset.train),
        "baseline_score": _mean([a for a, _ in pairs]),
        "score": _mean([b for _, b in pairs]),
        "improvement": _mean(differences),
        "interval": [round(lower_end(differences, level), 6), 1.0],
        "level": level,
        "gated_before": gated,
        "right": {"old": _right(before), "new": _right(after)},
        "balanced": {"old": _balanced(faculty, sealed, before), "new": _balanced(faculty, sealed, after)},
        "faults": {"old": sum(t.failed for t in before), "new": sum(t.failed for t in after)},
        "tokens": {"old": _mean([t.tokens for t in before]), "new": _mean([t.tokens for t in after])},
        "latency_ms": {"old": _mean([t.ms for t in before]), "new": _mean([t.ms for t in after])},
    }


def lower_end(differences: Sequence[float], level: float) -> float:
    """Return the lower end of the one-sided interval of a mean of differences in -1..1, one of each conversation.

    Student's t, which assumes that the mean of 30 and more is about normal; with fewer than two, nothing is known.
    """
    if len(differences) < 2:
        return -1.0
    from scipy.stats import t  # loaded here: it takes a second, and only this needs it

    spread = stdev(differences) / math.sqrt(len(differences))
    return max(-1.0, fmean(differences) + float(t.ppf(level, len(differences) - 1)) * spread)


async def _try_all(
    brain: Brain, faculty: Faculty, program: Any, examples: Sequence[dspy.Example], stop: threading.Event
) -> list[Tried]:
    places = asyncio.Semaphore(brain.parallel)

    async def one(example: dspy.Example) -> Tried:
        async with places:
            if stop.is_set():
                raise asyncio.CancelledError
            return await _try(brain, faculty, program, example)

    return list(await asyncio.gather(*map(one, examples)))


async def _try(brain: Brain, faculty: Faculty, program: Any, example: dspy.Example) -> Tried:
    adapter, started = AnswerAdapter(), time.perf_counter()
    with seen_by_nobody(brain.student, adapter):
        try:
            answer = await program.acall(**example.inputs())
        except ModelError as error:
            if error.down:
                raise
            answer = None
    return Tried(
        score=FAILED if answer is None else float(faculty.metric(example, answer).score),
        right=faculty.agreement({} if answer is None else answer.toDict(), example),
        failed=answer is None,
        tokens=adapter.spent["tokens_in"] + adapter.spent["tokens_out"],
        ms=(time.perf_counter() - started) * 1000,
    )


def _right(tried: Sequence[Tried]) -> dict[str, float]:
    by_field: dict[str, list[float]] = defaultdict(list)
    for one in tried:
        for name, share in one.right.items():
            by_field[name].append(share)
    return {name: _mean(shares) for name, shares in by_field.items()}


def _balanced(faculty: Faculty, examples: Sequence[dspy.Example], tried: Sequence[Tried]) -> float:
    """Return the mean over what is true of the main field, each value counting the same."""
    by_truth: dict[str, list[float]] = defaultdict(list)
    for example, one in zip(examples, tried, strict=True):
        truth = next((example.get(name) for name in faculty.main_fields if example.get(name) is not None), None)
        by_truth[str(truth)].append(one.score)
    return _mean([fmean(scores) for scores in by_truth.values()])


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values), 6) if values else 0.0
