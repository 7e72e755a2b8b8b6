"""How a learned process reward reaches the policy."""

from __future__ import annotations

from torch import Tensor

from prefrl_cli.limits import Fraction, NotNegative


class NoShaping:
    """The environment's reward alone; the process reward is learned but not used."""

    def __call__(self, rewards: Tensor, here: Tensor, following: Tensor, mask: Tensor) -> Tensor:
        """The rewards, unchanged."""
        return rewards


class AdditiveShaping:
    """Adds the process reward of the state that is left (the tutorial). It can change the best policy.

    Args:
        weight: of the process reward.
    """

    def __init__(self, weight: NotNegative = 0.1) -> None:
        self.weight = weight

    def __call__(self, rewards: Tensor, here: Tensor, following: Tensor, mask: Tensor) -> Tensor:
        """Shaped rewards `[R, B, T]`.

        Args:
            rewards: the environment's, `[R, B, T]`.
            here: process reward of the state before each step, `[R, B, T]`.
            following: process reward of the state after each step, `[R, B, T]`.
            mask: 1 for the steps taken.
        """
        return rewards + self.weight * here * mask


class PotentialShaping:
    """Adds discount * Phi(s') - Phi(s), Phi the process reward (Ng, Harada and Russell 1999, eq. 2).

    Phi is 0 where an episode ends, so the best policy stays what it was.

    Args:
        weight: of the potential, in units of the reward.
        discount: the policy update's.
    """

    def __init__(self, weight: NotNegative = 1.0, discount: Fraction = 0.98) -> None:
        self.weight, self.discount = weight, discount

    def __call__(self, rewards: Tensor, here: Tensor, following: Tensor, mask: Tensor) -> Tensor:
        """Shaped rewards `[R, B, T]`; the arguments are those of `AdditiveShaping`."""
        goes_on = mask.roll(-1, -1)
        goes_on[..., -1] = 0.0
        return rewards + self.weight * (self.discount * following * goes_on - here) * mask
