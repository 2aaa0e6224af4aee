"""What the five modules share: labels for a signature, an answer to a turn, an example from a turn."""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import dspy
from langgraph.errors import NodeError
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import Field

from understudy.checkpoints.gym import Gym
from understudy.events import BrainDecision, Line
from understudy.intake import InputError, clean_text, plain
from understudy.lm.adapter import AnswerAdapter, Predict
from understudy.lm.errors import AnswerEndless, AnswerError, AnswerTimeout, ModelError, PromptTooLong, RequestRefused
from understudy.nodes.brain import Brain, brain_of
from understudy.nodes.scoring import agreeing
from understudy.profile import Profile
from understudy.state import Context, Fault, Reading, ShadowState

Score = Annotated[float, Field(ge=0, le=1)]
Update = dict[str, Any]
Metric = Callable[..., dspy.Prediction]


@dataclass(frozen=True)
class Faculty:
    """One thing the brain can do: its signature for a profile, what it is shown of a turn, and how it is scored.

    `main_fields` are the outputs without evidence for which an example is worth nothing.
    """

    name: str
    signature: Callable[[Profile], type[dspy.Signature]]
    inputs: Callable[[Mapping[str, Any]], dict[str, Any]]
    metric: Metric
    main_fields: tuple[str, ...]
    truth: Callable[[BrainDecision, Mapping[str, Any], Profile], dict[str, Any]] | None = None
    """What the metric wants to know beside the evidence itself."""
    metric_version: int = 1
    """Scores of different versions of a metric are never compared."""
    beyond: Callable[[Gym, BrainDecision], dict[str, Any]] | None = None
    """What it is shown beside the decision and the messages before it."""
    agreement_of: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, float]] | None = None
    """How an answer agrees with what is true, where comparing each main field does not tell."""

    def program(self, profile: Profile) -> dspy.Module:
        """Return the hand-written baseline, v0.0."""
        return Predict(self.signature(profile))

    def more(self, gym: Gym, decision: BrainDecision) -> dict[str, Any]:
        """Return what the module is shown beside the decision and the messages before it."""
        return self.beyond(gym, decision) if self.beyond else {}

    def agreement(self, said: Mapping[str, Any], gold: Mapping[str, Any]) -> dict[str, float]:
        """Return how far each main field with evidence agrees with it, 0..1, as the metric compares them."""
        if self.agreement_of:
            return self.agreement_of(said, gold)
        known = {name: gold.get(name) for name in self.main_fields}
        return {name: agreeing(said.get(name), right) for name, right in known.items() if right is not None}

    def shown(
        self, decision: BrainDecision, history: Sequence[Line], more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the inputs for a turn that has been read; `history` holds the messages before it."""
        turn = {
            "history": list(history),
            "message": decision.user_message,
            "state": decision.state_snapshot,
            "readings": decision.readings,
        }
        return self.inputs({**turn, **(more or {})})

    def example(
        self,
        decision: BrainDecision,
        history: Sequence[Line],
        evidence: Mapping[str, Any],
        profile: Profile,
        more: Mapping[str, Any] | None = None,
    ) -> dspy.Example | None:
        """Return the turn as an example: what the module was shown, and what turned out to be true.

        None when no main field has evidence. `history` holds the messages before the turn; `evidence` the most trusted
        value of each field; `more` what the method of that name returns.
        """
        if not any(name in evidence for name in self.main_fields):
            return None
        inputs = self.shown(decision, history, more)
        known = {**evidence, **(self.truth(decision, evidence, profile) if self.truth else {})}
        return dspy.Example(
            **{name: value for name, value in known.items() if name not in inputs}, **inputs
        ).with_inputs(*inputs)


def with_labels(signature: type[dspy.Signature], labels: Mapping[str, str], *fields: str) -> type[dspy.Signature]:
    """Close fields of a signature: each takes one of the labels (a list: several), told with their meanings.

    Without labels the fields stay free text.
    """
    if not labels:
        return signature
    closed: Any = Literal[tuple(labels)]
    meanings = "\n".join(f"- {label}: {meaning}" if meaning else f"- {label}" for label, meaning in labels.items())
    for name in fields:
        is_list = signature.output_fields[name].annotation == list[str]
        signature = signature.with_updated_fields(name, type_=list[closed] if is_list else closed, desc=meanings)
    return signature


@contextmanager
def seen_by_nobody(lm: dspy.LM, adapter: AnswerAdapter) -> Iterator[None]:
    """Let programs speak to a model; no history, trace or callback of the host's DSPy sees it."""
    with dspy.context(
        lm=lm,
        adapter=adapter,
        disable_history=True,
        trace=None,
        callbacks=[],
        warn_on_type_mismatch=False,
    ):
        yield


OWN_FAULTS = (AnswerError, AnswerTimeout, AnswerEndless, PromptTooLong, RequestRefused)
"""Errors that are a program's own; the others are the server's, and nobody's fault."""


@dataclass(frozen=True)
class Said:
    """What a program answered: its fields, or the fault it left; time in milliseconds, tokens read and written."""

    answer: dict[str, Any] | None
    fault: str | None
    ms: float
    tokens: int


async def ask(brain: Brain, program: Any, inputs: Mapping[str, Any]) -> Said | None:
    """Let a program answer; whatever it raises is a fault, but None when it is the model server that failed."""
    adapter, started = AnswerAdapter(), time.perf_counter()
    with seen_by_nobody(brain.student, adapter):
        # Collected as a value: a program may raise anything, and the other one still has to answer.
        told: Any = (await asyncio.gather(_call(program, inputs), return_exceptions=True))[0]
    if isinstance(told, ModelError) and not isinstance(told, OWN_FAULTS):
        return None
    is_fault = isinstance(told, BaseException)
    return Said(
        answer=None if is_fault else told,
        fault=clean_text(f"{type(told).__name__}: {told}"[:2000]) if is_fault else None,
        ms=round((time.perf_counter() - started) * 1000, 3),
        tokens=adapter.spent["tokens_in"] + adapter.spent["tokens_out"],
    )


async def _call(program: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(program, dspy.Predict):
        said = await program.acall(**inputs)
    else:
        said = await asyncio.to_thread(_called, program, inputs)
        if inspect.isawaitable(said):
            said = await said
    if isinstance(said, dspy.Prediction):
        said = said.toDict()
    if not isinstance(said, Mapping):
        raise TypeError(f"a program answers with fields, this one with {type(said).__name__}")
    fields: dict[str, Any] = plain("answer", dict(said))
    return fields


def _called(program: Any, inputs: Mapping[str, Any]) -> Any:
    try:
        return program(**inputs)
    except (StopIteration, SystemExit) as error:
        # Neither gets out of a thread: the one who waits would wait for ever, or be ended with it.
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


async def read(faculty: Faculty, state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Let a module say what it sees in the turn, in the version that `load` fixed.

    Raises:
        InputError: somebody has edited a checkpoint, and lets it run on from there.
        UnderstudyError: it cannot answer.
    """
    if "history" not in state:
        raise InputError("what was said before is kept in the log alone; post `again` with the number of the turn")
    brain = brain_of(runtime.context)
    version = state["versions"][faculty.name]
    program = brain.program(faculty, state["profile"], version)
    adapter, started = AnswerAdapter(), time.perf_counter()
    with seen_by_nobody(brain.student, adapter):
        answer = await program.acall(**faculty.inputs(state))
    reading = Reading(
        fields=answer.toDict(),
        version=version,
        model=brain.student.model,
        ms=round((time.perf_counter() - started) * 1000, 3),
        **adapter.spent,
    )
    return {"readings": {faculty.name: reading.model_dump(exclude_defaults=True)}}


def note_fault(state: ShadowState, error: NodeError) -> Command[Any]:
    """Leave a fault instead of a reading; the turn goes on at `response`."""
    return _fault(error, goto="response")


def note_response_fault(state: ShadowState, error: NodeError) -> Command[Any]:
    """Leave a fault instead of a response; the turn goes on at `record`."""
    return _fault(error, goto="record")


def _fault(error: NodeError, goto: str) -> Command[Any]:
    cause = error.error
    fault = Fault(
        step=error.node,
        kind=type(cause).__name__,
        message=clean_text(str(cause)[:2000]),
        text=cause.text if isinstance(cause, AnswerError) else None,
        down=isinstance(cause, ModelError) and cause.down,
    )
    return Command(update={"faults": [fault.model_dump(exclude_defaults=True)]}, goto=goto)


def answered(turn: Mapping[str, Any], name: str, *fields: str) -> dict[str, Any] | None:
    """Return those fields of what another module said of the turn, or None when it has not answered."""
    reading = (turn.get("readings") or {}).get(name)
    return {field: reading["fields"].get(field) for field in fields} if reading else None
