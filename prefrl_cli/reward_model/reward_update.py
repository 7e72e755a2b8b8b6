"""When and how much the reward model learns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from prefrl_cli.core.optimizer import Optimizer
from prefrl_cli.core.option_types import Count, CountOrZero, Items, Repeats, RepeatsOrZero
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
        first_updates: steps of the first call that finds an answer; none is as many as later.
    """

    def __init__(
        self,
        updates: RepeatsOrZero = 3,
        batch: Items = 32,
        every: Count = 1,
        start: CountOrZero = 0,
        min_questions: Count = 1,
        dataset_capacity: Items = 500,
        first_updates: Repeats | None = None,
    ) -> None:
        self.updates, self.batch, self.every, self.start = updates, batch, every, start
        self.min_questions, self.dataset_capacity = min_questions, dataset_capacity
        self.first_updates = first_updates

    def due(self, step: int, asked: int) -> bool:
        """Whether the model is fitted at this update (the first is 0)."""
        return step % self.every == 0 and step >= self.start and asked >= self.min_questions

    def fit(self, streams: Streams, count: Tensor, loss: Loss, optimizer: Optimizer, *, first: bool = False) -> Tensor:
        """Fit to random batches of kept preferences.

        Args:
            streams: random numbers.
            count: preferences kept, `[R]`.
            loss: the loss `[R, M]` of each member on preferences, of their indices and a mask `[R, batch]` that is
                false where a seed has fewer.
            optimizer: of the reward model; each member has parameters and a loss of its own.
            first: whether it is the first call.

        Returns:
            The mean loss `[R]`, NaN for a seed without any preference.
        """
        updates = self.first_updates if first and self.first_updates else self.updates
        indices, mask = draw_subsets(streams, "reward_batch", count, updates, self.batch, self.dataset_capacity)
        total = torch.zeros(len(streams.seeds), device=streams.device)
        for number in range(updates):
            each = loss(indices[:, number], mask[:, number])
            optimizer.step(each.sum(1))
            total += each.detach().mean(1)
        return torch.where(count > 0, total / updates, torch.nan)
