"""Pairs of trajectories that are asked about."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Model(Protocol):
    """A learned reward, as questions need it: M members give each step a reward."""

    members: int

    def member_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Each member's rewards `[R, M, ...]` of taking `actions` `[R, ...]` in `states` `[R, ...]`."""


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
