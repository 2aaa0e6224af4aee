"""Choose what to dream of: real conversations to be retold, and customers to be invented.

Parents are closed conversations of the train side, with evidence of what the customer wanted. The intents take turns,
so that rare ones are dreamt of as often as common ones; within an intent, what went wrong is likelier: failures,
faults, conflicts, and turns on which two versions disagree.
"""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite

from understudy.checkpoints.dreams import MOST_DREAMS
from understudy.checkpoints.file import now
from understudy.checkpoints.gym import Gym
from understudy.intake import InputError, short_name
from understudy.nodes.brain import Brain, brain_of, gym_of
from understudy.nodes.job import builder_for
from understudy.nodes.turns import Turn
from understudy.profile import Profile
from understudy.state import Context, DreamState

MOST_BEATS = 12
"""Messages of a dream."""

SPARE = 3
"""Plans for each dream that is wanted; those behind are used when the ones before have come to nothing."""

FAILED, FAULTED, TROUBLED, DISPUTED = 3.0, 1.5, 1.5, 1.5
"""What a failure, a fault, a conflict and a disagreement of versions add to a conversation's weight of 1."""

REGISTERS = ("plain", "casual", "formal")
MOODS = ("calm", "hurried", "friendly")
"""Of dreams without a conflict; one with a conflict has that for its mood."""

Talks = Mapping[str, Sequence[Turn]]
"""Closed conversations of the train side: the turns of each, in order."""


def recall(state: DreamState, runtime: Runtime[Context]) -> Command[Any]:
    """Plan the dreams of this cycle; go on to `store` when there is too little to dream of.

    Raises:
        InputError: no such number of dreams can be wanted, or the cycle's name is none.
        ProfileError: there is no such profile.
    """
    brain, context = brain_of(runtime.context), runtime.context or Context()
    profile = brain.profile(state.get("profile") or context.profile or None)
    count = state.get("count") or min(brain.settings.dream_count, MOST_DREAMS)
    if not isinstance(count, int) or not 0 < count <= MOST_DREAMS:
        raise InputError(f"count: must be a whole number from 1 to {MOST_DREAMS:,}; got {str(count)[:40]!r}")
    cycle = short_name("cycle", state["cycle"]) if state.get("cycle") else None
    if not cycle or (brain.gym and brain.gym.dreams.report(cycle=cycle)):
        cycle = next_cycle(gym_of(brain), profile.name)  # the thread has been used before
    begun: dict[str, Any] = {"cycle": cycle, "profile": profile.name, "count": count, "started_at": now()}
    begun |= {"kept": Overwrite({}), "tries": Overwrite({}), "dropped": Overwrite({}), "made": [], "plans": []}
    closed, talks = remembered(brain, profile.name)
    reason = _why_not(brain, profile, closed, talks)
    if reason is None:
        invented = round(count * brain.settings.dream_hallucination_ratio)
        begun["wanted"] = {"replay": count - invented, "invented": invented}
        begun["plans"] = list(_plans(brain, profile, cycle, begun["wanted"], talks))
    if brain.gym is not None:
        told = {key: begun[key] for key in ("cycle", "profile", "count", "started_at")}
        brain.gym.dreams.save_cycle({**told, "ended_at": None, "status": "running"})
    return Command(update={**begun, "reason": reason}, goto="store" if reason else "generate")


def next_cycle(gym: Gym, profile: str) -> str:
    """Return the name of the next cycle, which decides what is drawn by lot: the same gym dreams the same."""
    return str(uuid5(NAMESPACE_URL, f"understudy:dream:{profile}:{gym.dreams.cycles(profile)}"))


def remembered(brain: Brain, profile: str) -> tuple[int, dict[str, list[Turn]]]:
    """Return how many closed conversations are considered, and those of the train side."""
    talks: dict[str, list[Turn]] = defaultdict(list)
    closed = set()
    for turn in builder_for(brain, profile).turns():
        if turn.place is not None:
            closed.add(turn.decision.conversation_id)
            if turn.place.side == "train":
                talks[turn.decision.conversation_id].append(turn)
    return len(closed), {name: sorted(turns, key=lambda turn: turn.decision.turn) for name, turns in talks.items()}


def why_not(brain: Brain, profile: str | None = None) -> str | None:
    """Say what keeps a profile from being dreamt of, or None."""
    known = brain.profile(profile)
    return _why_not(brain, known, *remembered(brain, known.name))


def _why_not(brain: Brain, profile: Profile, closed: int, talks: Talks) -> str | None:
    least = brain.settings.dream_min_conversations
    if not brain.settings.dream_enabled:
        return "DREAM_ENABLED=false"
    if closed < least:
        return f"{closed} closed conversations; {least} are needed (DREAM_MIN_CONVERSATIONS)"
    if not any(intent_of(turns) in profile.intents for turns in talks.values()):
        return (
            "no conversation of the train side has evidence of an intent of the profile; label some:"
            " understudy label --help"
        )
    return None


def intent_of(turns: Sequence[Turn]) -> str | None:
    """Return what the customer wanted, by evidence: the commonest intent of the turns."""
    intents = Counter(turn.truth["intent"] for turn in turns if turn.truth.get("intent"))
    return intents.most_common(1)[0][0] if intents else None


def _plans(
    brain: Brain, profile: Profile, cycle: str, wanted: Mapping[str, int], talks: Talks
) -> Iterator[dict[str, Any]]:
    """Yield plans of each kind, more than are wanted."""
    dice = random.Random(f"{cycle} plans")
    by_intent: dict[str, list[str]] = defaultdict(list)
    for name, turns in talks.items():
        if (intent := intent_of(turns)) in profile.intents:
            by_intent[str(intent)].append(name)
    order = {intent: drawn(brain, dice, names, talks) for intent, names in sorted(by_intent.items())}
    retold, invented = (SPARE * wanted[kind] for kind in ("replay", "invented"))
    for slot, (intent, name) in enumerate(_in_turns(dice, order, retold)):
        yield {"slot": slot, "kind": "replay", "parent": name, **_retold(dice, intent, talks[name])}
    intents = [intent for intent, _ in _in_turns(dice, {intent: [""] for intent in order}, invented)]
    for slot, intent in enumerate(intents, retold):
        model = dice.choice(by_intent[intent])
        plan = _invented(dice, profile, intent, talks[model])
        yield {"slot": slot, "kind": "invented", "parent": None, "model": model, **plan}


def drawn(brain: Brain, dice: random.Random, names: Sequence[str], talks: Talks) -> list[str]:
    """Return conversations in an order drawn by lot, where weight helps (Efraimidis and Spirakis 2006)."""
    disputed = brain.gym.trials.disputed(list(names)) if brain.gym else set[str]()
    keys = {name: dice.random() ** (1 / weight(talks[name], name in disputed)) for name in sorted(names)}
    return sorted(keys, key=lambda name: -keys[name])


def weight(turns: Sequence[Turn], disputed: bool) -> float:
    """Return how much there is to learn from a conversation; 1 if all went well."""
    failed = turns[0].ending.get("workflow_outcome") in ("failure", "abandoned")
    faulted = any(turn.decision.faults for turn in turns)
    troubled = any(turn.truth.get("conflict_type", "none") != "none" for turn in turns)
    return 1 + FAILED * failed + FAULTED * faulted + TROUBLED * troubled + DISPUTED * disputed


def _in_turns(dice: random.Random, order: Mapping[str, Sequence[str]], count: int) -> Iterator[tuple[str, str]]:
    """Yield one of each intent, then the next of each, and so on; one that is through begins again."""
    rounds = 0
    while count > 0 and order:
        intents = sorted(order)
        dice.shuffle(intents)
        for intent in intents[:count]:
            yield intent, order[intent][rounds % len(order[intent])]
        count -= len(intents)
        rounds += 1


def _retold(dice: random.Random, intent: str, turns: Sequence[Turn]) -> dict[str, Any]:
    """Return the plan of a conversation's retelling: its labels as they are, mood and register drawn anew."""
    labels = {
        turn.decision.turn: {name: turn.truth[name] for name in ("intent", "conflict_type") if name in turn.truth}
        for turn in turns
    }
    conflicts = [label["conflict_type"] for label in labels.values() if label.get("conflict_type", "none") != "none"]
    outcome = turns[0].ending.get("workflow_outcome")
    return {"intent": intent, "labels": {str(n): label for n, label in labels.items()}, "outcome": outcome} | _manner(
        dice, conflicts
    )


def _invented(dice: random.Random, profile: Profile, intent: str, model: Sequence[Turn]) -> dict[str, Any]:
    """Return the plan of an invented customer, who goes through the steps that such a matter takes."""
    steps = [turn.decision.action_taken for turn in model if turn.decision.action_taken in profile.next_steps]
    conflict = dice.choice([name for name in profile.conflict_types if name != "none"]) if dice.random() < 0.4 else ""
    beats: list[dict[str, Any]] = []
    place = dice.randrange(max(1, min(3, len(steps))))
    for number, step in enumerate(steps[: MOST_BEATS // 2] or [None]):
        trouble = conflict if conflict and number == place else "none"
        beats.append({"role": "customer", "intent": intent, "conflict_type": trouble})
        beats.append({"role": "agent", "action": step})
    ending = "success" if not conflict or dice.random() < 0.5 else "failure"
    return {"intent": intent, "beats": beats, "outcome": ending} | _manner(dice, [conflict] if conflict else [])


def _manner(dice: random.Random, conflicts: Sequence[str]) -> dict[str, str]:
    return {"mood": conflicts[0] if conflicts else dice.choice(MOODS), "register": dice.choice(REGISTERS)}


def number_of(cycle: str, slot: int, tries: int) -> int:
    """Return the seed of a dream's attempt."""
    return int.from_bytes(hashlib.sha256(f"{cycle} {slot} {tries}".encode()).digest()[:4])
