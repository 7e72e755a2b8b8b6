"""Returns and advantages: pure functions of `[R, B, T]` tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def discounted_returns(rewards: Tensor, discount: float) -> Tensor:
    """Sum of the discounted rewards from each step on, `[..., T]`; rewards past the end must be zero.

    Each round adds what lies as far ahead as the sums already reach, so log2(T) rounds take the place of T steps.
    """
    total, reach, factor = rewards, 1, discount
    while reach < rewards.shape[-1]:
        total = torch.cat([total[..., :-reach] + factor * total[..., reach:], total[..., -reach:]], -1)
        reach, factor = 2 * reach, factor * factor
    return total


def generalised_advantages(rewards: Tensor, values: Tensor, mask: Tensor, discount: float, trace: float) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16); every episode's end is worth 0.

    Args:
        rewards: `[..., T]`, zero past the end.
        values: of the state before each step, `[..., T]`.
        mask: 1 for the steps taken, 0 past the end.
        discount: gamma.
        trace: lambda.

    Returns:
        Advantages `[..., T]`, zero past the end.
    """
    values = values * mask
    following = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
    errors = (rewards + discount * following - values) * mask
    return discounted_returns(errors, discount * trace)


def standardise(values: Tensor, mask: Tensor, smallest: float, *, floor: bool = False) -> Tensor:
    """Subtract the mean and divide by the (unbiased) standard deviation over the last axis, where `mask` is 1.

    Args:
        values: `[..., N]`.
        mask: `[..., N]`.
        smallest: added to the standard deviation, or, with `floor`, the least it is taken for. Without a floor a
            batch in which nothing happened has its noise blown up to full size.
        floor: see `smallest`.

    Returns:
        `[..., N]`, zero where the mask is.
    """
    count = mask.sum(-1, keepdim=True)
    centred = (values - (values * mask).sum(-1, keepdim=True) / count.clamp(min=1)) * mask
    deviation = (centred.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (deviation.clamp(min=smallest) if floor else deviation + smallest)
