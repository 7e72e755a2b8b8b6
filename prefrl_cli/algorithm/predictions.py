"""How well a reward model predicts preferences: what it said, what the answer was, and the chart of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.figures import Array


class Predictions(NamedTuple):
    """Pairs on which a reward model is tested.

    Attributes:
        margins: the model's score of the first less that of the second, `[R, K]`.
        labels: 1 where the first is preferred, else 0, `[R, K]`.
        weights: 0 for pairs that do not count, `[R, K]`.
    """

    margins: Tensor
    labels: Tensor
    weights: Tensor

    def accuracy(self) -> Tensor:
        """The share of right answers, a tossed coin where both have one score, `[R]`; NaN where no pair counts."""
        right = torch.where(self.margins == 0, 0.5, ((self.margins > 0) == (self.labels > 0.5)).float())
        return (right * self.weights).sum(1) / self.weights.sum(1)

    def arrays(self) -> tuple[Array, Array, Array]:
        """The chance that the first is preferred (Bradley and Terry 1952), labels and weights, `[R, K]` each."""
        chances = logsigmoid(self.margins.double()).exp()
        some = [values.detach().cpu().numpy() for values in (chances, self.labels, self.weights)]
        return np.asarray(some[0]), np.asarray(some[1]), np.asarray(some[2])
