"""What a learning algorithm is to whoever builds, trains and looks at one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from prefrl_cli.core.figures import Figure, History
    from prefrl_cli.core.layers.exactness import Trained
    from prefrl_cli.core.metric import Metric
    from prefrl_cli.core.optimizer import Optimizer
    from prefrl_cli.core.streams import Streams


class Algorithm(Protocol):
    """What the runner needs to train R seeds.

    Attributes:
        steps: calls of `update()` wanted.
        step: calls done.
        streams: the random numbers of each seed.
        examples: the first few items of the last evaluation, a column `[R, K]` a name; may be empty.
        optimizers: of everything that is learned. They say which seeds' numbers are still finite.
        metrics: what each number is that `update`, `evaluate` and `play` give; of others only the name is known.
    """

    steps: int
    step: int
    streams: Streams
    examples: dict[str, Tensor]
    optimizers: Sequence[Optimizer]
    metrics: Sequence[Metric]

    def update(self) -> dict[str, Tensor]:
        """Train by one step; metrics by name, `[R]` each."""

    def evaluate(self) -> dict[str, Tensor]:
        """What is known now, `[R]` each; it changes nothing that training depends on."""

    def networks(self) -> dict[str, Trained]:
        """What is trained and in which sizes, by name; one that has no such method is not checked for exactness."""

    def figures(self, history: History, living: NDArray[np.bool_]) -> dict[str, Figure]:
        """Charts by file name.

        Args:
            history: training metrics `[N, R]`, whose first row is that of the first update, and
                `evaluation/<name>` `[N + 1, R]`, whose first row is before training; NaN where there is no value.
            living: the seeds that have not failed, `[R]`; of the others nothing is shown but their history.
        """

    def play(self, episodes: int) -> dict[str, Tensor]:
        """What the policy reaches in so many fresh episodes, `[R]` each; nothing where there are no episodes."""

    def adopt(self, state: dict[str, Any]) -> None:
        """Take what was learned, and nothing else, from a `state()`; the environment and the seeds may be others."""

    def state(self) -> dict[str, Any]:
        """Everything that changes while training: tensors, numbers, words, and lists and dictionaries of these."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`."""
