"""Distributions over actions, as a policy gives them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Categorical(NamedTuple):
    """A choice among A actions in each state.

    Attributes:
        log_probabilities: `[R, ..., A]`.
    """

    log_probabilities: Tensor

    def log_probability(self, actions: Tensor) -> Tensor:
        """Of the actions `[R, ...]` that were taken: `[R, ...]`."""
        return self.log_probabilities.gather(-1, actions[..., None]).squeeze(-1)

    def entropy(self) -> Tensor:
        """In nats, `[R, ...]`."""
        return -(self.log_probabilities.exp() * self.log_probabilities).sum(-1)
