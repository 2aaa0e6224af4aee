"""Dreams, from outside: run the graph on a gym and look at what is kept, dropped and learnt from."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dspy.lm15 import Message, TextPart

from understudy import run_dream_cycle
from understudy.benchmarks.prove_dream import damages
from understudy.checkpoints.saver import open_checkpointer
from understudy.dreaming import dream, last_cycle
from understudy.graph.dream import build, create_dream_workflow
from understudy.intake import InputError
from understudy.lm.dreamer import EmbeddedDreamer
from understudy.lm.errors import ServerDown
from understudy.nodes import generate, judge
from understudy.nodes.brain import Brain, WithBrain
from understudy.nodes.customer_data import finds
from understudy.nodes.job import builder_for
from understudy.nodes.memory import _read
from understudy.nodes.modules import MODULES
from understudy.nodes.recall import drawn, intent_of, remembered, weight
from understudy.nodes.screen import Screen
from understudy.nodes.store import exact
from understudy.optimize import NoRun
from understudy.replay import replay
from understudy.settings import Settings
from understudy.tests.gyms import Observed, bundled, observing
from understudy.tests.ollama.server import OllamaServer


@pytest.fixture(scope="module")
def dreamt(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Any:
    """A gym with a cycle of 30 dreams, and its report."""
    folder = tmp_path_factory.mktemp("dreamt")
    brain = observing(kept)(60, rl_gym_db_path=folder / "gym.db", optimized_modules_dir=folder / "modules")
    report = asyncio.run(dream(brain, count=30))
    yield brain, report
    brain.gym.close()


def test_a_cycle_keeps_what_was_asked_for_in_the_planned_share(dreamt: Any) -> None:
    brain, report = dreamt
    assert (report["status"], report["dreams"], report["replayed"], report["invented"]) == ("success", 30, 24, 6)
    assert report["masked"]["customer"] > 30 and report["masked"]["phone"] > 10
    assert report["reason"] is None and report["screened_out"] == sum(report["reasons"].values())
    dreams = brain.gym.dreams.newest("default", 100)
    assert Counter(one["kind"] for one in dreams) == {"replay": 24, "invented": 6}
    assert all(one["model"] == "embedded/dreamer" and len(one["prompt_hash"]) == 64 for one in dreams)
    assert {one["cycle"] for one in dreams} == {report["cycle"]}


def test_a_dream_is_a_whole_labelled_conversation(dreamt: Any) -> None:
    brain, _ = dreamt
    profile = brain.profile(None)
    for one in brain.gym.dreams.newest("default", 100):
        messages = one["conversation"]["messages"]
        assert 2 <= len(messages) <= 12 and all(message["text"].strip() for message in messages)
        labels = [message["labels"] for message in messages if message.get("labels")]
        assert labels and {label.get("intent", one["intent"]) for label in labels} <= set(profile.intents)
        assert all(m["action"] in profile.next_steps for m in messages if m["role"] == "agent" and m.get("action"))
        assert bool(one["parents"]) == (one["kind"] == "replay")


def test_parents_stand_on_the_train_side_and_intents_take_turns(dreamt: Any) -> None:
    brain, _ = dreamt
    dreams = brain.gym.dreams.newest("default", 100)
    sides = brain.gym.material.sides([name for one in dreams for name in one["parents"]])
    assert {side for _, side in sides.values()} == {"train"}
    _, talks = remembered(brain, "default")
    intents = {intent_of(turns) for turns in talks.values()} - {None}
    counts = Counter(one["intent"] for one in dreams if one["kind"] == "replay")
    assert set(counts) == intents and max(counts.values()) <= 2 * min(counts.values()) + 3


def test_what_went_wrong_weighs_more(dreamt: Any) -> None:
    brain, _ = dreamt
    _, talks = remembered(brain, "default")
    weights = {name: weight(turns, disputed=False) for name, turns in talks.items()}
    failed = [
        weights[n] for n, turns in talks.items() if turns[0].ending["workflow_outcome"] in ("failure", "abandoned")
    ]
    assert failed and min(failed) >= 4 and min(weights.values()) == 1
    names = sorted(talks)
    first = Counter(drawn(brain, random.Random(seed), names, talks)[0] for seed in range(400))
    heavy, light = (
        sum(first[name] for name in names if weights[name] == w) / sum(weights[name] == w for name in names)
        for w in (max(weights.values()), 1)
    )
    assert heavy > 2 * light
    assert weight(next(iter(talks.values())), disputed=True) > weight(next(iter(talks.values())), disputed=False)


def test_no_dream_holds_a_customers_data(dreamt: Any) -> None:
    brain, _ = dreamt
    corpus = _read(brain, "default").corpus
    for one in brain.gym.dreams.newest("default", 100):
        assert not [find for message in one["conversation"]["messages"] for find in finds(message["text"], corpus)]


def test_dreams_join_training_only_and_fill_up_rare_labels(dreamt: Any) -> None:
    brain, _ = dreamt
    for name, has_dreams in (("intent", True), ("conflict", True), ("response", False), ("quality", False)):
        dataset = builder_for(brain, None).build(MODULES[name])
        dreams = [example for example in dataset.train if example.get("dream")]
        assert bool(dreams) == has_dreams
        assert not any(example.get("dream") for example in [*dataset.validation, *dataset.sealed])
        real = len(dataset.train) - len(dreams)
        assert len(dreams) <= real / 2
        assert dataset.report["dreams"]["examples"] == len(dreams)
    dataset = builder_for(brain, None).build(MODULES["intent"])
    counts = [
        Counter(
            example.intent for example in dataset.train if "intent" in example and bool(example.get("dream")) == dreamt
        )
        for dreamt in (False, True)
    ]
    rare, common = (counts[0].most_common()[i][0] for i in (-1, 0))
    assert counts[1][rare] / counts[0][rare] > counts[1][common] / counts[0][common]


def test_the_same_marks_build_the_same_dataset_whatever_is_dreamt_since(dreamt: Any) -> None:
    brain, _ = dreamt
    builder = builder_for(brain, None)
    before = builder.build(MODULES["intent"])
    newest = brain.gym.dreams.newest("default", 1)[0]
    brain.gym.dreams.keep([{**newest, "dream_id": "dream-later"}])
    again = builder_for(brain, None, upto=builder.marks).build(MODULES["intent"])
    assert again.data_hash == before.data_hash
    assert (
        builder_for(brain, None, upto={**builder.marks, "dreams": 0}).build(MODULES["intent"]).data_hash
        != before.data_hash
    )
    brain.gym.connection.execute("DELETE FROM dreams WHERE dream_id = 'dream-later'")


def test_dreams_of_an_erased_conversation_are_erased(dreamt: Any) -> None:
    brain, _ = dreamt
    dreams = brain.gym.dreams.newest("default", 100)
    parent = next(one["parents"][0] for one in dreams if one["parents"])
    count = sum(parent in one["parents"] for one in dreams)
    lent = sum(parent in one["lenders"] and parent not in one["parents"] for one in dreams)
    assert count and lent and brain.gym.dreams.erase(brain.gym.dreams.made_of([parent])) == count + lent
    left = brain.gym.dreams.newest("default", 100)
    assert not any(parent in [*one["parents"], *one["lenders"]] for one in left)
    brain.gym.dreams.keep(dreams)


def test_nothing_of_a_cycle_stays_in_checkpoints(dreamt: Any) -> None:
    """What did not pass may hold a customer's words, and the dreams are in their table."""
    brain, report = dreamt
    assert brain.gym.count("SELECT count(*) FROM checkpoints WHERE thread_id = ?", report["cycle"]) == 0
    assert brain.gym.count("SELECT count(*) FROM writes WHERE thread_id = ?", report["cycle"]) == 0
    assert brain.gym.count("SELECT count(*) FROM checkpoints") > 0


def test_both_kinds_are_learnt_from(dreamt: Any) -> None:
    brain, _ = dreamt
    kinds = {one["dream_id"]: one["kind"] for one in brain.gym.dreams.newest("default", 100)}
    dataset = builder_for(brain, None).build(MODULES["intent"])
    counts = Counter(kinds[example.conversation_id] for example in dataset.train if example.get("dream"))
    assert counts["replay"] and counts["invented"]


def test_a_customers_object_is_known_however_long_the_conversation(home: Path) -> None:
    brain = Brain(Settings(personalize_enabled=False))
    messages = [{"role": "agent" if i % 10 else "customer", "text": f"message number {i}"} for i in range(210)]
    messages[0]["labels"] = {"intent": "booking"}
    talks = [
        {"conversation_id": f"c{i}", "customer": {"name": "Zorblatt Quimby"}, "messages": messages} for i in range(4)
    ]
    Path("long.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks), encoding="utf-8")
    asyncio.run(replay([Path("long.jsonl")], brain))
    memory = _read(brain, "default")
    assert memory.talks and finds("Send it to Zorblatt please", memory.corpus)
    assert memory.said[next(iter(memory.talks))][0].text == "message number 0"


def test_the_last_cycle_is_shown_again(dreamt: Any, home: Path) -> None:
    brain, report = dreamt
    found, newest = last_cycle(brain)
    assert found["cycle"] == report["cycle"] and len(newest) == 3 and newest[0]["messages"]
    with pytest.raises(NoRun, match="no dream cycle of profile star"):
        last_cycle(brain, "star")


KINDS = (
    "unreadable", "empty message", "one-sided", "too long", "too short", "a customer's words", "an address",
    "a real conversation", "another dream again", "off the profile", "an unknown label", "an unknown action",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_dream_does_not_pass_the_screen(dreamt: Any, kind: str) -> None:
    brain, _ = dreamt
    memory, dice = _read(brain, "default"), random.Random(1)
    gate = Screen(memory, brain.gym)
    dreams = [one["conversation"] for one in brain.gym.dreams.newest("default", 100)]
    assert [gate.reason(one) for one in dreams] == [None] * len(dreams)
    for one in dreams if kind == "another dream again" else ():
        gate.passed(one)
    damage = damages(memory, dice)[kind]
    reasons = Counter(gate.reason({"messages": damage([dict(m) for m in one["messages"]])}) for one in dreams)
    assert reasons[None] == 0, reasons


# Too little, and what fails


@pytest.mark.parametrize(
    ("count", "settings", "reason"),
    [
        (49, {}, "49 closed conversations; 50 are needed (DREAM_MIN_CONVERSATIONS)"),
        (5, {"dream_min_conversations": 6}, "5 closed conversations; 6 are needed (DREAM_MIN_CONVERSATIONS)"),
        (5, {"dream_enabled": False}, "DREAM_ENABLED=false"),
    ],
)
def test_with_too_little_dreaming_is_skipped_and_says_so(
    observed: Observed, count: int, settings: Any, reason: str
) -> None:
    short = [{**talk, "messages": talk["messages"][:1]} for talk in bundled(count)]
    brain = observed(short, **settings)
    report = asyncio.run(dream(brain))
    assert (report["status"], report["reason"], report["dreams"]) == ("skipped", reason, 0)
    assert brain.gym.dreams.count() == 0


def test_without_an_intent_known_there_is_nothing_to_dream_of(observed: Observed) -> None:
    brain = observed(60)
    brain.gym.connection.execute("DELETE FROM evidence WHERE field = 'intent'")
    report = asyncio.run(dream(brain))
    assert report["status"] == "skipped" and "label some: understudy label --help" in report["reason"]
    assert "of the profile" in report["reason"]


def test_a_failed_generation_is_a_fault_and_no_dream(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    brain = observed(60)
    complete = EmbeddedDreamer.complete

    def sometimes(self: EmbeddedDreamer, request: Any) -> Any:
        answer = complete(self, request)
        number = next(json.loads(m.text)["plan"]["number"] for m in request.messages if m.text.startswith("{"))
        return answer if number % 3 else replace(answer, message=Message.assistant([TextPart("no dream tonight")]))

    monkeypatch.setattr(EmbeddedDreamer, "complete", sometimes)
    report = asyncio.run(dream(brain, count=10))
    assert report["faults"] > 0 and any(why.startswith("fault: ") for why in report["reasons"])
    assert report["dreams"] == 10


def test_a_dreamer_that_copies_gets_nothing_through(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    brain = observed(60)

    def copied(inputs: Any, instruction: str = "") -> Any:
        texts = [line["text"] for line in inputs["source"]]
        return {"messages": texts or ["hello there"] * len(inputs["plan"]["beats"])}

    monkeypatch.setattr("understudy.lm.dreamer.dream", copied)
    report = asyncio.run(dream(brain, count=10))
    assert (report["dreams"], report["replayed"]) == (0, 0)
    assert {"near_duplicate", "customer_data"} & report["reasons"].keys()
    assert report["reason"] == "0 of 10 dreams were of use"


def test_the_share_is_exact_to_the_last_dream() -> None:
    assert exact(80, 20, 0.2) == (80, 20)
    assert exact(78, 20, 0.2) == (78, 20)
    assert exact(80, 3, 0.2) == (14, 3)
    assert exact(0, 20, 0.2) == (0, 0) or exact(0, 20, 0.2)[0] == 0
    assert exact(5, 0, 0.0) == (5, 0) and exact(0, 5, 1.0) == (0, 5) and exact(0, 0, 0.2) == (0, 0)


def test_a_server_that_is_down_stops_the_cycle_and_the_next_one_goes_on(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    brain = observed(60)
    complete, calls = EmbeddedDreamer.complete, []

    def down(self: EmbeddedDreamer, request: Any) -> Any:
        calls.append(request)
        if len(calls) > 5:
            raise ServerDown("calls are held back")
        return complete(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedDreamer, "complete", down)
        with pytest.raises(ServerDown):
            asyncio.run(dream(brain, count=10))
    cycle = brain.gym.dreams.unfinished_cycle("default")
    report = asyncio.run(dream(brain))
    assert (report["cycle"], report["dreams"]) == (cycle, 10)
    assert brain.gym.dreams.unfinished_cycle("default") is None


def test_a_killed_cycle_goes_on(observed: Observed) -> None:
    observed(60).gym.close()
    code = "from understudy.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, "dream", "--count", "60"], stdout=subprocess.DEVNULL)
    brain = Brain(Settings())
    for _ in range(600):
        if (
            brain.gym.dreams.unfinished_cycle("default")
            and brain.gym.count("SELECT count(*) FROM sqlite_master WHERE name = 'checkpoints'")
            and brain.gym.count("SELECT count(*) FROM checkpoints") > 2
        ):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cycle = brain.gym.dreams.unfinished_cycle("default")
    assert cycle is not None and brain.gym.dreams.count() == 0
    report = asyncio.run(dream(brain))
    assert (report["cycle"], report["status"]) == (cycle, "success") and report["dreams"] > 0


def test_what_is_gone_since_a_cycle_began_is_left_out(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    brain = observed(60)
    complete, calls = EmbeddedDreamer.complete, []

    def down(self: EmbeddedDreamer, request: Any) -> Any:
        calls.append(request)
        if len(calls) > 60:
            raise ServerDown("calls are held back")
        return complete(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedDreamer, "complete", down)
        with pytest.raises(ServerDown):
            asyncio.run(dream(brain, count=60))
    gone = sorted(remembered(brain, "default")[1])[::3]
    marks = ", ".join("?" * len(gone))
    brain.gym.connection.execute(f"DELETE FROM brain_decisions WHERE conversation_id IN ({marks})", gone)
    report = asyncio.run(dream(brain))
    assert report["status"] == "success" and report["reasons"]["fault: what it was to tell is gone"] > 0


def test_a_thread_that_was_used_before_begins_a_new_cycle(observed: Observed) -> None:
    brain = observed(60)

    async def run(**given: Any) -> Any:
        async with open_checkpointer() as saver:
            graph = create_dream_workflow(checkpointer=saver)
            config: Any = {"configurable": {"thread_id": "t1"}}
            return (await graph.ainvoke(given, config, context=WithBrain(brain=brain)))["report"]

    first, second = (asyncio.run(run(count=count)) for count in (5, 10))
    assert first["cycle"] != second["cycle"] and (first["dreams"], second["dreams"]) == (5, 10)
    for count in (-5, 5001, "many"):
        with pytest.raises(InputError, match="count: must be a whole number from 1 to 5,000"):
            asyncio.run(run(count=count))


# Doors


def test_the_public_door_uses_the_settings_of_the_environment(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAM_COUNT", "10")
    monkeypatch.setenv("DREAM_HALLUCINATION_RATIO", "0.5")
    observed(60).gym.close()
    report = run_dream_cycle()
    assert (report["replayed"], report["invented"]) == (5, 5)


def test_studio_can_run_it_without_a_word(observed: Observed) -> None:
    brain = observed(60, dream_count=5)

    async def run() -> Any:
        async with open_checkpointer() as saver:
            graph = create_dream_workflow(checkpointer=saver)
            config: Any = {"configurable": {"thread_id": "t1"}}
            answer = await graph.ainvoke({}, config, context=WithBrain(brain=brain))
            return answer, (await graph.aget_state(config)).values

    answer, state = asyncio.run(run())
    assert answer["report"]["dreams"] == 5 and set(answer) == {"report"}
    assert state["plans"] == [] and state["made"] == []


def test_with_models_of_a_server_the_same_graph_runs(
    ollama: OllamaServer, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test server plays dreamer and teacher; what the teacher says of a dream is what counts."""
    brain = observed(60)
    monkeypatch.setattr(generate, "TRIES", 1)
    seen = []

    async def agrees(self: Any, plan: Any, dream: Any) -> None:
        seen.append((self._is_teacher, self._lm.model))

    monkeypatch.setattr(judge.Judge, "disagrees", agrees)
    report = asyncio.run(dream(brain, count=5))
    asked = [one.body["model"] for one in ollama.requests if one.path == "/api/chat"]
    assert brain.settings.dream_ollama_model in asked
    assert report["dreams"] + report["screened_out"] + report["faults"] > 0
    assert all(one == (True, f"ollama/{brain.settings.ollama_teacher_model}") for one in seen)


def test_the_drawing_is_the_one_in_the_docstring() -> None:
    graph = build().compile().get_graph()
    edges = {(edge.source, edge.target) for edge in graph.edges}
    assert ("screen", "generate") in edges and ("screen", "store") in edges and ("recall", "generate") in edges
    assert json.loads((Path(__file__).parents[2] / "langgraph.json").read_text())["graphs"]["dream"]
