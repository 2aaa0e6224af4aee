"""What a mean of values in 0..1 is at least, for whoever looks once."""

import math
from collections.abc import Sequence
from statistics import fmean

LEVEL = 0.05
"""Chance that the true mean is below the bound."""

STEPS = 50
"""Halvings of the interval in which the bound is looked for."""


def lower_bound(values: Sequence[float], level: float = LEVEL) -> float:
    """Return what the mean of independent values in 0..1 is at least, but for a chance of `level`.

    It is the smallest m with n KL(mean, m) <= log(1 / level), where KL is the divergence of two coins. It supposes
    nothing of how the values are spread, and no number of values makes it 1, however well they agree. Without values it
    is 0. Source: Hoeffding 1963, "Probability inequalities for sums of bounded random variables", theorem 1 (2.1).
    """
    if not values:
        return 0.0
    mean, enough = fmean(values), -math.log(level) / len(values)
    low, high = 0.0, mean
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _divergence(mean, middle) > enough else (low, middle)
    return low


def _divergence(p: float, q: float) -> float:
    """Return KL of a coin that falls on its head with p from one with q; q is in 0..p."""
    parts = ((p, q), (1 - p, 1 - q))
    return sum(mine * (math.log(mine / other) if other > 0 else math.inf) for mine, other in parts if mine > 0)
