"""A/B tests by hand: bring two programs, inputs and a metric."""

import asyncio
import threading
from typing import Any

import dspy
import numpy
import pytest

from understudy import ABTestResult, PairedBettingTest, ShadowABTester
from understudy.intake import InputError, UnderstudyError
from understudy.nodes.brain import Brain
from understudy.nodes.intent import intent_metric
from understudy.nodes.modules import PROGRAMS


@pytest.fixture
def tester(brain: Brain) -> ShadowABTester:
    return ShadowABTester("mine", "old", "new", brain=brain)


def says(value: Any) -> Any:
    return lambda **inputs: dspy.Prediction(value=value)


def points(answer: Any) -> float:
    return float(answer.value)


def test_both_answers_their_scores_and_costs_are_returned_and_kept(tester: ShadowABTester, brain: Brain) -> None:
    result = tester.run_both_variants("c1", says(0.2), says(0.7), {"message": "hello"}, points)
    assert isinstance(result, ABTestResult)
    assert (result.answer_a, result.answer_b) == ({"value": 0.2}, {"value": 0.7})
    assert (result.score_a, result.score_b, result.turn) == (0.2, 0.7, 0)
    assert result.difference == pytest.approx(0.5)
    assert result.first in ("A", "B") and result.ms_a > 0
    assert len(brain.gym.trials.results("mine", "c1")) == 1


def test_a_conversation_counts_once_with_the_mean_of_its_turns(tester: ShadowABTester) -> None:
    for a, b in ((0.2, 0.4), (0.2, 0.8)):
        tester.run_both_variants("c1", says(a), says(b), {}, points)
    tester.run_both_variants("c2", says(0.5), says(0.5), {}, points)
    found = tester.get_statistics()
    assert found["sample_size"] == 2
    assert found["mean_score_a"] == pytest.approx(0.35) and found["mean_score_b"] == pytest.approx(0.55)
    assert (found["wins_a"], found["wins_b"], found["ties"]) == (0, 1, 1)
    assert found["improvement_pct"] == pytest.approx(57.14)
    tester.run_both_variants("c1", says(1), says(0), {}, points)
    assert tester.get_statistics()["sample_size"] == 2


def test_the_figures_are_those_of_the_betting_test(tester: ShadowABTester) -> None:
    oracle = PairedBettingTest()
    for i in range(40):
        tester.run_both_variants(f"c{i}", says(0.2), says(0.9 if i % 3 else 0.1), {}, points)
        oracle.update((0.9 if i % 3 else 0.1) - 0.2)
        if i == 28:
            assert tester.get_statistics()["is_significant"] and tester.declare_winner() is None
            assert tester.declare_winner(min_sample_size=10) == "B"
        tester.get_statistics()
        if oracle.verdict and oracle.sample_size >= 30:
            break
    found = tester.get_statistics()
    assert found["interval"] == pytest.approx(oracle.interval, abs=1e-6)
    assert found["e_value"] == pytest.approx(oracle.e_value, rel=1e-5)
    assert (found["recommended_winner"], tester.declare_winner()) == ("B", "B")
    with pytest.raises(UnderstudyError, match="A/B test 'mine' has ended: new is better than old on 30"):
        tester.run_both_variants("c99", says(0), says(0), {}, points)


def test_a_program_that_raises_scores_0_and_the_other_one_answers(tester: ShadowABTester) -> None:
    def raises(**inputs: Any) -> Any:
        raise KeyError("state")

    result = tester.run_both_variants("c1", raises, says(0.6), {}, points)
    assert (result.answer_a, result.fault_a, result.score_a) == (None, "KeyError: 'state'", 0.0)
    assert (result.score_b, result.fault_b) == (0.6, None)
    result = tester.run_both_variants("c2", lambda **_: "text", says(0.6), {}, points)
    assert result.fault_a == "TypeError: a program answers with fields, this one with str"
    assert tester.get_statistics()["guardrails"][0]["a"] == 1.0


@pytest.mark.parametrize("error", [StopIteration("x"), SystemExit(3)])
def test_no_error_of_a_program_gets_stuck_or_out(tester: ShadowABTester, error: BaseException) -> None:
    def raises(**inputs: Any) -> Any:
        raise error

    result = tester.run_both_variants("c1", raises, says(0.6), {}, points)
    assert result.fault_a is not None and type(error).__name__ in result.fault_a and result.score_b == 0.6


async def later(**inputs: Any) -> dict[str, float]:
    return {"value": 0.5}


def test_a_program_may_be_asynchronous_and_a_score_of_another_library(tester: ShadowABTester) -> None:
    result = tester.run_both_variants("c1", later, later, {}, lambda answer: numpy.float32(answer.value))
    assert (result.score_a, result.fault_a) == (0.5, None)


@pytest.mark.parametrize("answer", [{"value": float("nan")}, {"value": object()}, {"value": 2**80}])
def test_an_answer_that_cannot_be_kept_is_a_fault(tester: ShadowABTester, answer: Any) -> None:
    result = tester.run_both_variants("c1", lambda **_: answer, says(0.6), {}, points)
    assert result.answer_a is None and result.fault_a is not None and result.fault_a.startswith("InputError: answer")


@pytest.mark.parametrize(("conversation", "inputs"), [(None, {}), (5, {}), ("", {}), ("c1", None), ("c1", [1])])
def test_what_is_no_argument_is_refused(tester: ShadowABTester, conversation: Any, inputs: Any) -> None:
    with pytest.raises(InputError, match="conversation_id: must be text; inputs: must be a mapping"):
        tester.run_both_variants(conversation, says(1), says(1), inputs, points)


def test_without_evidence_there_is_no_score(tester: ShadowABTester) -> None:
    result = tester.run_both_variants("c1", says(1), says(1), {}, lambda answer: None)
    assert result.score_a is result.score_b is result.difference is None
    found = tester.get_statistics()
    assert (found["sample_size"], found["without_evidence"]) == (0, 1.0)
    tester.run_both_variants("c1", says(1), says(1), {}, points)
    assert tester.get_statistics()["sample_size"] == 1


@pytest.mark.parametrize("score", [1.5, -0.1, "good", float("nan")])
def test_a_score_that_is_none_is_refused_and_nothing_is_kept(tester: ShadowABTester, brain: Brain, score: Any) -> None:
    with pytest.raises(InputError, match="metric_fn: must return a score from 0 to 1, or None"):
        tester.run_both_variants("c1", says(1), says(1), {}, lambda answer: score)
    assert brain.gym.trials.results("mine", "c1") == []


def test_real_modules_and_metrics_go_in(tester: ShadowABTester, brain: Brain) -> None:
    program = PROGRAMS["intent"].program(brain.profile(None))
    gold = dspy.Example(intent="booking", next_step="ask_time")
    inputs = {"history": [], "state": {}, "message": "Can you take my van on Friday?"}
    result = tester.run_both_variants("c1", program, program, inputs, lambda answer: intent_metric(gold, answer))
    assert result.score_a == result.score_b and result.score_a is not None
    assert result.answer_a is not None and result.answer_a["intent"]


def test_it_works_where_a_loop_runs_and_from_several_threads(tester: ShadowABTester, brain: Brain) -> None:
    async def inside() -> None:
        tester.run_both_variants("c0", says(0), says(1), {}, points)

    asyncio.run(inside())
    threads = [
        threading.Thread(target=tester.run_both_variants, args=(f"t{i % 2}", says(0), says(1), {}, points))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tester.get_statistics()["sample_size"] == 3
    assert [row["turn"] for row in brain.gym.trials.results("mine", "t0")] == [0, 1, 2, 3]


def test_the_name_brings_the_test_back(tester: ShadowABTester, brain: Brain) -> None:
    tester.run_both_variants("c1", says(0), says(1), {}, points)
    again = ShadowABTester("mine", "old", "new", brain=brain)
    assert again.get_statistics()["wins_b"] == 1
    with pytest.raises(
        UnderstudyError, match="'mine' is there already, with old and new of no module; take another name"
    ):
        ShadowABTester("mine", "old", "newer", brain=brain)
    with pytest.raises(InputError, match="test_name: must be text of 1 to 200 characters"):
        ShadowABTester("", "old", "new", brain=brain)


def test_with_a_module_it_is_the_shadows_own_test(brain: Brain) -> None:
    tester = ShadowABTester("intent", "latest", "v0.0", module="intent", brain=brain)
    assert (tester.variant_a, brain.gym.trials.all()[0].variant_a) == ("v0.0", "v0.0")
    with pytest.raises(UnderstudyError, match="is fed by the shadow graph alone"):
        tester.run_both_variants("c1", says(0), says(1), {}, points)
    with pytest.raises(UnderstudyError, match="of intent; take another name"):
        ShadowABTester("intent", "v0.0", "v0.0", module="conflict", brain=brain)
    assert [trial.name for trial in brain.gym.trials.running("default")] == ["intent"]
    assert tester.get_statistics()["sample_size"] == 0 and tester.declare_winner() is None
