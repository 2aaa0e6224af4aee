"""Look at what is new in a conversation, and fix what the turn is read with."""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Overwrite
from pydantic import BaseModel, Field, ValidationError

from understudy.checkpoints.gym import Gym
from understudy.events import Event, Label, Outcome, said
from understudy.intake import InputError, shape_error, unquoted
from understudy.messages import chat_of
from understudy.nodes.brain import Brain, brain_of, end_of_log
from understudy.nodes.faculty import Update
from understudy.nodes.labels import fitting
from understudy.nodes.modules import MODULES, READERS
from understudy.profile import Profile
from understudy.state import Context, ShadowState

KEPT_MESSAGES = 8
"""Newest messages that a checkpoint holds, so that its size does not grow with the conversation; the log holds all."""

_ALONE = (
    "messages that are new stay in the thread, and a run with an empty input reads them; "
    "post a label or an outcome in a run of its own"
)

_NOTHING_NEW: Update = {"turn": None, "last_seq": None, "decision_id": None}


class Posted(BaseModel):
    """The shape of what is posted for this run alone."""

    outcome: Outcome | None = None
    label: Label | None = None
    again: Annotated[int, Field(strict=True, ge=0)] | None = None


def load(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Write what was posted to the log, and return the oldest turn that waits there, or a turn of None.

    A turn that is to be read `again` is returned instead; so is that of the checkpoint when nothing is new and the
    context names versions.

    Raises:
        InputError: what was posted does not have its shape; the message names the field.
    """
    brain, context = brain_of(runtime.context), runtime.context or Context()
    posted = _check(state)
    conversation_id = str(state.get("conversation_id") or get_config().get("configurable", {}).get("thread_id") or "")
    if not conversation_id:
        raise InputError("conversation_id: must be given when the run has no thread")
    base: Update = {
        "conversation_id": conversation_id,
        "readings": Overwrite({}),
        "faults": Overwrite([]),
        "started": time.perf_counter(),
        "waiting": False,
        "replies": [],
        "tested": None,
        "personalization_suggestion": None,
        # Logged now or refused: a second round for the turns that still wait must not find them again.
        "outcome": None,
        "label": None,
        "again": None,
    }
    if not brain.settings.brain_enabled:
        return {**base, **_NOTHING_NEW}
    if brain.gym is None:
        if posted.again is not None:
            raise InputError("again: RL_GYM_ENABLED=false, so no turn is kept")
        return {**base, **_newest_of(state, brain, context)}
    return {**base, **_oldest_waiting(brain.gym, conversation_id, posted, state, brain, context)}


def load_baselines(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Do as `load` does, with every module at v0.0."""
    context = replace(runtime.context or Context(), use_optimized=False)
    return load(state, runtime.override(context=context))


async def next_steps(state: ShadowState) -> list[str] | str:
    """Route: a customer message to the readers, anything else that is new to `record`."""
    if state.get("turn") is not None:
        return [faculty.name for faculty in READERS]
    return "record" if state.get("last_seq") is not None else "__end__"


def _oldest_waiting(
    gym: Gym, conversation_id: str, posted: Posted, state: ShadowState, brain: Brain, context: Context
) -> Update:
    """Log what was posted, and describe the turn that has waited longest."""
    known = gym.profile_of(conversation_id)
    profile = brain.profile(known or context.profile)
    if posted.label:
        try:
            label = fitting(posted.label, gym, conversation_id, profile)
        except InputError as error:
            raise InputError(error.public) from None  # a server logs it
        posted = posted.model_copy(update={"label": label})
    new = list(_events(state, posted, known_ids=gym.known_ids(conversation_id, _ids(state))))
    if posted.again is not None:
        if new:
            raise InputError(f"again: goes alone; {_ALONE}")
        return _as_it_was(gym, conversation_id, posted.again, profile, brain, context)
    if new:
        gym.append(conversation_id, new, profile.name)
    events = gym.pending(conversation_id, end_of_log(context))
    if not events:
        turn = state.get("turn")
        if not context.versions or turn is None or not gym.has_turn(conversation_id, turn):
            return _NOTHING_NEW
        # Studio's fork: from the checkpoint of a turn, with other versions, and nothing else.
        return _as_it_was(gym, conversation_id, turn, profile, brain, context)
    last_seq = events[-1].seq
    update: Update = {
        "profile": profile.name,
        "last_seq": last_seq,
        "turn": None,
        "decision_id": None,
        "messages": _said_until(gym, conversation_id, last_seq),
    }
    customer = next((event for event in events if event.kind == "customer_message"), None)
    if customer is not None:
        update |= _turn(gym, conversation_id, customer, profile.name, brain, context)
        if who := customer.payload.get("customer"):
            update["customer"] = who
    return update


def _as_it_was(gym: Gym, conversation_id: str, turn: int, profile: Profile, brain: Brain, context: Context) -> Update:
    """Describe a turn as it was when it was new. As nothing of the log is handled by that, nothing is recorded.

    Raises:
        InputError: there is no such turn.
    """
    customer = gym.customer_message(conversation_id, turn)
    if customer is None:
        raise InputError(f"again: the conversation has no turn {turn}")
    return {
        "profile": profile.name,
        "last_seq": None,
        "decision_id": None,
        "messages": _said_until(gym, conversation_id, customer.seq),
        **_turn(gym, conversation_id, customer, profile.name, brain, context),
    }


def _turn(gym: Gym, conversation_id: str, customer: Event, profile: str, brain: Brain, context: Context) -> Update:
    """Describe the turn that a customer message is to the modules that read it."""
    return {
        "turn": customer.turn,
        "message": customer.text or "",
        "message_id": customer.message_id,
        "seq": customer.seq,
        "state": customer.payload.get("state"),
        "history": gym.history(conversation_id, customer.seq, brain.settings.brain_history_messages),
        "versions": _versions(brain, profile, context),
    }


def _said_until(gym: Gym, conversation_id: str, seq: int) -> Overwrite:
    return Overwrite([_message(event) for event in gym.messages(conversation_id, seq, KEPT_MESSAGES)])


def _newest_of(state: ShadowState, brain: Brain, context: Context) -> Update:
    """Describe the newest customer message of the posted ones; there is no log to look into."""
    lines = [(message.id, line) for message, line in chat_of(state.get("messages") or [])]
    newest = next((i for i in range(len(lines) - 1, -1, -1) if lines[i][1]["role"] == "customer"), None)
    if newest is None:
        return _NOTHING_NEW
    before = [line for _, line in lines[:newest]]
    limit = brain.settings.brain_history_messages
    profile = brain.profile(context.profile)
    return {
        "profile": profile.name,
        "last_seq": newest,
        "turn": sum(line["role"] == "customer" for line in before),
        "decision_id": None,
        "message": lines[newest][1]["text"],
        "message_id": str(lines[newest][0]),
        "state": state.get("state"),
        "history": before[:1] + before[1:][-limit:],
        "versions": _versions(brain, profile.name, context),
    }


def _versions(brain: Brain, profile: str, context: Context) -> dict[str, str]:
    """Fix the version of each module for the turn, and load it here: a reader may not wait for a file."""
    return {name: brain.version(faculty, profile, context) for name, faculty in MODULES.items()}


def _check(state: ShadowState) -> Posted:
    try:
        return Posted.model_validate({k: state.get(k) for k in Posted.model_fields})
    except ValidationError as error:
        raise InputError(unquoted(shape_error(error))) from None


def _events(state: ShadowState, posted: Posted, known_ids: set[str]) -> Iterable[Event]:
    """Yield what was posted as events; a message that the log has is none."""
    new = [(m, line) for m, line in chat_of(state.get("messages") or []) if m.id not in known_ids]
    newest = next((m for m, line in reversed(new) if line["role"] == "customer"), None)
    told = {name: value for name in ("state", "customer") if (value := state.get(name))}
    for message, line in new:
        yield said(line, message.id or str(uuid4()), told if message is newest else {})
    if posted.label:
        yield posted.label.event()
    if posted.outcome:
        yield posted.outcome.event()


def _ids(state: ShadowState) -> list[str]:
    return [message.id for message in state.get("messages") or [] if message.id]


def _message(event: Event) -> AnyMessage:
    if event.kind == "customer_message":
        return HumanMessage(event.text or "", id=event.message_id)
    return AIMessage(
        event.text or "", id=event.message_id, additional_kwargs={"action": event.action} if event.action else {}
    )
