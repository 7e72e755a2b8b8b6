"""When and how much the reward model learns."""

from __future__ import annotations

from prefrl_cli.core.option_types import Count, CountOrZero, Items, RepeatsOrZero


class RewardUpdate:
    """When and how the process reward model is fitted.

    Args:
        updates: steps a call.
        batch: preferences a step, drawn without replacement from those kept.
        every: calls every so many updates of the algorithm.
        start: the first update at which it may be.
        minimum: not before this many questions were asked.
        keep: preferences kept, the newest.
    """

    def __init__(
        self,
        updates: RepeatsOrZero = 3,
        batch: Items = 32,
        every: Count = 1,
        start: CountOrZero = 0,
        minimum: Count = 1,
        keep: Items = 500,
    ) -> None:
        self.updates, self.batch, self.every, self.start = updates, batch, every, start
        self.minimum, self.keep = minimum, keep

    def due(self, step: int, asked: int) -> bool:
        """Whether the model is fitted at this update (the first is 0)."""
        return step % self.every == 0 and step >= self.start and asked >= self.minimum
