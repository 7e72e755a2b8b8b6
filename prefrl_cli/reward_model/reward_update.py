"""When and how much the reward model learns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from prefrl_cli.core.optimizer import Optimizer
from prefrl_cli.core.option_types import Count, CountOrZero, Items, RepeatsOrZero
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import draw_subsets

Loss = Callable[[Tensor, Tensor], Tensor]


class RewardUpdate:
    """When and how the process reward model is fitted.

    Args:
        updates: steps a call.
        batch: preferences a step, drawn without replacement from those kept.
        every: calls every so many updates of the algorithm.
        start: the first update at which it may be.
        min_questions: not before this many questions were asked.
        dataset_capacity: preferences kept, the newest.
    """

    def __init__(
        self,
        updates: RepeatsOrZero = 3,
        batch: Items = 32,
        every: Count = 1,
        start: CountOrZero = 0,
        min_questions: Count = 1,
        dataset_capacity: Items = 500,
    ) -> None:
        self.updates, self.batch, self.every, self.start = updates, batch, every, start
        self.min_questions, self.dataset_capacity = min_questions, dataset_capacity

    def due(self, step: int, asked: int) -> bool:
        """Whether the model is fitted at this update (the first is 0)."""
        return step % self.every == 0 and step >= self.start and asked >= self.min_questions

    def fit(self, streams: Streams, count: Tensor, loss: Loss, optimizer: Optimizer) -> Tensor:
        """Fit to random batches of kept preferences.

        Args:
            streams: random numbers.
            count: preferences kept, `[R]`.
            loss: the loss `[R, M]` of each member on preferences, of their indices and a mask `[R, batch]` that is
                false where a seed has fewer.
            optimizer: of the reward model; each member has parameters and a loss of its own.

        Returns:
            The mean loss `[R]`, NaN for a seed without any preference.
        """
        indices, mask = draw_subsets(streams, "reward_batch", count, self.updates, self.batch, self.dataset_capacity)
        total = torch.zeros(len(streams.seeds), device=streams.device)
        for number in range(self.updates):
            each = loss(indices[:, number], mask[:, number])
            optimizer.step(each.sum(1))
            total += each.detach().mean(1)
        return torch.where(count > 0, total / self.updates, torch.nan)
