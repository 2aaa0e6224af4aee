"""A/B tests in shadow, from outside: post turns and evidence, and look at the rows, the figures and what is in use."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dspy
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from understudy.benchmarks.prove import rows, write
from understudy.checkpoints.saver import open_checkpointer
from understudy.checkpoints.trials import Ending, TrialRuns
from understudy.checkpoints.versioning import ModuleVersioning, NoVersion, VersionError
from understudy.drawing import course_of
from understudy.events import Event
from understudy.graph.shadow import create_shadow_workflow
from understudy.intake import InputError, UnderstudyError
from understudy.lm.errors import ServerDown
from understudy.nodes import ab_life, ab_test
from understudy.nodes.ab_life import NoTest, begin, statistics
from understudy.nodes.ab_test import first_of, in_share, look_around
from understudy.nodes.brain import Brain, WithBrain
from understudy.nodes.job import with_instruction
from understudy.nodes.modules import PROGRAMS
from understudy.replay import replay
from understudy.settings import Settings
from understudy.tests.gyms import bundled

MISLED = 'Say what kind of conflict it is.\n\n- frustration: "the", "a", "I", "you", "to", "is", "it", "and"'
"""An instruction for conflict that finds frustration everywhere."""


def save(brain: Brain, module: str, instruction: str, status: str = "published") -> str:
    """Save a version of a module with another instruction."""
    program = with_instruction(PROGRAMS[module].program(brain.profile(None)), instruction)
    return brain.versioning("default").save_next(module, program, {"status": status})


def observe(brain: Brain, count: int = 45) -> None:
    """Observe how the first of the bundled conversations begin; the reply is not personalised, to be quick."""
    talks = [{**talk, "messages": talk["messages"][:3]} for talk in bundled(count)]
    with with_settings(brain, personalize_enabled=False):
        asyncio.run(replay([write(Path("some.jsonl"), talks)], brain))


def results(brain: Brain) -> list[dict[str, Any]]:
    return [dict(row) for row in brain.gym.rows("SELECT * FROM ab_results ORDER BY conversation_id, turn")]


def stats(brain: Brain, name: str) -> dict[str, Any]:
    found = statistics(brain, name)
    return {key: found[key] for key in ("sample_size", "mean_score_a", "mean_score_b", "wins_a", "wins_b", "ties")}


class Chat:
    """Conversations as a host posts them."""

    def __init__(self, brain: Brain) -> None:
        self.brain = brain

    def post(self, conversation: str, **news: Any) -> dict[str, Any]:
        async def run() -> Any:
            async with open_checkpointer() as saver:
                graph = create_shadow_workflow(checkpointer=saver)
                config: Any = {"configurable": {"thread_id": conversation}}
                given: Any = {"conversation_id": conversation, **news}
                return await graph.ainvoke(given, config, context=WithBrain(brain=self.brain))

        return asyncio.run(run())

    def ask(self, conversation: str, text: str = "Can you take my van on Friday?") -> dict[str, Any]:
        return self.post(conversation, messages=[HumanMessage(text)])

    def reply(self, conversation: str, text: str = "At what time?", action: str = "ask_time") -> dict[str, Any]:
        return self.post(conversation, messages=[AIMessage(text, additional_kwargs={"action": action})])

    def label(self, conversation: str, **fields: Any) -> dict[str, Any]:
        return self.post(conversation, label={"turn": 0, "fields": fields})

    def close(self, conversation: str) -> dict[str, Any]:
        return self.post(conversation, outcome={"workflow_outcome": "success"})


@pytest.fixture
def chat(brain: Brain) -> Chat:
    return Chat(brain)


@pytest.fixture
def conflict_test(brain: Brain) -> str:
    """A test of the baseline against a version that is misled."""
    return begin(brain, "default", "conflict", "v0.0", save(brain, "conflict", MISLED)).name


@contextmanager
def with_settings(brain: Brain, **values: Any) -> Iterator[None]:
    before = brain.settings
    brain.settings = before.model_copy(update=values)
    try:
        yield
    finally:
        brain.settings = before


# What is answered


def test_both_versions_answer_the_same_turn_and_both_answers_are_kept(chat: Chat, conflict_test: str) -> None:
    chat.ask("c1")
    (row,) = results(chat.brain)
    assert (row["test"], row["conversation_id"], row["turn"]) == (conflict_test, "c1", 0)
    assert '"conflict_type":"none"' in row["answer_a"] and '"conflict_type":"frustration"' in row["answer_b"]
    assert row["fault_a"] is row["fault_b"] is row["score_a"] is None
    assert row["ms_a"] > 0 and row["tokens_b"] > 0


def test_response_is_shown_the_same_readings_in_both(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(chat.brain, "default", "response", "v0.0", save(chat.brain, "response", "Reply."))
    seen, ask = [], ab_test.ask

    async def spy(brain: Brain, program: Any, inputs: Any) -> Any:
        seen.append(inputs)
        return await ask(brain, program, inputs)

    monkeypatch.setattr(ab_test, "ask", spy)
    answer = chat.ask("c1")
    assert seen[0] == seen[1]
    assert seen[0]["intent"]["intent"] == answer["readings"]["intent"]["fields"]["intent"]


def test_the_order_is_drawn_by_lot_and_stays_drawn() -> None:
    drawn = [first_of("t", f"c{i}", 0) for i in range(400)]
    assert 160 < drawn.count("A") < 240
    assert drawn == [first_of("t", f"c{i}", 0) for i in range(400)]


def test_a_share_of_conversations_stays_the_same_and_grows() -> None:
    names = [f"c{i}" for i in range(2000)]
    half = {name for name in names if in_share(name, 0.5)}
    assert 900 < len(half) < 1100
    assert {name for name in names if in_share(name, 0.2)} < half
    assert all(in_share(name, 1.0) for name in names) and not any(in_share(name, 0.0) for name in names)


def test_ab_share_keeps_conversations_out(chat: Chat, conflict_test: str) -> None:
    with with_settings(chat.brain, ab_share=0.0):
        chat.ask("c1")
    assert results(chat.brain) == []


def test_the_turns_own_rows_are_the_same_with_and_without_a_test(home: Path) -> None:
    found = []
    for name, tested in (("without", False), ("with", True)):
        brain = Brain(Settings(rl_gym_db_path=home / f"{name}.db", optimized_modules_dir=home / name))
        save(brain, "conflict", MISLED)
        brain.versioning("default").rollback("conflict", "v0.0")
        if tested:
            begin(brain, "default", "conflict", "v0.0", "v1.0")
        observe(brain, 8)
        brain.gym.close()
        found.append(rows(home / f"{name}.db"))
    assert found[0] == found[1]


def test_the_row_is_there_before_the_second_answer_is(
    chat: Chat, conflict_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    async def slow(brain: Brain, conversation_id: str, pair: Any) -> None:
        seen.append(await asyncio.to_thread(brain.gym.decision, conversation_id, 0))

    monkeypatch.setattr(ab_test, "answer_both", slow)
    chat.ask("c1")
    assert seen[0].conflict_type == "frustration"


def test_a_double_run_that_fails_costs_the_turn_nothing(
    chat: Chat, conflict_test: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no more memory")

    with monkeypatch.context() as patch:
        patch.setattr(ab_test, "_keep", broken)
        answer = chat.ask("c1")
    assert answer["decision_id"] and chat.brain.gym.decision("c1", 0)
    assert "ab_test in conversation c1: RuntimeError in" in caplog.text and "no more memory" not in caplog.text
    chat.ask("c1", "And on Monday?")
    assert [row["turn"] for row in results(chat.brain)] == [1]


# Faults, missing versions, tests that end


class Raises(dspy.Predict):
    async def acall(self, **_: Any) -> Any:
        raise ZeroDivisionError("a bad program")


def test_the_fault_of_one_side_is_kept_and_scores_0(
    chat: Chat, conflict_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Brain.loaded

    def load(self: Brain, faculty: Any, profile: str, version: str) -> Any:
        return (
            Raises(faculty.signature(self.profile(profile)))
            if version == "v1.0"
            else loaded(self, faculty, profile, version)
        )

    chat.brain.versioning("default").rollback("conflict", "v0.0")
    monkeypatch.setattr(Brain, "loaded", load)
    chat.ask("c1")
    chat.label("c1", conflict_type="none")
    chat.close("c1")
    (row,) = results(chat.brain)
    assert row["answer_b"] is None and row["fault_b"] == "ZeroDivisionError: a bad program"
    assert row["score_a"] > 0.5 and row["score_b"] == 0
    found = statistics(chat.brain, conflict_test)
    assert (found["wins_a"], found["sample_size"]) == (1, 1)
    rail = found["guardrails"][0]
    assert (rail["name"], rail["a"], rail["b"], rail["ok"]) == ("fault_rate", 0.0, 1.0, False)


def test_a_server_that_is_down_is_nobodys_fault(
    chat: Chat, conflict_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    async def down(program: Any, inputs: Any) -> Any:
        calls.append(program)
        if len(calls) == 2:
            raise ServerDown("calls are held back")
        return {"conflict_type": "none"}

    monkeypatch.setattr("understudy.nodes.faculty._call", down)
    chat.ask("c1")
    assert len(calls) >= 2 and results(chat.brain) == []


def test_a_version_that_is_gone_ends_the_test_and_not_the_turn(chat: Chat, conflict_test: str) -> None:
    chat.brain.versioning("default").rollback("conflict", "v0.0")
    for path in Path("optimized_modules/default/conflict").glob("v1.0_*"):
        path.unlink()
    answer = chat.ask("c1")
    assert answer["readings"]["conflict"]["version"] == "v0.0" and answer["faults"] == []
    found = statistics(chat.brain, conflict_test)
    assert found["ended_at"] and "a version cannot be loaded" in found["reason"]
    assert found["consequence"] == "v0.0 stays in use"


def test_a_test_that_ends_during_a_turn_takes_nothing_more(
    chat: Chat, conflict_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ab_test.answer_both

    async def meanwhile(brain: Brain, conversation_id: str, pair: Any) -> Any:
        brain.gym.trials.end(conflict_test, Ending(None, "stopped by hand"))
        return await both(brain, conversation_id, pair)

    monkeypatch.setattr(ab_test, "answer_both", meanwhile)
    assert chat.ask("c1")["decision_id"]
    assert results(chat.brain) == []


def test_a_module_has_one_test_at_a_time(brain: Brain, conflict_test: str) -> None:
    with pytest.raises(TrialRuns, match=f"{conflict_test!r} tests v0.0 against v1.0 .*; wait for it, or end it"):
        begin(brain, "default", "conflict", "v0.0", "v1.0")
    begin(brain, "star", "conflict", "v0.0", "v0.0")
    begin(brain, "default", "intent", "v0.0", "v0.0")
    assert [trial.module for trial in brain.gym.trials.running("default")] == ["conflict", "intent"]


@pytest.mark.parametrize(
    ("module", "version", "says"),
    [("mood", "v0.0", "no module 'mood'"), ("intent", "v9.9", "no version v9.9"), ("intent", "new", "form v1.0")],
)
def test_a_test_needs_versions_that_load(brain: Brain, module: str, version: str, says: str) -> None:
    with pytest.raises((InputError, UnderstudyError, NoVersion), match=says):
        begin(brain, "default", module, "v0.0", version)
    assert brain.gym.trials.all() == []


# Evidence


def test_a_conversation_enters_once_when_it_is_closed(chat: Chat, conflict_test: str) -> None:
    chat.ask("c1")
    chat.label("c1", conflict_type="none")
    assert stats(chat.brain, conflict_test)["sample_size"] == 0
    assert statistics(chat.brain, conflict_test)["conversations"]["open"] == 1
    chat.close("c1")
    entered = statistics(chat.brain, conflict_test)
    assert (entered["sample_size"], entered["wins_a"], entered["late"]) == (1, 1, 0)
    assert entered["mean_score_a"] > entered["mean_score_b"] and entered["improvement_pct"] < 0
    chat.close("c1")
    chat.label("c1", conflict_type="frustration")
    chat.ask("c1", "Hello?")
    later = statistics(chat.brain, conflict_test)
    assert {key: entered[key] for key in entered if key not in ("late", "guardrails")} == {
        key: later[key] for key in later if key not in ("late", "guardrails")
    }
    assert later["late"] == 1


def test_a_conversation_without_evidence_waits_for_it(chat: Chat, conflict_test: str) -> None:
    chat.ask("c1")
    chat.close("c1")
    found = statistics(chat.brain, conflict_test)
    assert (found["sample_size"], found["conversations"]["unscored"], found["without_evidence"]) == (0, 1, 1.0)
    chat.label("c1", conflict_type="none")
    found = statistics(chat.brain, conflict_test)
    assert (found["sample_size"], found["without_evidence"], found["late"]) == (1, 0.0, 0)


def test_the_teachers_word_is_no_evidence_here(chat: Chat, conflict_test: str) -> None:
    chat.ask("c1")
    chat.close("c1")
    brain = chat.brain

    payload = {"turn": 0, "fields": {"conflict_type": "none"}, "source": "teacher", "author": "t"}
    brain.gym.learn("c1", [Event(kind="label", payload=payload)], "default")
    ab_test.settle(brain, "c1")
    assert statistics(brain, conflict_test)["conversations"]["unscored"] == 1


def test_silence_closes_a_conversation(chat: Chat, conflict_test: str) -> None:
    chat.ask("c1")
    chat.label("c1", conflict_type="none")
    look_around(chat.brain)
    assert stats(chat.brain, conflict_test)["sample_size"] == 0
    with with_settings(chat.brain, brain_conversation_idle_hours=1e-9):
        look_around(chat.brain)
    assert stats(chat.brain, conflict_test)["sample_size"] == 1


def test_what_a_version_learnt_from_never_counts(chat: Chat) -> None:
    brain = chat.brain
    chat.ask("c1")
    chat.label("c1", conflict_type="none")
    chat.close("c1")
    from understudy.nodes.job import builder_for

    builder_for(brain, None).build(PROGRAMS["conflict"])
    name = begin(brain, "default", "conflict", "v0.0", save(brain, "conflict", MISLED)).name
    chat.ask("c1", "One more thing")
    chat.post("c1", label={"turn": 1, "fields": {"conflict_type": "none"}})
    chat.close("c1")
    found = statistics(brain, name)
    assert (found["sample_size"], found["conversations"]["left_out"]) == (0, 1)


def test_events_in_any_order_twice_and_late_give_the_same_figures(home: Path) -> None:
    """The conversations close in the same order; all else is dealt out at random, told twice, or told too late."""
    truths = {f"c{i}": "none" if i % 3 else "frustration" for i in range(8)}

    def figures(folder: str, shuffle: random.Random | None) -> tuple[dict[str, Any], int]:
        settings = Settings(rl_gym_db_path=home / f"{folder}.db", optimized_modules_dir=home / folder)
        chat = Chat(Brain(settings))
        name = begin(chat.brain, "default", "conflict", "v0.0", save(chat.brain, "conflict", MISLED)).name
        steps: list[tuple[str, str]] = []
        for conversation in truths:
            own = [(conversation, what) for what in ("ask", "label", "reply")]
            steps += own if shuffle is None else own + own[1:]
        if shuffle is not None:
            asked = [step for step in steps if step[1] == "ask"]
            rest = [step for step in steps if step[1] != "ask"]
            shuffle.shuffle(asked)
            shuffle.shuffle(rest)
            steps = asked + rest
        for conversation, what in steps:
            if what == "label":
                chat.label(conversation, conflict_type=truths[conversation])
            else:
                (chat.ask if what == "ask" else chat.reply)(conversation)
        for conversation in truths:
            chat.close(conversation)
            if shuffle is not None:
                chat.close(conversation)
        if shuffle is not None:
            chat.label("c1", conflict_type="confusion")
        found = statistics(chat.brain, name)
        chat.brain.gym.close()
        dropped = ("test", "started_at", "guardrails", "late")
        return {key: value for key, value in found.items() if key not in dropped}, found["late"]

    plain, late = figures("plain", None)
    assert plain["sample_size"] == 8 and late == 0
    for seed in (1, 2):
        assert figures(f"mixed{seed}", random.Random(seed)) == (plain, 1)


# What follows


def test_a_damaged_version_loses_and_is_rolled_back(brain: Brain, caplog: pytest.LogCaptureFixture) -> None:
    name = begin(brain, "default", "conflict", "v0.0", save(brain, "conflict", MISLED)).name
    assert brain.versioning("default").latest("conflict") == "v1.0"
    observe(brain)
    found = statistics(brain, name)
    assert (found["verdict"], found["recommended_winner"], found["sample_size"]) == ("A", "A", 30)
    assert found["consequence"] == "v0.0 is in use again, v1.0 is rolled back"
    versioning = brain.versioning("default")
    assert versioning.latest("conflict") == "v0.0"
    assert versioning.metadata("conflict", "v1.0")["status"] == "rolled_back"
    assert f"A/B test {name}: v0.0 is better than v1.0 on 30 conversations" in versioning.history("conflict")[-1]["why"]
    assert "v0.0 is in use again, v1.0 is rolled back" in caplog.text


def test_a_candidate_that_is_better_is_published_by_its_test(brain: Brain) -> None:
    save(brain, "conflict", MISLED)
    good = PROGRAMS["conflict"].program(brain.profile(None)).signature.instructions
    better = save(brain, "conflict", good, "candidate")
    name = begin(brain, "default", "conflict", "v1.0", better, "candidate").name
    observe(brain)
    found = statistics(brain, name)
    assert found["consequence"] == "v1.1 is published, v1.0 was in use before"
    decided = f"{found['sample_size']} conversations"
    assert f"v1.1 is better than v1.0 on {decided};" in found["reason"] and found["sample_size"] >= 30
    assert brain.gym is not None and course_of(brain.gym, found).outcome == f"B is better, after {decided}"
    versioning = brain.versioning("default")
    assert versioning.latest("conflict") == "v1.1"
    assert versioning.metadata("conflict", "v1.1")["status"] == "published"


def test_a_candidate_that_is_worse_is_rejected_and_the_next_one_gets_its_test(brain: Brain) -> None:
    first, second = (save(brain, "conflict", MISLED + extra, "candidate") for extra in ("", ', "of"'))
    name = begin(brain, "default", "conflict", "v0.0", first, "candidate").name
    said = ab_life.begin_after(brain, "default", "conflict", "v0.0", second, "candidate")
    assert said.startswith(f"its A/B test waits: {name!r} tests v0.0 against v1.0")
    with with_settings(brain, ab_max_conversations=40):
        observe(brain)
    versioning = brain.versioning("default")
    statuses = [versioning.metadata("conflict", version)["status"] for version in (first, second)]
    assert statuses == ["rejected", "candidate"]
    assert [trial.variant_b for trial in brain.gym.trials.all()] == [first, second]
    assert statistics(brain, name)["consequence"] == "v1.0 is rejected, v0.0 stays in use"
    assert versioning.latest("conflict") == "v0.0"


def test_what_is_published_ends_the_test_that_runs_and_starts_its_own(brain: Brain) -> None:
    candidate = save(brain, "conflict", MISLED, "candidate")
    name = begin(brain, "default", "conflict", "v0.0", candidate, "candidate").name
    published = save(brain, "conflict", "Say the conflict.")
    said = ab_life.begin_after(brain, "default", "conflict", "v0.0", published, "published")
    assert said == "A/B test default-conflict-v0.0-v1.1 has begun"
    assert statistics(brain, name)["reason"] == "v1.1 has come into use"
    assert brain.versioning("default").metadata("conflict", candidate)["status"] == "candidate"


def test_a_version_against_itself_ends_without_a_winner(brain: Brain) -> None:
    with with_settings(brain, ab_max_conversations=40):
        name = begin(brain, "default", "intent", "v0.0", "v0.0").name
        observe(brain)
    found = statistics(brain, name)
    assert (found["sample_size"], found["ties"], found["recommended_winner"]) == (40, 40, None)
    assert found["reason"].startswith("not decided after 40 conversations")
    assert found["consequence"] == "v0.0 stays in use"


def test_versions_that_are_alike_are_found_equivalent(brain: Brain) -> None:
    with with_settings(brain, ab_margin=0.2):
        name = begin(brain, "default", "intent", "v0.0", save(brain, "intent", "Say it.", "candidate")).name
        observe(brain)
    found = statistics(brain, name)
    assert found["verdict"] == "equivalent" and found["recommended_winner"] is None
    assert found["reason"].startswith(f"no difference that matters on {found['sample_size']} conversations")
    assert found["consequence"] == "v1.0 is rejected, v0.0 stays in use"


def talked(brain: Brain, *conversations: str) -> None:
    """Let customers begin conversations."""
    for one in conversations:
        brain.gym.append(one, [Event(kind="customer_message", text="hello")], "default")


def test_a_winner_that_fails_more_often_is_not_put_into_use(brain: Brain) -> None:
    save(brain, "conflict", MISLED)
    good = PROGRAMS["conflict"].program(brain.profile(None)).signature.instructions
    name = begin(brain, "default", "conflict", "v1.0", save(brain, "conflict", good, "candidate"), "candidate").name
    trials = brain.gym.trials
    talked(brain, *(f"c{i}" for i in range(40)))
    for i in range(40):
        result = {"first": "A", "ms_a": 1, "ms_b": 1, "tokens_a": 1, "tokens_b": 1, "answer_a": {}, "answer_b": {}}
        trials.keep(name, f"c{i}", 0, {**result, "fault_b": "AnswerCut: it was cut" if i == 0 else None})
    trial = trials.find(name)
    for i in range(40):
        ending = trials.enter(name, f"c{i}", {0: (0.2, 0.9)}, 0, lambda state, d: ab_life.take(trial, state, d))
        if ending:
            break
    followed = ab_life.conclude(brain, name)
    assert followed == (
        "v1.1 is not put into use, as it is worse in fault_rate; to do it anyway: understudy rollback conflict v1.1"
    )
    assert brain.versioning("default").latest("conflict") == "v1.0"


def test_with_manual_approval_a_person_publishes_the_winner(brain: Brain) -> None:
    save(brain, "conflict", MISLED)
    good = PROGRAMS["conflict"].program(brain.profile(None)).signature.instructions
    with with_settings(brain, publish_approval="manual"):
        name = begin(brain, "default", "conflict", "v1.0", save(brain, "conflict", good, "candidate"), "candidate").name
        observe(brain)
        followed = statistics(brain, name)["consequence"]
        assert followed == f"waits for a person: understudy ab declare {name} puts v1.1 into use"
        look_around(brain)
        assert brain.versioning("default").latest("conflict") == "v1.0"
        declared = ab_life.declare(brain, name)
    assert (declared["winner"], declared["consequence"]) == ("B", "v1.1 is published, v1.0 was in use before")
    assert brain.versioning("default").latest("conflict") == "v1.1"


def test_what_a_killed_process_left_undone_is_carried_out_by_the_next(brain: Brain, conflict_test: str) -> None:
    brain.gym.trials.end(conflict_test, Ending("A", "v0.0 is better"))
    assert brain.versioning("default").latest("conflict") == "v1.0"
    look_around(brain)
    assert brain.versioning("default").latest("conflict") == "v0.0"
    moves = brain.versioning("default").history("conflict")
    look_around(brain)
    assert brain.versioning("default").history("conflict") == moves


def test_stopping_by_hand_keeps_what_was_answered(chat: Chat, conflict_test: str) -> None:
    chat.ask("c1")
    assert ab_life.stop(chat.brain, "conflict")["consequence"] == "v1.0 stays in use"
    assert len(results(chat.brain)) == 1
    chat.ask("c2")
    assert len(results(chat.brain)) == 1
    with pytest.raises(NoTest, match="has ended already: stopped by hand"):
        ab_life.stop(chat.brain, conflict_test)


def test_versions_under_test_are_not_pruned(brain: Brain, conflict_test: str) -> None:
    keep = brain.gym.trials.under_test("default", "conflict")
    program = PROGRAMS["conflict"].program(brain.profile(None))
    for i in range(8):
        other = with_instruction(program, f"Say it, {i}.")
        brain.versioning("default").save_next("conflict", other, {"status": "candidate"}, keep=keep)
    assert keep == {"v0.0", "v1.0"}
    assert "v1.0" in brain.versioning("default").list_versions("conflict")


# What a review found


def test_a_conversation_waits_for_the_turn_that_is_being_answered(
    chat: Chat, conflict_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcome is read by another run while both versions still answer its last turn."""
    both = ab_test.answer_both

    async def meanwhile(brain: Brain, conversation_id: str, pair: Any) -> Any:
        answer = await both(brain, conversation_id, pair)
        await asyncio.to_thread(chat.label, "c1", conflict_type="none")
        await asyncio.to_thread(chat.close, "c1")
        assert statistics(chat.brain, conflict_test)["sample_size"] == 0
        return answer

    monkeypatch.setattr(ab_test, "answer_both", meanwhile)
    chat.ask("c1")
    assert statistics(chat.brain, conflict_test)["sample_size"] == 1
    assert results(chat.brain)[0]["score_a"] is not None


def test_what_a_killed_process_was_answering_is_not_waited_for(chat: Chat, conflict_test: str) -> None:
    chat.ask("c1")
    chat.label("c1", conflict_type="none")
    chat.brain.gym.connection.execute("INSERT INTO ab_asked VALUES ('c1', 1, 4194999, '2999-01-01T00:00:00Z')")
    chat.close("c1")
    assert statistics(chat.brain, conflict_test)["sample_size"] == 1


def test_silence_closes_a_conversation_again_that_came_back(chat: Chat, conflict_test: str) -> None:
    chat.ask("c1")
    with with_settings(chat.brain, brain_conversation_idle_hours=1e-9):
        look_around(chat.brain)
        assert statistics(chat.brain, conflict_test)["conversations"]["unscored"] == 1
    chat.ask("c1", "Hello?")
    chat.label("c1", conflict_type="none")
    assert statistics(chat.brain, conflict_test)["conversations"]["open"] == 1
    with with_settings(chat.brain, brain_conversation_idle_hours=1e-9):
        look_around(chat.brain)
    assert statistics(chat.brain, conflict_test)["sample_size"] == 1


def test_evidence_that_a_killed_run_left_behind_is_found(
    chat: Chat, conflict_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.ask("c1")
    chat.close("c1")
    with monkeypatch.context() as patch:
        patch.setattr(ab_test, "settle", lambda *_: None)
        chat.label("c1", conflict_type="none")
    assert statistics(chat.brain, conflict_test)["conversations"]["unscored"] == 1
    look_around(chat.brain)
    assert statistics(chat.brain, conflict_test)["sample_size"] == 1


def test_one_that_cannot_be_read_does_not_hide_the_others(
    chat: Chat, conflict_test: str, caplog: pytest.LogCaptureFixture
) -> None:
    trials = chat.brain.gym.trials
    result = {"first": "A", "ms_a": 1, "ms_b": 1, "tokens_a": 1, "tokens_b": 1, "answer_a": {}, "answer_b": {}}
    talked(chat.brain, *(f"a{number}" for number in range(60)))
    gone = ab_life.enrol(chat.brain, "gone", "gone_profile", "conflict", "v0.0", "v1.0")
    for name in (conflict_test, gone.name):
        for number in range(60):
            trials.keep(name, f"a{number}", 0, result)
    chat.ask("c1")
    chat.label("c1", conflict_type="none")
    with with_settings(chat.brain, brain_conversation_idle_hours=1e-9):
        look_around(chat.brain)
    assert statistics(chat.brain, conflict_test)["sample_size"] == 1


def test_statistics_that_are_damaged_end_their_test_and_no_turn(chat: Chat, conflict_test: str) -> None:
    chat.brain.gym.connection.execute("UPDATE ab_tests SET betting = '{'")
    chat.ask("c1")
    chat.label("c1", conflict_type="none")
    assert chat.close("c1") and chat.brain.gym.decision("c1", 0)
    trial = chat.brain.gym.trials.find(conflict_test)
    assert trial.ended_at and "its statistics cannot go on" in trial.reason


def test_what_is_published_gets_its_test_before_a_candidate_that_waits(brain: Brain) -> None:
    first, waits = (save(brain, "conflict", MISLED + extra, "candidate") for extra in ("", ', "of"'))
    begin(brain, "default", "conflict", "v0.0", first, "candidate")
    published = save(brain, "conflict", "Say the conflict.")
    ab_life.begin_after(brain, "default", "conflict", "v0.0", published, "published")
    assert [trial.variant_b for trial in brain.gym.trials.running("default")] == [published]
    ab_life.conclude(brain, ended(brain, "B"))
    assert [trial.variant_b for trial in brain.gym.trials.running("default")] == [waits]
    ab_life.conclude(brain, ended(brain, "A"))
    assert [trial.variant_b for trial in brain.gym.trials.running("default")] == [first], (
        "its first test proved nothing"
    )


def ended(brain: Brain, verdict: str | None) -> str:
    """End the one test that runs, and return its name."""
    (trial,) = brain.gym.trials.running("default")
    brain.gym.trials.end(trial.name, Ending(verdict, "by the test"))
    return trial.name


def test_candidates_are_rejected_only_by_what_is_in_use(brain: Brain) -> None:
    one, two = (save(brain, "conflict", MISLED + extra, "candidate") for extra in ("", ', "of"'))
    status = brain.versioning("default").metadata
    for a, b in ((one, one), (one, two)):
        begin(brain, "default", "conflict", a, b)
        ab_life.conclude(brain, ended(brain, "equivalent"), then=False)
        assert {status("conflict", version)["status"] for version in (one, two)} == {"candidate"}
    begin(brain, "default", "conflict", one, "v0.0")
    assert ab_life.conclude(brain, ended(brain, "B"), then=False) == f"{one} is rejected, v0.0 stays in use"


@pytest.mark.parametrize(
    ("status", "side"), [("candidate", "A"), ("candidate", "B"), ("rejected", "A"), ("rejected", "B")]
)
def test_whatever_was_not_published_before_has_to_pass_guardrails_and_a_person(
    brain: Brain, status: str, side: str
) -> None:
    version = save(brain, "conflict", MISLED, status)
    a, b = (version, "v0.0") if side == "A" else ("v0.0", version)
    result = {"first": "A", "ms_a": 1, "ms_b": 1, "tokens_a": 1, "tokens_b": 1, "answer_a": {}, "answer_b": {}}
    fault = {f"fault_{side.lower()}": "AnswerCut: cut"}
    talked(brain, "c1")
    name = begin(brain, "default", "conflict", a, b).name
    brain.gym.trials.keep(name, "c1", 0, {**result, **fault})
    ended(brain, side)
    assert "is not put into use, as it is worse in fault_rate" in ab_life.conclude(brain, name, then=False)
    name = begin(brain, "default", "conflict", a, b).name
    brain.gym.trials.keep(name, "c1", 0, result)
    ended(brain, side)
    with with_settings(brain, publish_approval="manual"):
        assert ab_life.conclude(brain, name, then=False).startswith("waits for a person")
        assert version in brain.gym.trials.under_test("default", "conflict"), "it must not be pruned meanwhile"
        assert brain.versioning("default").latest("conflict") == "v0.0"
        assert (
            ab_life.conclude(brain, name, approved=True, then=False)
            == f"{version} is published, v0.0 was in use before"
        )


def test_declaring_asks_for_the_sample_it_is_told(brain: Brain) -> None:
    version = save(brain, "conflict", MISLED, "candidate")
    name = begin(brain, "default", "conflict", "v0.0", version).name
    trials = brain.gym.trials
    result = {"first": "A", "ms_a": 1, "ms_b": 1, "tokens_a": 1, "tokens_b": 1, "answer_a": {}, "answer_b": {}}
    trial = trials.find(name)
    talked(brain, *(f"c{number}" for number in range(20)))
    for number in range(20):
        trials.keep(name, f"c{number}", 0, result)
        trials.enter(name, f"c{number}", {0: (0.1, 0.9)}, 0, lambda state, d: ab_life.take(trial, state, d))
    assert ab_life.declare(brain, name)["winner"] is None
    assert ab_life.declare(brain, name)["reason"] == "20 conversations; 30 are needed"
    assert ab_life.declare(brain, name, 1000)["winner"] is None and trials.find(name).ended_at is None
    declared = ab_life.declare(brain, name, 5)
    assert (declared["winner"], declared["consequence"]) == ("B", f"{version} is published, v0.0 was in use before")


def test_what_could_not_be_carried_out_is_tried_again(
    brain: Brain, conflict_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise VersionError("the disk is full")

    brain.gym.trials.end(conflict_test, Ending("A", "v0.0 is better"))
    with monkeypatch.context() as patch:
        patch.setattr(ModuleVersioning, "rollback", full)
        look_around(brain)
    assert brain.versioning("default").latest("conflict") == "v1.0"
    look_around(brain)
    assert brain.versioning("default").latest("conflict") == "v0.0"
