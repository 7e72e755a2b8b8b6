"""What an environment tells of itself, in Gymnasium's terms; learners, teachers and criteria ask for nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
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


class Environment(Protocol):
    """What an algorithm needs of any environment; a batch of episodes is played with the seed axis in front.

    Attributes:
        observation_space: what models see of a state. `Discrete`: its number, and models are evaluated once for the
            table of all states. `Box`: a vector, whatever its type.
        action_space: what is chosen among: numbers, or vectors.
        horizon: most steps of an episode.
        time_limit: whether an episode that reaches the horizon has come to an `end`, after which nothing is gained, or
            was only cut off, so that the value of its last state counts (`bootstrap`).
    """

    horizon: int
    time_limit: TimeLimit

    @property
    def observation_space(self) -> Discrete | Box: ...  # noqa: D102
    @property
    def action_space(self) -> Discrete | Box: ...  # noqa: D102

    def success(self, played: Trajectories) -> Tensor:
        """Whether trajectories `[R, B]` are successes; NaN where nobody can say what a success is."""

    def diagnostics(self, states: Tensor) -> Mapping[str, Tensor]:
        """What only the environment can tell of states of trajectories, by name, a number for each state.

        A `distance` to a goal, a `position`; nothing where there is nothing to tell.
        """

    def figures(self, learned: Any) -> dict[str, Any]:
        """Pictures of what one seed has learned, by file name; none where there is nothing to see.

        Args:
            learned: a `prefrl_cli.core.figures.Learned`.
        """


class FiniteEnvironment(Environment, Protocol):
    """An environment whose states are numbered, with one start and one goal; see `prefrl_cli.env.maze.Maze`.

    Attributes:
        num_states: S.
        num_actions: A, that of the action space.
        start: a state.
        goal: the state on which an episode ends.
        goal_reward: of the step that reaches it; every other step gives 0.
        transitions: `[S, A]`, the state that follows.
    """

    num_states: int
    num_actions: int
    goal_reward: float
    start: int
    goal: int
    transitions: np.ndarray

    def observe(self, states: Tensor) -> Tensor:
        """What models see of states `[...]`: their numbers, or vectors `[..., *shape]`."""


class VectorEnvironment(Environment, Protocol):
    """An environment whose state is a vector, such as `prefrl_cli.env.classic_control.Pendulum`.

    It keeps nothing: states go in and come out, whole batches `[R, B, S]` at a time. Trajectories keep what is
    observed of a state. Each number of a result may depend only on the state and the action at its own place.

    Attributes:
        reset_draws: D, uniform numbers in [0, 1) that one start takes.
        return_range: the least and the greatest return of an episode; infinite where they are not known.

    It may also have an `observation_scale`: the typical size of each number of an observation, by which networks
    divide it; and `cut(state)`, `[R, B]`: whether an episode is cut off there, earlier than by the horizon.
    """

    reset_draws: int
    return_range: tuple[float, float]

    def reset(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """First states `[R, B, S]` from uniform numbers `[R, B, D]`."""

    def step(
        self, state: NDArray[np.float64], actions: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """What follows on states `[R, B, S]`.

        Args:
            state: `[R, B, S]`.
            actions: numbers `[R, B]`, or vectors `[R, B, A]`, which are cut off at the bounds of the space.

        Returns:
            The next states, the rewards `[R, B]`, and whether an end was reached, `[R, B]`; a time limit is no end.
        """

    def observe(self, state: NDArray[np.float64]) -> NDArray[np.float32]:
        """What models see of states `[R, B, S]`: `[R, B, *shape]`."""


def is_finite(env: Environment) -> TypeGuard[FiniteEnvironment]:
    """Whether the states are numbered."""
    return hasattr(env, "transitions")


def observer(env: Environment) -> Callable[[Tensor], Tensor]:
    """From the states of trajectories to what models see.

    Vectors were observed when the episode was played; a model sees them in units of the environment's
    `observation_scale`, so that none of their numbers is too small to matter.
    """
    if is_finite(env):
        return env.observe
    scale = getattr(env, "observation_scale", None)
    if scale is None:
        return lambda states: states
    factor = torch.tensor([1 / size for size in scale])
    return lambda states: states * factor.to(states.device)
