"""Two links that are swung up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.environment import Discrete, TimeLimit
from prefrl_cli.core.figures import Shape
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.classic_control.control import Control, Horizon, Numbers, Plane, Truths, visited, wrapped_angle
from prefrl_cli.env.classic_control.shapes import circle, line

_SECONDS = 0.2  # of a step
_GRAVITY = 9.8
_FASTEST = (4 * np.pi, 9 * np.pi)


class Acrobot(Control):
    """Two links that hang from a hinge are swung up by a torque of -1, 0 or 1 between them (`Acrobot-v1`).

    State: the first link's angle, 0 when it hangs, the second's to the first, and their velocities; observed as cosine
    and sine of both angles and the velocities. A step costs 1, but for the one by which the tip comes to more than a
    link's length above the hinge. Solved: it did.
    """

    observation_high = (1.0, 1.0, 1.0, 1.0, *_FASTEST)
    observation_scale = (1.0, 1.0, 1.0, 1.0, 4.0, 8.0)
    action_space = Discrete(3)
    reset_draws = 4
    start = ((-0.1, 0.1),) * 4
    plane = Plane(
        0, 1, "angle of the first link (radians)", "angle of the second to the first (radians)",
        (-np.pi, np.pi), (-np.pi, np.pi), ", at rest",
    )  # fmt: skip

    def __init__(
        self,
        horizon: Horizon = 500,
        fixed_horizon: bool = True,
        absorbing: bool = True,
        time_limit: TimeLimit = "bootstrap",
    ) -> None:
        super().__init__(horizon, fixed_horizon, absorbing, time_limit)

    @property
    def return_range(self) -> tuple[float, float]:
        """Bounds of the return of an episode."""
        return -float(self.horizon), 0.0

    def observe(self, state: Numbers) -> NDArray[np.float32]:
        """Cosine and sine of both angles, and the velocities, of states `[..., 4]`: `[..., 6]`."""
        first, second = state[..., 0], state[..., 1]
        seen = [np.cos(first), np.sin(first), np.cos(second), np.sin(second), state[..., 2], state[..., 3]]
        return np.stack(seen, -1).astype(np.float32)

    def success(self, played: Trajectories) -> Tensor:
        """Whether the tip of trajectories `[R, B]` came up."""
        return (self.diagnostics(visited(played))["height"] > 1.0).any(-1)

    def diagnostics(self, states: Tensor) -> dict[str, Tensor]:
        """The `height` of the tip above the hinge, in links, in observed states `[..., 6]`."""
        cosine, sine, cosine_2, sine_2 = states[..., :4].unbind(-1)
        return {"height": -cosine - (cosine * cosine_2 - sine * sine_2)}

    def _move(self, state: Numbers, actions: NDArray[Any]) -> Sequence[Numbers]:
        """A step of the fourth-order rule of Runge and Kutta."""
        before, torque = np.moveaxis(state, -1, 0), actions - 1.0
        slope = _slope(before, torque)
        slope_2 = _slope(before + _SECONDS / 2 * slope, torque)
        slope_3 = _slope(before + _SECONDS / 2 * slope_2, torque)
        slope_4 = _slope(before + _SECONDS * slope_3, torque)
        after = before + _SECONDS / 6.0 * (slope + 2 * slope_2 + 2 * slope_3 + slope_4)
        return *map(wrapped_angle, after[:2]), *(after[2 + i].clip(-most, most) for i, most in enumerate(_FASTEST))

    def _is_over(self, state: Numbers) -> Truths:
        over: Truths = -np.cos(state[..., 0]) - np.cos(state[..., 1] + state[..., 0]) > 1.0
        return over

    def _reward(self, state: Numbers, actions: NDArray[Any], arrived: Truths) -> Numbers:
        return np.where(arrived, 0.0, -1.0)

    def unobserve(self, seen: NDArray[np.floating]) -> Numbers:
        """Angles and velocities `[..., 4]` of what was observed `[..., 6]`."""
        angles = [np.arctan2(seen[..., 1], seen[..., 0]), np.arctan2(seen[..., 3], seen[..., 2])]
        return np.stack([*angles, seen[..., 4], seen[..., 5]], -1).astype(np.float64)

    def _picture(self, *state: float) -> list[Shape]:
        first, second = state[0], state[0] + state[1]
        hinge = np.array([0.5, 0.5])
        middle = hinge + 0.22 * np.array([np.sin(first), -np.cos(first)])
        tip = middle + 0.22 * np.array([np.sin(second), -np.cos(second)])
        return [
            line([[0, 0.72], [1, 0.72]], "goal"),
            line([hinge, middle], "trail", 0.04),
            line([middle, tip], "agent", 0.04),
            circle(hinge, 0.02),
            circle(middle, 0.02),
        ]


def _slope(state: Numbers, torque: Numbers) -> Numbers:
    """How fast angles and velocities `[4, ...]` change (Sutton 1996, with the equations of Sutton and Barto's book)."""
    angle, angle_2, spin, spin_2 = state
    sine_2, cosine_2 = np.sin(angle_2), np.cos(angle_2)
    inertia = 0.25 + (1.25 + cosine_2) + 1.0 + 1.0
    inertia_2 = 0.25 + 0.5 * cosine_2 + 1.0
    pull_2 = 0.5 * _GRAVITY * np.cos(angle + angle_2 - np.pi / 2)
    pull = -0.5 * spin_2**2 * sine_2 - spin_2 * spin * sine_2 + 1.5 * _GRAVITY * np.cos(angle - np.pi / 2) + pull_2
    turn_2 = torque + inertia_2 / inertia * pull - 0.5 * spin**2 * sine_2 - pull_2
    turn_2 = turn_2 / (1.25 - inertia_2**2 / inertia)
    return np.stack([spin, spin_2, -(inertia_2 * turn_2 + pull) / inertia, turn_2])
