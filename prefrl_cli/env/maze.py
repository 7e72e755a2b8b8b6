"""A grid maze with a sparse reward: the tutorial's, in any size."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from prefrl_cli.core.environment import Box, Discrete, TimeLimit
from prefrl_cli.core.figures import Figure, Learned
from prefrl_cli.core.option_types import Limits, OptionError, Positive, Seed
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.maze_figures import maze_figures
from prefrl_cli.env.maze_layouts import layout as walls_of

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left: the tutorial's numbering


class Maze:
    """A deterministic grid of `size` x `size` cells; a move into a wall or over the border stays.

    The start is the top left cell, the goal the bottom right one. An episode ends on the goal or after `horizon`
    steps. A state is a cell's number, row by row.

    Args:
        size: cells of one side.
        horizon: most steps of an episode.
        goal_reward: reward of the step that reaches the goal; every other step gives 0.
        layout: `wall` (the tutorial's), `open`, `rooms` or `random`, see `prefrl_cli.env.maze_layouts`.
        layout_seed: which random maze.
        observation: what models see of a state: `cell`, its number, or `one_hot`, the same as a vector.
        time_limit: what the horizon is: the `end` of an episode, or a cut after which the value of the last state
            counts (`bootstrap`).

    Attributes:
        transitions: `[S, A]`, the next state; the goal leads to itself.
        walls: `[size, size]`, whether a cell is a wall.
        distance: `[S]`, shortest steps to the goal, -1 where there is no way.
        start, goal: states.
        observation_space, action_space: what `observe` gives, and the moves.
    """

    num_actions = len(MOVES)

    def __init__(
        self,
        size: Annotated[int, Limits(4, 256)] = 8,
        horizon: Annotated[int, Limits(1, 100_000)] = 60,
        goal_reward: Positive = 10.0,
        layout: Literal["wall", "open", "rooms", "random"] = "wall",
        layout_seed: Seed = 0,
        observation: Literal["cell", "one_hot"] = "cell",
        time_limit: TimeLimit = "end",
    ) -> None:
        self.size, self.horizon, self.goal_reward = size, horizon, goal_reward
        self.observation, self.time_limit = observation, time_limit
        self.num_states = size * size
        vector = Box(0.0, 1.0, (self.num_states,))
        self.observation_space: Discrete | Box = vector if observation == "one_hot" else Discrete(self.num_states)
        self.action_space = Discrete(self.num_actions)
        self.start, self.goal = 0, size * size - 1
        self.walls = walls_of(layout, size, layout_seed)
        self.transitions = self._transitions()
        self.distance = self._distance()
        shortest = int(self.distance[self.start])
        if horizon < shortest:
            raise OptionError("horizon", horizon, f"the goal is {shortest} steps away", 4 * shortest)

    def observe(self, states: Tensor) -> Tensor:
        """What models see of states `[...]`: their numbers, or one-hot vectors `[..., S]`."""
        return one_hot(states, self.num_states).float() if self.observation == "one_hot" else states

    def success(self, played: Trajectories) -> Tensor:
        """Whether trajectories `[R, B]` ended on the goal."""
        return played.last == self.goal

    def figures(self, learned: Learned) -> dict[str, Figure]:
        """What one seed learned here, as charts by file name."""
        return maze_figures(self, learned)

    def diagnostics(self, states: Tensor) -> dict[str, Tensor]:
        """The `distance` `[...]` of states `[...]`: shortest steps to the goal."""
        return {"distance": torch.from_numpy(self.distance).to(states.device)[states]}

    def clip(self, states: Tensor) -> dict[str, Any]:
        """What a person is shown of an episode or a part of it: its trail.

        Args:
            states: the cells `[T + 1]` that it came through, the last one included.

        Returns:
            `kind` maze, `size`, `walls`, `goal` and `path`, cells being numbered row by row.
        """
        walls = np.flatnonzero(self.walls).tolist()
        return {"kind": "maze", "size": self.size, "walls": walls, "goal": self.goal, "path": states.tolist()}

    def _transitions(self) -> np.ndarray:
        rows, columns = np.divmod(np.arange(self.num_states), self.size)
        table = np.empty((self.num_states, self.num_actions), dtype=np.int64)
        for action, (down, right) in enumerate(MOVES):
            to_row = (rows + down).clip(0, self.size - 1)
            to_column = (columns + right).clip(0, self.size - 1)
            blocked = self.walls[to_row, to_column]
            table[:, action] = np.where(blocked, rows, to_row) * self.size + np.where(blocked, columns, to_column)
        table[self.goal] = self.goal
        return table

    def _distance(self) -> np.ndarray:
        before: list[list[int]] = [[] for _ in range(self.num_states)]
        for state, row in enumerate(self.transitions.tolist()):
            for following in row:
                before[following].append(state)
        distance = np.full(self.num_states, -1, dtype=np.int64)
        distance[self.goal] = 0
        queue = deque([self.goal])
        while queue:
            state = queue.popleft()
            for previous in before[state]:
                if distance[previous] < 0 and not self.walls.flat[previous]:
                    distance[previous] = distance[state] + 1
                    queue.append(previous)
        return distance
