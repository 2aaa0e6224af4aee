"""Let pass only dreams that are whole, new, about the profile, nobody's data, and what their labels say."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.runtime import Runtime

from understudy.checkpoints.gym import Gym
from understudy.events import Line
from understudy.intake import InputError
from understudy.nodes.brain import brain_of
from understudy.nodes.customer_data import finds
from understudy.nodes.faculty import Update
from understudy.nodes.generate import dreamer_of, waiting
from understudy.nodes.judge import Judge
from understudy.nodes.labels import check_labels
from understudy.nodes.memory import Memory, memory_of
from understudy.nodes.recall import MOST_BEATS
from understudy.nodes.scoring import content, words
from understudy.nodes.sides import ALIKE, bands, likeness, sketch
from understudy.state import Context, DreamState

LEAST_MESSAGES, MOST_WORDS = 2, 120
"""Messages of a dream at least; words of a message at most. 500 tokens are more; nobody writes so much in a chat."""

IN_A_ROW = 3
"""Messages of the same side one after the other, at most."""

KNOWN = 0.5
"""Share of the words that carry meaning which conversations of the profile know, for a dream to be about it."""


@dataclass
class Screen:
    """What a dream must not be; it remembers the dreams that have passed, so that none comes twice."""

    memory: Memory
    gym: Gym | None = None
    dreamt: list[bytes] = field(default_factory=list)

    def reason(self, dream: Mapping[str, Any]) -> str | None:
        """Return why a dream is of no use, or None; it has the form of a recorded conversation."""
        messages = dream.get("messages")
        if not isinstance(messages, list) or not all(map(_is_message, messages)):
            return "unreadable"
        return (
            _misshapen(messages)
            or self._strange(messages)
            or self.repeated(messages)
            or (any(finds(message["text"], self.memory.corpus) for message in messages) and "customer_data")
            or None
        )

    def passed(self, dream: Mapping[str, Any]) -> bytes:
        """Remember a dream that has passed, and return its sketch."""
        mine = sketch(_lines(dream["messages"]))
        self.dreamt.append(mine)
        return mine

    def _strange(self, messages: Sequence[Mapping[str, Any]]) -> str | None:
        """Say what does not belong to the profile: a label, an action, or most of the words."""
        steps = self.memory.profile.next_steps
        for message in messages:
            if steps and message.get("action") and message["action"] not in steps:
                return "off_profile"
            try:
                check_labels(dict(message.get("labels") or {}), self.memory.profile)
            except InputError:
                return "off_profile"
        said = [word for message in messages if message["role"] == "customer" for word in content(message["text"])]
        known = sum(word in self.memory.vocabulary for word in said)
        return "off_profile" if said and known < KNOWN * len(said) else None

    def repeated(self, messages: Sequence[Mapping[str, Any]]) -> str | None:
        """Say whether a real conversation or a dream that has passed is nearly the same."""
        mine = sketch(_lines(messages))
        others = [*self.dreamt, *(self.gym.material.alike(list(bands(mine))) if self.gym else ())]
        return "near_duplicate" if others and max(likeness(mine, others)) >= ALIKE else None


def _is_message(message: Any) -> bool:
    if not isinstance(message, Mapping) or message.get("role") not in ("customer", "agent"):
        return False
    return isinstance(message.get("text"), str) and isinstance(message.get("labels", {}), Mapping | None)


def _misshapen(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Say what is wrong with the form: length, or who speaks when."""
    roles = [message["role"] for message in messages]
    if not all(words(message["text"]) for message in messages):
        return "empty_message"
    if len(messages) < LEAST_MESSAGES or sum(len(words(m["text"])) for m in messages if m["role"] == "customer") < 3:
        return "too_short"
    if len(messages) > MOST_BEATS or any(len(words(message["text"])) > MOST_WORDS for message in messages):
        return "too_long"
    if len(set(roles)) < 2 or any(len(set(roles[i : i + IN_A_ROW + 1])) == 1 for i in range(len(roles) - IN_A_ROW)):
        return "one_sided"
    return None


def _lines(messages: Sequence[Mapping[str, Any]]) -> list[Line]:
    return [Line(role=message["role"], text=message["text"]) for message in messages]


async def screen(state: DreamState, runtime: Runtime[Context]) -> Update:
    """Keep what passes, and count why the rest does not."""
    brain, cycle = brain_of(runtime.context), state["cycle"]
    memory = await memory_of(brain, cycle, state["profile"])
    plans = {plan["slot"]: plan for plan in state["plans"]}
    gate = Screen(memory, brain.gym, await asyncio.to_thread(_known, brain.gym, state))
    lenders = {one["slot"]: one.get("lenders", []) for one in state["made"]}
    made = [(plans[one["slot"]], _dream(cycle, memory, plans[one["slot"]], one)) for one in state["made"]]
    reasons = await asyncio.to_thread(_reasons, gate, [dream for _, dream in made])
    judge, model, places = Judge(brain, memory), dreamer_of(brain), asyncio.Semaphore(brain.parallel)

    async def judged(plan: Mapping[str, Any], dream: Any, reason: str | None) -> str | None:
        async with places:
            return reason or await judge.disagrees(plan, dream)

    pairs = zip(made, reasons, strict=True)
    reasons = list(await asyncio.gather(*(judged(plan, dream, reason) for (plan, dream), reason in pairs)))

    def sorted_out() -> Update:
        kept, dropped = dict[str, Any](), Counter[str]()
        for (plan, dream), reason in zip(made, reasons, strict=True):
            if reason := reason or gate.repeated(dream["messages"]):
                dropped[reason] += 1
            else:
                kept[str(plan["slot"])] = _row(dream, plan, cycle, model, lenders[plan["slot"]], gate.passed(dream))
        return {"kept": kept, "dropped": dict(dropped), "made": []}

    return await asyncio.to_thread(sorted_out)


def _reasons(gate: Screen, dreams: Sequence[Any]) -> list[str | None]:
    return [dream if isinstance(dream, str) else gate.reason(dream) for dream in dreams]


def _row(
    dream: Mapping[str, Any],
    plan: Mapping[str, Any],
    cycle: str,
    model: tuple[str, str],
    lenders: Sequence[str],
    sketched: bytes,
) -> dict[str, Any]:
    return {
        "dream_id": dream["conversation_id"],
        "profile": dream["profile"],
        "cycle": cycle,
        "kind": plan["kind"],
        "parents": [plan["parent"]] if plan["parent"] else [],
        "lenders": list(lenders),
        "intent": plan["intent"],
        "conversation": dream,
        "model": model[0],
        "prompt_hash": model[1],
        "sketch": sketched.hex(),
    }


def _dream(cycle: str, memory: Memory, plan: Mapping[str, Any], one: Mapping[str, Any]) -> Any:
    """Return what was dreamt as a conversation, or the fault in words."""
    return f"fault: {one['fault']}" if "fault" in one else conversation(cycle, memory.profile.name, plan, one)


async def what_is_left(state: DreamState) -> str:
    """Route: back to `generate` while a dream is missing that may be tried again."""
    return "generate" if waiting(state) else "store"


def _known(gym: Gym | None, state: DreamState) -> list[bytes]:
    """Return the sketches of the dreams there are."""
    stored = gym.dreams.sketches(state["profile"]) if gym else []
    return [*stored, *(bytes.fromhex(dream["sketch"]) for dream in (state.get("kept") or {}).values())]


def conversation(cycle: str, profile: str, plan: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dream in the form of a recorded conversation, labelled as it was planned."""
    messages = []
    for beat, text in zip(made["beats"], made["texts"], strict=False):
        message: dict[str, Any] = {"role": beat["role"], "text": text}
        if beat["role"] == "agent":
            message |= {"action": beat["action"]} if beat.get("action") else {}
        elif labels := {name: beat[name] for name in ("intent", "conflict_type") if beat.get(name)}:
            message["labels"] = labels
        messages.append(message)
    outcome = {"workflow_outcome": plan["outcome"]} if plan["outcome"] else None
    # Texts that are missing make it unreadable, and not a shorter conversation.
    whole: Any = messages if len(made["texts"]) == len(made["beats"]) else None
    return {
        "conversation_id": f"dream-{cycle}-{plan['slot']}",
        "profile": profile,
        "customer": None,
        "messages": whole,
        "outcome": outcome,
    }
