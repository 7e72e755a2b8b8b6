"""Who answers which of two is better. A label is the probability that the FIRST is preferred; weight 0 is skipped."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from prefrl_cli.limits import Fraction

Ties = Literal["first", "second", "equal", "skip"]


def judge(first: Tensor, second: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
    """Labels for pairs of scores.

    Args:
        first: scores of the first of each pair, any shape.
        second: scores of the second, same shape.
        ties: what an exact tie becomes.

    Returns:
        Label (1, 0 or 0.5) and weight (1, or 0 for a skipped tie), float32, same shape.
    """
    tied = first == second
    label = (first > second).float()
    if ties in ("first", "equal", "skip"):
        label = torch.where(tied, 1.0 if ties == "first" else 0.5, label)
    weight = torch.where(tied, 0.0, 1.0) if ties == "skip" else torch.ones_like(label)
    return label, weight


class Return:
    """Prefers the trajectory of larger (discounted) return.

    Args:
        discount: weight of a reward one step later; below 1, the shorter of two successes is preferred.
        ties: what a tie becomes. The tutorial gives ties to the second, which teaches noise.
    """

    def __init__(self, discount: Fraction = 1.0, ties: Ties = "skip") -> None:
        self.discount, self.ties = discount, ties

    def score(self, rewards: Tensor, distances: Tensor) -> Tensor:
        """Scores `[R, B]` of rewards `[R, B, T]` (zero past the end); the distances to the goal are not looked at."""
        weights = self.discount ** torch.arange(rewards.shape[-1], dtype=rewards.dtype, device=rewards.device)
        return (rewards * weights).sum(-1)

    def label(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Label and weight of pairs of scores."""
        return judge(first, second, self.ties)


class Progress:
    """What a person watching a maze would say.

    A success beats a failure; of two successes the shorter one is preferred; of two failures the one that ended
    closer to the goal (shortest-path steps).

    Args:
        ties: what a tie becomes.
    """

    def __init__(self, ties: Ties = "skip") -> None:
        self.ties = ties

    def score(self, rewards: Tensor, distances: Tensor) -> Tensor:
        """Scores `[R, B]`: minus the last distance of a failure, 1 / steps of a success.

        Args:
            rewards: `[R, B, T]`, zero past the end; a positive one is the goal.
            distances: `[R, B]`, shortest-path steps from the last state to the goal.
        """
        steps = torch.arange(1, rewards.shape[-1] + 1, device=rewards.device)
        arrival = torch.where(rewards > 0, 1.0 / steps, 0.0).amax(-1)
        return torch.where(arrival > 0, arrival, -distances.to(arrival.dtype))

    def label(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Label and weight of pairs of scores."""
        return judge(first, second, self.ties)


class Closest:
    """Prefers the answer closer to the right one (the addition task).

    Args:
        ties: what a tie becomes.
    """

    def __init__(self, ties: Ties = "skip") -> None:
        self.ties = ties

    def score(self, answers: Tensor, actions: Tensor) -> Tensor:
        """Minus the distance `[R, B]` of actions from the right answers."""
        return -(answers - actions).abs()

    def label(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Label and weight of pairs of scores."""
        return judge(first, second, self.ties)
