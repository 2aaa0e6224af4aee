"""Dream: let the dreamer write the messages of planned conversations."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import dspy
from langgraph.runtime import Runtime
from pydantic import Field

from understudy.events import Line
from understudy.lm.adapter import AnswerAdapter, Predict, answer_model
from understudy.lm.errors import ModelError
from understudy.lm.prompt import form
from understudy.lm.repair import fields_of
from understudy.lm.roles import get_dreamer_lm, model_names
from understudy.nodes.brain import Brain, brain_of
from understudy.nodes.faculty import Update, seen_by_nobody
from understudy.nodes.memory import Memory, memory_of
from understudy.nodes.recall import MOST_BEATS, number_of
from understudy.state import Context, DreamState

TRIES = 3
"""How often a dream that does not pass the screen is dreamt anew."""

BATCH, FEW_AT_ONCE = 50, 8
"""Dreams between two checkpoints, of the embedded engine and of a model of a server: so many a kill can cost."""

HOPELESS = 200
"""Attempts of which none was of use, after which a cycle gives up."""

FEW_PHRASES, MANY_PHRASES = 12, 60
"""Customers' messages of the same intent that a model of a server is shown, and the embedded engine."""

FEW_REPLIES = 5
"""Ways in which agents have done one thing."""

Messages = Annotated[list[str], Field(max_length=MOST_BEATS)]


class DreamConversation(dspy.Signature):
    """Write a conversation between a customer and an agent that could have happened, message by message, to a plan.

    Write one text for each beat of the plan, in its order, as the person who speaks there would write it in a chat: at
    most 60 words, mostly far fewer. A customer's text shows the intent and the conflict of its beat, in the mood and
    the register of the plan; where the conflict is none, it shows none. An agent's text does what the action of its
    beat means. The conversation ends as the plan's outcome says.

    If there is a source, tell it anew: the same matter and the same end, with other words, another order and other
    details. Never take over more than five words in a row, a name, a number, a date, a place or an address; invent
    others. Tags such as [phone] and [customer] stand for what somebody wrote there: invent something short in its
    place. The phrases show how customers speak of such a matter; none of them is to be copied.
    """

    meanings: dict[str, str] = dspy.InputField(desc="what the labels mean")
    phrases: dict[str, Any] = dspy.InputField(desc="how others have said such things, and names that may be used")
    source: list[dict[str, str]] = dspy.InputField(desc="the conversation to tell anew; empty to invent a customer")
    plan: dict[str, Any] = dspy.InputField(desc="what happens, beat by beat")
    messages: Messages = dspy.OutputField(desc="one text for each beat of the plan")


async def generate(state: DreamState, runtime: Runtime[Context]) -> Update:
    """Dream what is planned and not kept yet; a failure is a fault, and no dream."""
    brain = brain_of(runtime.context)
    memory = await memory_of(brain, state["cycle"], state["profile"])
    places = asyncio.Semaphore(brain.parallel)

    async def one(plan: Mapping[str, Any]) -> dict[str, Any]:
        number = number_of(state["cycle"], plan["slot"], (state.get("tries") or {}).get(str(plan["slot"]), 0))
        async with places:
            return {"slot": plan["slot"], **await _dreamt(brain, memory, plan, number)}

    plans = waiting(state)[: BATCH if brain.settings.lm_provider == "embedded" else FEW_AT_ONCE]
    made = list(await asyncio.gather(*map(one, plans)))
    tries = {str(plan["slot"]): (state.get("tries") or {}).get(str(plan["slot"]), 0) + 1 for plan in plans}
    return {"made": made, "tries": tries}


def waiting(state: DreamState) -> list[dict[str, Any]]:
    """Return the plans that are to be dreamt next: of each kind as many as are still wanted, none tried too often."""
    kept, tries = state.get("kept") or {}, state.get("tries") or {}
    if not kept and sum(tries.values()) >= HOPELESS:
        return []
    found = []
    for kind, wanted in state["wanted"].items():
        plans = [plan for plan in state["plans"] if plan["kind"] == kind]
        missing = wanted - sum(str(plan["slot"]) in kept for plan in plans)
        left = [plan for plan in plans if str(plan["slot"]) not in kept and tries.get(str(plan["slot"]), 0) < TRIES]
        found += left[: max(0, missing)]
    return found


def beats_of(memory: Memory, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return who speaks when, and with which labels; of a retelling, as its parent's first messages."""
    if plan["kind"] == "invented":
        return list(plan["beats"])
    beats: list[dict[str, Any]] = []
    for event in memory.said[plan["parent"]][:MOST_BEATS]:
        if event.kind == "customer_message":
            labels = plan["labels"].get(str(event.turn), {})
            beats.append({"role": "customer", **{name: labels.get(name) for name in ("intent", "conflict_type")}})
        else:
            beats.append({"role": "agent", "action": memory.action(event)})
    return beats


def inputs(memory: Memory, plan: Mapping[str, Any], number: int, lent: Mapping[str, str]) -> dict[str, Any]:
    """Return what the dreamer is shown; `lent` are phrases of others, and whose they are."""
    beats, intent = beats_of(memory, plan), plan["intent"]
    actions = [beat["action"] for beat in beats if beat.get("action")]
    source: Sequence[Line] = memory.lines(plan["parent"])[: len(beats)] if plan["kind"] == "replay" else []
    meaning = memory.profile.intents[intent].description or intent.replace("_", " ")
    shown = {**memory.profile.next_steps, **memory.profile.conflict_types}
    used = {*actions, *(beat.get("conflict_type") for beat in beats)}
    return {
        "meanings": {intent: meaning, **{name: text for name, text in shown.items() if name in used}},
        "phrases": {
            "customer": list(lent),
            "agent": {action: memory.replies.get(action, [])[:FEW_REPLIES] for action in dict.fromkeys(actions)},
            "names": memory.names,
        },
        "source": list(source),
        "plan": {
            "kind": plan["kind"],
            "about": meaning,
            "mood": plan["mood"],
            "register": plan["register"],
            "outcome": plan["outcome"],
            "beats": beats,
            "number": number,
        },
    }


def _phrases(brain: Brain, memory: Memory, plan: Mapping[str, Any], number: int) -> dict[str, str]:
    """Return messages of other customers with the same intent and whose they are, the same for the same number.

    A model of a server is shown none when it is to invent a customer, of whom nothing may be a real one's; the embedded
    engine takes from them only what several customers say.
    """
    is_embedded = brain.settings.lm_provider == "embedded"
    if plan["kind"] == "invented" and not is_embedded:
        return {}
    most = MANY_PHRASES if is_embedded else FEW_PHRASES
    texts = {
        line["text"]: name
        for name in memory.by_intent.get(plan["intent"], ())
        if name != plan["parent"]
        for line in memory.lines(name)
        if line["role"] == "customer" and len(line["text"]) > 20
    }
    drawn = sorted(texts, key=lambda text: hashlib.sha256(f"{number} {text}".encode()).digest())[:most]
    return {text: texts[text] for text in drawn}


async def _dreamt(brain: Brain, memory: Memory, plan: Mapping[str, Any], number: int) -> dict[str, Any]:
    if not memory.can_tell(plan):
        return {"fault": "what it was to tell is gone"}
    program = Predict(DreamConversation)
    lent = await asyncio.to_thread(_phrases, brain, memory, plan, number)
    given = inputs(memory, plan, number, lent)
    with seen_by_nobody(get_dreamer_lm(brain.settings), AnswerAdapter()):
        try:
            answer = await program.acall(**given)
        except ModelError as error:
            if error.down:
                raise
            return {"fault": type(error).__name__}
    return {
        "texts": list(answer.messages),
        "beats": given["plan"]["beats"],
        "lenders": sorted({*lent.values(), *([plan["model"]] if plan.get("model") else [])}),
    }


def dreamer_of(brain: Brain) -> tuple[str, str]:
    """Return the model that dreams, and the hash of what it is asked beside the inputs."""
    asked = f"{DreamConversation.instructions}\n{form(DreamConversation, fields_of(answer_model(DreamConversation)))}"
    return model_names(brain.settings)["dreamer"], hashlib.sha256(asked.encode()).hexdigest()
