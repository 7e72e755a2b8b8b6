"""How a learned process reward reaches the policy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from prefrl_cli.core.option_types import Fraction, NotNegative
from prefrl_cli.core.trajectories import Trajectories

ProcessReward = Callable[[Tensor], Tensor]


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
    """

    def __init__(self, weight: NotNegative = 0.1) -> None:
        self.step_weight = weight


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
