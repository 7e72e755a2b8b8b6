"""Layouts: drawn by hand where they are fixed, and by their promises where they are random."""

from __future__ import annotations

import direct
import numpy as np
import pytest
from numpy.typing import NDArray

from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.env.maze import Maze
from prefrl_cli.env.maze_layouts import LAYOUTS, layout

ROOMS = {
    4: ["....", "..#.", ".##.", "...."],
    8: ["....#...", "........", "....#...", "....#...", "#.####.#", "....#...", "........", "....#..."],
}
WALL = {4: ["....", "..#.", "....", "...."], 6: ["......", "...#..", "...#..", "...#..", "......", "......"]}


def drawn(walls: NDArray[np.bool_]) -> list[str]:
    return ["".join(".#"[int(wall)] for wall in row) for row in walls]


def reached(walls: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells with a way from the start, by spreading to all four sides until nothing changes."""
    seen = np.zeros_like(walls)
    seen[0, 0] = True
    while True:
        grown = np.pad(seen, 1)
        spread = (grown[2:, 1:-1] | grown[:-2, 1:-1] | grown[1:-1, 2:] | grown[1:-1, :-2] | seen) & ~walls
        if np.array_equal(spread, seen):
            return seen
        seen = spread


@pytest.mark.parametrize(("name", "pictures"), [("rooms", ROOMS), ("wall", WALL)])
def test_fixed_layouts(name: str, pictures: dict[int, list[str]]) -> None:
    for size, picture in pictures.items():
        assert drawn(layout(name, size)) == drawn(Maze(size, layout=name).walls) == picture
    assert not layout("open", 7).any()


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [4, 5, 6, 7, 9, 16, 33])
def test_every_open_cell_is_reached(name: str, size: int) -> None:
    for seed in range(20 if name == "random" else 1):
        walls = layout(name, size, seed)
        assert walls.shape == (size, size) and not walls[0, 0] and not walls[-1, -1]
        assert np.array_equal(reached(walls), ~walls)


def test_random_mazes() -> None:
    """The same for one seed, another for another; neither empty nor full."""
    mazes = [layout("random", 16, seed) for seed in range(40)]
    assert all(np.array_equal(maze, layout("random", 16, seed)) for seed, maze in enumerate(mazes))
    assert len({maze.tobytes() for maze in mazes}) == 40
    assert 0.25 < np.mean(mazes) < 0.45
    lengths = {int(Maze(16, 500, layout="random", layout_seed=seed).distance[0]) for seed in range(40)}
    assert min(lengths) == 30 and max(lengths) > 34  # some need a way round


def test_horizon_and_names_are_checked() -> None:
    maze = Maze(16, 500, layout="random", layout_seed=11)
    away = int(maze.distance[0])
    with pytest.raises(ValueError, match=rf"horizon={away - 1}: the goal is {away} steps away"):
        Maze(16, away - 1, layout="random", layout_seed=11)
    with pytest.raises(ValueError, match=r"^layout=spiral: there is no such layout; choose one of wall, open, rooms"):
        layout("spiral", 8)
    with pytest.raises(ConfigError, match=r"^env.layout=spiral: must be one of wall, open, rooms, random; try"):
        direct.configured("oprl_maze", "env.layout=spiral")


@pytest.mark.parametrize("name", ["rooms", "random"])
def test_a_layout_is_learned_in(name: str) -> None:
    """Nobody ever stands in a wall, and the same maze is there for every seed that is trained."""
    experiment = direct.configured("oprl_maze", f"env.layout={name}", "env.layout_seed=3", "num_seeds=2")
    experiment.update()
    walls = experiment.env.walls.ravel()
    assert walls.any()
    kept = experiment._trajectories.get(experiment._trajectories.count[:, None] - 1)
    assert not walls[kept["states"].numpy()].any()
    assert np.array_equal(experiment.env.walls, layout(name, 8, 3))
