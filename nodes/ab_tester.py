"""Compare two programs by hand: the calls of an A/B test for whoever brings programs, inputs and a metric."""

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from typing import Any

import dspy
from pydantic import BaseModel, ConfigDict

from understudy.checkpoints.trials import Ending, Trial
from understudy.checkpoints.versioning import LATEST
from understudy.intake import InputError, UnderstudyError
from understudy.nodes.ab_life import LEAST_CONVERSATIONS, begin, conclude, declare, enrol, statistics, take
from understudy.nodes.ab_test import Pair, answer_both
from understudy.nodes.brain import Brain, gym_of, own_brain
from understudy.nodes.scoring import FAILED

MetricFn = Callable[[Any], Any]
"""Takes an answer; returns its score 0..1, a `dspy.Prediction` with one, or None as long as there is no evidence."""


class ABTestResult(BaseModel):
    """What both variants said to the same inputs, and what it was worth; scores 0..1, times in milliseconds.

    A fault scores 0. Both scores are None while there is no evidence.
    """

    model_config = ConfigDict(frozen=True)

    test_name: str
    conversation_id: str
    turn: int
    first: str
    answer_a: dict[str, Any] | None
    answer_b: dict[str, Any] | None
    fault_a: str | None
    fault_b: str | None
    score_a: float | None
    score_b: float | None
    ms_a: float
    ms_b: float
    tokens_a: int
    tokens_b: int

    @property
    def difference(self) -> float | None:
        """Score of B minus score of A."""
        return None if self.score_a is None or self.score_b is None else self.score_b - self.score_a


class ShadowABTester:
    """An A/B test in the gym, under its name; one that is there already is gone on with.

    With a `module` the shadow graph feeds it from then on: both versions answer every turn, and a verdict has its
    consequence. Without one it is fed by `run_both_variants`; a conversation then enters with the mean of its turns
    when the statistics are next asked for, and once.

    Args:
        test_name: its name.
        variant_a: what A is called; a version when a module is given.
        variant_b: what B is called.
        module: the module whose versions these are.
        profile: whose conversations; BRAIN_PROFILE's when left out.
        brain: what to work with; the one of this process when left out.

    Raises:
        UnderstudyError: the gym is switched off; the test is there with other variants; a version does not load.
    """

    def __init__(
        self,
        test_name: str,
        variant_a: str,
        variant_b: str,
        *,
        module: str | None = None,
        profile: str | None = None,
        brain: Brain | None = None,
    ) -> None:
        if not isinstance(test_name, str):
            raise InputError(f"test_name: must be text of 1 to 200 characters; got {str(test_name)[:80]!r}")
        self._brain = brain or own_brain()
        self._trials = gym_of(self._brain).trials
        known = self._trials.find(test_name)
        if known is None:
            known = self._new(test_name, variant_a, variant_b, module, profile)
        given = (variant_a, variant_b, module or known.module)
        there = (known.variant_a, known.variant_b, known.module)
        if any(new not in (old, LATEST) for new, old in zip(given, there, strict=True)):
            raise UnderstudyError(
                f"A/B test {test_name!r} is there already, with {known.variant_a} and {known.variant_b} of"
                f" {known.module or 'no module'}; take another name"
            )
        self.test_name, self.variant_a, self.variant_b = test_name, known.variant_a, known.variant_b

    def _new(self, name: str, a: str, b: str, module: str | None, profile: str | None) -> Trial:
        known = self._brain.profile(profile).name
        if module is None:
            return enrol(self._brain, name, known, None, a, b)
        return begin(self._brain, known, module, a, b, name=name)

    def run_both_variants(
        self, conversation_id: str, module_a: Any, module_b: Any, inputs: Mapping[str, Any], metric_fn: MetricFn
    ) -> ABTestResult:
        """Let both programs answer the same inputs, in an order drawn by lot, and keep answers and scores.

        Each call is the next turn of its conversation. What a program raises is kept as its fault; the other one
        answers all the same. A model server that fails is no program's fault: then nothing is kept.

        Args:
            conversation_id: the conversation.
            module_a: a dspy program, or anything that is called with the inputs and returns fields.
            module_b: the other one.
            inputs: by name.
            metric_fn: scores an answer.

        Raises:
            UnderstudyError: the model server failed; the test has ended, or is a module's own.
            InputError: an argument or a score is none.
        """
        if not isinstance(conversation_id, str) or not conversation_id or not isinstance(inputs, Mapping):
            raise InputError("conversation_id: must be text; inputs: must be a mapping of names to values")
        trial = self._trials.find(self.test_name)
        if trial is None or trial.ended_at is not None:
            raise self._ended()
        if trial.module is not None:
            raise UnderstudyError(f"A/B test {self.test_name!r} is fed by the shadow graph alone; take another name")
        pair = Pair(trial, len(self._trials.results(self.test_name, conversation_id)), inputs, (module_a, module_b))
        result = _wait_for(lambda: asyncio.run(answer_both(self._brain, conversation_id, pair)))
        if result is None:
            raise UnderstudyError("the model server failed; nothing was kept: try again when it is well")
        scores = {side: _score(metric_fn, result[f"answer_{side}"]) for side in ("a", "b")}
        if None in scores.values():
            scores = dict.fromkeys(scores)
        result |= {f"score_{side}": score for side, score in scores.items()}
        turn = self._trials.keep(self.test_name, conversation_id, None, result)
        if turn is None:
            raise self._ended()
        return ABTestResult(test_name=self.test_name, conversation_id=conversation_id, turn=turn, **result)

    def _ended(self) -> UnderstudyError:
        trial = self._trials.find(self.test_name)
        return UnderstudyError(f"A/B test {self.test_name!r} has ended: {trial.reason if trial else 'it is gone'}")

    def get_statistics(self) -> dict[str, Any]:
        """Return what the conversations say so far.

        Keys: sample_size (conversations), mean_score_a, mean_score_b (0..1), improvement_pct (of A's mean), wins_a,
        wins_b, ties, interval (lo, hi of the mean difference B - A, valid however often one looks), e_value,
        is_significant, recommended_winner ("A", "B" or None), and what `understudy ab status` shows besides.
        """
        self._take_in()
        return statistics(self._brain, self.test_name)

    def declare_winner(self, min_sample_size: int = LEAST_CONVERSATIONS) -> str | None:
        """Return "A" or "B" once it is proved on so many conversations; what follows from it is then carried out."""
        self._take_in()
        winner: str | None = declare(self._brain, self.test_name, min_sample_size)["winner"]
        return winner

    def _take_in(self) -> None:
        """Let the conversations enter that the caller has fed; those of a module's test enter when they are closed."""
        trial = self._trials.find(self.test_name)
        if trial is None or trial.module is not None:
            return

        def took(state: str, difference: float) -> tuple[str, Ending | None]:
            return take(trial, state, difference)

        for conversation_id in self._trials.open_ones(self.test_name):
            scores = {
                result["turn"]: (result["score_a"], result["score_b"])
                for result in self._trials.results(self.test_name, conversation_id)
                if result["score_a"] is not None
            }
            if not scores:
                self._trials.set_aside(self.test_name, conversation_id, "unscored", 0)
            elif self._trials.enter(self.test_name, conversation_id, scores, 0, took):
                conclude(self._brain, self.test_name)


def _score(metric_fn: MetricFn, answer: dict[str, Any] | None) -> float | None:
    if answer is None:
        return FAILED
    score = metric_fn(dspy.Prediction(**answer))
    if score is None:
        return None
    score = score.score if isinstance(score, dspy.Prediction) else score
    if isinstance(score, Real) and 0 <= float(score) <= 1:
        return float(score)
    raise InputError(f"metric_fn: must return a score from 0 to 1, or None; got {str(score)[:80]!r}")


def _wait_for(work: Callable[[], Any]) -> Any:
    """Return what the work returns, done in a thread of its own: the caller's may have a loop running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, work).result()
