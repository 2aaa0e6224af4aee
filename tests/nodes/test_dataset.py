"""Datasets: what is learnt from, what is kept apart for ever, and a report that adds up."""

import asyncio
import json
import multiprocessing
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.material import FULL_BAND
from understudy.events import BrainDecision, Event, Line
from understudy.graph.shadow import create_shadow_workflow
from understudy.nodes import dataset as module
from understudy.nodes.brain import Brain, WithBrain
from understudy.nodes.choosing import Candidate, balanced
from understudy.nodes.dataset import Dataset, DatasetBuilder
from understudy.nodes.modules import MODULES
from understudy.nodes.sides import ALIKE, likeness, placed, side_of, sketch
from understudy.nodes.turns import MOST_REPLIES, Turn
from understudy.replay import replay
from understudy.settings import Settings

SIDES = ("train", "validation", "sealed")
CONFLICTS = ("frustration", "none", "none", "bargaining")


def words(rng: random.Random, count: int = 9) -> str:
    return " ".join("".join(rng.choice("bcdfglmnprst") + rng.choice("aeiou") for _ in range(3)) for _ in range(count))


def talk(number: int, *, turns: int = 2, conflict: str | None = "", outcome: str | None = "success") -> dict[str, Any]:
    """A conversation in words of its own; every turn is labelled."""
    rng = random.Random(number)
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        labels = {"intent": ("booking", "inquiry")[number % 2], "main_goal": ("book_service", "get_price")[number % 2]}
        if conflict is not None:
            labels["conflict_type"] = conflict or CONFLICTS[(number + turn) % 4]
        messages.append({"role": "customer", "text": words(rng), "labels": labels})
        action = ("ask_name", "answer_question")[turn % 2]
        messages.append({"role": "agent", "text": f"{action} {words(rng, 4)}", "action": action})
    ending = {"workflow_outcome": outcome} if outcome else None
    return {"conversation_id": f"c{number}", "profile": "default", "messages": messages, "outcome": ending}


def observe(brain: Brain, talks: Iterable[dict[str, Any]]) -> Gym:
    path = brain.settings.rl_gym_db_path.with_suffix(".jsonl")
    path.write_text("\n".join(json.dumps(each) for each in talks))
    report = asyncio.run(replay([path], brain))
    assert report.lines.errors == [] and brain.gym
    return brain.gym


def build(brain: Brain, name: str = "conflict", **how: Any) -> Dataset:
    assert brain.gym
    return DatasetBuilder(brain.gym, brain.profile(how.pop("profile", "default")), **how).build(MODULES[name])


def parts(dataset: Dataset) -> dict[str, list[Any]]:
    return {side: getattr(dataset, side) for side in SIDES}


def adds_up(report: dict[str, Any]) -> bool:
    return report["considered"] == report["used"] + sum(report["left_out"].values())


def sides_of(gym: Gym) -> dict[str, tuple[str, str]]:
    rows = gym.rows("SELECT conversation_id FROM conversation_sides")
    return gym.material.sides([row["conversation_id"] for row in rows])


def told_by_teacher(gym: Gym, where: str, field: str, value: Any) -> None:
    gym.connection.execute(
        "INSERT INTO evidence (event_id, conversation_id, turn, field, value, source, at)"
        f" SELECT -rowid, conversation_id, turn, ?, ?, 'teacher', '' FROM brain_decisions WHERE {where}",
        (field, json.dumps(value)),
    )


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gym with 50 conversations; tests work on copies."""
    folder = tmp_path_factory.mktemp("observed")
    brain = Brain(Settings().model_copy(update={"rl_gym_db_path": folder / "brain_gym.db"}))
    observe(brain, map(talk, range(50))).close()
    return folder / "brain_gym.db"


@pytest.fixture
def fifty(observed: Path, home: Path) -> Iterable[Brain]:
    (home / "brain_gym.db").write_bytes(observed.read_bytes())
    brain = Brain(Settings())
    yield brain
    brain.gym.close()


def test_an_example_is_what_the_module_saw_and_what_turned_out(fifty: Brain) -> None:
    gym, profile = fifty.gym, fifty.profile("default")
    for name, faculty in MODULES.items():
        dataset = build(fifty, name, history_messages=2)
        assert adds_up(dataset.report) and json.loads(json.dumps(dataset.report)) == dataset.report
        for example in (example for side in parts(dataset).values() for example in side):
            decision = gym.decision(example.conversation_id, example.turn)
            history = gym.history(decision.conversation_id, decision.history_upto, 2)
            truth = gym.truth(decision.conversation_id, decision.turn)
            plain = faculty.example(decision, history, truth, profile).toDict()
            found = {k: v for k, v in example.toDict().items() if k not in ("conversation_id", "turn")}
            if name == "response":
                assert plain.pop("good_replies")[0] == found.pop("good_replies")[0]
            assert found == plain
            assert not {"conversation_id", "turn"} & set(example.inputs().keys())


def test_conversations_stand_on_one_side_in_the_shares_promised(fifty: Brain) -> None:
    dataset = build(fifty)
    found = {side: {example.conversation_id for example in some} for side, some in parts(dataset).items()}
    assert sum(map(len, found.values())) == len(set().union(*found.values())) == 50
    assert dataset.report["sides"] == {
        side: {"conversations": len(names), "clusters": len(names)} for side, names in found.items()
    }
    drawn = Counter(side_of(f"cluster {number}") for number in range(4000))
    assert all(abs(drawn[side] / 4000 - share) < 0.03 for side, share in zip(SIDES, (0.5, 0.25, 0.25), strict=True))


def test_sides_stay_whatever_comes_and_in_whatever_order(fifty: Brain, tmp_path: Path) -> None:
    for name in ("quality", "intent"):
        build(fifty, name, newest=30)
    some = sides_of(fifty.gym)
    build(fifty)
    before = sides_of(fifty.gym)
    assert 0 < len(some) < 50 == len(before) and some.items() <= before.items()
    observe(fifty, map(talk, range(50, 60)))
    for name in reversed(MODULES):
        build(fifty, name, seed=7)
    after = sides_of(fifty.gym)
    assert len(after) == 60 and before.items() <= after.items()

    other = Brain(Settings().model_copy(update={"rl_gym_db_path": tmp_path / "other.db"}))
    observe(other, map(talk, reversed(range(50))))
    build(other)
    assert sides_of(other.gym) == before
    other.gym.close()


def sides_placed(path: Path, names: list[str]) -> dict[str, Any]:
    gym = Gym(path)
    found = placed(gym, names, 1 << 62)
    gym.close()
    return found


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads, from Python 3.12 on
def test_two_processes_at_once_agree(observed: Path, home: Path) -> None:
    path = home / "brain_gym.db"  # open in no connection of this process: the others are copies of it
    path.write_bytes(observed.read_bytes())
    names = [f"c{number}" for number in range(50)]
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as processes:
        one, two = processes.map(sides_placed, [path] * 2, (names, names[::-1]))
    assert one == two == sides_placed(path, names) and len(one) == 50


def test_connections_that_race_for_the_same_copies_put_them_on_one_side(home: Path) -> None:
    gym, base = Gym(home / "g.db"), lines(talk(1, turns=4))
    names = [f"copy{number}" for number in range(40)]
    for name in names:
        gym.append(name, events(changed(random.Random(name), base, 2)), "default")
    start = threading.Barrier(4)

    def race(number: int) -> None:
        mine = Gym(gym.path)
        start.wait()
        placed(mine, names[number * 10 :] + names[: number * 10], 1 << 62)
        mine.close()

    racers = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(set(gym.material.sides(names).values())) == 1 and len(gym.material.sides(names)) == 40
    gym.close()


def lines(recording: dict[str, Any]) -> list[Line]:
    return [Line(role=message["role"], text=message["text"]) for message in recording["messages"]]


def events(said: Iterable[Line]) -> list[Event]:
    return [
        Event(kind="customer_message" if line["role"] == "customer" else "agent_message", text=line["text"])
        for line in said
    ]


def changed(rng: random.Random, said: list[Line], count: int) -> list[Line]:
    where = [(i, j) for i, line in enumerate(said) for j in range(len(line["text"].split()))]
    texts = [line["text"].split() for line in said]
    for i, j in rng.sample(where, min(count, len(where))):
        texts[i][j] = words(rng, 1)
    return [Line(role=line["role"], text=" ".join(text)) for line, text in zip(said, texts, strict=True)]


def one_less(rng: random.Random, said: list[Line]) -> list[Line]:
    at = rng.randrange(len(said))
    return said[:at] + said[at + 1 :]


def one_more(rng: random.Random, said: list[Line]) -> list[Line]:
    at = rng.randrange(len(said) + 1)
    return [*said[:at], Line(role=rng.choice(["customer", "agent"]), text=words(rng)), *said[at:]]


def renamed(rng: random.Random, said: list[Line]) -> list[Line]:
    others: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        new = str(rng.randrange(10**6)) if found[0].isdigit() else words(rng, 1).title()
        return others.setdefault(found[0], new)

    pattern = re.compile(r"\d+|(?<=[a-z,] )[A-Z][a-z]{2,}")
    return [Line(role=line["role"], text=pattern.sub(other, line["text"])) for line in said]


EDITS: dict[str, Callable[[random.Random, list[Line]], list[Line]]] = {
    "again": lambda rng, said: said,
    "one word": lambda rng, said: changed(rng, said, 1),
    "three words": lambda rng, said: changed(rng, said, 3),
    "a message less": one_less,
    "a message more": one_more,
    "other names": renamed,
}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(EDITS)), st.integers(3, 12))
def test_a_near_copy_is_alike_and_another_conversation_is_not(number: int, edit: str, turns: int) -> None:
    base = lines(talk(number, turns=turns))
    assert min(likeness(sketch(base), [sketch(EDITS[edit](random.Random(number), base))])) >= ALIKE
    assert max(likeness(sketch(base), [sketch(lines(talk(number + 1, turns=turns)))])) < ALIKE


def test_real_conversations_of_the_same_task_are_not_alike(home: Path, data: Path) -> None:
    talks = [lines(json.loads(line)) for line in (data / "star.jsonl").read_text().splitlines()]
    sketches = [sketch(said) for said in talks]
    shares = {(i, j): share for i, one in enumerate(sketches) for j, share in enumerate(likeness(one, sketches[:i]))}
    assert len(sketches) == 600 and sum(share >= ALIKE for share in shares.values()) <= 1
    gym = Gym(home / "g.db")
    for pair in (pair for pair, share in shares.items() if 0.35 < share < ALIKE):
        names = [f"{pair} {number}" for number in pair]
        for name, number in zip(names, pair, strict=True):
            gym.append(name, events(talks[number]), "star")
        one, other = placed(gym, names, 1 << 62).values()
        assert one.cluster != other.cluster
    gym.close()


def test_copies_of_real_conversations_join_them(home: Path, data: Path) -> None:
    gym, rng = Gym(home / "g.db"), random.Random(0)
    originals = [lines(json.loads(line)) for line in (data / "star.jsonl").read_text().splitlines()[:100]]
    for number, said in enumerate(originals):
        gym.append(f"o{number}", events(said), "star")
    first = placed(gym, [f"o{number}" for number in range(100)], 1 << 62)
    for edit, change in EDITS.items():
        names = [f"{edit} {number}" for number in range(100)]
        for name, said in zip(names, originals, strict=True):
            gym.append(name, events(change(rng, said)), "star")
        copies = placed(gym, names, 1 << 62)
        found = sum(copies[f"{edit} {number}"] == first[f"o{number}"] for number in range(100))
        assert found >= 0.95 * 100, edit
    gym.close()


def test_a_sketch_is_the_same_in_every_release() -> None:
    """Sides are for ever, so what they rest on must be: a change here needs all sketches in the gym made anew."""
    said = [Line(role="customer", text="Zimmer 12, für Ines."), Line(role="agent", text="Gern!")]
    assert sketch(said)[:16].hex() == "56c8b905446c872f72724b05a7406a2e"
    assert sketch([Line(role="customer", text="zimmer 3 für INES")] + said[1:]) == sketch(said) != sketch(said[:1])


def test_what_everybody_says_costs_no_more_each_time(home: Path) -> None:
    gym = Gym(home / "g.db")
    for number in range(FULL_BAND + 20):
        gym.append(f"c{number}", [Event(kind="customer_message", text="hi")], "default")
    found = placed(gym, [f"c{number}" for number in range(FULL_BAND + 20)], 1 << 62)
    assert len(set(found.values())) == 1
    assert gym.count("SELECT max(n) FROM (SELECT count(*) AS n FROM conversation_bands GROUP BY band)") == FULL_BAND
    gym.close()


def test_the_teacher_speaks_in_train_only(brain: Brain) -> None:
    gym = observe(brain, (talk(number, conflict=None) for number in range(24)))
    told_by_teacher(gym, "turn = 0", "conflict_type", "confusion")
    dataset = build(brain)
    assert {example.conflict_type for example in dataset.train} == {"confusion"}
    assert dataset.validation == dataset.sealed == []
    counts = dataset.report["sides"]
    apart = counts["validation"]["conversations"] + counts["sealed"]["conversations"]
    assert dataset.report["left_out"] == {"no_evidence": 24, "teacher_only": apart} and apart
    assert dataset.report["splits"]["train"]["sources"] == {"conflict_type": {"teacher": len(dataset.train)}}
    assert adds_up(dataset.report)


def test_the_most_trusted_and_then_the_newest_wins(brain: Brain) -> None:
    gym = observe(brain, (talk(number, turns=1, conflict="none") for number in range(12)))
    told_by_teacher(gym, "true", "conflict_type", "confusion")
    told_by_teacher(gym, "conversation_id = 'c0'", "issues", ["slow"])
    for value in ("bargaining", "frustration"):
        gym.append("c3", [Event(kind="label", payload={"turn": 0, "fields": {"conflict_type": value}})], "default")
        gym.record(None, "c3", gym.pending("c3"))
    dataset = build(brain)
    found = {example.conversation_id: example for side in parts(dataset).values() for example in side}
    right = {name: example.conflict_type for name, example in found.items()}
    assert right == {f"c{number}": "frustration" if number == 3 else "none" for number in range(12)}
    is_train = "c0" in {example.conversation_id for example in dataset.train}
    assert ("issues" in found["c0"]) == is_train


def test_with_its_marks_a_dataset_can_be_built_again(fifty: Brain) -> None:
    assert fifty.gym
    builder = DatasetBuilder(fifty.gym, fifty.profile("default"))
    before = {name: builder.build(faculty) for name, faculty in MODULES.items()}
    marks = json.loads(json.dumps(builder.marks))
    observe(fifty, map(talk, range(50, 60)))
    for number in range(50):
        label = Event(kind="label", payload={"turn": 0, "fields": {"conflict_type": "confusion", "intent": "unclear"}})
        ended = Event(kind="outcome", payload={"workflow_outcome": "failure"})
        fifty.gym.append(f"c{number}", [label, ended], "default")
        fifty.gym.record(None, f"c{number}", fifty.gym.pending(f"c{number}"))
    for name in reversed(MODULES):
        again, now = build(fifty, name, upto=marks), build(fifty, name)
        assert again == before[name] and again.data_hash == before[name].data_hash
        assert now.data_hash != again.data_hash
    assert build(fifty, seed=1).data_hash != build(fifty).data_hash


def test_an_open_conversation_waits(brain: Brain) -> None:
    async def say() -> None:
        graph = create_shadow_workflow()
        for text in ("hello there", "and a wash on Friday"):
            news = {"conversation_id": "open", "messages": [{"role": "user", "content": text}]}
            await graph.ainvoke(news, context=WithBrain(brain=brain))
        await graph.ainvoke(
            {"conversation_id": "open", "label": {"turn": 0, "fields": {"conflict_type": "none"}}},
            context=WithBrain(brain=brain),
        )

    asyncio.run(say())
    waiting = build(brain)
    assert waiting.report["left_out"] == {"open": 2} and sides_of(brain.gym) == {}
    silent = build(brain, idle_hours=0)
    assert silent.report["left_out"] == {"no_evidence": 1} and silent.report["used"] == 1
    assert build(brain).report["left_out"] == {"open": 2} and len(sides_of(brain.gym)) == 1


def test_replies_that_worked_come_from_train_alone(fifty: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    observe(fifty, (talk(number, outcome="failure") for number in range(200, 220)))
    monkeypatch.setitem(module.CAPS, "train", 5)
    dataset, sent = build(fifty, "response"), {}
    for decision in fifty.gym.decisions():
        sent[decision.response_sent] = decision
    side = {name: where for name, (_, where) in sides_of(fifty.gym).items()}
    shared = 0
    for examples in parts(dataset).values():
        for example in examples:
            own = fifty.gym.decision(example.conversation_id, example.turn)
            truth = fifty.gym.truth(example.conversation_id, example.turn)
            assert len(example.good_replies) == len(set(example.good_replies)) <= MOST_REPLIES
            assert (example.good_replies[0] == own.response_sent) == (own.workflow_outcome == "success")
            for lent in (sent[reply] for reply in example.good_replies if reply != own.response_sent):
                shared += 1
                theirs = fifty.gym.truth(lent.conversation_id, lent.turn)
                assert side[lent.conversation_id] == "train" and lent.workflow_outcome == "success"
                assert [theirs[name] for name in ("intent", "next_step")] == [truth["intent"], truth["next_step"]]
                assert lent.conversation_id in dataset.conversations
    assert shared > 50


def test_a_reply_of_a_faulted_turn_or_without_any_that_worked_is_left_out(brain: Brain) -> None:
    gym = observe(brain, (talk(number, turns=1, outcome="abandoned") for number in range(6)))
    gym.connection.execute("UPDATE brain_decisions SET readings = '{}' WHERE conversation_id = 'c0'")
    report = build(brain, "response").report
    assert report["left_out"] == {"faulted_inputs": 1, "no_reply_that_worked": 5} and adds_up(report)


def test_what_somebody_labelled_long_ago_is_still_considered(brain: Brain) -> None:
    labelled = [talk(number, turns=1, conflict="none") for number in range(5)]
    observe(brain, [*labelled, *(talk(number, conflict=None) for number in range(10, 20))])
    report = build(brain, newest=8).report
    assert (report["considered"], report["older_labelled"], report["used"]) == (8, 4, 4) and adds_up(report)
    assert build(brain, "quality", newest=8).report["older_labelled"] == 0


def test_other_profiles_are_not_considered(brain: Brain) -> None:
    other = {**talk(1), "profile": "star", "conversation_id": "s"}
    for message in other["messages"]:
        message.pop("labels", None)
    observe(brain, [talk(0), other])
    report = build(brain, "quality").report
    assert (report["considered"], report["other_profiles"]) == (2, 2)


def test_a_dataset_says_why_nothing_can_be_learnt_from_it(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build(brain).reason == "0 examples in train; 20 are needed"
    observe(brain, (talk(number, turns=1, conflict="none") for number in range(30)))
    dataset = build(brain)
    assert dataset.reason == f"{len(dataset.train)} examples in train; 20 are needed"
    monkeypatch.setitem(module.MINIMUM, "train", 1)
    assert build(brain).reason == f"{len(dataset.validation)} examples in validation; 10 are needed"
    monkeypatch.setitem(module.MINIMUM, "validation", 1)
    assert build(brain).reason == "all evidence in train says none: nothing to tell apart"
    assert build(brain, "quality").reason == "all evidence in train says 1.0: nothing to tell apart"
    assert build(brain, "intent").reason is None


def test_caps_hold_and_labels_are_balanced(fifty: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    for side, cap in zip(SIDES, (9, 6, 8), strict=True):
        monkeypatch.setitem(module.CAPS, side, cap)
    dataset = build(fifty)
    assert [len(some) for some in parts(dataset).values()] == [9, 6, 8]
    assert dataset.report["splits"]["train"]["labels"] == {
        "conflict_type": {"bargaining": 3, "frustration": 3, "none": 3}
    }
    assert adds_up(dataset.report) and dataset.report["left_out"]["beyond_the_cap"] == 100 - 23


def test_train_takes_the_hard_cases(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.CAPS, "train", 3)
    talks = [talk(number, turns=1, conflict="frustration") for number in range(30)]
    for number in range(0, 30, 2):
        talks[number]["messages"][0]["text"] += " this is ridiculous, I am fed up"
    gym = observe(brain, talks)
    right = {d.conversation_id for d in gym.decisions() if d.conflict_type == "frustration"}
    dataset = build(brain)
    assert right == {f"c{number}" for number in range(0, 30, 2)}
    train = {name for name, (_, side) in sides_of(gym).items() if side == "train"}
    assert len(train - right) > 3 < len(train & right) and len(dataset.train) == 3
    assert right.isdisjoint(example.conversation_id for example in dataset.train)
    assert right & {example.conversation_id for example in (*dataset.validation, *dataset.sealed)}
    gym.connection.execute("UPDATE brain_decisions SET readings = '{}' WHERE conversation_id IN ('c0', 'c2', 'c4')")
    faulted = {"c0", "c2", "c4"} & train
    assert faulted <= {example.conversation_id for example in build(brain).train}


def test_sealed_takes_conversations_before_labels_and_validation_labels_first(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe(brain, (talk(n, turns=4, conflict="none" if n % 5 else "frustration") for n in range(36)))
    there = build(brain).report["sides"]
    for side in ("validation", "sealed"):
        monkeypatch.setitem(module.CAPS, side, there[side]["conversations"])
    splits = build(brain).report["splits"]
    assert splits["sealed"]["conversations"] == there["sealed"]["conversations"] > 4
    assert splits["validation"]["conversations"] < there["validation"]["conversations"] > 4
    none, other = splits["validation"]["labels"]["conflict_type"].values()
    assert abs(none - other) <= 1


def candidate(number: int, conversation: int, label: str, tier: int = 0) -> Candidate:
    decision = BrainDecision.model_construct(conversation_id=f"c{conversation}", turn=number)
    return Candidate(tier, ("field", label), 0.0, f"{number * 7919 % 1000:03}", Turn(decision, {}, None, {}))


LABELLED = st.sampled_from(["a", "abc"]).flatmap(
    lambda labels: st.lists(st.tuples(st.integers(0, 6), st.sampled_from(labels)), max_size=60)
)


@given(LABELLED, st.integers(0, 40), st.booleans())
def test_turns_are_taken_evenly(pool: list[tuple[int, str]], cap: int, conversations_first: bool) -> None:
    candidates = [candidate(number, *each) for number, each in enumerate(pool)]
    label = {one.turn.decision.turn: one.label[1] for one in candidates}
    chosen = [turn.decision for turn in balanced(candidates, cap, conversations_first=conversations_first)]
    assert len(chosen) == len({each.turn for each in chosen}) == min(cap, len(pool))
    if conversations_first:
        spread = len({each.conversation_id for each in chosen})
        assert spread == min(len(chosen), len({conversation for conversation, _ in pool}))
        return
    there, taken = Counter(what for _, what in pool), Counter(label[each.turn] for each in chosen)
    assert all(taken[one] == there[one] or taken[one] >= taken[other] - 1 for one in there for other in there)
    if len(there) == 1:
        given = Counter(conversation for conversation, _ in pool)
        from_each = Counter(int(each.conversation_id[1:]) for each in chosen)
        assert all(from_each[a] == given[a] or from_each[a] >= from_each[b] - 1 for a in given for b in given)


def test_a_later_tier_waits_for_the_earlier(home: Path) -> None:
    candidates = [candidate(number, number, "ab"[number % 2], tier=number % 2) for number in range(10)]
    assert [turn.decision.turn % 2 for turn in balanced(candidates, 7)] == [0] * 5 + [1] * 2


def test_real_conversations_give_all_that_their_labels_allow(brain: Brain, data: Path) -> None:
    (brain.settings.rl_gym_db_path.parent / "star60.jsonl").write_text(
        "\n".join((data / "star.jsonl").read_text().splitlines()[:60])
    )
    asyncio.run(replay([brain.settings.rl_gym_db_path.parent / "star60.jsonl"], brain))
    assert brain.gym
    decisions = list(brain.gym.decisions())
    truths = [brain.gym.truth(decision.conversation_id, decision.turn) for decision in decisions]
    for name, faculty in MODULES.items():
        dataset = build(brain, name, profile="star")
        report, used = dataset.report, sum(map(len, parts(dataset).values()))
        known = sum(any(field in truth for field in faculty.main_fields) for truth in truths)
        gone = report["left_out"].get("beyond_the_cap", 0) + report["left_out"].get("no_reply_that_worked", 0)
        assert adds_up(report) and report["considered"] == len(decisions) and report["used"] == used == known - gone
        there = [report[kind]["conversations"] for kind in ("with_evidence", "without_evidence")]
        assert sum(there) == 60 == sum(side["conversations"] for side in report["sides"].values())
