"""Statistics over seeds after Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice"; NumPy only.

A score is one number a seed. NaN means that a seed has no value (a metric that was never measured for it): it is left
out, so say beside a result how many seeds it is over (`count`). Infinite scores are values and stay in.

A seed that failed while it trained has no final value. Where its metric says what it counts as, such as no success,
it counts as that (`Metric.counted`); compared with another seed it is the worse one; any other metric is over the seeds
that did not fail, and how many failed is said beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]

FEW_SEEDS = 16  # below, intervals are wide enough to be true and too wide to decide anything


def few_seeds(seeds: int) -> str | None:
    """What to say beside numbers over some seeds; none where they are enough, or where there is no seed."""
    if not 0 < seeds < FEW_SEEDS:
        return None
    if seeds == 1:
        return f"One seed is an illustration, no evidence: type num_seeds={FEW_SEEDS} or more."
    return f"With fewer than {FEW_SEEDS} seeds these numbers are an illustration, no evidence."


def count(scores: ArrayLike) -> Any:
    """Seeds that have a value, along the last axis."""
    return (~np.isnan(as_floats(scores))).sum(-1)


def mean(scores: ArrayLike) -> Any:
    """Mean along the last axis of the values there are; NaN where there are none."""
    values = as_floats(scores)
    missing = np.isnan(values)
    if values.size and not missing.any():  # as nearly always: half the passes over the resamples
        return (values.sum(-1) / values.shape[-1])[()]
    return _divide(np.where(missing, 0.0, values).sum(-1), (~missing).sum(-1))


def interquartile_mean(scores: ArrayLike) -> Any:
    """Mean of the middle half of the values along the last axis (IQM).

    Of n values, the floor(n / 4) smallest and as many of the largest are left out and the others count alike, as
    `scipy.stats.trim_mean(scores, 0.25)` does and rliable with it; no value has a fractional weight. With fewer than
    four values it is the mean. NaN where there is no value.
    """
    ordered = np.sort(as_floats(scores), -1)  # NaN comes last
    if ordered.size and not np.isnan(ordered[..., -1]).any():
        cut = ordered.shape[-1] // 4
        return mean(ordered[..., cut : ordered.shape[-1] - cut])
    number = count(ordered)[..., None]
    cut = number // 4
    place = np.arange(ordered.shape[-1])
    middle = (place >= cut) & (place < number - cut)
    return _divide(np.where(middle, ordered, 0.0).sum(-1), middle.sum(-1))


def worst_tenth(scores: ArrayLike, sign: int) -> Any:
    """Mean of the worst tenth of the values along the last axis, at least one: what a rare failure costs.

    Args:
        scores: `[..., R]`.
        sign: 1 where higher values are better, -1 where lower ones are; 0 where none are, and then there is no worst.

    Returns:
        `[...]`; NaN where there is no value.
    """
    if not sign:
        return np.full(np.shape(scores)[:-1], np.nan)[()]
    ordered = np.sort(sign * as_floats(scores), -1)  # the worst first, NaN last
    worst = np.arange(ordered.shape[-1]) < -(-count(ordered)[..., None] // 10)
    return mean(sign * np.where(worst, ordered, np.nan))


def quantiles(values: ArrayLike, levels: tuple[float, ...]) -> Array:
    """Quantiles over the seeds, by linear interpolation, of what values there are.

    Args:
        values: `[..., R]`; NaN where a seed has no value.
        levels: between 0 and 1.

    Returns:
        `[L, ...]`; NaN where no seed has a value. The same as `numpy.nanquantile`, a hundred times faster where there
        are NaNs.
    """
    ordered = np.sort(as_floats(values), -1)
    last = np.maximum(count(ordered) - 1, 0)
    result = np.full((len(levels), *ordered.shape[:-1]), np.nan)
    for row, level in enumerate(levels if ordered.shape[-1] else ()):
        place = level * last
        low = np.floor(place).astype(np.int64)
        below = np.take_along_axis(ordered, low[..., None], -1)[..., 0]
        above = np.take_along_axis(ordered, np.minimum(low + 1, last)[..., None], -1)[..., 0]
        share = place - low
        with np.errstate(invalid="ignore"):  # between two infinities
            between = below + share * (above - below)
        result[row] = np.where((share == 0) | (below == above), below, between)
    return result


def as_floats(scores: ArrayLike) -> Array:
    """Scores in double precision."""
    return np.asarray(scores, dtype=np.float64)


def present(scores: ArrayLike) -> Array:
    """The scores `[R]` that are there, NaN standing for none; ValueError for another shape."""
    values = as_floats(scores)
    if values.ndim != 1:
        raise ValueError(f"scores of shape {list(values.shape)}: one number a seed is wanted, [R]")
    return values[~np.isnan(values)]


def _divide(total: Array, number: Array) -> Any:
    return np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0)[()]
