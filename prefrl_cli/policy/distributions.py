"""Distributions over actions."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Policy(Protocol):
    """Log-probabilities `[R, ..., A]` and values `[R, ...]` of states."""

    def __call__(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Both, for states `[R, ...]`."""


def log_probability(log_probabilities: Tensor, actions: Tensor) -> Tensor:
    """Of the actions `[...]` that were taken, out of `[..., A]`: `[...]`."""
    return log_probabilities.gather(-1, actions[..., None]).squeeze(-1)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy in nats of `[..., A]`: `[...]`."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)
