"""How a learned process reward reaches the policy."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from prefrl_cli.core.option_types import Fraction, NotNegative
from prefrl_cli.core.trajectories import Trajectories, standardise


class ProcessReward(Protocol):
    """A learned reward, as a shaping needs it."""

    def __call__(self, states: Tensor) -> Tensor:
        """Of states `[R, ...]`: `[R, ...]`."""

    def member_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Each member's rewards `[R, M, ...]` of steps."""


class NoShaping:
    """The environment's reward alone; the process reward is learned but not used."""

    step_weight = 0.0
    needs_state_rewards = False  # whether states have to have rewards, and not steps alone

    def __call__(self, trajectories: Trajectories, process: ProcessReward) -> Tensor:
        """The rewards `[R, B, T]`, unchanged."""
        return trajectories.rewards


class StepAdvantage(NoShaping):
    """Adds the standardised step reward to the advantage, not to the reward (the OPRL paper's eq. 7-9).

    Args:
        weight: alpha, of the step advantage.
        alone: whether the environment's reward is left out, so that the answers alone teach the policy.
    """

    def __init__(self, weight: NotNegative = 0.1, alone: bool = False) -> None:
        self.step_weight, self._alone = weight, alone

    def __call__(self, trajectories: Trajectories, process: ProcessReward) -> Tensor:
        """The rewards `[R, B, T]`, unchanged, or zero."""
        return torch.zeros_like(trajectories.rewards) if self._alone else trajectories.rewards


class AdditiveShaping:
    """Adds the process reward of the state that is left (the tutorial). It can change the best policy.

    Args:
        weight: of the process reward.
    """

    step_weight = 0.0
    needs_state_rewards = True

    def __init__(self, weight: NotNegative = 0.1) -> None:
        self.weight = weight

    def __call__(self, trajectories: Trajectories, process: ProcessReward) -> Tensor:
        """Shaped rewards `[R, B, T]` of trajectories, `process` giving a reward for each state."""
        return trajectories.rewards + self.weight * process(trajectories.states) * trajectories.mask


class PotentialShaping:
    """Adds discount * Phi(s') - Phi(s), Phi the process reward (Ng, Harada and Russell 1999, eq. 2).

    Phi is 0 where an episode ends, so the best policy stays what it was; where a time limit cut it off, Phi of the last
    state counts, as its value does.

    Args:
        weight: of the potential, in units of the reward.
        discount: the policy update's.
    """

    step_weight = 0.0
    needs_state_rewards = True

    def __init__(self, weight: NotNegative = 3.0, discount: Fraction = 0.98) -> None:
        self.weight, self.discount = weight, discount

    def __call__(self, trajectories: Trajectories, process: ProcessReward) -> Tensor:
        """Shaped rewards `[R, B, T]` of trajectories, `process` giving a potential for each state."""
        potential = process(trajectories.states) * trajectories.mask
        following = torch.cat([potential[..., 1:], torch.zeros_like(potential[..., :1])], -1)
        if not bool(trajectories.terminated.all()):
            last = torch.where(trajectories.terminated, 0.0, process(trajectories.last))
            following = following.scatter(-1, trajectories.lengths[..., None] - 1, last[..., None])
        return trajectories.rewards + self.weight * (self.discount * following - potential)


class LearnedReward:
    """The learned reward alone: nothing of the environment's reaches the policy.

    Each member's rewards are standardised over the batch, then averaged: no answer tells their scale or their origin
    (Christiano et al. 2017, 2.2.1).
    """

    step_weight = 0.0
    needs_state_rewards = False

    def __call__(self, trajectories: Trajectories, process: ProcessReward) -> Tensor:
        """The members' mean rewards `[R, B, T]` of steps, in standard deviations, zero past the end."""
        each = process.member_rewards(trajectories.states, trajectories.actions)  # [R, M, B, T]
        return standardised(each, trajectories.mask[:, None]).mean(1)


class EnvironmentReward:
    """The environment's reward alone, handled as the learned one is: what labels are measured against."""

    step_weight = 0.0
    needs_state_rewards = False

    def __call__(self, trajectories: Trajectories, process: ProcessReward) -> Tensor:
        """The environment's rewards `[R, B, T]`, standardised over the batch."""
        return standardised(trajectories.rewards, trajectories.mask)


def standardised(rewards: Tensor, mask: Tensor) -> Tensor:
    """Rewards `[..., B, T]` in standard deviations of their batch; zero where all are the same, and past the end."""
    mask = mask.expand_as(rewards)
    return standardise(rewards.flatten(-2), mask.flatten(-2), 1e-6, floor=True).view_as(rewards)


Shaping = NoShaping | AdditiveShaping | PotentialShaping | StepAdvantage | LearnedReward | EnvironmentReward
