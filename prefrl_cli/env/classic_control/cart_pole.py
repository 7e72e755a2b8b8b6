"""A pole that stands on a cart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.environment import Discrete, TimeLimit
from prefrl_cli.core.figures import Shape
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.classic_control.control import Control, Horizon, Numbers, Plane, Truths, wrapped_angle
from prefrl_cli.env.classic_control.shapes import box, circle, line, polygon

_SECONDS = 0.02  # of a step
_FARTHEST, _STEEPEST = 2.4, 12 * 2 * np.pi / 360
_FASTEST = 10.0


class CartPole(Control):
    """A cart is pushed left or right so that the pole on it does not fall (`CartPole-v1`).

    State and observation: the cart's position and velocity, the pole's angle and velocity, in metres, radians and
    seconds. A step gives 1, unless it begins with the pole beyond 12 degrees or the cart beyond 2.4 metres. Where an
    episode goes on after that, velocities are kept within 10 and the angle within half a turn, which changes nothing
    before: a pole that fell can be swung up again. Solved: it stood at each step of the horizon. The
    horizon is 200; Gymnasium's is 500.
    """

    action_space = Discrete(2)
    reset_draws = 4
    start = ((-0.05, 0.05),) * 4
    observation_scale = (1.0, 1.0, 0.2, 1.0)
    plane = Plane(
        0, 2, "position (metres)", "angle of the pole (radians)", (-4.8, 4.8), (-0.42, 0.42), ", at rest"
    )  # fmt: skip

    def __init__(
        self,
        horizon: Horizon = 200,
        fixed_horizon: bool = True,
        absorbing: bool = False,
        time_limit: TimeLimit = "bootstrap",
    ) -> None:
        super().__init__(horizon, fixed_horizon, absorbing, time_limit)
        self.observation_high = (_FARTHEST + _SECONDS * _FASTEST * horizon, _FASTEST, np.pi, _FASTEST)

    @property
    def return_range(self) -> tuple[float, float]:
        """Bounds of the return of an episode."""
        return 0.0, float(self.horizon)

    def success(self, played: Trajectories) -> Tensor:
        """Whether the pole of trajectories `[R, B]` stood at each step of the horizon."""
        position, angle = played.states[..., 0], played.states[..., 2]
        stands = (position.abs() <= _FARTHEST) & (angle.abs() <= _STEEPEST)
        return stands.all(-1) & (played.lengths == self.horizon)

    def _move(self, state: Numbers, actions: NDArray[Any]) -> Sequence[Numbers]:
        position, velocity, angle, spin = (state[..., place] for place in range(4))
        sine, cosine = np.sin(angle), np.cos(angle)
        push = (np.where(actions == 1, 10.0, -10.0) + 0.05 * np.square(spin) * sine) / 1.1
        turn = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * np.square(cosine) / 1.1))
        position, angle = position + _SECONDS * velocity, angle + _SECONDS * spin
        velocity, spin = velocity + _SECONDS * (push - 0.05 * turn * cosine / 1.1), spin + _SECONDS * turn
        if not self.fixed_horizon:
            return position, velocity, angle, spin
        velocity, spin = (np.minimum(np.maximum(one, -_FASTEST), _FASTEST) for one in (velocity, spin))
        return position, velocity, wrapped_angle(angle), spin

    def _is_over(self, state: Numbers) -> Truths:
        return (np.abs(state[..., 0]) > _FARTHEST) | (np.abs(state[..., 2]) > _STEEPEST)

    def _reward(self, state: Numbers, actions: NDArray[Any], arrived: Truths) -> Numbers:
        return np.ones(arrived.shape)

    def _picture(self, *state: float) -> list[Shape]:
        position, _, angle, _ = state
        seen = float(np.clip(position, -_FARTHEST, _FARTHEST))  # past its bounds the ground moves, not the cart
        cart = np.array([0.5 + 0.08 * seen, 0.48])
        bounds = 0.5 + 0.08 * (seen - position + np.array([-_FARTHEST, _FARTHEST]))
        tip = cart + 0.3 * np.array([np.sin(angle), np.cos(angle)])
        marks = [line([[x, 0.4], [x, 0.48]], "goal") for x in bounds if 0 <= x <= 1]
        return [
            line([[0, 0.44], [1, 0.44]], "soft"),
            *marks,
            polygon(box(cart, 0.15, 0.08), "trail"),
            line([cart, tip], "agent", 0.03),
            circle(cart, 0.018),
        ]
