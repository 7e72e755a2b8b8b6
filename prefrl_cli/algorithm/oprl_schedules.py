"""When OPRL fits its reward model, and how much it explores."""

from __future__ import annotations

from prefrl_cli.limits import Count, CountOrZero, Fraction, Items, NotNegative, RepeatsOrZero


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


class Exploration:
    """Uniform actions mixed into the policy: epsilon = max(least, start - fall * step).

    Args:
        start: epsilon of the first update.
        fall: how much it falls an update.
        least: where it stays.
    """

    def __init__(self, start: Fraction = 0.0, fall: NotNegative = 0.0, least: Fraction = 0.0) -> None:
        self.start, self.fall, self.least = start, fall, least

    def __call__(self, step: int) -> float:
        """Epsilon at an update."""
        return max(self.least, self.start - self.fall * step)
