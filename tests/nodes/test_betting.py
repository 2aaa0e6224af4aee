"""The betting test: exact against brute force and `ville`, fair to both sides, and true at every look."""

import json
import math
import sys
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
import ville
from hypothesis import example, given, settings
from hypothesis import strategies as st

from understudy.nodes.betting import PairedBettingTest

SIZES = [0.02 + 0.03 * i for i in range(32)]
PARTS = [k**2 / sum(size**2 for size in SIZES) / 6 + (1 / 6 if k < 0.06 else 0) for k in SIZES]
STAKES = [(side * k, part) for k, part in zip(SIZES, PARTS, strict=True) for side in (1, -1)]

EDGES = st.sampled_from([-1.0, -0.5, -0.01, 0.0, 0.01, 0.3, 1.0])
RUNS = st.lists(st.tuples(EDGES | st.floats(-1, 1), st.integers(1, 40)), min_size=1, max_size=5)
DIFFERENCES = RUNS.map(lambda runs: [value for value, times in runs for _ in range(times)])
"""Stretches of equal values, so that verdicts, turns and empty intersections do occur."""

# Both sides reject 0, one after the other, and every mean is excluded.
TURNED = [0.3] * 40 + [-1.0] * 40
EQUIVALENT_THEN_BETTER = [0.0] * 600 + [0.3] * 40


def fed(differences: list[float], **options: Any) -> PairedBettingTest:
    test = PairedBettingTest(**options)
    for difference in differences:
        test.update(difference)
    return test


def looks(differences: list[float], **options: Any) -> list[PairedBettingTest]:
    """The test after every pair, and before the first."""
    return [PairedBettingTest.from_json(state) for state in states(differences, **options)]


def states(differences: list[float], **options: Any) -> list[dict[str, Any]]:
    test = PairedBettingTest(**options)
    found = [test.to_json()]
    for difference in differences:
        test.update(difference)
        found.append(test.to_json())
    return found


def wealth(differences: list[float], mean: float) -> float:
    """The definition in the paper: bets l, every factor 1 + l (d - m)."""
    bets = [(k / (1 + k * mean), part) for k, part in STAKES]
    return sum(part * math.prod(1 + bet * (d - mean) for d in differences) for bet, part in bets)


def plain_lower_end(differences: list[float], alpha: float) -> float:
    """Bisect between -1 and the mean so far, whose wealth never exceeds the stake."""
    out, inside = -1.0, sum(differences) / len(differences)
    if wealth(differences, out) < 1 / alpha:
        return out
    for _ in range(60):
        middle = (out + inside) / 2
        out, inside = (middle, inside) if wealth(differences, middle) >= 1 / alpha else (out, middle)
    return out


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), max_size=12))
def test_the_e_value_is_the_mean_wealth_of_all_bets(differences: list[float]) -> None:
    exact = sum(
        Fraction(part) * math.prod((1 + Fraction(k) * Fraction(d) for d in differences), start=Fraction(1))
        for k, part in STAKES
    )
    assert fed(differences).e_value == pytest.approx(float(exact), rel=1e-12)


@settings(max_examples=15, deadline=None)
@example([1.0] * 12, 0.05)
@example([0.3] * 12 + [-1.0] * 12, 0.5)
@given(st.lists(EDGES | st.floats(-1, 1), min_size=1, max_size=16), st.sampled_from([0.05, 0.5]))
def test_the_interval_is_what_brute_force_leaves_and_never_less(differences: list[float], alpha: float) -> None:
    lo, hi = -1.0, 1.0
    prefixes = [differences[:n] for n in range(1, len(differences) + 1)]
    for prefix, look in zip(prefixes, looks(differences, alpha=alpha)[1:], strict=True):
        low, high = plain_lower_end(prefix, alpha), -plain_lower_end([-d for d in prefix], alpha)
        lo, hi = min(max(lo, low), hi), max(min(hi, high), lo)
        assert look.interval == pytest.approx((lo, hi), abs=1e-7)
        if lo < hi:
            assert look.interval[0] <= lo + 1e-12
            assert look.interval[1] >= hi - 1e-12


@settings(max_examples=40, deadline=None)
@example(TURNED)
@given(DIFFERENCES)
def test_a_and_b_are_treated_alike(differences: list[float]) -> None:
    other = {"A": "B", "B": "A"}
    for one, two in zip(looks(differences), looks([-d for d in differences]), strict=True):
        (lo, hi), verdict = one.interval, one.verdict
        assert two.interval == (-hi, -lo)
        assert two.e_value == one.e_value
        assert two.verdict == (other.get(verdict, verdict) if verdict else None)


@settings(max_examples=40, deadline=None)
@given(DIFFERENCES, st.randoms(use_true_random=False))
def test_the_order_makes_no_difference_to_the_e_value(differences: list[float], random: Any) -> None:
    shuffled = random.sample(differences, len(differences))
    assert fed(shuffled).e_value == pytest.approx(fed(differences).e_value, rel=1e-9)


@settings(max_examples=60, deadline=None)
@example(TURNED, 0.05)
@example([-d for d in TURNED], 0.05)
@given(DIFFERENCES, st.sampled_from([0.01, 0.05, 0.5, 0.9]))
def test_the_interval_shrinks_and_agrees_with_the_e_values(differences: list[float], alpha: float) -> None:
    taken = looks(differences, alpha=alpha)
    highest = accumulate((look.e_value for look in taken), max)
    for look, most in zip(taken, highest, strict=True):
        lo, hi = look.interval
        assert -1 <= lo <= hi <= 1
        assert (lo > 0 or hi < 0) == (most * (1 + 1e-12) >= 1 / alpha)
    for (lo, hi), (next_lo, next_hi) in pairwise(look.interval for look in taken):
        assert lo <= next_lo
        assert next_hi <= hi


@settings(max_examples=60, deadline=None)
@example(TURNED, 0.02)
@example(EQUIVALENT_THEN_BETTER, 0.05)
@given(DIFFERENCES, st.sampled_from([0.0, 0.02, 0.5]))
def test_the_first_verdict_stands(differences: list[float], margin: float) -> None:
    first = None
    for number, look in enumerate(looks(differences, margin=margin)):
        lo, hi = look.interval
        inside = "equivalent" if -margin < lo and hi < margin else None
        first = first or ("B" if lo > 0 else "A" if hi < 0 else inside)
        assert look.verdict == first
        assert look.sample_size == number


def test_evidence_goes_on_after_the_verdict() -> None:
    at_verdict, later = fed(TURNED[:40]), fed(TURNED)
    assert (at_verdict.verdict, later.verdict, later.sample_size) == ("B", "B", 80)
    assert at_verdict.e_value > 20
    assert later.interval[0] == later.interval[1] == at_verdict.interval[0]
    even = fed(EQUIVALENT_THEN_BETTER, margin=0.05)
    assert even.verdict == "equivalent"
    assert even.interval[0] > 0


def test_the_verdicts_of_plain_cases() -> None:
    assert fed([]).e_value == pytest.approx(1, rel=1e-15)
    assert (fed([]).interval, fed([]).verdict, fed([]).sample_size) == ((-1, 1), None, 0)
    assert fed([1.0] * 3).verdict is None
    assert (fed([1.0] * 12).verdict, fed([-1.0] * 12).verdict) == ("B", "A")
    assert fed([1.0] * 12).interval[1] == 1
    assert fed([0.0] * 1000).verdict == "equivalent"
    assert fed([0.0] * 1000, margin=0).verdict is None
    assert fed([0.01] * 1000).verdict == "equivalent"
    assert fed([0.03] * 300).verdict == "B"


@settings(max_examples=30, deadline=None)
@example(TURNED, 40)
@given(DIFFERENCES, st.integers(0, 200))
def test_a_saved_test_goes_on_as_if_never_saved(differences: list[float], cut: int) -> None:
    text = json.dumps(fed(differences[:cut], alpha=0.1, margin=0.05).to_json(), allow_nan=False)
    assert len(text) < 2500
    restored = PairedBettingTest.from_json(json.loads(text))
    for difference in differences[cut:]:
        restored.update(difference)
    assert restored.to_json() == fed(differences, alpha=0.1, margin=0.05).to_json()


def test_a_test_saved_with_other_bets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bets='geometric-24'.*start this test anew"):
        PairedBettingTest.from_json({**fed([]).to_json(), "bets": "geometric-24"})


def test_saved_data_are_a_copy() -> None:
    test = fed([0.5])
    before = test.to_json()
    restored = PairedBettingTest.from_json(before)
    restored.update(1.0)
    test.update(1.0)
    assert before == fed([0.5]).to_json() != test.to_json()


@pytest.mark.parametrize("difference", [math.nan, math.inf, -math.inf, 1.0000001, -2, np.float64("nan")])
def test_a_refused_difference_changes_nothing(difference: float) -> None:
    test = fed([0.5, -0.2])
    before = test.to_json()
    with pytest.raises(ValueError, match=r"difference=.*from -1 to 1"):
        test.update(difference)
    assert test.to_json() == before


@pytest.mark.parametrize("options", [{"alpha": 0}, {"alpha": 1}, {"alpha": math.nan}, {"margin": -0.1}, {"margin": 2}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(options))}=.*must be"):
        PairedBettingTest(**options)


@pytest.mark.parametrize("value", [-1.0, -0.5, 0.0, 0.97, 1.0])
def test_it_stands_a_million_pairs(value: float) -> None:
    many = 999_999
    sums = [[many * math.log1p(side * k * value) for k in SIZES] for side in (1, -1)]
    test = PairedBettingTest.from_json({**fed([]).to_json(), "sample_size": many, "sums": sums})
    test.update(value)
    assert test.interval == pytest.approx((value, value), abs=2e-3)
    assert test.interval[0] <= value <= test.interval[1]
    assert 0 <= test.e_value < math.inf
    assert test.verdict == ("B" if value > 0 else "A" if value < 0 else "equivalent")


def test_an_e_value_too_large_for_a_float_is_the_largest() -> None:
    assert fed([1.0] * 1100).e_value == sys.float_info.max


@pytest.mark.parametrize("side", [1, -1])
def test_a_bare_rejection_excludes_zero_and_a_near_one_does_not(side: int) -> None:
    differences = [side * 0.3] * 20
    just = 1 / fed(differences).e_value
    lo, hi = fed(differences, alpha=just * (1 + 1e-12)).interval
    assert lo > 0 or hi < 0
    lo, hi = fed(differences, alpha=just * (1 - 1e-12)).interval
    assert lo <= 0 <= hi


def of_ville(differences: list[float], mean: float) -> list[float]:
    """The same wealth by `ville`, whose bets come to a constant c on the range from 0 to 1 when alpha is tiny."""
    options: dict[str, Any] = {"m0": mean, "bounds": (-1, 1), "alpha": 1e-300}
    total = np.zeros(len(differences))
    for k, part in zip(SIZES, PARTS, strict=True):
        for side, alternative in ((1, "greater"), (-1, "less")):
            constant = k * (1 + side * mean) / (1 + side * k * mean)
            one = ville.BettingTest(alternative=alternative, c=constant, **options).fit(differences)
            total += part * one.e_values_
    return [float(value) for value in total]


@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.4])
def test_ville_finds_the_same_wealth(shift: float) -> None:
    differences = np.random.default_rng(3).normal(shift, 0.3, 80).clip(-1, 1).tolist()
    taken = looks(differences)
    assert [look.e_value for look in taken[1:]] == pytest.approx(of_ville(differences, 0.0), rel=1e-9)
    for end, sign in ((0, 1), (1, -1)):
        moved = max(n for n in range(1, 81) if taken[n].interval[end] != taken[n - 1].interval[end])
        mean = taken[moved].interval[end]
        assert of_ville(differences[:moved], mean)[-1] == pytest.approx(20, rel=1e-6)
        assert of_ville(differences[:moved], mean + sign * 0.01)[-1] < 20


def stop(differences: list[float]) -> int:
    """When a winner is named; one past the end if never."""
    test = PairedBettingTest()
    for difference in differences:
        test.update(difference)
        if test.verdict in ("A", "B"):
            return test.sample_size
    return len(differences) + 1


def test_it_stops_about_when_ville_does_and_as_seldom_falsely() -> None:
    random = np.random.default_rng(11)

    def drawn(mean: float, tests: int, pairs: int) -> list[list[float]]:
        size = (tests, pairs)
        ties = random.random(size) < 0.6
        return np.where(ties, 0.0, random.normal(mean, 0.25, size).clip(-1, 1)).tolist()

    def both(tests: list[list[float]]) -> tuple[list[int], list[int]]:
        oracle = [ville.BettingTest(0, bounds=(-1, 1)).fit(one).stopping_time() or len(one) + 1 for one in tests]
        return [stop(one) for one in tests], oracle

    ours, theirs = both(drawn(0.09, 40, 700))
    assert np.median(ours) == pytest.approx(np.median(theirs), rel=0.2)
    assert max(ours) < 701
    ours, theirs = both(drawn(0.0, 40, 250))
    assert sum(n <= 250 for n in ours) <= 1
    assert sum(n <= 250 for n in theirs) <= 1
