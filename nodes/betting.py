"""Which of two versions is better? A test by betting that may be looked at after every pair.

Someone who doubts that the mean of the differences is m bets on every next one. A bet k multiplies the stake by
(1 + k d) / (1 + k m), which is 1 + l (d - m) with l = k / (1 + k m): fair if the mean is m, never negative, for every
m in [-1, 1]. Wealth far above the stake speaks against m; by Ville's inequality it ever reaches 1 / alpha with
probability alpha at most. The means whose wealth stayed below are the confidence sequence. Source: Waudby-Smith and
Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686; here the stake is spread over 64
constant bets, and k is what stays constant as m varies. So everything follows from 64 numbers, the sums over the
differences of log(1 + k d), and no grid of means is needed:

    log wealth(m) = log of the sum over k of share[k] * exp(sums[k] - count * log(1 + k m))

It is convex in m and at most 0 at the mean so far. So the means not excluded are an interval around that mean, and
Newton's method that starts outside of it never steps inside.
"""

import math
import sys
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["A", "B", "equivalent"]

BETS: Floats = np.linspace(0.02, 0.95, 32) * np.array([[1.0], [-1.0]])
"""The bets, (2, 32): on B in the first row, on A in the second."""

QUICK = BETS[0] ** 2
SHARES: Floats = np.repeat([1 / 6, 0.0], [2, 30]) + QUICK / QUICK.sum() / 6
"""What part of the stake each bet of a row gets, (32,); a row gets half.

A third goes to all in proportion to k**2: these decide. Two thirds go to the two smallest, which narrow the interval
of long tests and decide hardly anything in the first 1,000 pairs: false winners there stay below 2 % at alpha 0.05.
The price: equal parts, with up to 5 % false ones as alpha allows, take a median of 205 pairs, not 225, where 60 % are
ties and the mean is 0.036, and 85, not 132, for differences of -1 or 1 with mean 0.3.
"""

SLACK = 1e-9
"""How much more log wealth than log(1 / alpha) a mean has to have before an end of the interval passes it."""

STEPS = 50
"""Newton steps at most; a handful is the rule, and after fewer the interval is only wider."""

BEYOND_ZERO = math.ulp(0.0)
"""A lower end that excludes 0 and nothing above."""

NAME_OF_BETS = "linear-64-slow"
"""Kept with a saved test, whose sums are worth nothing with other bets."""


class PairedBettingTest:
    """Anytime-valid two-sided test and confidence sequence for the mean of paired differences B - A in [-1, 1].

    Assumes that each difference, given those before it, has the same mean. Then, with probability 1 - alpha, that mean
    is inside `interval` at every time, however often and for whatever reason one looks. The chance of a verdict "B"
    while no difference has a mean above 0 is alpha / (2 - alpha) at most, and so for "A"; "equivalent" is wrong with
    probability alpha at most. A and B are treated alike: with every sign turned the verdict changes sides and the
    interval is mirrored, to the last bit. The order of the differences makes none to `e_value` beyond rounding; what
    looks at every time (`interval`, `verdict`) does depend on it.

    Memory and time of an update are constant: 64 sums. As the smallest bet is 0.02, either half of the interval stays
    wider than about 0.01 times the variance of the differences, so a margin below that is never proved.
    """

    def __init__(self, alpha: float = 0.05, margin: float = 0.02) -> None:
        """Start without evidence.

        Args:
            alpha: Chance of an error, in (0, 1).
            margin: Means nearer to 0 than this count as equivalent, in the units of the differences, in [0, 1].

        Raises:
            ValueError: alpha or margin is out of its range.
        """
        if not 0 < alpha < 1:
            raise ValueError(f"alpha={alpha!r}: must be above 0 and below 1")
        if not 0 <= margin <= 1:
            raise ValueError(f"margin={margin!r}: must be from 0 to 1")
        self.alpha, self.margin = float(alpha), float(margin)
        self._sums: Floats = np.zeros_like(BETS)
        self._count = 0
        self._interval = (-1.0, 1.0)
        self._verdict: Verdict | None = None

    def update(self, difference: float) -> None:
        """Take in one more difference B - A; a refused one changes nothing.

        Raises:
            ValueError: it is no number in [-1, 1].
        """
        if not -1 <= difference <= 1:
            raise ValueError(f"difference={difference!r}: must be a number from -1 to 1 (score of B minus score of A)")
        self._sums += np.log1p(BETS * difference)
        self._count += 1
        lo, hi = self._interval
        level = -math.log(self.alpha)
        self._interval = (
            min(_lower_end(self._sums, self._count, lo, level), hi),
            max(-_lower_end(self._sums[::-1], self._count, -hi, level), lo),
        )
        self._verdict = self._verdict or self._judged()

    def _judged(self) -> Verdict | None:
        lo, hi = self._interval
        if lo > 0:
            return "B"
        if hi < 0:
            return "A"
        return "equivalent" if -self.margin < lo and hi < self.margin else None

    @property
    def verdict(self) -> Verdict | None:
        """The first verdict, which stands.

        "B" (B is better) or "A": the e-value reached 1 / alpha. "equivalent": the whole interval came to lie inside
        (-margin, margin). None: not decided yet.
        """
        return self._verdict

    @property
    def e_value(self) -> float:
        """Evidence now against a mean of 0: 1 at the start, unlikely to be large if the mean is 0.

        It goes on after the verdict, and may fall again; at most the largest float, 1.8e308.
        """
        log_wealth, _ = log_wealth_and_slope(self._sums, self._count, 0.0)
        return math.exp(log_wealth) if log_wealth < math.log(sys.float_info.max) else sys.float_info.max

    @property
    def interval(self) -> tuple[float, float]:
        """Ends (lo, hi) of the confidence sequence, in [-1, 1]; it never grows, and goes on after the verdict.

        0 is outside exactly if the e-value has ever reached 1 / alpha. If every mean has been excluded (the mean
        drifts, or this is one of the alpha cases) one point remains: the end that the evidence has passed.
        """
        return self._interval

    @property
    def sample_size(self) -> int:
        """Differences taken in, with those after the verdict."""
        return self._count

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain JSON data, about 1.5 kB."""
        return {
            "bets": NAME_OF_BETS,
            "alpha": self.alpha,
            "margin": self.margin,
            "sample_size": self._count,
            "interval": list(self._interval),
            "verdict": self._verdict,
            "sums": self._sums.tolist(),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Return the test that `to_json` saved; it goes on to the last bit as if never saved.

        Raises:
            ValueError: the state was saved with other bets.
        """
        if state["bets"] != NAME_OF_BETS:
            raise ValueError(
                f"bets={state['bets']!r}: saved with other bets than {NAME_OF_BETS!r}; start this test anew"
            )
        test = cls(state["alpha"], state["margin"])
        lo, hi = state["interval"]
        test._sums = np.array(state["sums"], dtype=np.float64)
        test._count, test._interval, test._verdict = state["sample_size"], (lo, hi), state["verdict"]
        return test


def log_wealth_and_slope(sums: Floats, count: int, mean: float) -> tuple[float, float]:
    """Return the log of the wealth against a mean, and its derivative by that mean.

    Args:
        sums: (2, 32), of log(1 + k d) over the differences, for the bets k.
        count: How many differences.
        mean: The mean that is doubted, in [-1, 1].
    """
    fair = 1 + BETS * mean
    logs = sums - count * np.log(fair)
    top = float(logs.max())
    wealth = SHARES * np.exp(logs - top)
    # Row by row, then the two rows: a mirrored test adds the same numbers in the same order.
    on_b, on_a = wealth.sum(axis=1).tolist()
    slope_b, slope_a = (wealth * (BETS / fair)).sum(axis=1).tolist()
    return top + math.log(on_b + on_a), -count * (slope_b + slope_a) / (on_b + on_a)


def _lower_end(sums: Floats, count: int, lo: float, level: float) -> float:
    """Move a lower end up to where log wealth has come down to the level, never beyond."""
    log_wealth, slope = log_wealth_and_slope(sums, count, 0.0)
    if log_wealth >= level and slope < 0:
        lo = max(lo, BEYOND_ZERO)
    for _ in range(STEPS):
        log_wealth, slope = log_wealth_and_slope(sums, count, lo)
        excess = log_wealth - level - SLACK
        if excess <= SLACK or slope >= 0:
            break
        lo -= excess / slope
    return lo
