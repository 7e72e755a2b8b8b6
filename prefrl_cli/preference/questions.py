"""Pairs of trajectories that are asked about."""

from __future__ import annotations

import torch
from torch import Tensor

from prefrl_cli.reward_model.explicit import ProcessReward
from prefrl_cli.reward_model.implicit import ImplicitReward

Model = ProcessReward | ImplicitReward

Pairs = dict[str, Tensor]  # `[R, Q, 2, ...]` each: what a store holds, of the first and second of a question


def margins(reward_model: Model, pairs: Pairs) -> Tensor:
    """Each member's score of the first less that of the second, `[R, M, Q]`."""
    return differences(reward_model.member_rewards(pairs["states"], pairs["actions"]), pairs["lengths"][:, None])


def differences(rewards: Tensor, lengths: Tensor) -> Tensor:
    """The sum of step rewards `[..., 2, T]` of the first less that of the second, `[...]`, of `lengths` `[..., 2]`."""
    steps = torch.arange(rewards.shape[-1], device=rewards.device)
    signs = torch.tensor([[1.0], [-1.0]], device=rewards.device)
    signed = torch.where(steps < lengths[..., None], signs, 0.0)
    return (rewards * signed).flatten(-2).sum(-1)
