"""Policies that search the action of the largest learned reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

import torch
from torch import Tensor

from prefrl_cli.core.option_types import Given, Limits, Number, Positive, Repeats


class ActionReward(Protocol):
    """A reward of states and actions that knows its slope along the action."""

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, B]` of states `[R, B, 2]` and actions `[R, B]`."""

    def action_slope(self, states: Tensor) -> Callable[[Tensor], Tensor]:
        """From actions `[R, B]` to the derivative `[R, B]`."""


class AnswerRange(Protocol):
    """The part of an addition task that a search over all actions needs."""

    actions: int


class Ascent:
    """Answers by gradient ascent on the learned reward, as the notebook does.

    Args:
        start: first action.
        steps: ascent steps.
        rate: length of a step for a slope of 1.
        accumulate: add up the gradients of all steps so far (a momentum of 1): the notebook's RewardNet never clears
            the action's gradient.
    """

    def __init__(
        self, start: Number = 10.0, steps: Repeats = 50, rate: Positive = 0.1, accumulate: bool = False
    ) -> None:
        self.start, self.steps, self.rate, self.accumulate = start, steps, rate, accumulate

    @torch.no_grad()
    def __call__(self, reward: ActionReward, states: Tensor) -> Tensor:
        """Actions `[R, B]`, float32, for states `[R, B, 2]`."""
        slope = reward.action_slope(states.float())
        action = states.new_full(states.shape[:-1], self.start, dtype=torch.float32)
        gradient = torch.zeros_like(action)
        for _ in range(self.steps):
            gradient = gradient + slope(action) if self.accumulate else slope(action)
            action = torch.add(action, gradient, alpha=self.rate)
        return action


class GridSearch:
    """Answers with the best of evenly spaced actions under the learned reward.

    Args:
        env: gives the largest action; the smallest is 0.
        spacing: distance between two actions tried.
    """

    def __init__(self, env: Given[AnswerRange], spacing: Annotated[float, Limits(0.001, 10)] = 0.1) -> None:
        self.actions = torch.arange(0.0, env.actions - 1 + spacing / 2, spacing)

    @torch.no_grad()
    def __call__(self, reward: ActionReward, states: Tensor) -> Tensor:
        """Actions `[R, B]`, float32, for states `[R, B, 2]`; the smallest wins a tie."""
        grid = self.actions.to(states.device)
        answers = []
        for some in states.split(max(1, 4096 // len(grid)), dim=1):
            tried = grid.expand(some.shape[0], some.shape[1], -1)
            repeated = some[:, :, None].expand(-1, -1, len(grid), -1)
            rewards = reward(repeated.flatten(1, 2), tried.flatten(1)).view_as(tried)
            answers.append(grid[rewards.argmax(-1)])
        return torch.cat(answers, 1)
