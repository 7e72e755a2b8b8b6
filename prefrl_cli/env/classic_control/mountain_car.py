"""A car that swings itself out of a valley."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from prefrl_cli.core.environment import Box, Discrete, TimeLimit
from prefrl_cli.core.figures import Shape
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.classic_control.control import Control, Horizon, Numbers, Plane, Truths, visited
from prefrl_cli.env.classic_control.shapes import box, circle, line, polygon

_LEFT, _RIGHT, _FASTEST = -1.2, 0.6, 0.07


class MountainCar(Control):
    """A car in a valley, too weak to drive out at once, gathers speed to reach a flag (`MountainCar-v0`).

    State and observation: position and velocity. The actions push left, not at all, and right. A step costs 1 until the
    flag is reached. Solved: it was.
    """

    observation_high = (-_LEFT, _FASTEST)
    observation_scale = (1.0, _FASTEST)
    action_space: Discrete | Box = Discrete(3)
    reset_draws = 1
    start = ((-0.6, -0.4), (0.0, 0.0))
    plane = Plane(0, 1, "position", "velocity (a step)", (_LEFT, _RIGHT), (-_FASTEST, _FASTEST))
    flag = 0.5  # its position

    def __init__(
        self,
        horizon: Horizon = 200,
        fixed_horizon: bool = True,
        absorbing: bool = True,
        time_limit: TimeLimit = "bootstrap",
    ) -> None:
        super().__init__(horizon, fixed_horizon, absorbing, time_limit)

    @property
    def return_range(self) -> tuple[float, float]:
        """Bounds of the return of an episode."""
        return -float(self.horizon), 0.0

    def success(self, played: Trajectories) -> Tensor:
        """Whether the car of trajectories `[R, B]` reached the flag."""
        seen = visited(played)
        return ((seen[..., 0] >= self.flag) & (seen[..., 1] >= 0)).any(-1)

    def diagnostics(self, states: Tensor) -> dict[str, Tensor]:
        """The `position` of the car in observed states `[..., 2]`."""
        return {"position": states[..., 0]}

    def _push(self, actions: NDArray[Any]) -> Numbers:
        """What the engine adds to the velocity."""
        return (actions - 1) * 0.001

    def _move(self, state: Numbers, actions: NDArray[Any]) -> Sequence[Numbers]:
        position, velocity = state[..., 0], state[..., 1]
        velocity = (velocity + (self._push(actions) - 0.0025 * np.cos(3 * position))).clip(-_FASTEST, _FASTEST)
        position = (position + velocity).clip(_LEFT, _RIGHT)
        return position, np.where((position == _LEFT) & (velocity < 0), 0.0, velocity)

    def _is_over(self, state: Numbers) -> Truths:
        return (state[..., 0] >= self.flag) & (state[..., 1] >= 0)

    def _reward(self, state: Numbers, actions: NDArray[Any], arrived: Truths) -> Numbers:
        return np.full(arrived.shape, -1.0)

    def _picture(self, *state: float) -> list[Shape]:
        slope = float(np.arctan(1.5 * np.cos(3 * state[0])))
        along, up = np.array([np.cos(slope), np.sin(slope)]), np.array([-np.sin(slope), np.cos(slope)])
        wheel, flag = _on_hill(state[0]) + 0.02 * up, _on_hill(self.flag)
        return [
            line(_on_hill(np.linspace(_LEFT, _RIGHT, 37)), "soft"),
            line([flag, flag + [0, 0.15]]),
            polygon([flag + [0, 0.15], flag + [0, 0.09], flag + [-0.08, 0.12]], "goal"),
            polygon(box(wheel + 0.03 * up, 0.12, 0.05, slope), "agent"),
            circle(wheel - 0.035 * along, 0.02),
            circle(wheel + 0.035 * along, 0.02),
        ]


def _on_hill(position: ArrayLike) -> Numbers:
    """Where positions `[...]` lie in the picture, `[..., 2]`."""
    at = np.asarray(position, dtype=np.float64)
    return np.stack([0.05 + (at - _LEFT) / 2, 0.4 + 0.25 * np.sin(3 * at)], -1)


class MountainCarContinuous(MountainCar):  # a second level, since engine, flag and reward are all that differs
    """The car with an engine that takes any push within 1 (`MountainCarContinuous-v0`).

    A step costs 0.1 push², of the push that the engine takes, and reaching the flag gives 100. Gymnasium rounds its
    state to 32 bits after each step; here it keeps 64.
    """

    action_space = Box(-1.0, 1.0, (1,))
    flag = 0.45

    def __init__(
        self,
        horizon: Horizon = 999,
        fixed_horizon: bool = True,
        absorbing: bool = True,
        time_limit: TimeLimit = "bootstrap",
    ) -> None:
        super().__init__(horizon, fixed_horizon, absorbing, time_limit)

    @property
    def return_range(self) -> tuple[float, float]:
        """Bounds of the return of an episode; a car that may roll back can reach the flag more than once."""
        once = self.absorbing or not self.fixed_horizon
        return -0.1 * self.horizon, 100.0 * (1 if once else -(-self.horizon // 2))

    def _push(self, actions: NDArray[Any]) -> Numbers:
        return actions * 0.0015

    def _reward(self, state: Numbers, actions: NDArray[Any], arrived: Truths) -> Numbers:
        return np.where(arrived, 100.0, 0.0) - 0.1 * actions**2
