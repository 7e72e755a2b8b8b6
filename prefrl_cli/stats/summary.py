"""A metric over seeds in a few numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefrl_cli.stats.aggregates import interquartile_mean, with_failures
from prefrl_cli.stats.intervals import bootstrap_interval


def statistics(name: str, values: np.ndarray, failed: np.ndarray | None = None) -> dict[str, Any]:
    """A metric over the seeds: mean, interquartile mean and the mean's 95 % interval.

    Args:
        name: of the metric; a failed seed has no success, see `with_failures`, and no value of any other metric.
        values: `[R]`, NaN where a seed has no value.
        failed: the seeds that have failed, `[R]`; none where no seed has.

    Returns:
        `per_seed` with null for those without a value, `mean`, `iqm`, `ci95`; `seeds_with_value` where the three are
        over fewer than all.
    """
    values = values.astype(np.float64)
    counted = values if failed is None else with_failures(name, values, failed)
    present = counted[~np.isnan(counted)]
    found: dict[str, Any] = {"per_seed": values.tolist(), "mean": None, "iqm": None, "ci95": [None, None]}
    if len(present):
        found["mean"], found["iqm"] = float(present.mean()), float(interquartile_mean(present))
        found["ci95"] = [float(end) for end in bootstrap_interval(present)]
    if len(present) < len(values):
        found["seeds_with_value"] = len(present)
    return found
