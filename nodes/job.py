"""What the nodes of an optimisation are given for one module, and what follows from it."""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired

import dspy
from langgraph.errors import NodeError
from langgraph.types import Command
from typing_extensions import TypedDict

from understudy.intake import public
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.errors import ModelError
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.dataset import READ_BY_RESPONSE, Dataset, DatasetBuilder
from understudy.nodes.faculty import Faculty, seen_by_nobody
from understudy.nodes.modules import MODULES, PROGRAMS
from understudy.state import Context

log = logging.getLogger("understudy")
_built: dict[tuple[str, str], Dataset] = {}


class Job(TypedDict):
    """One module in one run; plain data, as it is checkpointed."""

    run_id: str
    profile: str
    module: str
    parent: str
    """The version that the run wants to better."""
    marks: dict[str, Any]
    """How far the gym is looked at, so that a killed run finds the same examples again."""
    newest: int
    modules: int
    """How many modules are tested in this run."""
    asks: bool
    """A person is asked before anything is published."""
    compiled: NotRequired[dict[str, Any]]
    evaluated: NotRequired[dict[str, Any]]


def faculty_of(job: Job) -> Faculty:
    """Return the faculty of the module."""
    return PROGRAMS[job["module"]]


def program_of(brain: Brain, job: Job) -> Any:
    """Return a program of its own in the version that the run began with."""
    faculty = faculty_of(job)
    context = Context(versions={faculty.name: job["parent"]})
    brain.version(faculty, job["profile"], context)
    return brain.program(faculty, job["profile"], job["parent"]).deepcopy()


def with_instruction(program: Any, instruction: str) -> Any:
    """Return a copy of a program with another instruction."""
    other = program.deepcopy()
    other.signature = other.signature.with_instructions(instruction)
    return other


def builder_for(brain: Brain, profile: str | None, **options: Any) -> DatasetBuilder:
    """Return what builds the datasets of a profile.

    Raises:
        NoGym: it is switched off.
    """
    return DatasetBuilder(
        gym_of(brain),
        brain.profile(profile),
        history_messages=brain.settings.brain_history_messages,
        idle_hours=brain.settings.brain_conversation_idle_hours,
        **options,
    )


def dataset_of(brain: Brain, job: Job) -> Dataset:
    """Return the examples of the module; `response` is shown what the readers in use now say of a turn."""
    faculty = faculty_of(job)
    key = (job["run_id"], faculty.name)
    if key not in _built:
        dataset = builder_for(brain, job["profile"], newest=job["newest"], upto=job["marks"]).build(faculty)
        _built[key] = _reread(brain, job, dataset) if faculty.name == "response" else dataset
    return _built[key]


def learnt_from(conversation_ids: Iterable[str]) -> list[str]:
    """Return what is noted of the conversations a version learns from: hashes, so that no id leaves the gym."""
    return sorted({hashlib.sha256(one.encode("utf-8", "replace")).hexdigest()[:16] for one in conversation_ids})


def forget(run_id: str) -> None:
    """Let go of the examples of a run."""
    for key in [key for key in _built if key[0] == run_id]:
        del _built[key]


def note_error(state: Job, error: NodeError) -> Command[Any]:
    """Leave a result that says what failed; the other modules go on."""
    # Not the whole message of an error: the report is printed, and its page stands beside the versions.
    said = f"{error.node}: {public(error.error)}"
    log.error("%s, module %s, run %s", said, state["module"], state["run_id"])
    # What was looked at on sealed conversations is kept: it counts, whatever came of it.
    seen = {**state.get("compiled", {}).get("figures", {}), **state.get("evaluated", {})}
    result = {**seen, "status": "error", "reason": said[:500]}
    return Command(update={"results": {state["module"]: result}}, goto="conclude")


def _reread(brain: Brain, job: Job, dataset: Dataset) -> Dataset:
    examples = [*dataset.train, *dataset.validation, *dataset.sealed]
    read = iter(asyncio.run(_read_all(brain, job, examples)))
    return dataset.with_examples(
        *([next(read) for _ in side] for side in (dataset.train, dataset.validation, dataset.sealed))
    )


async def _read_all(brain: Brain, job: Job, examples: Sequence[dspy.Example]) -> list[dspy.Example]:
    readers = {}
    for name in READ_BY_RESPONSE:
        version = brain.version(MODULES[name], job["profile"], Context())
        readers[name] = brain.program(MODULES[name], job["profile"], version)
    places = asyncio.Semaphore(brain.parallel)

    async def one(example: dspy.Example) -> dspy.Example:
        turn = {name: example.get(name) for name in ("history", "state", "message")}
        async with places:
            said = {name: await _read(brain, MODULES[name], program, turn) for name, program in readers.items()}
        inputs = faculty_of(job).inputs({**turn, "readings": {k: v for k, v in said.items() if v}})
        return dspy.Example(**{**example.toDict(), **inputs}).with_inputs(*inputs)

    return list(await asyncio.gather(*map(one, examples)))


async def _read(brain: Brain, faculty: Faculty, program: Any, turn: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a reading as the shadow has it; None, as there, when the answer does not fit."""
    with seen_by_nobody(brain.student, AnswerAdapter()):
        try:
            return {"fields": (await program.acall(**faculty.inputs(turn))).toDict()}
        except ModelError as error:
            if error.down:
                raise
            return None
