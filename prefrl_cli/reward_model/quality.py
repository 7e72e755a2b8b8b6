"""How well a reward model predicts preferences, and how near its rewards are to the true ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid


class Predictions(NamedTuple):
    """Pairs on which a reward model is tested.

    Attributes:
        margins: the model's score of the first less that of the second, `[R, K]`.
        labels: 1 where the first is preferred, else 0, `[R, K]`.
        weights: 0 for pairs that do not count, `[R, K]`.
    """

    margins: Tensor
    labels: Tensor
    weights: Tensor

    def accuracy(self) -> Tensor:
        """The share of right answers, one half where both have the same score, `[R]`; NaN where no pair counts."""
        right = torch.where(self.margins == 0, 0.5, ((self.margins > 0) == (self.labels > 0.5)).float())
        return (right * self.weights).sum(1) / self.weights.sum(1)

    def arrays(self) -> tuple[Array, Array, Array]:
        """The chance that the first is preferred (Bradley and Terry 1952), labels and weights, `[R, K]` each."""
        chances = logsigmoid(self.margins.double()).exp()
        some = [values.detach().cpu().numpy() for values in (chances, self.labels, self.weights)]
        return np.asarray(some[0]), np.asarray(some[1]), np.asarray(some[2])


Array = NDArray[np.floating]


def reliability(chances: Array, labels: Array, weights: Array, bins: int = 10) -> tuple[Array, Array, Array]:
    """Predicted and observed shares, of predictions in bins of equal width (DeGroot and Fienberg 1983).

    Args:
        chances: predicted probability that the first is preferred, `[R, K]`, between 0 and 1; a pair that has none
            (NaN) does not count.
        labels: 1 where it was, else 0, `[R, K]`.
        weights: 0 for pairs that do not count, `[R, K]`.
        bins: B of [0, 1], each with its lower edge, the last one with both.

    Returns:
        Mean prediction, mean label (NaN for an empty bin) and sum of the weights, `[R, B]` each.
    """
    chances, inside = _in_bins(chances, weights, bins)
    total = inside.sum(-1)
    with np.errstate(invalid="ignore"):
        predicted, observed = ((inside * values[:, None]).sum(-1) / total for values in (chances, labels))
    return predicted, observed, total


def _in_bins(chances: Array, weights: Array, bins: int) -> tuple[Array, Array]:
    """Predictions, 0 where there is none, and what each pair counts in each bin, `[R, B, K]`."""
    said = ~np.isnan(chances)
    chances, weights = np.where(said, chances, 0.0), np.where(said, weights, 0.0)
    place = np.minimum((chances * bins).astype(np.int64), bins - 1)
    return chances, (place[:, None] == np.arange(bins)[:, None]) * np.asarray(weights, dtype=np.float64)[:, None]


def calibration_error(chances: Array, labels: Array, weights: Array, bins: int = 10) -> Array:
    """Expected calibration error (Naeini et al. 2015): the mean of |predicted - observed| over pairs, by bins.

    Args:
        chances: predicted probability that the first is preferred, `[R, K]`.
        labels: 1 where it was, else 0, `[R, K]`.
        weights: 0 for pairs that do not count, `[R, K]`.
        bins: of equal width.

    Returns:
        `[R]`, 0 for a perfect model of endless pairs (0.09 on average over 128); NaN where no pair counts.
    """
    predicted, observed, total = reliability(chances, labels, weights, bins)
    gap = np.where(total > 0, np.abs(predicted - observed) * total, 0.0).sum(-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(gap / total.sum(-1))


def calibration_floor(chances: Array, weights: Array, bins: int = 10, draws: int = 100) -> Array:
    """The calibration error that would be expected if each prediction were right, since pairs are few.

    Answers are drawn with the predicted chances, by a generator of its own.

    Args:
        chances: predicted probability that the first is preferred, `[R, K]`.
        weights: 0 for pairs that do not count, `[R, K]`.
        bins: of equal width.
        draws: of all answers, D.

    Returns:
        `[R]`; NaN where no pair counts.
    """
    chances, inside = _in_bins(chances, weights, bins)
    answers = np.random.default_rng(0).random((*chances.shape, draws)) < chances[..., None]
    gaps = np.abs(inside @ (answers - chances[..., None]))  # [R, B, D]
    with np.errstate(invalid="ignore"):
        return np.asarray(gaps.mean(-1).sum(-1) / inside.sum((-2, -1)))


def epic_distance(leaving: tuple[Array, Array], arriving: tuple[Array, Array], discount: float) -> Array:
    """EPIC distance of two rewards r(s, a, s') = f(s, a) + h(s') (Gleave et al. 2021, definitions 4.1 to 4.4).

    States, actions and next states are uniform and independent of one another, in the canonical form as well as in
    the comparison. Rewards that differ by a scale, a constant or potential shaping are at 0, a reward and its negative
    at 1. In the canonical form of f + h what depends on (s, a) is f less its mean over actions, and what depends on s'
    is h plus discount times that mean; as both are independent, the exact moments need no table of all three.

    Args:
        leaving: f of both rewards, `[R, S, A]` (or `[1, S, A]`).
        arriving: h of both, `[R, S]` (or `[1, S]`).
        discount: of the potentials that count as the same.

    Returns:
        `[R]`, between 0 and 1; NaN where one of the two is equivalent to no reward at all.
    """
    parts = []
    for f, h in zip(leaving, arriving, strict=True):
        f, h = np.asarray(f, dtype=np.float64), np.asarray(h, dtype=np.float64)
        mean = f.mean(-1)
        step, state = f - mean[..., None], h + discount * mean
        parts.append((step, state - state.mean(-1, keepdims=True)))
    (step_1, state_1), (step_2, state_2) = parts

    def moment(a: Array, b: Array, c: Array, d: Array) -> Array:
        return np.asarray((a * b).mean((-2, -1)) + (c * d).mean(-1))

    covariance = moment(step_1, step_2, state_1, state_2)
    variances = moment(step_1, step_1, state_1, state_1) * moment(step_2, step_2, state_2, state_2)
    return np.sqrt((1 - _ratio(covariance, variances)) / 2)


def spearman(first: Array, second: Array) -> Array:
    """Spearman's rank correlation over the last axis, ties given their mean rank.

    Args:
        first: `[R, N]`.
        second: `[R, N]` (or `[1, N]`).

    Returns:
        `[R]`; NaN where all of one side are equal.
    """
    one, two = (_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second))
    one, two = one - one.mean(-1, keepdims=True), two - two.mean(-1, keepdims=True)
    return _ratio((one * two).mean(-1), (one * one).mean(-1) * (two * two).mean(-1))


def _ratio(covariance: Array, variances: Array) -> Array:
    """Pearson's correlation from the covariance and the product of the variances; NaN where that is 0."""
    tiny = variances < 1e-30
    return np.where(tiny, np.nan, np.clip(covariance / np.sqrt(np.where(tiny, 1.0, variances)), -1, 1))


def _ranks(values: Array) -> Array:
    """Ranks `[R, N]`, counted from 0; equal values share the mean of their ranks."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, -1)
    size = values.shape[-1]
    new = np.concatenate([np.ones((*values.shape[:-1], 1), dtype=bool), ordered[..., 1:] != ordered[..., :-1]], -1)
    places = np.arange(size)
    first = np.maximum.accumulate(np.where(new, places, 0), -1)
    ends = np.concatenate([new[..., 1:], np.ones((*values.shape[:-1], 1), dtype=bool)], -1)
    last = np.minimum.accumulate(np.where(ends, places, size)[..., ::-1], -1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, -1)
    return ranks
