"""The A/B double-run: two versions of a module answer the same turn, and both answers are only written down.

It comes after the turn's own row, so that it can neither delay nor fail it. Scores come with the evidence: when a
conversation is closed (and again when more is learnt of it, if nothing was known before) its mean difference enters
the test, once.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import dspy
from langgraph.runtime import Runtime

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.trials import Ending, Trial
from understudy.checkpoints.versioning import VersionError
from understudy.events import BrainDecision, drawn
from understudy.intake import UnderstudyError
from understudy.lm.roles import patience
from understudy.nodes.ab_life import begin_all_waiting, conclude, end, take
from understudy.nodes.brain import Brain, brain_of
from understudy.nodes.faculty import Faculty, Said, Update, ask
from understudy.nodes.modules import PROGRAMS
from understudy.nodes.scoring import FAILED
from understudy.nodes.turns import is_closed, silent_since
from understudy.state import Context, ShadowState

LOOK_SECONDS = 60.0
"""How often this process looks for conversations that have closed by silence."""

MOST_SILENT = 50
"""How many of them it takes in at a time."""

_FOR_EVER = 1 << 62

log = logging.getLogger("understudy")


@dataclass(frozen=True)
class Pair:
    """One turn to be answered twice."""

    trial: Trial
    turn: int
    inputs: Mapping[str, Any]
    programs: tuple[Any, Any]


async def ab_test(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Let both versions under test answer what the run was about, then take in what is known of the conversation."""
    brain, conversation_id = brain_of(runtime.context), state["conversation_id"]
    tested: dict[str, int] = state.get("tested") or {}
    try:
        pairs = await asyncio.to_thread(_pairs, brain, conversation_id, tested)
        said = await asyncio.gather(*(answer_both(brain, conversation_id, pair) for pair in pairs))
        await asyncio.to_thread(_keep, brain, conversation_id, zip(pairs, said, strict=True))
    finally:
        await asyncio.to_thread(_done, brain, conversation_id, tested)
    await asyncio.to_thread(_settle_all, brain, conversation_id)
    return {}


def tested_turns(
    brain: Brain, gym: Gym, conversation_id: str, profile: str, turns: Mapping[str, int]
) -> dict[str, int] | None:
    """Return which turn of each module under test is to be answered twice; None if no test is concerned at all.

    `turns` says for each module which turn is new to it. They are noted as being answered from now on.
    """
    running = gym.trials.running(profile) if turns and in_share(conversation_id, brain.settings.ab_share) else []
    tested = {str(trial.module): turns[str(trial.module)] for trial in running if trial.module in turns}
    if tested:
        gym.trials.ask(conversation_id, tested.values())
    return tested if tested or gym.trials.touched(conversation_id) else None


def in_share(conversation_id: str, share: float) -> bool:
    """Say whether a conversation is among that share of all, the same today as tomorrow; a larger share keeps it."""
    return drawn("share", conversation_id) < share


def first_of(*names: object) -> Literal["A", "B"]:
    """Draw which variant is asked first; the same turn always draws the same."""
    return "A" if drawn("first", *names) < 0.5 else "B"


def _pairs(brain: Brain, conversation_id: str, tested: Mapping[str, int]) -> list[Pair]:
    """Return what is to be answered; a test whose version does not load ends here."""
    gym, found = brain.gym, list[Pair]()
    if gym is None:
        return found
    for module, turn in tested.items():
        faculty, decision = PROGRAMS[module], gym.decision(conversation_id, turn)
        trial = (
            next((t for t in gym.trials.running(decision.profile) if t.module == module), None) if decision else None
        )
        if decision is None or trial is None:
            continue
        try:
            programs = tuple(brain.loaded(faculty, trial.profile, name) for name in (trial.variant_a, trial.variant_b))
        except VersionError as error:
            end(brain, trial, Ending(None, f"a version cannot be loaded: {error}"))
            continue
        inputs = faculty.shown(decision, _history(brain, gym, decision), faculty.more(gym, decision))
        found.append(Pair(trial, turn, inputs, (programs[0], programs[1])))
    return found


async def answer_both(brain: Brain, conversation_id: str, pair: Pair) -> dict[str, Any] | None:
    """Return what both say, in an order drawn by lot; None when a model server is down, which is nobody's fault."""
    first = first_of(pair.trial.name, conversation_id, pair.turn)
    said: dict[str, Said] = {}
    for side in ("A", "B") if first == "A" else ("B", "A"):
        told = await ask(brain, pair.programs[side == "B"], pair.inputs)
        if told is None:
            return None
        said[side] = told
    return written(first, said["A"], said["B"])


def written(first: str, a: Said, b: Said) -> dict[str, Any]:
    """Return a pair of answers as the table has it."""
    sides = {"a": a, "b": b}
    what = ("answer", "fault", "ms", "tokens")
    return {"first": first} | {f"{one}_{side}": getattr(said, one) for side, said in sides.items() for one in what}


def _keep(brain: Brain, conversation_id: str, told: Iterable[tuple[Pair, dict[str, Any] | None]]) -> None:
    for pair, result in told:
        if result is not None and brain.gym is not None:
            brain.gym.trials.keep(pair.trial.name, conversation_id, pair.turn, result)


def _done(brain: Brain, conversation_id: str, tested: Mapping[str, int]) -> None:
    if brain.gym is not None and tested:
        brain.gym.trials.answered(conversation_id, tested.values())


def _settle_all(brain: Brain, conversation_id: str) -> None:
    """Take in what has been learnt of the conversation, and now and then of those that nobody speaks in any more."""
    settle(brain, conversation_id)
    if brain.gym is not None and time.monotonic() - brain.gym.trials.looked > LOOK_SECONDS:
        look_around(brain, pages=1)


def look_around(brain: Brain, pages: int | None = None) -> None:
    """Take in conversations that have closed by silence, and let follow what a killed process has left undone.

    One that cannot be read is told in the log, and the others go on. With `pages` the next look goes on from there.
    """
    gym = brain.gym
    if gym is None:
        return
    trials, since = gym.trials, silent_since(brain.settings.brain_conversation_idle_hours)
    trials.looked = time.monotonic()
    while pages is None or pages > 0:
        found = trials.silent(since, trials.looked_at, MOST_SILENT)
        trials.looked_at = found[-1] if len(found) == MOST_SILENT else ""
        for conversation_id in found:
            with _told(f"conversation {conversation_id}"):
                settle(brain, conversation_id)
        if not trials.looked_at:
            break
        pages = None if pages is None else pages - 1
    for trial in trials.unsettled():
        with _told(f"test {trial.name}"):
            conclude(brain, trial.name)
    begin_all_waiting(brain)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Let an error of ours cost only what it happened to."""
    try:
        yield
    except UnderstudyError as error:
        log.warning("A/B %s: %s", what, error.public)


def settle(brain: Brain, conversation_id: str) -> None:
    """Let a closed conversation enter the tests that it was answered in; count what is learnt of it later."""
    gym = brain.gym
    if gym is None:
        return
    touched = gym.trials.touched(conversation_id)
    for trial, _ in (one for one in touched if one[1] == "entered"):
        gym.trials.count_late(trial.name, conversation_id)
    waiting = [trial for trial, state in touched if state in ("open", "unscored") and trial.module]
    if waiting and _is_closed(brain, gym, conversation_id):
        for trial in waiting:
            _enter(brain, gym, trial, conversation_id)


def _is_closed(brain: Brain, gym: Gym, conversation_id: str) -> bool:
    """Say whether nothing of the conversation waits or is being answered, and it has ended or is silent."""
    longest = 2 * patience(brain.settings) / 3600
    if gym.pending(conversation_id) or gym.trials.being_answered(conversation_id, silent_since(longest)):
        return False
    ending = gym.material.endings([conversation_id], _FOR_EVER, _FOR_EVER)[conversation_id]
    return is_closed(ending, silent_since(brain.settings.brain_conversation_idle_hours))


def _enter(brain: Brain, gym: Gym, trial: Trial, conversation_id: str) -> None:
    upto = gym.material.newest_ids()["evidence"]
    if why := _learnt_from(brain, gym, trial, conversation_id):
        gym.trials.set_aside(trial.name, conversation_id, "left_out", upto, why)
        return
    scores = _scores(brain, gym, trial, conversation_id)
    if not scores:
        gym.trials.set_aside(trial.name, conversation_id, "unscored", upto)
        return

    def took(state: str, difference: float) -> tuple[str, Ending | None]:
        return take(trial, state, difference)

    if gym.trials.enter(trial.name, conversation_id, scores, upto, took):
        conclude(brain, trial.name)


def _scores(brain: Brain, gym: Gym, trial: Trial, conversation_id: str) -> dict[int, tuple[float, float]]:
    """Score both answers of every turn that has evidence; the teacher's word is none here."""
    faculty, scores = PROGRAMS[str(trial.module)], {}
    for result in gym.trials.results(trial.name, conversation_id):
        decision = gym.decision(conversation_id, result["turn"])
        if decision is None:
            continue
        example = faculty.example(
            decision,
            _history(brain, gym, decision),
            gym.truth(conversation_id, decision.turn, but="teacher"),
            brain.profile(trial.profile),
            faculty.more(gym, decision),
        )
        if example is not None:
            a, b = (_score(faculty, example, result[f"answer_{side}"]) for side in ("a", "b"))
            scores[decision.turn] = (a, b)
    return scores


def _score(faculty: Faculty, example: dspy.Example, answer: Mapping[str, Any] | None) -> float:
    return FAILED if answer is None else float(faculty.metric(example, answer).score)


def _learnt_from(brain: Brain, gym: Gym, trial: Trial, conversation_id: str) -> str | None:
    """Say which version may have learnt from a conversation: one that a dataset knew when the version was made."""
    placed_at = gym.material.placed_at(conversation_id)
    for version in (trial.variant_a, trial.variant_b):
        made_at = brain.versioning(trial.profile).metadata(str(trial.module), version).get("created_at")
        if placed_at and made_at and version != "v0.0" and placed_at[:19] <= made_at[:19]:
            return f"{version} may have learnt from it"
    return None


def _history(brain: Brain, gym: Gym, decision: BrainDecision) -> Any:
    return gym.history(decision.conversation_id, decision.history_upto, brain.settings.brain_history_messages)
