"""Which turns are worth a person's label first, and how a label gets into the gym and out again.

Among the NEWEST decisions of a profile, those whose field no person has labelled. They are ranked by what a label would
teach, the sum of:

- 1 if the module had no answer;
- 1 if the two versions of a running A/B test answer the field differently: a label decides between them;
- 0 to 1 by how far what happened speaks against what the brain said: the agent took another step than the predicted one
  (intent, next step); the end was as far from the predicted satisfaction; no conflict was seen where the matter failed;
- 0 to 1 by how unsure the module was: 1 - confidence;
- 0 to 0.5 by how rarely people have given the label that it gave: half of 1 / (1 + times);
- 0 to 0.25 by how new the turn is.

No conversation is asked about twice before all others have had their turn. Such turns are harder than most: what people
label here says less of a module's average than labels of turns drawn by lot would.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from understudy.checkpoints.file import now
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.review import Unlabelled, label_counts, labelled_since, take_back, unlabelled
from understudy.events import BrainDecision, Event, Label
from understudy.intake import InputError
from understudy.nodes.ab_test import settle
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.labels import fitting
from understudy.nodes.modules import MODULES
from understudy.nodes.scoring import agreeing
from understudy.profile import Profile

NEWEST = 3000
"""Decisions that are looked at."""

MOST = 50
"""Turns that are handed out at a time."""

LINES = 16
"""Messages before a turn that are shown, the newest ones."""

UNSURE = 0.5
"""Confidence below which a turn is said to be asked for that."""

RATINGS = {"very unhappy": 0.0, "unhappy": 0.25, "neither": 0.5, "happy": 0.75, "very happy": 1.0}
"""What a satisfaction can be called, and its number."""

QUESTIONS = {
    "intent": "What does the customer want?",
    "conflict_type": "Which conflict does the message show?",
    "next_step": "What should the agent do next?",
    "user_satisfaction": "How satisfied will the customer be at the end?",
}


@dataclass(frozen=True)
class Asked:
    """A turn to be labelled, and why: reasons that do not give away what the module said."""

    conversation_id: str
    turn: int
    worth: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What a field can be: how it is called, the value that evidence keeps, and what it means."""

    name: str
    value: Any
    meaning: str

    def holds(self, words: str) -> bool:
        """Say whether name or meaning holds what somebody looks for."""
        return words.strip().lower() in f"{self.name} {self.meaning}".lower()


@dataclass(frozen=True)
class Shown:
    """What a person is shown of a turn: the newest messages up to it, what the brain said, what followed.

    `is_cut` says whether the conversation began before those messages.
    """

    is_cut: bool
    lines: tuple[Event, ...]
    decision: BrainDecision


def fields(profile: Profile) -> list[str]:
    """Return the fields that can be asked for: those of QUESTIONS with a closed set of answers."""
    return [name for name in QUESTIONS if name in profile.labels or name == "user_satisfaction"]


def choices(profile: Profile, field: str) -> list[Choice]:
    """Return what a field can be, in the order of the profile."""
    if field == "user_satisfaction":
        return [Choice(name, value, "") for name, value in RATINGS.items()]
    meanings = {
        "intent": {name: intent.description for name, intent in profile.intents.items()},
        "conflict_type": profile.conflict_types,
        "next_step": profile.next_steps,
    }
    return [Choice(name.replace("_", " "), name, meanings[field].get(name, "")) for name in profile.labels[field]]


def queue(brain: Brain, profile: Profile, field: str, but: Collection[tuple[str, int]] = ()) -> list[Asked]:
    """Return the MOST turns most worth a label of a field, those named by `but` left out."""
    gym, faculty = gym_of(brain), next(faculty for faculty in MODULES.values() if field in faculty.main_fields)
    trial = next((t.name for t in gym.trials.running(profile.name) if t.module == faculty.name), None)
    rows = unlabelled(gym, profile.name, faculty.name, field, trial, NEWEST)
    given = label_counts(gym, field)
    left_out = set(but)
    ranked = sorted(
        (_asked(field, row, given, place / len(rows)) for place, row in enumerate(rows)),
        key=lambda one: -one.worth,
    )
    return list(_spread(one for one in ranked if (one.conversation_id, one.turn) not in left_out))[:MOST]


def look(brain: Brain, asked: Asked) -> Shown | None:
    """Return what is shown of a turn, or None when it has been erased meanwhile."""
    gym = gym_of(brain)
    decision = gym.decision(asked.conversation_id, asked.turn)
    if decision is None:
        return None
    lines = gym.messages(asked.conversation_id, decision.history_upto, LINES + 1)
    return Shown(len(lines) > LINES, tuple(lines[-LINES:]), decision)


def save(brain: Brain, asked: Asked, field: str, value: Any, author: str) -> int:
    """Write a person's label of a turn, and return the event's row.

    Raises:
        InputError: the turn is gone, or the field cannot have the value.
    """
    gym = gym_of(brain)
    profile = brain.profile(gym.profile_of(asked.conversation_id))
    label = Label(turn=asked.turn, fields={field: value}, author=author or None)
    return give(brain, {asked.conversation_id: [fitting(label, gym, asked.conversation_id, profile)]})[0]


def give(brain: Brain, labels: Mapping[str, Sequence[Label]]) -> list[int]:
    """Write labels that fit, by conversation, with their evidence, all or none; return their events' rows in order.

    It is what `understudy label` comes to, without a run of the graph.

    Raises:
        InputError: a conversation is gone.
    """
    gym, written = gym_of(brain), list[int]()
    with gym.writing():
        for conversation_id, some in labels.items():
            if (profile := gym.profile_of(conversation_id)) is None:
                raise InputError(f"conversation {conversation_id!r} has been erased; nothing was written")
            events = [label.event(now()) for label in some]
            written += [event.id for event in gym.learn(conversation_id, events, profile)]
    for conversation_id in labels:
        settle(brain, conversation_id)
    return written


def undo(brain: Brain, event_id: int) -> bool:
    """Erase a label that was a slip, and say whether it was there; what an A/B test has counted by it stays counted."""
    return take_back(gym_of(brain), event_id)


def labelled_today(gym: Gym, field: str) -> int:
    """Count the labels of a field that people have given since midnight on this machine."""
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    return labelled_since(gym, field, midnight.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"))


def _asked(field: str, row: Unlabelled, given: Mapping[str, int], age: float) -> Asked:
    times = given.get(json.dumps(row.said, ensure_ascii=False), 0)
    parts = {
        "it has no answer": float(not row.answered),
        "the two versions under test differ": float(row.differ),
        "what happened speaks against what the brain said": _against(field, row) if row.answered else 0.0,
        "the brain is unsure": 0.0 if row.confidence is None else 1 - row.confidence,
        "its label is rare": 0.5 / (1 + times) if row.answered else 0.0,
    }
    enough = dict(zip(parts, (0.5, 0.5, 0.5, 1 - UNSURE, 0.1), strict=True))
    reasons = tuple(name for name, part in parts.items() if part >= enough[name])
    return Asked(row.conversation_id, row.turn, sum(parts.values()) + 0.25 * (1 - age), reasons)


def _against(field: str, row: Unlabelled) -> float:
    """Say how far what happened speaks against a reading, 0..1; 0 when nothing is known."""
    failed = row.workflow_outcome in ("failure", "abandoned")
    if field == "conflict_type":
        return float(failed and row.said == "none")
    if field == "user_satisfaction":
        ended = row.user_satisfaction
        if ended is None and row.workflow_outcome:
            ended = float(not failed)
        return 0.0 if ended is None else 1 - agreeing(row.said, ended)
    return float(row.action_taken is not None and row.action_taken != row.next_step)


def _spread(ranked: Iterator[Asked]) -> Iterator[Asked]:
    """Yield the best turn of every conversation, then the others."""
    seen: set[str] = set()
    later = []
    for one in ranked:
        if one.conversation_id in seen:
            later.append(one)
        else:
            seen.add(one.conversation_id)
            yield one
    yield from later
