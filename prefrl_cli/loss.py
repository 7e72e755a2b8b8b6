"""Losses: pure functions of `[R, B]` tensors, one number a replica."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


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


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` over the last axis where `mask` is not 0; 0 where it is empty."""
    return (values * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)
