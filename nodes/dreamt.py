"""Make training examples of dreams: the labels of a dream are what it was planned to show."""

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import dspy

from understudy.checkpoints.gym import Gym
from understudy.events import Line
from understudy.nodes.faculty import Faculty
from understudy.profile import Profile

MOST_DREAMS = 400
"""Newest dreams that are looked at."""

SHARE = 0.5
"""Examples of dreams for each real one, at most."""


def dreamt_examples(
    gym: Gym, faculty: Faculty, profile: Profile, real: Sequence[dspy.Example], upto: int
) -> tuple[list[dspy.Example], list[str]]:
    """Return examples of dreams for a module that is asked for a label of a turn, and all whose words may be in them.

    They go to the labels that have fewest examples, so that rare ones catch up. Each has `dream` beside what others
    have. A module whose main field no plan knows gets none.
    """
    field = faculty.main_fields[0]
    counts = Counter(str(example.get(field)) for example in real if example.get(field) is not None)
    waiting: dict[str, list[tuple[dspy.Example, list[str]]]] = {}
    for dream in gym.dreams.newest(profile.name, MOST_DREAMS, upto):
        for example in _examples(faculty, dream["conversation"], profile):
            waiting.setdefault(str(example[field]), []).append((example, [*dream["parents"], *dream["lenders"]]))
    for some in waiting.values():
        some.sort(key=lambda one: hashlib.sha256(f"{one[0].conversation_id} {one[0].turn}".encode()).digest())
    heap = [(counts[label], label) for label in waiting]
    heapq.heapify(heap)
    taken: list[dspy.Example] = []
    parents: set[str] = set()
    while heap and len(taken) < math.floor(SHARE * len(real)):
        count, label = heapq.heappop(heap)
        example, own = waiting[label].pop(0)
        taken.append(example)
        parents.update(own)
        if waiting[label]:
            heapq.heappush(heap, (count + 1, label))
    return taken, sorted(parents)


def _examples(faculty: Faculty, conversation: dict[str, Any], profile: Profile) -> Iterator[dspy.Example]:
    history: list[Line] = []
    messages = conversation["messages"]
    for turn, (place, message) in enumerate((i, m) for i, m in enumerate(messages) if m["role"] == "customer"):
        history = [_line(earlier) for earlier in messages[:place]]
        truth = dict(message.get("labels") or {})
        after = messages[place + 1] if place + 1 < len(messages) else {}
        if after.get("action"):
            truth["next_step"] = after["action"]
        # The profile may have lost a label since.
        truth = {name: value for name, value in truth.items() if value in profile.labels.get(name, (value,))}
        if faculty.main_fields[0] not in truth:
            continue
        shown = {"history": history, "message": message["text"], "state": None, "readings": {}}
        inputs = faculty.inputs(shown)
        known = {name: value for name, value in truth.items() if name not in inputs}
        example = dspy.Example(**known, **inputs).with_inputs(*inputs)
        example["conversation_id"], example["turn"], example["dream"] = conversation["conversation_id"], turn, True
        yield example


def _line(message: dict[str, Any]) -> Line:
    line = Line(role=message["role"], text=message["text"])
    if message.get("action"):
        line["action"] = message["action"]
    return line
