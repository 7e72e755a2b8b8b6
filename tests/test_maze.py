"""The maze against the tutorial's rules, written down once more cell by cell."""

from __future__ import annotations

import itertools

import pytest
import torch
from plain_tutorial import PlainMaze

from prefrl_cli.env.maze import Maze
from prefrl_cli.env.rollout import rollout

SIZES = range(4, 10)
UP, RIGHT, DOWN, LEFT = range(4)


def is_wall(size: int, row: int, column: int, layout: str = "wall") -> bool:
    return layout == "wall" and column == size // 2 and 1 <= row <= size - 3


def neighbour(size: int, row: int, column: int, action: int, layout: str = "wall") -> tuple[int, int]:
    """Where a move leads, by the rules in words."""
    to_row, to_column = row, column
    if action == UP:
        to_row -= 1
    elif action == DOWN:
        to_row += 1
    elif action == RIGHT:
        to_column += 1
    elif action == LEFT:
        to_column -= 1
    outside = to_row < 0 or to_column < 0 or to_row > size - 1 or to_column > size - 1
    if outside or is_wall(size, to_row, to_column, layout):
        return row, column
    return to_row, to_column


@pytest.mark.parametrize("layout", ["wall", "open"])
@pytest.mark.parametrize("size", SIZES)
def test_every_move_from_every_cell(size: int, layout: str) -> None:
    maze = Maze(size, layout=layout)
    assert maze.transitions.shape == (size * size, 4)
    assert (maze.start, maze.goal) == (0, size * size - 1)
    for row, column in itertools.product(range(size), repeat=2):
        state = row * size + column
        assert maze.walls[row, column] == is_wall(size, row, column, layout)
        for action in range(4):
            to_row, to_column = neighbour(size, row, column, action, layout)
            expected = state if state == maze.goal else to_row * size + to_column
            assert maze.transitions[state, action] == expected, (row, column, action)


@pytest.mark.parametrize("size", SIZES)
def test_the_plain_maze_has_the_same_table(size: int) -> None:
    maze, plain = Maze(size), PlainMaze(size)
    for row, column, action in itertools.product(range(size), range(size), range(4)):
        if is_wall(size, row, column) or (row, column) == (size - 1, size - 1):
            continue
        plain.reset()
        plain.here = (row, column)
        seen, reward, done = plain.step(action)
        following = maze.transitions[row * size + column, action]
        assert seen.argmax() == following and seen.sum() == 1
        assert reward == (10.0 if following == maze.goal else 0.0)
        assert done == (following == maze.goal)


@pytest.mark.parametrize("layout", ["wall", "open"])
@pytest.mark.parametrize("size", SIZES)
def test_distance_is_the_shortest_path(size: int, layout: str) -> None:
    """Bellman-Ford: relax every move until nothing changes."""
    far = size**3
    distance = {cell: far for cell in itertools.product(range(size), repeat=2) if not is_wall(size, *cell, layout)}
    distance[size - 1, size - 1] = 0
    changed = True
    while changed:
        changed = False
        for row, column in distance:
            best = min(distance[neighbour(size, row, column, action, layout)] for action in range(4)) + 1
            if best < distance[row, column]:
                distance[row, column], changed = best, True
    maze = Maze(size, layout=layout)
    for row, column in itertools.product(range(size), repeat=2):
        assert maze.distance[row * size + column] == distance.get((row, column), -1)
    assert maze.distance[maze.start] == 2 * (size - 1)


@pytest.mark.parametrize("size", SIZES)
def test_episodes_end_on_the_goal_or_at_the_horizon(size: int) -> None:
    """Random episodes, several seeds side by side, against the plain maze step by step."""
    maze, seeds, batch = Maze(size), 3, 5
    probabilities = torch.full((seeds, maze.num_states, 4), 0.25)
    probabilities[1:] = torch.tensor([0.1, 0.4, 0.4, 0.1])  # drifts towards the goal
    drawn = torch.rand(seeds, batch, maze.horizon, generator=torch.Generator().manual_seed(size))
    played = rollout(maze, probabilities, drawn)
    ended = set()
    for seed, episode in itertools.product(range(seeds), range(batch)):
        plain, done, rewards, states, length = PlainMaze(size), False, [], [], 0
        while not done:
            states.append(int(plain.see().argmax()))
            seen, reward, done = plain.step(int(played.actions[seed, episode, length]))
            rewards.append(reward)
            length += 1
        assert played.lengths[seed, episode] == length
        assert played.states[seed, episode, :length].tolist() == states
        assert played.last[seed, episode] == seen.argmax()
        assert played.rewards[seed, episode].tolist() == rewards + [0.0] * (maze.horizon - length)
        assert played.returns[seed, episode] == sum(rewards)
        assert played.mask[seed, episode].tolist() == [1.0] * length + [0.0] * (maze.horizon - length)
        ended.add(sum(rewards) > 0)
    assert True in ended


@pytest.mark.parametrize("horizon", [6, 7])
def test_an_episode_that_arrives_on_the_last_step_counts(horizon: int) -> None:
    maze = Maze(4, horizon=horizon)
    probabilities = torch.zeros(1, maze.num_states, 4)
    probabilities[:, :, DOWN] = 1.0
    probabilities[:, :3] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # right along the first row
    played = rollout(maze, probabilities, torch.zeros(1, 1, horizon))
    assert (played.lengths.item(), played.returns.item()) == (6, 10.0)


def test_goal_reward_and_sampling_of_actions() -> None:
    maze = Maze(4, goal_reward=3.0)
    down_the_last_column = torch.zeros(1, maze.num_states, 4)
    down_the_last_column[:, :, RIGHT] = 1.0
    down_the_last_column[:, 3::4] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    assert rollout(maze, down_the_last_column, torch.zeros(1, 1, 6)).returns.item() == 3.0
    probabilities = torch.zeros(2, maze.num_states, 4)
    probabilities[0, :] = torch.tensor([0.0, 0.5, 0.25, 0.25])
    probabilities[1, :] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    drawn = torch.tensor([0.0, 0.49, 0.5, 0.74, 0.75, 0.999], dtype=torch.float64).expand(2, -1)
    first, second = rollout(maze, probabilities, drawn[..., None]).actions[..., 0].tolist()
    assert first == [RIGHT, RIGHT, DOWN, DOWN, LEFT, LEFT]
    assert second == [UP] * 6


def test_a_horizon_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match=r"horizon=13: the goal is 14 steps away; try horizon=56"):
        Maze(8, horizon=13)
    assert Maze(8, horizon=14).horizon == 14


@pytest.mark.parametrize("time_limit", ["end", "bootstrap"])
def test_a_time_limit_is_an_end_unless_the_maze_says_otherwise(time_limit):
    env = Maze(4, 12, time_limit=time_limit)
    towards = torch.zeros(2, 16, 4)
    towards[0, :, 1] = 1.0  # right, along the border: never arrives
    for cell in range(16):  # down, then right: always does
        towards[1, cell, 2 if cell < 12 else 1] = 1.0
    played = rollout(env, towards, torch.zeros(2, 3, 12))
    assert env.success(played).tolist() == [[False] * 3, [True] * 3]
    assert played.terminated.tolist() == [[time_limit == "end"] * 3, [True] * 3]
