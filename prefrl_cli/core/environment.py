"""What an environment tells of itself, in Gymnasium's terms; learners, teachers and criteria ask for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from prefrl_cli.core.trajectories import Trajectories

TimeLimit = Literal["end", "bootstrap"]


@dataclass(frozen=True)
class Discrete:
    """Numbers 0 .. n - 1."""

    n: int


@dataclass(frozen=True)
class Box:
    """Numbers of a shape, each between `low` and `high`."""

    low: float
    high: float
    shape: tuple[int, ...]


class FiniteEnvironment(Protocol):
    """An environment whose states are numbered, with one start and one goal; see `prefrl_cli.env.maze.Maze`.

    Attributes:
        observation_space: what models see of a state. `Discrete`: its number, and models are evaluated once for the
            table of all states. `Box`: a vector, whatever its type.
        action_space: what is chosen among.
        num_states: S.
        num_actions: A, that of the action space.
        horizon: most steps of an episode.
        time_limit: whether an episode that reaches the horizon has come to an `end`, after which nothing is gained, or
            was only cut off, so that the value of its last state counts (`bootstrap`).
        start: a state.
        goal: the state on which an episode ends.
        goal_reward: of the step that reaches it; every other step gives 0.
        transitions: `[S, A]`, the state that follows.
    """

    num_states: int
    num_actions: int
    horizon: int
    time_limit: TimeLimit
    goal_reward: float
    start: int
    goal: int
    transitions: np.ndarray

    @property
    def observation_space(self) -> Discrete | Box:
        """Of what `observe` gives."""

    @property
    def action_space(self) -> Discrete:
        """Of the actions."""

    def observe(self, states: Tensor) -> Tensor:
        """What models see of states `[...]`: their numbers, or vectors `[..., *shape]`."""

    def success(self, played: Trajectories) -> Tensor:
        """Whether trajectories `[R, B]` are successes."""

    def diagnostics(self, states: Tensor) -> Mapping[str, Tensor]:
        """What only the environment can tell of states `[...]`, by name, `[...]` each: `distance` to a goal, if any."""

    def figures(self, learned: Any) -> dict[str, Any]:
        """Pictures of what one seed has learned, by file name; none where there is nothing to see.

        Args:
            learned: a `prefrl_cli.charts.figures.Learned`.
        """
