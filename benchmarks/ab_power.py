"""How often does a rule for A/B tests see a winner where there is none, and how soon where there is one?

`python benchmarks/ab_power.py`. Every rule looks after every pair, up to 1,000 pairs. The betting test may; the others
are what people do.
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from understudy.nodes.betting import BETS, SHARES, PairedBettingTest

PAIRS = 1000
ALPHA = 0.05
NEVER = PAIRS + 1
TESTS_AGAINST_CLASS = 20
"""Tests of each shape that the class itself repeats; a whole table of it would take minutes."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


def main() -> None:
    """Print the table; the exit status is 1 if the betting test misses its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=2000, help="simulated tests of each shape")
    sys.exit(not table(parser.parse_args().tests))


def table(tests: int) -> bool:
    """Simulate, print, and say whether the betting test keeps its bounds."""
    print(f"A/B rules, {tests:,} simulated tests a shape, a look after every pair up to {PAIRS:,}")
    print("share of tests that name a winner (median pairs to it over all tests)")
    print(f"{'differences B - A':<44}" + "".join(f"{name:>20}" for name in RULES) + "  betting test's bound")
    kept = [_row(number, shape, tests) for number, shape in enumerate(SHAPES)]
    speed = updates_per_second()
    print(f"{'PairedBettingTest, updates a second':<44}{speed:>20,.0f}{'':40}  at least 5,000")
    return all(kept) and speed >= 5000


def _row(number: int, shape: str, tests: int) -> bool:
    draw, is_null = SHAPES[shape]
    differences = draw(np.random.default_rng(number), (tests, PAIRS))
    stops = {name: rule(differences) for name, rule in RULES.items()}
    for one, stop in zip(differences[:TESTS_AGAINST_CLASS], stops["betting"], strict=False):
        assert _stop_of_class(one) in (stop, None), shape
    cells = "".join(f"{_cell(stop):>20}" for stop in stops.values())
    found = float(np.mean(stops["betting"] < NEVER))
    kept = found <= 0.02 if is_null else found >= 0.95 and float(np.median(stops["betting"])) <= 240
    bound = "at most 2 %" if is_null else "at least 95 % (240)"
    print(f"{shape:<44}{cells}  {bound}{'' if kept else ': MISSED'}")
    return kept


def _cell(stops: Ints) -> str:
    median = np.median(stops)
    return f"{np.mean(stops < NEVER):.1%} ({'-' if median > PAIRS else f'{median:.0f}'})"


def updates_per_second(updates: int = 20_000) -> float:
    """Time the class, with its verdict read after every update, on the ties."""
    differences = _ties(0.0)(np.random.default_rng(0), (1, updates))[0].tolist()
    test = PairedBettingTest(ALPHA)
    started = time.perf_counter()
    for difference in differences:
        test.update(difference)
        _ = test.verdict
    return updates / (time.perf_counter() - started)


def _betting(differences: Floats) -> Ints:
    """Compute the e-values of all tests at once, bet by bet; "equivalent" never ends these tests early."""
    e_values = np.zeros_like(differences)
    for bets in BETS:
        for bet, share in zip(bets, SHARES, strict=True):
            e_values += share * np.exp(np.cumsum(np.log1p(bet * differences), axis=1))
    return _first(e_values >= 1 / ALPHA)


def _stop_of_class(differences: Floats) -> int | None:
    """Return when the class names a winner; None if it says "equivalent" first."""
    test = PairedBettingTest(ALPHA)
    for difference in differences:
        test.update(float(difference))
        if test.verdict:
            return None if test.verdict == "equivalent" else test.sample_size
    return NEVER


def _naive(differences: Floats) -> Ints:
    """Name a winner as soon as the mean differs by more than 0.05, after 30 pairs."""
    count = np.arange(1, PAIRS + 1)
    return _first((np.abs(np.cumsum(differences, axis=1) / count) > 0.05) & (count >= 30))


def _peeked_t_test(differences: Floats) -> Ints:
    """Name a winner as soon as a paired t-test says p < 0.05, after 5 pairs."""
    count = np.arange(1, PAIRS + 1)
    total, squares = np.cumsum(differences, axis=1), np.cumsum(differences**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (squares - total**2 / count) / (count - 1)
        t = np.abs(total) / np.sqrt(np.maximum(variance, 1e-12) * count)
        return _first((t > student.ppf(1 - ALPHA / 2, count - 1)) & (count >= 5))


def _first(hits: NDArray[np.bool_]) -> Ints:
    """Return the number of the first pair at which each test hits."""
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, NEVER)


def _ties(mean: float) -> Draw:
    def draw(random: np.random.Generator, size: tuple[int, int]) -> Floats:
        return np.where(random.random(size) < 0.6, 0.0, random.normal(mean, 0.25, size).clip(-1, 1))

    return draw


def _binary(random: np.random.Generator, size: tuple[int, int]) -> Floats:
    return random.choice([-1.0, 1.0], size)


def _skewed(random: np.random.Generator, size: tuple[int, int]) -> Floats:
    return random.beta(1, 9, size) - 0.1


def _rare_losses(random: np.random.Generator, size: tuple[int, int]) -> Floats:
    return np.where(random.random(size) < 1 / 21, -1.0, 0.05)


RULES = {"betting": _betting, "5 % after 30": _naive, "peeked t-test": _peeked_t_test}
SHAPES: dict[str, tuple[Draw, bool]] = {
    "none: 60 % zeros, otherwise N(0, 0.25)": (_ties(0.0), True),
    "none: binary, -1 or 1": (_binary, True),
    "none: skewed, Beta(1, 9) - 0.1": (_skewed, True),
    "none: skewed, 0.05, but -1 in 1 of 21": (_rare_losses, True),
    "0.036: 60 % zeros, otherwise N(0.09, 0.25)": (_ties(0.09), False),
}


if __name__ == "__main__":
    main()
