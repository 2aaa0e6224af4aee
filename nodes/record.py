"""Write down what the turn showed: one decision row, and what the turn says of earlier ones."""

import logging
import time
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langgraph.config import get_config
from langgraph.errors import NodeError
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite

from understudy.checkpoints.file import now
from understudy.checkpoints.gym import Gym
from understudy.events import BrainDecision
from understudy.intake import public
from understudy.nodes.ab_test import tested_turns
from understudy.nodes.brain import Brain, brain_of, end_of_log
from understudy.nodes.faculty import Update
from understudy.nodes.modules import MODULES
from understudy.nodes.personalize import PERSONALIZE
from understudy.state import Context, ShadowState

log = logging.getLogger("understudy")

COLUMNS = {
    "conflict": {"conflict_type": "conflict_type", "confidence": "conflict_confidence"},
    "intent": {"intent": "intent", "next_step": "next_step", "confidence": "intent_confidence"},
    "quality": {"quality_score": "quality_score", "user_satisfaction": "user_satisfaction_predicted"},
    "response": {"proposed_response": "proposed_response", "tone": "tone", "confidence": "response_confidence"},
}
"""Which field of which module has a column of its own; `readings` holds all of them."""


def record(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Write the decision and take the turn off the inbox, in one transaction.

    A turn that the model server was down for stays in the inbox with BRAIN_WHEN_DOWN=wait: it has no decision yet. Of
    one that was read again nothing is written.
    """
    brain = brain_of(runtime.context)
    # The host's state was that of this turn: the decision keeps it, the thread must not.
    done: Update = {"state": {}}
    if brain.settings.brain_when_down == "wait" and any(fault.get("down") for fault in state["faults"]):
        return {**done, "decision_id": None, "waiting": False}
    if brain.gym is None or state.get("last_seq") is None:  # there is no log, or the turn was read again
        return done
    return {**done, **_write(brain.gym, brain, state, end_of_log(runtime.context))}


async def what_follows(state: ShadowState) -> list[str]:
    """Route: to what is only logged beside the row; without that as `what_waits`."""
    beside = [("personalize", bool(state.get("replies"))), ("ab_test", state.get("tested") is not None)]
    return [name for name, wanted in beside if wanted] or [await what_waits(state)]


async def what_waits(state: ShadowState) -> str:
    """Route: back to `load` while more turns of the conversation wait."""
    return "load" if state.get("waiting") else "__end__"


def note_lost(state: ShadowState, error: NodeError) -> Command[Any]:
    """Say that something beside the row was lost; the row itself is written, and the conversation goes on."""
    log.warning("%s in conversation %s: %s", error.node, state["conversation_id"], public(error.error))
    return Command(goto="load" if state.get("waiting") else "__end__")


def _write(gym: Gym, brain: Brain, state: ShadowState, upto: int | None) -> Update:
    conversation_id = state["conversation_id"]
    decision = _decision(state, brain) if state.get("turn") is not None else None
    events = gym.pending(conversation_id, state["last_seq"])
    replies = [event for event in events if event.kind == "agent_message"]
    turns = dict.fromkeys(MODULES, decision.turn) if decision else {}
    if replies and replies[0].turn is not None:
        turns[PERSONALIZE.name] = replies[0].turn
    # Before the row: once that is there, somebody else may close the conversation.
    tested = tested_turns(brain, gym, conversation_id, state["profile"], turns)
    if not gym.record(decision, conversation_id, events):
        gym.trials.answered(conversation_id, turns.values())
        # It was erased while it was read; it may have begun anew, of which nothing is known yet.
        known: Update = {"messages": Overwrite([]), "message": "", "history": [], "customer": None}
        return {**known, "decision_id": None, "waiting": bool(gym.pending(conversation_id, upto))}
    return {
        "decision_id": decision.decision_id if decision else None,
        "waiting": bool(gym.pending(conversation_id, upto)),
        "replies": [reply.seq for reply in replies] if brain.settings.personalize_enabled else [],
        "tested": tested,
    }


def _decision(state: ShadowState, brain: Brain) -> BrainDecision:
    """Make the row of the turn."""
    readings = state["readings"]
    columns: dict[str, Any] = {
        column: readings[module]["fields"].get(field)
        for module, fields in COLUMNS.items()
        if module in readings
        for field, column in fields.items()
    }
    return BrainDecision(
        decision_id=decision_id(state["conversation_id"], state["message_id"]),
        conversation_id=state["conversation_id"],
        turn=state["turn"] or 0,
        message_id=state["message_id"],
        profile=state["profile"],
        created_at=now(),
        user_message=state["message"],
        history_upto=state["seq"],
        state_snapshot=state.get("state") or None,
        readings=readings,
        faults=sorted(state["faults"], key=lambda fault: str(fault["step"])),
        versions=state["versions"],
        models={name: reading["model"] for name, reading in readings.items()},
        tokens_in=sum(reading["tokens_in"] for reading in readings.values()),
        tokens_out=sum(reading["tokens_out"] for reading in readings.values()),
        latency_ms=round((time.perf_counter() - state["started"]) * 1000, 3),
        engine=brain.settings.lm_provider,
        brain_mode=brain.settings.brain_mode,
        **_checkpoint(),
        **columns,
    )


def decision_id(conversation_id: str, message_id: str) -> str:
    """Return the same id for the same message of the same conversation, however often it is read."""
    return str(uuid5(NAMESPACE_URL, f"understudy:{conversation_id}\n{message_id}"))


def _checkpoint() -> dict[str, Any]:
    """Say where the run's checkpoint is; a run inside a host's graph has none in the gym."""
    config = get_config()
    where = config.get("configurable", {})
    nested = "|" in str(where.get("checkpoint_ns", ""))
    thread, run = where.get("thread_id"), config.get("metadata", {}).get("run_id")
    if nested or not thread or not run:
        return {"thread_id": None, "run_id": None}
    return {"thread_id": str(thread), "run_id": str(run)}
