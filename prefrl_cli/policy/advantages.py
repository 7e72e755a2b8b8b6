"""Returns and advantages: pure functions of `[R, B, T]` tensors."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.policy.policy_update import Policy


def discounted_returns(rewards: Tensor, discount: float) -> Tensor:
    """Sum of the discounted rewards `[R, B, T]` from each step on; rewards past the end must be zero."""
    if rewards.shape[1] == 1:  # a product of one row is another function of the library for R = 1 than for more
        return discounted_returns(rewards.expand(-1, 2, -1), discount)[:, :1]
    powers = _powers(rewards.shape[-1], discount, rewards.dtype, rewards.device)
    return torch.bmm(rewards, powers.expand(len(rewards), -1, -1))


@lru_cache(maxsize=8)
def _powers(steps: int, discount: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The weight of a reward (row) in the sum from a step on (column): discount ** (row - column), `[T, T]`."""
    steps_ahead = torch.arange(steps)[:, None] - torch.arange(steps)
    powers = torch.tensor(discount, dtype=torch.float64) ** steps_ahead.clamp(min=0)
    return powers.tril().to(device, dtype)


def generalised_advantages(rewards: Tensor, values: Tensor, mask: Tensor, discount: float, trace: float) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16); what follows the last step is worth 0.

    Where it is not, see `bootstrapped`.

    Args:
        rewards: `[R, B, T]`, zero past the end.
        values: of the state before each step, `[R, B, T]`.
        mask: 1 for the steps taken, 0 past the end.
        discount: gamma.
        trace: lambda.

    Returns:
        Advantages `[R, B, T]`, zero past the end.
    """
    values = values * mask
    following = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
    errors = (rewards + discount * following - values) * mask
    return discounted_returns(errors, discount * trace)


def bootstrapped(rewards: Tensor, played: Trajectories, policy: Policy, discount: float) -> Tensor:
    """Rewards `[R, B, T]` and, where a time limit cut an episode off, the discounted value of its last state.

    It is added to the last step's reward (Pardo et al. 2018, eq. 6): what would have followed is worth something, while
    nothing follows an end.

    Args:
        rewards: in the unit of the policy's values.
        played: says which episodes have come to an end.
        policy: values states.
        discount: gamma.
    """
    if bool(played.terminated.all()):
        return rewards
    value = torch.where(played.terminated, 0.0, discount * policy(played.last)[1])
    return rewards.scatter_add(-1, played.lengths[..., None] - 1, value[..., None])


def approximate_kl(change: Tensor) -> Tensor:
    """An unbiased estimate at each step of the divergence from the old policy to the new, never below zero.

    It is r - 1 - log r (http://joschu.net/blog/kl-approx.html, the estimator k3), of the shape of its argument.

    Args:
        change: log r, of the new probability of the action taken, divided by the old.
    """
    return change.expm1() - change


def clipped_gain(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The clipped surrogate objective (Schulman et al. 2017, eq. 7) of each step, of the shape of its arguments.

    Args:
        ratio: the new probability of the action taken, divided by the old.
        advantages: of that action.
        clip: how far the ratio may move before its gradient ends.
    """
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
