"""Make examples of decisions that have evidence: which turns a module may learn from, be chosen by, and be judged by.

Only closed conversations count: what is known of an open one may still change, and so may what it resembles. A turn is
used when a main field of the module has evidence. The teacher's evidence counts in train alone.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NotRequired

import dspy
from typing_extensions import TypedDict

from understudy.checkpoints.gym import Gym
from understudy.nodes.choosing import Candidate, balanced, hardness, label_fields, label_of
from understudy.nodes.dreamt import dreamt_examples
from understudy.nodes.faculty import Faculty
from understudy.nodes.modules import PROPOSER
from understudy.nodes.sides import Place, Side, clusters_by_side, placed
from understudy.nodes.turns import Replies, Told, Turn, believe, is_closed, silent_since
from understudy.profile import Profile

NEWEST = 6000
"""Decisions that are considered."""

CAPS: dict[Side, int] = {"train": 200, "validation": 100, "sealed": 200}
MINIMUM: dict[Side, int] = {"train": 20, "validation": 10}
READ_BY_RESPONSE = ("conflict", "intent", "goals")
AT_ONCE = 500
"""Conversations that one statement asks for."""


class Marks(TypedDict):
    """How far a dataset looks: rows of the gym, and the moment since which a conversation must have been silent."""

    decisions: int
    evidence: int
    events: int
    silent_since: str
    dreams: NotRequired[int]


@dataclass(frozen=True)
class Dataset:
    """The examples of one module; each has `conversation_id` and `turn` beside inputs and evidence.

    `reason` says why nothing can be learnt from them, or is None.
    """

    module: str
    profile: str
    train: list[dspy.Example]
    validation: list[dspy.Example]
    sealed: list[dspy.Example]
    report: dict[str, Any]
    reason: str | None
    conversations: list[str] = field(default_factory=list)
    """All whose words are in an example, with those that only lent a good reply."""

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 of all examples: the same data, the same hash."""
        sides = [[example.toDict() for example in side] for side in (self.train, self.validation, self.sealed)]
        content = json.dumps([self.module, self.profile, sides], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()

    def with_examples(
        self, train: Iterable[dspy.Example], validation: Iterable[dspy.Example], sealed: Iterable[dspy.Example]
    ) -> "Dataset":
        """Return the dataset with other examples of the same turns."""
        return replace(self, train=list(train), validation=list(validation), sealed=list(sealed))


class DatasetBuilder:
    """Builds the datasets of one profile from the same moment of the gym.

    Args:
        gym: where decisions and evidence are.
        profile: whose decisions are used.
        newest: most decisions that are considered. People's labels are rare, so up to half of them may be older turns
            that somebody has labelled; the rest are the newest.
        upto: the `marks` of an earlier builder; with them it builds the same examples, whatever has come in since.
        seed: decides between turns that are equally good.
        history_messages: BRAIN_HISTORY_MESSAGES.
        idle_hours: BRAIN_CONVERSATION_IDLE_HOURS, for conversations without an outcome.
    """

    def __init__(
        self,
        gym: Gym,
        profile: Profile,
        *,
        newest: int = NEWEST,
        upto: Mapping[str, Any] | None = None,
        seed: int = 0,
        history_messages: int = 40,
        idle_hours: float = 24,
    ) -> None:
        self.gym, self.profile, self.newest, self.seed = gym, profile, newest, seed
        self.history_messages = history_messages
        new = {"silent_since": silent_since(idle_hours), "dreams": gym.dreams.last_row()}
        self.marks = Marks(**(upto or {**gym.material.newest_ids(), **new}))  # type: ignore[typeddict-item]
        self._window = gym.material.newest_decisions(profile.name, self.marks["decisions"], newest)
        self._turns: dict[int, Turn] = {}
        self._places: dict[str, Place] = {}

    @property
    def considered(self) -> int:
        """How many decisions a module is given at most."""
        return len(self._window)

    def turns(self) -> list[Turn]:
        """Return the newest turns, oldest first, with what is known of them and where they stand."""
        rows = sorted(self._window)
        self._read([row for row in rows if row not in self._turns])
        return [self._turns[row] for row in rows]

    def build(self, faculty: Faculty) -> Dataset:
        """Return the examples of a module, at most CAPS on each side, and a report on all that was considered."""
        turns, older = self._considered(faculty)
        pool = Replies(turns) if faculty is PROPOSER[0] else None
        left: Counter[str] = Counter()
        fit: dict[Side, list[Turn]] = {side: [] for side in CAPS}
        for turn in turns:
            if reason := self._why_not(faculty, turn, pool):
                left[reason] += 1
            elif turn.place:
                fit[turn.place.side].append(turn)
        chosen = {side: self._choose(faculty, side, fit[side]) for side in CAPS}
        if beyond := sum(map(len, fit.values())) - sum(map(len, chosen.values())):
            left["beyond_the_cap"] = beyond
        examples = {side: list(self._examples(faculty, chosen[side], pool)) for side in CAPS}
        # Dreams join train and nothing else: they are no evidence.
        dreams, parents = dreamt_examples(
            self.gym, faculty, self.profile, examples["train"], self.marks.get("dreams", 0)
        )
        picked = [turn for some in chosen.values() for turn in some]
        lenders = {name for turn in picked for name in pool.lenders(turn)} if pool else set()
        return Dataset(
            module=faculty.name,
            profile=self.profile.name,
            train=[*examples["train"], *dreams],
            validation=examples["validation"],
            sealed=examples["sealed"],
            report=self._report(faculty, turns, older, chosen, left) | {"dreams": _dreamt(dreams, examples["train"])},
            reason=_reason(faculty, chosen),
            conversations=sorted({turn.decision.conversation_id for turn in picked} | lenders | set(parents)),
        )

    def _considered(self, faculty: Faculty) -> tuple[list[Turn], int]:
        """Return the turns that are looked at, oldest first, and how many of them are older labelled ones."""
        window, older = self._window, list[int]()
        if len(window) == self.newest > 1:
            older = self.gym.material.labelled_decisions(
                self.profile.name, faculty.main_fields, window[-1], self.marks["evidence"], self.newest // 2
            )
            window = window[: self.newest - len(older)]
        rows = sorted({*window, *older})
        self._read([row for row in rows if row not in self._turns])
        return [self._turns[row] for row in rows], len(older)

    def _read(self, rows: Sequence[int]) -> None:
        decisions = self.gym.material.decisions_at(rows)
        spans: dict[str, list[int]] = defaultdict(list)
        for decision in decisions.values():
            spans[decision.conversation_id].append(decision.turn)
        endings: dict[str, dict[str, Any]] = {}
        told: dict[tuple[str, int], dict[str, Told]] = defaultdict(dict)
        names = list(spans)
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            endings |= self.gym.material.endings(some, self.marks["decisions"], self.marks["events"])
            between = [(name, min(spans[name]), max(spans[name])) for name in some]
            for one in self.gym.material.evidence_of(between, self.marks["evidence"]):
                believe(told[one["conversation_id"], one["turn"]], one)
        closed = [name for name in names if is_closed(endings[name], self.marks["silent_since"])]
        self._places |= placed(self.gym, closed, self.marks["events"])
        for row, decision in decisions.items():
            name = decision.conversation_id
            ended = decision.model_copy(update={"workflow_outcome": endings[name]["workflow_outcome"]})
            place = self._places.get(name)
            self._turns[row] = Turn(ended, endings[name], place, told.get((name, decision.turn), {}))

    def _why_not(self, faculty: Faculty, turn: Turn, pool: "Replies | None") -> str | None:
        """Return the one reason for which a turn is no example, or None."""
        if turn.place is None:
            return "open"
        if not any(name in turn.told for name in faculty.main_fields):
            return "no_evidence"
        if not any(name in turn.truth for name in faculty.main_fields):
            return "teacher_only"
        if pool is None:
            return None
        if any(name not in turn.decision.readings for name in READ_BY_RESPONSE):
            return "faulted_inputs"
        return None if pool.good(turn) else "no_reply_that_worked"

    def _choose(self, faculty: Faculty, side: Side, turns: Sequence[Turn]) -> list[Turn]:
        """Return the turns of a side: hard cases first in train only, most conversations first in sealed only."""
        candidates = []
        for turn in turns:
            label = label_of(faculty, turn, self.profile)
            hard = hardness(faculty, turn, self.profile) if side == "train" else 0.0
            said = f"{self.seed}\n{turn.decision.conversation_id}\n{turn.decision.turn}"
            digest = hashlib.sha256(said.encode()).hexdigest()
            candidates.append(Candidate(label_fields(faculty).index(label[0]), label, -round(hard, 3), digest, turn))
        return balanced(candidates, CAPS[side], conversations_first=side == "sealed")

    def _examples(self, faculty: Faculty, turns: Sequence[Turn], pool: "Replies | None") -> Iterator[dspy.Example]:
        befores: dict[str, list[int]] = defaultdict(list)
        for turn in turns:
            befores[turn.decision.conversation_id].append(turn.decision.history_upto)
        histories = {
            name: self.gym.material.histories(name, seqs, self.history_messages) for name, seqs in befores.items()
        }
        for turn in turns:
            decision = turn.decision
            history = histories[decision.conversation_id][decision.history_upto]
            example = faculty.example(decision, history, turn.truth, self.profile, faculty.more(self.gym, decision))
            if example is None:
                raise AssertionError("a turn without evidence was chosen")
            if pool is not None:
                example["good_replies"] = pool.good(turn)
            example["conversation_id"], example["turn"] = decision.conversation_id, decision.turn
            yield example

    def _report(
        self,
        faculty: Faculty,
        turns: Sequence[Turn],
        older: int,
        chosen: Mapping[Side, Sequence[Turn]],
        left: Mapping[str, int],
    ) -> dict[str, Any]:
        by_evidence: dict[bool, dict[str, list[Turn]]] = {True: defaultdict(list), False: defaultdict(list)}
        names = {t.decision.conversation_id for t in turns if any(name in t.told for name in faculty.main_fields)}
        for turn in turns:
            by_evidence[turn.decision.conversation_id in names][turn.decision.conversation_id].append(turn)
        places = {t.decision.conversation_id: t.place for t in turns if t.place}
        return {
            "considered": len(turns),
            "older_labelled": older,
            "other_profiles": self.gym.material.count_other_profiles(
                self.profile.name, self.marks["decisions"], self.newest
            ),
            "used": sum(map(len, chosen.values())),
            "left_out": dict(sorted(left.items())),
            "splits": {side: _split(faculty, some, self.profile) for side, some in chosen.items()},
            "sides": clusters_by_side(places),
            "with_evidence": _described(by_evidence[True]),
            "without_evidence": _described(by_evidence[False]),
        }


def _dreamt(dreams: Sequence[dspy.Example], real: Sequence[dspy.Example]) -> dict[str, Any]:
    """Return how many examples of train are dreams, and what share of it."""
    share = len(dreams) / (len(dreams) + len(real)) if dreams else 0.0
    return {"examples": len(dreams), "share_of_train": round(share, 4)}


def _reason(faculty: Faculty, chosen: Mapping[Side, Sequence[Turn]]) -> str | None:
    """Say why nothing can be learnt, or return None."""
    for side, least in MINIMUM.items():
        if (count := len(chosen[side])) < least:
            return f"{count} example{'s' * (count != 1)} in {side}; {least} are needed"
    for side in MINIMUM:
        values = [_values(turn, faculty) for turn in chosen[side]]
        if all(len(set(known)) <= 1 for known in _by_field(values).values()):
            said = ", ".join(sorted({shown for known in values for shown in known.values()}))
            return f"all evidence in {side} says {said[:200]}: nothing to tell apart"
    return None


def _values(turn: Turn, faculty: Faculty) -> dict[str, str]:
    values = {name: turn.truth[name] for name in faculty.main_fields if name in turn.truth}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _by_field(values: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for known in values:
        for name, value in known.items():
            found[name].append(value)
    return found


def _split(faculty: Faculty, turns: Sequence[Turn], profile: Profile) -> dict[str, Any]:
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    for turn in turns:
        name, label = label_of(faculty, turn, profile)
        labels[name][label] += 1
        for name in faculty.main_fields:
            if name in turn.truth:
                sources[name][turn.told[name].source] += 1
    return {
        "examples": len(turns),
        "conversations": len({turn.decision.conversation_id for turn in turns}),
        "labels": {name: dict(counts.most_common()) for name, counts in labels.items()},
        "sources": {name: dict(counts.most_common()) for name, counts in sources.items()},
    }


def _described(conversations: Mapping[str, Sequence[Turn]]) -> dict[str, Any]:
    """Describe conversations by what does not depend on evidence, so that two kinds of them can be compared."""
    turns = [turn for some in conversations.values() for turn in some]
    intents = Counter(turn.decision.intent for turn in turns if turn.decision.intent)
    lengths = [some[0].ending["turns"] for some in conversations.values()]
    return {
        "conversations": len(lengths),
        "mean_turns": round(sum(lengths) / len(lengths), 3) if lengths else None,
        "fault_share": round(sum(bool(turn.decision.faults) for turn in turns) / len(turns), 4) if turns else None,
        "predicted_intents": {name: round(count / intents.total(), 4) for name, count in intents.most_common()},
    }
