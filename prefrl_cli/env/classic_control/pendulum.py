"""A pendulum that is swung up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.environment import Box, TimeLimit
from prefrl_cli.core.figures import Shape
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.classic_control.control import Control, Horizon, Numbers, Plane, Truths
from prefrl_cli.env.classic_control.shapes import circle, line

_SECONDS = 0.05  # of a step
_FASTEST, _STRONGEST = 8.0, 2.0
_UPRIGHT = 0.9  # cosine of 26 degrees


class Pendulum(Control):
    """A pendulum, too heavy to be lifted at once, is swung up and held by a torque within 2 (`Pendulum-v1`).

    State: its angle, 0 when upright, and its velocity; observed as cosine, sine and velocity. A step costs
    angle² + 0.1 velocity² + 0.001 torque². An episode never ends before the horizon. Solved: within 26 degrees of
    upright all through the last quarter.
    """

    observation_high = (1.0, 1.0, _FASTEST)
    observation_scale = (1.0, 1.0, 4.0)
    action_space = Box(-_STRONGEST, _STRONGEST, (1,))
    reset_draws = 2
    start = ((-np.pi, np.pi), (-1.0, 1.0))
    plane = Plane(
        0, 1, "angle (radians; 0 is upright)", "velocity (radians a second)", (-np.pi, np.pi), (-_FASTEST, _FASTEST)
    )  # fmt: skip

    def __init__(self, horizon: Horizon = 200, time_limit: TimeLimit = "bootstrap") -> None:
        super().__init__(horizon, True, False, time_limit)

    @property
    def return_range(self) -> tuple[float, float]:
        """Bounds of the return of an episode."""
        return -self.horizon * (np.pi**2 + 0.1 * _FASTEST**2 + 0.001 * _STRONGEST**2), 0.0

    def observe(self, state: Numbers) -> NDArray[np.float32]:
        """Cosine, sine and velocity of states `[..., 2]`: `[..., 3]`."""
        angle, velocity = state[..., 0], state[..., 1]
        return np.stack([np.cos(angle), np.sin(angle), velocity], -1).astype(np.float32)

    def success(self, played: Trajectories) -> Tensor:
        """Whether the pendulum of trajectories `[R, B]` was upright all through the last quarter."""
        return (played.states[..., -max(1, self.horizon // 4) :, 0] >= _UPRIGHT).all(-1)

    def _move(self, state: Numbers, actions: NDArray[Any]) -> Sequence[Numbers]:
        angle, velocity = state[..., 0], state[..., 1]
        velocity = velocity + (15.0 * np.sin(angle) + 3.0 * actions) * _SECONDS
        velocity = velocity.clip(-_FASTEST, _FASTEST)
        return angle + velocity * _SECONDS, velocity

    def _is_over(self, state: Numbers) -> Truths:
        return np.zeros(state.shape[:-1], dtype=np.bool_)

    def _reward(self, state: Numbers, actions: NDArray[Any], arrived: Truths) -> Numbers:
        angle = (state[..., 0] + np.pi) % (2 * np.pi) - np.pi
        cost: Numbers = angle**2 + 0.1 * state[..., 1] ** 2 + 0.001 * actions**2
        return -cost

    def unobserve(self, seen: NDArray[np.floating]) -> Numbers:
        """Angle and velocity `[..., 2]` of what was observed `[..., 3]`."""
        return np.stack([np.arctan2(seen[..., 1], seen[..., 0]), seen[..., 2]], -1).astype(np.float64)

    def _picture(self, *state: float) -> list[Shape]:
        hinge = np.array([0.5, 0.5])
        tip = hinge + 0.38 * np.array([-np.sin(state[0]), np.cos(state[0])])
        return [
            line([hinge, hinge + [0, 0.38]], "soft"),
            line([hinge, tip], "agent", 0.05),
            circle(tip, 0.05, "agent"),
            circle(hinge, 0.02),
        ]
