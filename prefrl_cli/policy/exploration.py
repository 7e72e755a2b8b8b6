"""How often a policy acts at random."""

from __future__ import annotations

from prefrl_cli.core.option_types import Fraction, NotNegative


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
