"""An environment of which only a file of preferences is known: what is seen of it and done in it, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.environment import Box, Discrete, TimeLimit
from prefrl_cli.core.option_types import Given, OptionError
from prefrl_cli.core.trajectories import Trajectories


class Steps(Protocol):
    """What is asked of a file's content: states and actions of both segments, `[N, 2, T]` or `[N, 2, T, F]`."""

    @property
    def states(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def actions(self) -> NDArray[Any]: ...  # noqa: D102


class Recorded:
    """The spaces of the states and actions in a file; a reward is learned of it, and no policy.

    Args:
        preference_data: of any environment.

    Raises:
        OptionError: where there is no file.
    """

    time_limit: TimeLimit = "end"

    def __init__(self, preference_data: Given[Steps | None] = None) -> None:
        if preference_data is None:
            raise OptionError("env", "recorded", "is known by a file alone", {"preferences.file": "FILE"})
        states, actions = preference_data.states, preference_data.actions
        self.observation_space, self.action_space = _space(states), _space(actions)
        self.horizon = states.shape[2]

    def success(self, played: Trajectories) -> Tensor:
        """Nobody knows: none, `[R, B]`."""
        return torch.zeros_like(played.lengths, dtype=torch.bool)

    def diagnostics(self, states: Tensor) -> Mapping[str, Tensor]:
        """Nothing is known."""
        return {}

    def figures(self, learned: Any) -> dict[str, Any]:
        """There is nothing to see."""
        return {}


def _space(values: NDArray[Any]) -> Discrete | Box:
    """What values `[N, 2, T]` or `[N, 2, T, F]` are among."""
    if values.ndim == 3:
        return Discrete(int(values.max()) + 1)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return Box(low, high, values.shape[3:])
