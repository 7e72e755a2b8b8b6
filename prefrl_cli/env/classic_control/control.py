"""What the tasks of classic control have in common: Gymnasium's physics, and an end of an episode that tells nothing.

Nothing is hidden: what follows depends on a state and an action alone, and each element on no other, so that a seed
does not depend on those beside it.

Where an episode ends as soon as its task is done, or has failed, the end itself tells the reward: a learner that is
handed a constant solves such a task. So by default an episode goes on to its horizon. A step that begins where
Gymnasium's episode would have been over earns nothing, and every other what it earns there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.environment import Box, Discrete, TimeLimit
from prefrl_cli.core.figures import Figure, Learned, Shape
from prefrl_cli.core.option_types import Limits
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.classic_control.figures import control_figures

Horizon = Annotated[int, Limits(1, 100_000)]
Numbers = NDArray[np.float64]
Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Plane:
    """Two of the numbers of a state, over which a reward is drawn.

    Attributes:
        x, y: which.
        x_label, y_label: what they are, with the unit.
        x_range, y_range: from where to where.
        rest: what the others are, as the end of a sentence; empty where there are none.
    """

    x: int
    y: int
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    rest: str = ""


class Control(ABC):
    """A task with S numbers for a state, of which a model sees F.

    Args:
        horizon: most steps of an episode.
        fixed_horizon: whether every episode goes on to the horizon, or ends where Gymnasium's does.
        absorbing: in an episode that goes on past Gymnasium's end, whether the state stays what it was there, or moves
            on as before.
        time_limit: what the horizon is: a cut after which the value of the last state counts (`bootstrap`), or the
            `end` of an episode.

    Attributes:
        observation_space: of F numbers, within the largest of `observation_high`.
        observation_high: the largest size of each of them.
        observation_scale: the typical size of each of them, by which networks divide.
        reset_draws: numbers that a reset takes.
        start: least and greatest of each number of a first state; those that are drawn come first.
        plane: over which the reward is drawn.
    """

    observation_high: tuple[float, ...]
    observation_scale: tuple[float, ...]
    action_space: Discrete | Box
    reset_draws: int
    start: tuple[tuple[float, float], ...]
    plane: Plane

    def __init__(self, horizon: int, fixed_horizon: bool, absorbing: bool, time_limit: TimeLimit) -> None:
        self.horizon, self.time_limit = horizon, time_limit
        self.fixed_horizon, self.absorbing = fixed_horizon, absorbing

    @property
    def observation_space(self) -> Box:
        """Of what `observe` gives."""
        highest = max(self.observation_high)
        return Box(-highest, highest, (len(self.observation_high),))

    @property
    @abstractmethod
    def return_range(self) -> tuple[float, float]:
        """Bounds of the return of an episode."""

    def reset(self, draws: Numbers) -> Numbers:
        """First states `[..., S]` of numbers in [0, 1), `[..., reset_draws]`, spread as Gymnasium's are."""
        low, high = np.transpose(self.start)
        drawn = np.zeros((*draws.shape[:-1], len(low)))
        drawn[..., : self.reset_draws] = draws
        states: Numbers = low + (high - low) * drawn
        return states

    def step(self, state: Numbers, actions: NDArray[Any]) -> tuple[Numbers, Numbers, Truths]:
        """One step.

        Args:
            state: `[..., S]`.
            actions: their numbers `[...]`, or `[..., 1]` real ones, which are clipped to the space of actions.

        Returns:
            The states that follow `[..., S]`, the rewards `[...]`, and whether the episode ends there, `[...]`.
        """
        if isinstance(self.action_space, Box):
            actions = actions[..., 0].astype(np.float64).clip(self.action_space.low, self.action_space.high)
        following = np.empty_like(state)
        for place, numbers in enumerate(self._move(state, actions)):
            following[..., place] = numbers
        arrived = self._is_over(following)
        reward = self._reward(state, actions, arrived)
        if not self.fixed_horizon:
            return following, reward, arrived
        over = self._is_over(state)
        if self.absorbing:
            following = np.where(over[..., None], state, following)
        return following, np.where(over, 0.0, reward), np.zeros_like(arrived)

    def observe(self, state: Numbers) -> NDArray[np.float32]:
        """What models see of states `[..., S]`: all of it, `[..., F]`."""
        return state.astype(np.float32)

    @abstractmethod
    def success(self, played: Trajectories) -> Tensor:
        """Whether trajectories `[R, B]` solved the task."""

    def diagnostics(self, states: Tensor) -> dict[str, Tensor]:
        """What only the environment can tell of observed states `[..., F]`: nothing more."""
        return {}

    def unobserve(self, seen: NDArray[np.floating]) -> Numbers:
        """The states `[..., S]` of what was observed `[..., F]`, in its 32 bits; an angle lies between -pi and pi."""
        return seen.astype(np.float64)

    def frames(self, seen: NDArray[np.floating]) -> list[list[Shape]]:
        """A picture of each of the observed states `[K, F]`."""
        return [self._picture(*state) for state in self.unobserve(seen).tolist()]

    def clip(self, states: Tensor) -> dict[str, Any]:
        """What a person is shown of observed states `[K, F]`: a film of moving shapes."""
        return {"kind": "shapes", "frames": self.frames(states.numpy())}

    def figures(self, learned: Learned) -> dict[str, Figure]:
        """What one seed learned here, as charts by file name."""
        return control_figures(self, learned)

    @abstractmethod
    def _move(self, state: Numbers, actions: NDArray[Any]) -> Sequence[Numbers]:
        """The physics: the S numbers of the states that follow, each `[...]`."""

    @abstractmethod
    def _is_over(self, state: Numbers) -> Truths:
        """Whether Gymnasium's episode ends on arriving at states, `[...]`."""

    @abstractmethod
    def _reward(self, state: Numbers, actions: NDArray[Any], arrived: Truths) -> Numbers:
        """What Gymnasium gives for a step `[...]`; `arrived`: whether its episode ends there."""

    @abstractmethod
    def _picture(self, *state: float) -> list[Shape]:
        """What is drawn of a state's S numbers."""


def wrapped_angle(angle: Numbers) -> Numbers:
    """The same angle between -pi and pi; one that lies there already stays the same to the bit."""
    turns = np.maximum(np.ceil((np.abs(angle) - np.pi) / (2 * np.pi)), 0)
    wrapped: Numbers = angle - np.copysign(turns, angle) * (2 * np.pi)
    return wrapped


def visited(played: Trajectories) -> Tensor:
    """All observed states of trajectories `[R, B]`, the last one included: `[R, B, T + 1, F]`."""
    return torch.cat([played.states, played.last.unsqueeze(-2)], -2)
