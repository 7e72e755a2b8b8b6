"""The reliability chart: how often a reward model's predictions come true, beside how sure it was."""

from __future__ import annotations

from typing import Literal

import numpy as np

from prefrl_cli.core.figures import Array, Curves, Figure, Line, Panel
from prefrl_cli.reward_model.quality import calibration_error, calibration_floor, reliability

_FEWEST = 5  # pairs in a bin that has a dot: the share of fewer says nothing
_FEWEST_BINS = 3  # that a line joins: through two it would look like a law


def reliability_figure(chances: Array, labels: Array, weights: Array) -> dict[str, Figure]:
    """Predicted probability against the share that came true, in ten bins; nothing where no pair counts.

    Args:
        chances: predicted probability that the first is preferred, `[R, K]`.
        labels: 1 where it was, else 0, `[R, K]`.
        weights: 0 for pairs that do not count, `[R, K]`.
    """
    errors = calibration_error(chances, labels, weights)
    errors = errors[~np.isnan(errors)]
    seeds, counted = len(chances), len(errors)  # how many there are, and how many have pairs
    if not counted:
        return {}
    predicted, observed, total = reliability(chances, labels, weights)  # [R, bins] each
    pooled = reliability(chances.reshape(1, -1), labels.reshape(1, -1), weights.reshape(1, -1))
    share = pooled[2] / pooled[2].sum()
    bars = Line((np.arange(share.size) + 0.5) / share.size, share.T, "share of the pairs", "bars")
    perfect = Line(np.array([0.0, 1.0]), np.array([[0.0], [1.0]]), "perfect", "dashed")
    enough = pooled[2][0] >= _FEWEST
    style: Literal["line", "points"] = "line" if enough.sum() >= _FEWEST_BINS else "points"
    line = Line(pooled[0][0, enough], pooled[1].T[enough], "all seeds together" if seeds > 1 else "predictions", style)
    dots = Line(predicted.T, np.where(total < _FEWEST, np.nan, observed).T, "each seed", "points")
    of = f"{counted:,} of {seeds:,} seeds" if counted < seeds else f"{seeds:,} seeds" if seeds > 1 else "1 seed"
    panel = Panel(
        f"Calibration error {np.median(errors):.3f} ({'median of ' if counted > 1 else ''}{of})",
        "predicted probability that the first is preferred",
        "share of pairs in which it is",
        (bars, perfect, line, dots) if seeds > 1 else (bars, perfect, line),
        y_range=(-0.03, 1.03),
        x_range=(0.0, 1.0),
    )
    bins = "; ".join(f"{number:,.0f}" for number in pooled[2][0])
    whose = " of 1 seed" if counted == 1 else f" of {counted:,} seeds" if counted < seeds else ""
    note = f"{pooled[2].sum():,.0f} held-out pairs{whose}, in the ten bins {bins}."
    floor = np.nanmedian(calibration_floor(chances, weights))
    note += f" Were each prediction right, the error over so many pairs would still be {floor:.3f}."
    note += f" A bin of fewer than {_FEWEST} counts in the error and has no dot."
    if style == "points":
        note += f" A line would need {_FEWEST_BINS} bins with more."
    return {"reliability": Curves("Are the predicted preferences right?", (panel,), note)}
