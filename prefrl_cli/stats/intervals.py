"""95 % intervals over seeds: one method for each kind of number.

| number | method |
| --- | --- |
| share of seeds | mid-P (Lancaster 1961), exact |
| mean of a metric with a range | Bayesian bootstrap with a seed more, at the one or the other end of the range |
| difference of two such means | the same with 0.8 of a seed, at the least or the largest difference to fear |
| mean of a metric without one, difference of two | Student's t, Welch's where seeds are not paired |
| interquartile mean | Bayesian bootstrap, with that seed more where there is a range |
| probability of improvement | Bayesian bootstrap with half a seed more on both sides, which loses to all or beats all |

`benchmarks/coverage.py` simulates how often each holds the truth, beside what else there is. A few seeds that all did
well have not shown that none can fail: that is what the ends of the range stand for. Where a metric has one end, as
a count of labels has, the interval of its mean stops there.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefrl_cli.stats.aggregates import Array, as_floats, interquartile_mean, mean, present, quantiles
from prefrl_cli.stats.resampling import END, END_OF_DIFFERENCE, RESAMPLES, weights

Span = tuple[float, float] | None
Ends = tuple[float | None, float | None] | None

_TAILS = (0.025, 0.975)
_BAND_RESAMPLES = 500  # of a curve: its band is drawn a few pixels high


class Band(NamedTuple):
    """A line with its 95 % interval, `[N]` each; the ends are NaN where there are fewer than two seeds."""

    middle: Array
    low: Array
    high: Array


def mean_interval(scores: ArrayLike, ends: Ends = None) -> tuple[float, float]:
    """Interval of the mean.

    Args:
        scores: `[R]`.
        ends: the least and the largest value that the metric can have, as far as it has them.

    Returns:
        The two ends; NaN both with fewer than two values, since one seed says nothing about the others, and where one
        is infinite.
    """
    band = mean_band(present(scores)[None], ends, RESAMPLES)
    return float(band.low[0]), float(band.high[0])


def mean_band(values: Array, ends: Ends = None, resamples: int = _BAND_RESAMPLES) -> Band:
    """Mean over the seeds at each place of a curve, with its interval.

    Args:
        values: `[N, R]`; NaN where a seed has no value.
        ends: the least and the largest value that the metric can have, as far as it has them.
        resamples: where the metric has a range.
    """
    middle, there = np.asarray(mean(values)), ~np.isnan(values)
    number = there.sum(1)
    least, largest = ends or (None, None)
    with np.errstate(invalid="ignore"):  # infinities
        if least is not None and largest is not None:
            low, high = _resampled(values, there, _reaching(values, (least, largest)), resamples)
        else:
            spread = np.where(there, values - middle[:, None], 0.0)
            variance = np.square(spread).sum(1) / np.maximum(number - 1, 1)
            half = np.array([student(freedom) for freedom in number - 1]) * np.sqrt(variance / np.maximum(number, 1))
            low = np.maximum(middle - half, -np.inf if least is None else least)
            high = np.minimum(middle + half, np.inf if largest is None else largest)
        none = (number < 2) | ~np.isfinite(middle)
        low, high = np.minimum(low, middle), np.maximum(high, middle)
    return Band(middle, np.where(none, np.nan, low), np.where(none, np.nan, high))


def _resampled(values: Array, there: NDArray[np.bool_], span: tuple[float, float], resamples: int) -> Array:
    seeds = values.shape[1]
    drawn = weights(seeds, END, resamples)
    ends = drawn[:, seeds:]
    total = drawn[:, :seeds] @ np.where(there, values, 0.0).T + (ends @ np.array(span))[:, None]
    number = 1.0 if there.all() else drawn[:, :seeds] @ there.T.astype(np.float64) + ends.sum(1)[:, None]
    return quantiles(np.clip(total / number, *span).T, _TAILS)  # rounding leads beyond


def interquartile_interval(scores: ArrayLike, span: Span = None) -> tuple[float, float]:
    """Interval of the interquartile mean; arguments and ends as of `mean_interval`."""
    values = present(scores)
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    drawn = weights(len(values), END if span else 0.0)
    atoms = np.append(values, _reaching(values, span) if span else values[:2])  # which then weigh nothing
    order = np.argsort(atoms, kind="stable")
    upto = np.cumsum(drawn[:, order], 1)
    # Of the whole weight the middle half counts: from 0.25 to 0.75.
    middle = np.diff(np.clip(upto, 0.25, 0.75), axis=1, prepend=0.25)
    return _holding(float(interquartile_mean(values)), 2.0 * (middle @ atoms[order]))


def share_interval(successes: float, number: int) -> tuple[float, float]:
    """Interval of a share by the mid-P method (Lancaster 1961): as short as Wilson's, and it holds any share.

    Over all shares and 4 to 128 trials it holds the truth in at least 92 % of cases; Wilson's in 83, Clopper and
    Pearson's in 95, which are longer.

    Args:
        successes: of the trials; with a half, such as of ties, the interval holds that of either whole number.
        number: of trials.

    Returns:
        The two ends; 0 and 1 of no trials.
    """
    return _least_share(math.floor(successes), number), 1.0 - _least_share(math.floor(number - successes), number)


@lru_cache(maxsize=4096)  # a profile asks for the same ones at a hundred thresholds
def _least_share(successes: int, number: int) -> float:
    """The share of which so many successes or more, these themselves counted half, have a chance of 2.5 %."""
    if successes == 0:
        return 0.0
    reached = np.arange(successes, number + 1)
    gamma = np.array([math.lgamma(place + 1.0) for place in range(number + 1)])
    ways = gamma[number] - gamma[reached] - gamma[number - reached]
    counted = np.where(reached == successes, 0.5, 1.0)
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        chance = np.exp(ways + reached * math.log(middle) + (number - reached) * math.log1p(-middle))
        low, high = (middle, high) if chance @ counted < _TAILS[0] else (low, middle)
    return low


def difference_interval(first: ArrayLike, second: ArrayLike, paired: bool, span: Span = None) -> tuple[float, float]:
    """Interval of the difference of two means, first minus second.

    Where the metric has a range, the samples may have missed a seed of which one side is at an end of it and the other
    where one was seen. The least or the largest difference that such a seed can have weighs as much as 0.8 of a seed.

    Args:
        first: `[R]`.
        second: `[R]` where paired, else any number of seeds.
        paired: entry i of both stands for the same seed; pairs in which either has no value are left out.
        span: the least and the largest value that the metric can have, or none.

    Returns:
        The two ends; NaN both with fewer than two values (or pairs) on a side.

    Raises:
        ValueError: if paired scores differ in number.
    """
    left, right = as_floats(first), as_floats(second)
    if paired:
        if left.shape != right.shape:
            raise ValueError(f"paired scores of {left.size} and {right.size} seeds: both need the same seeds")
        there = ~(np.isnan(left) | np.isnan(right))
        left, right = left[there], right[there]
    left, right = present(left), present(right)
    fewer = min(len(left), len(right))
    if fewer < 2 or not (np.isfinite(left).all() and np.isfinite(right).all()):
        return math.nan, math.nan
    value = float(mean(left) - mean(right))
    if span:
        least, largest = _reaching(np.append(left, right), span)
        ends = min(least - right.max(), left.min() - largest), max(largest - right.min(), left.max() - least)
        seen = _resampled_mean(left, 0) - _resampled_mean(right, 0 if paired else 1)
        missed = weights(fewer, END_OF_DIFFERENCE, seed=2)[:, fewer:]
        low, high = _holding(value, seen)  # what may have been missed makes no end come nearer
        wider = _holding(value, (1.0 - missed.sum(1)) * seen + missed @ ends)
        return min(low, wider[0]), max(high, wider[1])
    if paired:
        return mean_interval(left - right)
    parts = [float(side.var(ddof=1)) / len(side) for side in (left, right)]
    if not sum(parts):
        return value, value
    freedom = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (left, right), strict=True))
    half = student(freedom) * math.sqrt(sum(parts))
    return value - half, value + half


def _resampled_mean(values: Array, seed: int) -> Array:
    return weights(len(values), seed=seed)[:, : len(values)] @ values


def improvement(first: ArrayLike, second: ArrayLike, paired: bool) -> tuple[float, float, float]:
    """Chance that a seed of the first scores above one of the second, ties half, with its interval.

    Args:
        first: `[R]` without NaN.
        second: `[R]` where paired, else any number of seeds.
        paired: entry i of both is the same seed, drawn for both at once.

    Returns:
        The chance and the two ends of its 95 % interval; NaN ends with fewer than two seeds on a side.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    chance = probability_of_improvement(left, right)
    if min(len(left), len(right)) < 2:
        return chance, math.nan, math.nan
    # What the samples may have missed: a pair in which the first loses to all, or one in which it beats all.
    left, right = np.append(left, [-np.inf, np.inf]), np.append(right, [np.inf, -np.inf])
    wins = (left[:, None] > right) + 0.5 * (left[:, None] == right)
    drawn = weights(len(left) - 2, END / 2)
    drawn_right = drawn if paired else weights(len(right) - 2, END / 2, seed=1)
    return chance, *_holding(chance, np.minimum(((drawn @ wins) * drawn_right).sum(1), 1.0))  # rounding leads beyond


def probability_of_improvement(first: ArrayLike, second: ArrayLike) -> float:
    """Chance that a seed of the first scores above a seed of the second, ties counted half (Mann-Whitney's U / nm).

    Args:
        first: `[R]`.
        second: any number of seeds.

    Returns:
        Between 0 and 1; 0.5 for no difference, NaN if either has no value.
    """
    left, right = present(first), np.sort(present(second))
    if not len(left) or not len(right):
        return math.nan
    below = np.searchsorted(right, left, "left")
    not_above = np.searchsorted(right, left, "right")
    return float((below + not_above).sum() / (2 * len(left) * len(right)))


def share_of_seeds_that_improve(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    """Share of the seeds that score higher in the first than in the second, ties half, with its interval.

    Args:
        first: `[R]` without NaN.
        second: `[R]`, the same seeds.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    better = float((left > right).sum() + 0.5 * (left == right).sum())
    return better / len(left) if len(left) else math.nan, *share_interval(better, len(left))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike, lower: bool = False) -> Band:
    """Share of seeds that score at least each threshold (at most, where lower is better), each with its interval.

    Args:
        scores: `[R]` without NaN.
        thresholds: `[N]`.
        lower: whether a lower score is better.
    """
    values, taus = np.asarray(scores, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)[:, None]
    reached = (values <= taus if lower else values >= taus).sum(1)
    ends = np.array([share_interval(int(number), len(values)) for number in reached]).reshape(-1, 2)
    return Band(reached / max(len(values), 1), *np.where(len(values) < 2, np.nan, ends.T))


@lru_cache(maxsize=1024)
def student(freedom: float) -> float:
    """The 97.5 % point of Student's t; NaN without a degree of freedom.

    With t = sqrt(freedom) tan(angle) the density is that of cos(angle) ** (freedom - 1), which is summed by trapezoids.
    """
    if freedom <= 0:
        return math.nan
    angle = np.linspace(0.0, np.pi / 2, 200_001)
    density = np.cos(angle) ** (freedom - 1.0)
    share = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
    return math.sqrt(freedom) * math.tan(float(np.interp(0.95, share / share[-1], angle)))


def _reaching(values: Array, span: tuple[float, float]) -> tuple[float, float]:
    """The range, or more where a value lies beyond it, as a record of others may have it."""
    finite = values[np.isfinite(values)]
    return min(span[0], finite.min(initial=span[0])), max(span[1], finite.max(initial=span[1]))


def _holding(value: float, resampled: Any) -> tuple[float, float]:
    """The middle 95 % of what was resampled, and the value itself."""
    low, high = quantiles(resampled, _TAILS)
    return min(float(low), value), max(float(high), value)
