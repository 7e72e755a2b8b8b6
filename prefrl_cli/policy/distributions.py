"""Distributions over actions, as a policy gives them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
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

    def sample(self, uniform: Tensor) -> Tensor:
        """Actions `[R, ...]` from numbers in [0, 1) of that shape, by inverting the distribution function."""
        below = self.log_probabilities[..., :-1].double().exp()
        if below.shape[-1] == 1:
            return (below.squeeze(-1) <= uniform).long()
        return (below.cumsum(-1) <= uniform[..., None]).sum(-1)

    def mode(self) -> Tensor:
        """The most probable actions, `[R, ...]`; the lowest number wins a tie."""
        return self.log_probabilities.argmax(-1)


class Gaussian(NamedTuple):
    """Independent normal distributions of A numbers.

    Attributes:
        mean: `[R, ..., A]`.
        log_std: of the same shape, or one that is stretched to it.
    """

    mean: Tensor
    log_std: Tensor

    def log_probability(self, actions: Tensor) -> Tensor:
        """The logarithm of the density at actions `[R, ..., A]`: `[R, ...]`."""
        deviation = (actions - self.mean) * (-self.log_std).exp()
        return -(0.5 * deviation.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """In nats, `[R, ...]`."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).expand_as(self.mean).sum(-1)

    def sample(self, normal: Tensor) -> Tensor:
        """Actions `[R, ..., A]` from standard normal numbers of that shape."""
        return torch.addcmul(self.mean, normal.float(), self.log_std.exp())

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean
