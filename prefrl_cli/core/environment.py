"""What an environment tells of itself."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor


class FiniteEnvironment(Protocol):
    """An environment whose states are numbered; see `prefrl_cli.env.maze.Maze`."""

    num_states: int
    num_actions: int
    horizon: int
    goal_reward: float
    start: int
    goal: int
    transitions: np.ndarray
    distance: np.ndarray

    def observe(self, states: Tensor) -> Tensor:
        """What models see of states `[...]`: their numbers, or features `[..., num_states]`."""

    def diagnostics(self, states: Tensor) -> dict[str, Tensor]:
        """What only the environment can tell of states `[...]`, by name, `[...]` each: `distance` to a goal, if any."""
