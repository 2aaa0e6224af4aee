"""The bundled conversations are sound: format, labels, no two alike, nobody real in them."""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import dspy
import pytest

from understudy.events import WorkflowOutcome
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.roles import get_student_lm
from understudy.nodes.faculty import Faculty
from understudy.nodes.modules import MODULES
from understudy.profile import load_profile
from understudy.recording import Recording, parse
from understudy.settings import Settings

FILE = Path(__file__).parents[2] / "examples" / "conversations.jsonl"
PROFILE = load_profile("default")
ENOUGH = 5

CLOSED = {**PROFILE.labels, "workflow_outcome": WorkflowOutcome.__args__}
"""The labels each field can have; the next step is the agent's action."""


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [parse(line, "default") for line in FILE.read_bytes().splitlines()]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def customer_words(recording: Recording) -> Iterator[list[str]]:
    return (words(message.text) for message in recording.messages if message.role == "customer")


def runs(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(length)), strict=False)


def labels(recordings: list[Recording], name: str) -> Counter[Any]:
    """Count what a field is said to be."""
    if name == "workflow_outcome":
        return Counter(r.outcome.workflow_outcome for r in recordings if r.outcome)
    messages = [message for recording in recordings for message in recording.messages]
    if name == "next_step":
        return Counter(message.action for message in messages if message.action)
    found = [message.labels[name] for message in messages if message.labels and name in message.labels]
    return Counter(label for value in found for label in (value if isinstance(value, list) else [value]))


def test_there_are_enough_of_them(recordings: list[Recording]) -> None:
    assert len(recordings) >= 160
    assert sum(recording.turns for recording in recordings) >= 900
    assert {recording.turns for recording in recordings} <= set(range(1, 16))
    assert {recording.profile for recording in recordings} == {"default"}


def test_each_has_an_id_of_its_own(recordings: list[Recording]) -> None:
    ids = Counter(recording.conversation_id for recording in recordings)
    assert [name for name, count in ids.items() if count > 1] == []


def test_every_message_says_something_and_has_a_time_that_never_goes_back(recordings: list[Recording]) -> None:
    for recording in recordings:
        assert all(message.text.strip() for message in recording.messages), recording.conversation_id
        times = [message.at or "" for message in recording.messages]
        assert all(times), recording.conversation_id
        assert times == sorted(times), recording.conversation_id


@pytest.mark.parametrize("name", CLOSED)
def test_labels_are_in_the_profile_and_each_occurs_often_enough(recordings: list[Recording], name: str) -> None:
    found = labels(recordings, name)
    assert set(found) - {None} <= set(CLOSED[name])
    assert {label: found[label] for label in CLOSED[name] if found[label] < ENOUGH} == {}


def test_no_two_conversations_are_alike(recordings: list[Recording]) -> None:
    said = {r.conversation_id: {run for text in customer_words(r) for run in runs(text, 3)} for r in recordings}
    alike = [
        (one, other)
        for one, other in combinations(said, 2)
        if len(said[one] & said[other]) >= 0.3 * len(said[one] | said[other])
    ]
    assert alike == []


def test_no_two_conversations_share_a_long_sentence_of_the_customer(recordings: list[Recording]) -> None:
    """Nine words in a row are looked for, which finds every shared sentence of more than eight."""
    where: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for recording in recordings:
        for text in customer_words(recording):
            for run in runs(text, 9):
                where[run].add(recording.conversation_id)
    assert {" ".join(run): ids for run, ids in where.items() if len(ids) > 1} == {}


def test_nobody_real_can_be_reached(recordings: list[Recording]) -> None:
    """Phone numbers are 555-01xx, which are never given to anybody; mail and web addresses are those for examples."""
    for recording in recordings:
        told = [message.model_dump(include={"text", "labels"}) for message in recording.messages]
        text = json.dumps([recording.customer, told], ensure_ascii=False)
        others = re.sub(r"(?<!\d)555[- ]?01\d\d(?!\d)", "", text)
        assert [n for n in re.findall(r"\d[\d\s()./-]{5,}\d", others) if sum(map(str.isdigit, n)) >= 7] == [], text
        hosts = re.findall(r"@((?:[\w-]+\.)+\w+)|(?:https?://|www\.)([\w.-]+\w)", text)
        assert [h for h in map("".join, hosts) if not re.fullmatch(r"([\w-]+\.)*example\.(com|org|net)", h)] == [], text


# What is there to learn


def answers(faculty: Faculty, field: str, recordings: list[Recording]) -> Iterator[tuple[str, str]]:
    """Yield what a turn is labelled and what the baseline says, with the embedded engine."""
    program = faculty.program(PROFILE)
    for recording in recordings:
        history: list[dict[str, str]] = []
        for message in recording.messages:
            if message.labels and field in message.labels:
                turn = {"history": history, "message": message.text, "state": None}
                yield message.labels[field], program(**faculty.inputs(turn))[field]
            history = [*history, message.model_dump(include={"role", "text", "action"}, exclude_none=True)]


def macro_f1(right: list[str], said: list[str]) -> float:
    hits = Counter(a for a, b in zip(right, said, strict=True) if a == b)
    sizes = Counter(right) + Counter(said)
    return sum(2 * hits[label] / sizes[label] for label in set(right)) / len(set(right))


@pytest.mark.parametrize(("module", "field"), [("intent", "intent"), ("conflict", "conflict_type")])
def test_the_baseline_is_neither_at_chance_nor_near_perfect(
    recordings: list[Recording], module: str, field: str
) -> None:
    with dspy.context(lm=get_student_lm(Settings()), adapter=AnswerAdapter(), disable_history=True, trace=None):
        right, said = map(list, zip(*answers(MODULES[module], field, recordings), strict=True))
    dice = random.Random(1)
    shuffled = max(macro_f1(right, dice.sample(said, len(said))) for _ in range(100))
    always_the_same = macro_f1(right, [Counter(right).most_common(1)[0][0]] * len(right))
    assert max(shuffled, always_the_same) < macro_f1(right, said) < 0.8
