"""Losses: pure functions of `[R, B]` tensors, one number a replica; and what each makes of a tie, a label of 0.5.

A teacher says with `ties` or `equal` whether ties reach the loss at all.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.core.option_types import Fraction, Limits, Positive

Smoothing = Fraction | Literal["measured"]
_MOST_SMOOTHING = 0.8  # of what is measured


def bradley_terry(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Negative log-likelihood of labels under P(first > second) = sigmoid(R1 - R2) (Bradley and Terry 1952).

    Args:
        logits: R1 - R2 of each pair, `[R, B]`.
        labels: probability that the first is preferred, `[R, B]`.
        weights: 0 for pairs that do not count, `[R, B]`.

    Returns:
        The weighted mean `[R]`; 0 where no pair counts.
    """
    # y ln s(z) + (1 - y) ln s(-z) = ln s(z) - (1 - y) z. The gradient of torch's binary_cross_entropy_with_logits is
    # a sigmoid, which rounds a tensor's last few elements otherwise: a seed would depend on those beside it.
    each = (1 - labels.to(logits.dtype)) * logits - logsigmoid(logits)
    return (each * weights).sum(-1) / weights.sum(-1).clamp(min=1.0)


def rao_kupper(logits: Tensor, labels: Tensor, weights: Tensor, theta: float) -> Tensor:
    """Negative log-likelihood where differences below ln(theta) are hard to see (Rao and Kupper 1967).

    P(first > second) = sigmoid(R1 - R2 - ln theta) and P(tie) = (theta^2 - 1) P(first > second) P(second > first).

    Args:
        logits: R1 - R2 of each pair, `[R, B]`.
        labels: probability that the first is preferred, `[R, B]`; 0.5 is a tie.
        weights: 0 for pairs that do not count, `[R, B]`.
        theta: above 1; at 1 there is no tie.

    Returns:
        The weighted mean `[R]`; 0 where no pair counts.
    """
    threshold, tied = math.log(theta), labels == 0.5
    labels = labels.to(logits.dtype)
    first, second = logsigmoid(logits - threshold), logsigmoid(-logits - threshold)
    # ln P of a tie is the sum of both and a constant; of any other label the expectation of the two.
    each = torch.where(tied, 1.0, labels) * first + torch.where(tied, 1.0, 1 - labels) * second
    each = each + math.log(theta**2 - 1) * tied.to(logits.dtype)
    return -(each * weights).sum(-1) / weights.sum(-1).clamp(min=1.0)


def davidson(logits: Tensor, labels: Tensor, weights: Tensor, nu: float) -> Tensor:
    """Negative log-likelihood where a tie is as likely as nu times the middle of both (Davidson 1970).

    With p = exp(R): P(first > second) = p1 / D, P(tie) = nu sqrt(p1 p2) / D, D = p1 + p2 + nu sqrt(p1 p2).

    Args:
        logits: R1 - R2 of each pair, `[R, B]`.
        labels: probability that the first is preferred, `[R, B]`; 0.5 is a tie.
        weights: 0 for pairs that do not count, `[R, B]`.
        nu: above 0, where no tie would be possible; 2 makes all ties of equals as likely as both victories together.

    Returns:
        The weighted mean `[R]`; 0 where no pair counts.
    """
    half = logits.abs() / 2
    # ln D of rewards +- logits / 2; what is exponentiated is never positive.
    total = half + torch.log1p(torch.exp(-2 * half) + nu * torch.exp(-half))
    each = total - (labels.to(logits.dtype) - 0.5) * logits - math.log(nu) * (labels == 0.5).to(logits.dtype)
    return (each * weights).sum(-1) / weights.sum(-1).clamp(min=1.0)


def smooth(labels: Tensor, smoothing: float | Tensor) -> Tensor:
    """Labels moved towards 0.5 by a share, as those of a teacher who is wrong in half of that share of answers."""
    return labels if isinstance(smoothing, float) and not smoothing else labels + smoothing * (0.5 - labels)


def measured_smoothing(repeats: Tensor) -> Tensor:
    """Shares `[R]` by which to `smooth` labels, from how often a teacher agrees with itself.

    Who flips an answer with chance e gives the same one twice with chance (1 - e)^2 + e^2. Such an answer is right with
    chance 1 - e, and so says a label that is moved to 0.5 by a share of 2 e. Two repeats that agreed are added, so that
    few say little; no share is above 0.8, since labels that are all one half teach nothing.

    Args:
        repeats: questions that were asked twice, and those of them that got the same answer, `[R, 2]`.
    """
    agreement = (repeats[:, 1] + 2) / (repeats[:, 0] + 2)
    return (1 - (2 * agreement - 1).clamp(min=0.0).sqrt()).clamp(max=_MOST_SMOOTHING)


def _known(smoothing: float | Literal["measured"]) -> tuple[bool, float]:
    """Whether the share is measured by whoever knows the answers, who then smooths them; and the share if not."""
    return (True, 0.0) if isinstance(smoothing, str) else (False, smoothing)


class SoftTies:
    """Bradley-Terry; a tie is half a preference for each.

    Args:
        smoothing: share by which labels are moved towards 0.5; `measured` takes it from the questions that are asked
            twice, see `measured_smoothing`.
    """

    def __init__(self, smoothing: Smoothing = 0.0) -> None:
        self.measured, self.smoothing = _known(smoothing)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """The mean `[R]` over pairs `[R, B]`."""
        return bradley_terry(logits, smooth(labels, self.smoothing), weights)


class SkipTies(SoftTies):
    """Bradley-Terry; a tie teaches nothing."""

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """The mean `[R]` over pairs `[R, B]` that are no ties."""
        return super().__call__(logits, labels, torch.where(labels == 0.5, 0.0, weights))


class RaoKupper:
    """A tie where the difference is too small to be seen (Rao and Kupper 1967).

    Args:
        theta: exp of the smallest difference of scores that is seen.
        smoothing: share by which labels other than ties are moved towards 0.5, see `SoftTies`.
    """

    def __init__(self, theta: Annotated[float, Limits(1, open_low=True)] = 2.0, smoothing: Smoothing = 0.0) -> None:
        self.theta, (self.measured, self.smoothing) = theta, _known(smoothing)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """The mean `[R]` over pairs `[R, B]`."""
        return rao_kupper(logits, smooth(labels, self.smoothing), weights, self.theta)


class Davidson:
    """A tie the likelier the nearer the two are (Davidson 1970).

    Args:
        nu: how likely; the share of ties among equals is nu / (2 + nu).
        smoothing: share by which labels other than ties are moved towards 0.5, see `SoftTies`.
    """

    def __init__(self, nu: Positive = 1.0, smoothing: Smoothing = 0.0) -> None:
        self.nu, (self.measured, self.smoothing) = nu, _known(smoothing)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """The mean `[R]` over pairs `[R, B]`."""
        return davidson(logits, smooth(labels, self.smoothing), weights, self.nu)
