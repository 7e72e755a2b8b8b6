"""Whether a difference could be chance: p values, and their correction where many are looked at together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from prefrl_cli.stats.resampling import divisions, exchanges


def chance_of_difference(first: ArrayLike, second: ArrayLike, paired: bool) -> float:
    """P value of a difference of two means by a randomisation test (Fisher 1935), both directions counted.

    Were there no difference, each pair could as well have come the other way round, or each seed have been on the
    other side. The p value is the share of all such exchanges (of 10,000 of them where there are more) whose means
    differ at least as much: exact whatever the distribution, whether seeds fail or not.

    Args:
        first: `[R]` without NaN, finite.
        second: `[R]` where paired, else any number of seeds.
        paired: entry i of both is the same seed.

    Returns:
        Above 0, at most 1; NaN with fewer than two seeds on a side.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if min(len(left), len(right)) < 2:
        return math.nan
    if paired:
        apart = np.abs(exchanges(len(left)) @ (left - right))
    else:
        apart = np.abs(divisions(len(left), len(right)) @ np.append(left, right))
    return float((apart >= apart[0] * (1 - 1e-9)).mean())


def holm(chances: Sequence[float]) -> list[float]:
    """P values corrected for being looked at together (Holm 1979): the chance of one false find or more stays below.

    Args:
        chances: of a family of comparisons; NaN is in no family.

    Returns:
        One for each, in the same order, at least as large.
    """
    values = np.asarray(chances, dtype=np.float64)
    order = [place for place in np.argsort(values) if not math.isnan(values[place])]
    corrected, highest = np.full(len(values), np.nan), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, float(values[place]) * (len(order) - rank)))
        corrected[place] = highest
    return [float(value) for value in corrected]


def chance_text(chance: float) -> str:
    """A p value with the digits that decide; a dash for none."""
    if math.isnan(chance):
        return "–"
    return "< 0.001" if chance < 0.001 else f"{chance:.3f}" if chance < 0.1 else f"{chance:.2f}"
