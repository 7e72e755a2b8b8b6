"""The notebook's task: two whole numbers are shown, a real action answers with their sum."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from prefrl_cli.core.option_types import Limits, Number, Positive
from prefrl_cli.core.streams import Streams


class Addition:
    """States (a, b) of whole numbers, actions x on the real line, reward intercept - slope |a + b - x|.

    Args:
        largest: a and b run from 0 to this.
        intercept: reward of the right answer.
        slope: reward lost for each unit of distance.

    Attributes:
        numbers: how many values a takes.
        actions: how many whole-numbered actions there are, 0 .. 2 * numbers - 1 (the notebook's range).
    """

    def __init__(self, largest: Annotated[int, Limits(1, 99)] = 9, intercept: Number = 3.0, slope: Positive = 0.15):
        self.numbers, self.intercept, self.slope = largest + 1, intercept, slope
        self.actions = 2 * self.numbers

    def draw_states(self, streams: Streams, purpose: str, count: int) -> Tensor:
        """States `[R, count, 2]`, float64: the floors of uniform numbers."""
        return streams.uniform(purpose, count, 2, high=self.numbers).floor()

    def draw_actions(self, streams: Streams, purpose: str, count: int) -> Tensor:
        """Whole-numbered actions `[R, count]` over the range, float64."""
        return streams.uniform(purpose, count, high=self.actions).floor()

    def all_states(self, replicas: int, device: torch.device) -> Tensor:
        """Every state, `[R, numbers ** 2, 2]`."""
        line = torch.arange(self.numbers, dtype=torch.float64, device=device)
        return torch.cartesian_prod(line, line).expand(replicas, -1, -1)

    @staticmethod
    def answer(states: Tensor) -> Tensor:
        """The right action `[R, B]` for states `[R, B, 2]`."""
        return states.sum(-1)

    def reward(self, states: Tensor, actions: Tensor) -> Tensor:
        """The true reward `[R, B]`."""
        return self.intercept - self.slope * (self.answer(states) - actions).abs()
