"""Intervals over seeds by resampling."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefrl_cli.stats.aggregates import (
    Array,
    Statistic,
    as_floats,
    bootstrap_draws,
    check_scores,
    mean,
    percentile_interval,
    present,
    quantiles,
)

_BAND_RESAMPLES = 500  # of a band: it is drawn a few pixels high

_RESAMPLES = 2000

_NORMAL_95 = 1.959963984540054


class Band(NamedTuple):
    """A line with its 95 % interval, `[N]` each; the ends are NaN where there are fewer than two seeds."""

    middle: Array
    low: Array
    high: Array


def mean_band(values: Array) -> Band:
    """Mean over the seeds with its percentile bootstrap interval, the seeds drawn once for the whole curve.

    Args:
        values: `[N, R]`; NaN where a seed has no value.
    """
    seeds = values.shape[1]
    middle = np.asarray(mean(values))
    if seeds < 2:
        return Band(middle, np.full_like(middle, np.nan), np.full_like(middle, np.nan))
    there = ~np.isnan(values)
    weights = _weights(seeds, _BAND_RESAMPLES)
    number = seeds if there.all() else weights @ there.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold none of the seeds that have a value
        resampled = (weights @ np.where(there, values, 0.0).T) / number
    low, high = quantiles(resampled.T, (0.025, 0.975))
    few = there.sum(1) < 2
    return Band(middle, np.where(few, np.nan, low), np.where(few, np.nan, high))


def improvement(first: ArrayLike, second: ArrayLike, paired: bool) -> tuple[float, float, float]:
    """Chance that a seed of the first scores above one of the second, ties half, with its bootstrap interval.

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
        return chance, np.nan, np.nan
    wins = (left[:, None] > right) + 0.5 * (left[:, None] == right)
    drawn = _weights(len(left), _RESAMPLES)
    drawn_right = drawn if paired else _weights(len(right), _RESAMPLES, seed=1)
    resampled = ((drawn @ wins) * drawn_right).sum(1) / wins.size
    low, high = quantiles(resampled, (0.025, 0.975))
    return chance, float(low), float(high)


def performance_profile(scores: ArrayLike, thresholds: ArrayLike, lower: bool = False) -> Band:
    """Share of seeds that score at least each threshold (at most, where lower is better), with 95 % bands.

    Args:
        scores: `[R]` without NaN.
        thresholds: `[N]`.
        lower: whether a lower score is better.
    """
    values, taus = np.asarray(scores, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)[:, None]
    return mean_band((values <= taus if lower else values >= taus).astype(np.float64))


def share_interval(successes: int, number: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: unlike a bootstrap it says that 8 of 8 seeds do not prove 100 %.

    Returns:
        The two ends; 0 and 1 of no trials.
    """
    if number == 0:
        return 0.0, 1.0
    square = _NORMAL_95**2
    centre = (successes + square / 2) / (number + square)
    half = _NORMAL_95 * np.sqrt(successes * (number - successes) / number + square / 4) / (number + square)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


@lru_cache(maxsize=16)  # the same for every curve over as many seeds
def _weights(seeds: int, resamples: int, seed: int = 0) -> NDArray[np.float64]:
    """How often each seed is in each resample, `[resamples, seeds]`; not to be changed."""
    draws = np.random.default_rng(seed).integers(0, seeds, (resamples, seeds))
    flat = draws + seeds * np.arange(resamples)[:, None]
    weights = np.bincount(flat.ravel(), minlength=resamples * seeds).reshape(resamples, seeds).astype(np.float64)
    weights.flags.writeable = False
    return weights


def bootstrap_interval(
    scores: ArrayLike,
    statistic: Statistic = mean,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic, resampling seeds with replacement.

    Args:
        scores: `[R]`.
        statistic: from `[..., R]` to `[...]`, such as `mean` or `interquartile_mean`.
        level: share of the interval, between 0 and 1.
        resamples: how often the seeds are drawn again.
        seed: of a generator of its own, so that the same scores always give the same interval.

    Returns:
        The two ends; NaN both with fewer than two values, since one seed says nothing about the others.
    """
    check_scores(level, resamples)
    values = present(scores)
    if len(values) < 2:
        return np.nan, np.nan
    if (values == values[0]).all():  # as of shares that are all 1: every resample is the same
        return (float(statistic(values)),) * 2
    return percentile_interval(statistic(values[bootstrap_draws(len(values), resamples, seed)]), level)


def difference_interval(
    first: ArrayLike,
    second: ArrayLike,
    paired: bool,
    statistic: Statistic = mean,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic(first) - statistic(second)`.

    Args:
        first: `[R]`.
        second: `[R]` where paired, else any number of seeds.
        paired: entry i of both stands for the same seed, which is then drawn for both at once; pairs in which either
            has no value are left out. Otherwise the two are drawn independently.
        statistic: as in `bootstrap_interval`.
        level: share of the interval, between 0 and 1.
        resamples: how often the seeds are drawn again.
        seed: of a generator of its own.

    Returns:
        The two ends; NaN both with fewer than two values (or pairs) on a side.

    Raises:
        ValueError: if paired scores differ in number.
    """
    check_scores(level, resamples)
    generator = np.random.default_rng(seed)
    if paired:
        left, right = as_floats(first), as_floats(second)
        if left.shape != right.shape:
            raise ValueError(f"paired scores of {left.size} and {right.size} seeds: both need the same seeds")
        both = ~(np.isnan(left) | np.isnan(right))
        left, right = left[both], right[both]
    else:
        left, right = present(first), present(second)
    if min(len(left), len(right)) < 2:
        return np.nan, np.nan
    drawn = generator.integers(0, len(left), (resamples, len(left)))
    drawn_right = drawn if paired else generator.integers(0, len(right), (resamples, len(right)))
    return percentile_interval(np.asarray(statistic(left[drawn])) - statistic(right[drawn_right]), level)


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
        return np.nan
    below = np.searchsorted(right, left, "left")
    not_above = np.searchsorted(right, left, "right")
    return float((below + not_above).sum() / (2 * len(left) * len(right)))
