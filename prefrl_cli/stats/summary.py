"""A metric over seeds in a few numbers, and how such numbers are written."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.stats.aggregates import (
    Array,
    count,
    interquartile_mean,
    mean,
    quantiles,
    worst_tenth,
)
from prefrl_cli.stats.intervals import interquartile_interval, mean_interval, share_interval


class Metric(Protocol):
    """What is asked of a metric; see `prefrl_cli.core.metric.Metric`."""

    @property
    def binary(self) -> bool: ...  # noqa: D102
    @property
    def ends(self) -> tuple[float | None, float | None]: ...  # noqa: D102
    @property
    def span(self) -> tuple[float, float] | None: ...  # noqa: D102
    @property
    def sign(self) -> int: ...  # noqa: D102

    def counted(self, scores: Array, failed: NDArray[np.bool_]) -> Array: ...  # noqa: D102

    def declaration(self) -> dict[str, Any]: ...  # noqa: D102


class Estimate(NamedTuple):
    """A number with its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


NOTHING = Estimate(math.nan, math.nan, math.nan)
_NOTHING_LEFT = 1e-12  # what sums of numbers near 1 leave where they should be 0: it reads 0


class Summary:
    """One metric over R seeds, of which those count that have a value.

    Args:
        values: `[R]`, NaN where a seed has no value, failed seeds as they count.
        metric: what it is.
    """

    def __init__(self, values: Array, metric: Metric) -> None:
        self.values, self.metric = values, metric

    @cached_property
    def seeds(self) -> int:
        """How many have a value."""
        return int(count(self.values))

    @cached_property
    def mean(self) -> Estimate:
        """The mean with its interval, of a share of seeds a share's."""
        if not self.seeds:
            return NOTHING
        value = float(mean(self.values))
        if self.metric.binary:
            return Estimate(value, *share_interval(round(value * self.seeds), self.seeds))
        return Estimate(value, *mean_interval(self.values, self.metric.ends))

    @cached_property
    def iqm(self) -> Estimate:
        """The mean of the middle half of the seeds with its interval."""
        middle = float(interquartile_mean(self.values))
        return Estimate(middle, *interquartile_interval(self.values, self.metric.span))

    @cached_property
    def median(self) -> float:
        """The middle seed."""
        return float(quantiles(self.values, (0.5,))[0])

    @cached_property
    def worst_tenth(self) -> float:
        """The mean of the worst tenth of the seeds, at least one; NaN where no value is better than another."""
        return float(worst_tenth(self.values, self.metric.sign))


def summarise(values: Array, metric: Metric, failed: NDArray[np.bool_] | None = None) -> Summary:
    """A metric over the seeds.

    Args:
        values: `[R]`, NaN where a seed has no value.
        metric: what it is.
        failed: the seeds that failed while they trained, `[R]`, which count as the metric says; none where they
            count already.
    """
    values = np.asarray(values, dtype=np.float64)
    return Summary(values if failed is None else metric.counted(values, failed), metric)


def record(values: Array, metric: Metric, failed: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """What a JSON file holds of a metric; arguments as of `summarise`.

    Returns:
        What the metric is, `per_seed` with null for those without a value, `mean`, `iqm`, the mean's interval `ci95`,
        `median` and `worst_tenth`; `seeds_with_value` where these are over fewer than all.
    """
    found = summarise(values, metric, failed)
    numbers: dict[str, Any] = {"per_seed": [float(value) for value in values], "mean": None, "iqm": None}
    numbers |= {"ci95": [None, None], "median": None, "worst_tenth": None}
    if found.seeds:
        numbers |= {"mean": found.mean.value, "iqm": float(interquartile_mean(found.values))}
        numbers["ci95"] = [found.mean.low, found.mean.high]
        numbers |= {"median": found.median, "worst_tenth": found.worst_tenth}
    if found.seeds < len(found.values):
        numbers["seeds_with_value"] = found.seeds
    return metric.declaration() | numbers


def digits(value: float | None, scale: float = 0.0) -> str:
    """A number with the digits that a person compares.

    Args:
        value: NaN or none is a dash.
        scale: the width of its interval, whose first two digits are the last that say something; 0 for none, and as
            good as none where it is nothing beside the value.
    """
    if value is None or math.isnan(value):
        return "–"
    value, size = _seen(value), abs(_seen(value))
    scale = scale if scale > _NOTHING_LEFT * max(size, 1.0) else 0.0
    if math.isinf(value) or size >= 1e6 or 0 < max(size, scale) < 1e-4:
        return f"{value:.2e}".replace("inf", "∞").replace("-", "−") if size else "0"
    decimals = 3 if size < 1 else 2 if size < 10 else 1 if size < 1000 else 0
    if scale > 0 and math.isfinite(scale):
        decimals = min(max(1 - math.floor(math.log10(scale)), 0), 6)
    elif size in (0.0, 1.0):
        decimals = 2
    elif size >= 10 and abs(size - round(size)) < 1e-9 * size:  # counts
        decimals = 0
    text = f"{value:,.{decimals}f}"
    return (text.lstrip("-") if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def brackets(estimate: Estimate) -> str:
    """An interval with the digits that it needs; empty where there is none."""
    _, low, high = estimate
    if math.isnan(low):
        return ""
    return f"[{digits(low, high - low)}, {digits(high, high - low)}]"


def value_text(estimate: Estimate) -> str:
    """The number of an estimate, with the digits that its interval leaves."""
    scale = 0.0 if math.isnan(estimate.low) else estimate.high - estimate.low
    return digits(estimate.value, scale)


def plain(value: float | None) -> str:
    """A number for a terminal or a log, in signs that every one of them has; `-` for none.

    Four digits, more only before the point; an exponent below 0.0001 and from a million on.
    """
    if value is None or math.isnan(value):
        return "-"
    value = _seen(value)
    return f"{value:.0f}" if 999.5 <= abs(value) < 999_999.5 else f"{value:.4g}"


def _seen(value: float) -> float:
    return 0.0 if abs(value) < _NOTHING_LEFT else value
