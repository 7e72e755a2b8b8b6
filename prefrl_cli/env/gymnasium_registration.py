"""Our environments for others: importing this registers them with Gymnasium as `prefrl/Maze-v0` and the like.

`gymnasium.make("prefrl_cli.env.gymnasium_registration:prefrl/Maze-v0", size=9)` imports it too. One of the two is
needed, since Gymnasium reads no entry points of other packages from its version 1.0 on.
"""

from __future__ import annotations

import typing
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl_cli.charts.films import picture, text_picture
from prefrl_cli.core.environment import Box, TimeLimit
from prefrl_cli.core.figures import Shape
from prefrl_cli.core.option_types import OptionError, Unfit, convert, describe
from prefrl_cli.env.classic_control.acrobot import Acrobot
from prefrl_cli.env.classic_control.cart_pole import CartPole
from prefrl_cli.env.classic_control.control import Control
from prefrl_cli.env.classic_control.mountain_car import MountainCar, MountainCarContinuous
from prefrl_cli.env.classic_control.pendulum import Pendulum
from prefrl_cli.env.classic_control.shapes import box, circle, polygon
from prefrl_cli.env.maze import Maze

TASKS: dict[str, type[Control]] = {
    task.__name__: task for task in (CartPole, Pendulum, MountainCar, MountainCarContinuous, Acrobot)
}
_SIDE = 384  # pixels of a picture


class MazeEnv(gymnasium.Env[Any, np.int64]):
    """The grid maze, a cell or its one-hot vector being observed; `is_success` says whether the goal was reached.

    Args:
        render_mode: `rgb_array`, `ansi` or none.
        options: of `prefrl_cli.env.maze.Maze`; by default the horizon truncates an episode, and does not end it.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 6}

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        self.maze = Maze(**_checked(Maze, {"time_limit": "bootstrap", **options}))
        self.render_mode = render_mode
        states = self.maze.num_states
        self.observation_space = (
            spaces.Discrete(states) if self.maze.observation == "cell" else spaces.Box(0.0, 1.0, (states,), np.float32)
        )
        self.action_space = spaces.Discrete(self.maze.num_actions)
        self.state, self.steps = self.maze.start, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """To the start."""
        super().reset(seed=seed)
        self.state, self.steps = self.maze.start, 0
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Up, right, down or left."""
        self.state = int(self.maze.transitions[self.state, action])
        self.steps += 1
        reached = self.state == self.maze.goal
        over = _over(self.maze.time_limit, reached, self.steps >= self.maze.horizon)
        return self._seen(), self.maze.goal_reward * reached, *over, {"is_success": reached}

    def render(self) -> Any:
        """A picture `[384, 384, 3]`, or rows of letters: `A` is the agent, `S` the start, `G` the goal, `#` a wall."""
        size = self.maze.size
        if self.render_mode == "ansi":
            letters = np.where(self.maze.walls, "#", ".")
            for letter, state in (("S", self.maze.start), ("G", self.maze.goal), ("A", self.state)):
                letters[divmod(state, size)] = letter
            return "\n".join(map("".join, letters)) + "\n"

        def square(state: int, colour: str) -> Shape:
            row, column = divmod(state, size)
            return polygon(box([(column + 0.5) / size, 1 - (row + 0.5) / size], 1 / size, 1 / size), colour)

        row, column = divmod(self.state, size)
        agent = circle([(column + 0.5) / size, 1 - (row + 0.5) / size], 0.35 / size, "agent")
        walls = [square(state, "wall") for state in np.flatnonzero(self.maze.walls).tolist()]
        return np.asarray(picture([*walls, square(self.maze.goal, "goal"), agent], _SIDE))

    def _seen(self) -> Any:
        return self.maze.observe(torch.tensor(self.state)).numpy()[()]


class ControlEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """A task of classic control that by default goes on to its horizon, which then truncates it.

    A real action is one within 1, which Pendulum takes for the same share of its strongest torque.

    Args:
        task: one of `TASKS`.
        render_mode: `rgb_array`, `ansi` or none.
        options: of the task.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 30}

    def __init__(self, task: str, render_mode: str | None = None, **options: Any) -> None:
        self.task = TASKS[task](**_checked(TASKS[task], options))
        self.render_mode = render_mode
        high, space = np.array(self.task.observation_high, dtype=np.float32), self.task.action_space
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space: Any
        if isinstance(space, Box):
            self.action_space, self._strongest = spaces.Box(-1.0, 1.0, space.shape, np.float32), space.high
        else:
            self.action_space = spaces.Discrete(space.n)
        self.state, self.steps = np.zeros(len(self.task.start)), 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """To a first state, drawn from the environment's own generator."""
        super().reset(seed=seed)
        self.state, self.steps = self.task.reset(self.np_random.random(self.task.reset_draws)), 0
        return self.task.observe(self.state), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step of the physics."""
        taken = np.asarray(action)
        if isinstance(self.action_space, spaces.Box):
            taken = self._strongest * taken.astype(np.float64)
        self.state, reward, ended = self.task.step(self.state, taken)
        self.steps += 1
        over = _over(self.task.time_limit, bool(ended), self.steps >= self.task.horizon)
        return self.task.observe(self.state), float(reward), *over, {}

    def render(self) -> Any:
        """A picture `[384, 384, 3]`, or 24 rows of letters."""
        (shapes,) = self.task.frames(self.task.observe(self.state)[None])
        return text_picture(shapes) if self.render_mode == "ansi" else np.asarray(picture(shapes, _SIDE))


def _over(time_limit: TimeLimit, ended: bool, late: bool) -> tuple[bool, bool]:
    """Whether an episode is terminated, and whether it is truncated."""
    return ended or (late and time_limit == "end"), late and not ended and time_limit == "bootstrap"


def _checked(part: type, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a constructor in the types that it asks for; OptionError where one cannot be, or there is none."""
    allowed = typing.get_type_hints(part.__init__, include_extras=True)  # type: ignore[misc]  # of a class, not of self
    del allowed["return"]
    found = {}
    for name, value in options.items():
        if name not in allowed:
            raise OptionError(name, value, f"{part.__name__} has no such option, but {', '.join(allowed)}")
        try:
            found[name] = convert(allowed[name], value)
        except Unfit:
            raise OptionError(name, value, f"must be {describe(allowed[name])}") from None
    return found


gymnasium.register("prefrl/Maze-v0", entry_point=f"{__name__}:MazeEnv")
for _task in TASKS:
    gymnasium.register(f"prefrl/{_task}-v0", entry_point=f"{__name__}:ControlEnv", kwargs={"task": _task})
