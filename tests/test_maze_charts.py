"""Charts and animations of a maze, looked at as matplotlib objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.quiver import Quiver
from PIL import Image

from prefrl_cli.charts import draw, grid
from prefrl_cli.charts.figures import MazeAnimation, MazeMap


def maze(size: int = 8, **changes) -> MazeMap:
    walls = np.zeros((size, size), dtype=bool)
    walls[1 : size - 2, size // 2] = True
    policy = np.random.default_rng(1).dirichlet(np.ones(4), (size, size))
    path = [(row, 0) for row in range(size)] + [(size - 1, column) for column in range(1, size)]
    heat = np.random.default_rng(2).normal(size=(size, size))
    fields = dict(
        title="Seed 3", walls=walls, start=(0, 0), goal=(size - 1, size - 1), path=np.array(path), heat=heat,
        heat_label="learned process reward", policy=policy,
    )  # fmt: skip
    return MazeMap(**(fields | changes))


@pytest.mark.parametrize("size", [4, 8, 16, 17, 32, 33, 64])
def test_arrows_stand_in_cells_that_can_be_left(size: int) -> None:
    figure = maze(size)
    axes = grid.maze_sheet(figure).axes[0]
    (arrows,) = [one for one in axes.collections if isinstance(one, Quiver)]
    middle = np.stack([arrows.Y + arrows.V / 2, arrows.X + arrows.U / 2], 1)
    cells = middle.round().astype(int)
    assert not figure.walls[tuple(cells.T)].any() and (cells != figure.goal).any(1).all()
    assert size * 1.5 < len(cells) <= 1100
    step = np.stack([arrows.V, arrows.U], 1) / np.hypot(arrows.U, arrows.V)[:, None]
    moves = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # up, right, down, left
    action = (step.round() @ moves.T).argmax(1)
    np.testing.assert_allclose(arrows.get_facecolor()[:, 3], figure.policy[(*cells.T, action)])
    if size > 16:
        assert (action == figure.policy[tuple(cells.T)].argmax(1)).all()
    else:
        assert len(cells) == (figure.policy[~figure.walls] >= 0.05).sum() - (figure.policy[figure.goal] >= 0.05).sum()


def test_heat_is_masked_on_walls_and_the_walls_are_drawn() -> None:
    heat = maze().heat
    heat[3, 4] = 1e6  # a wall: it must not set the range of the colours
    figure = maze(heat=heat)
    axes, bar = grid.maze_sheet(figure).axes
    shown = axes.images[0]
    np.testing.assert_array_equal(np.ma.getmaskarray(shown.get_array()), figure.walls)
    assert shown.get_clim() == (heat[~figure.walls].min(), heat[~figure.walls].max())
    (walls,) = [one for one in axes.collections if type(one) is PolyCollection]
    centres = [path.vertices[:4].mean(0)[::-1].tolist() for path in walls.get_paths()]
    assert centres == np.argwhere(figure.walls).tolist()
    assert bar.get_ylabel() == "learned process reward"
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"S": (0, 0), "G": (7, 7)}
    assert axes.get_xlim() == (-0.5, 7.5) and axes.get_ylim() == (7.5, -0.5)


@pytest.mark.parametrize("heat", [np.zeros((8, 8)), np.full((8, 8), np.nan)])
def test_a_silent_model_is_drawn(heat: np.ndarray, tmp_path: Path) -> None:
    written = draw.draw(maze(heat=heat), tmp_path / "maze")
    assert [path.name for path in written] == ["maze.png", "maze.svg"]
    draw.draw(MazeAnimation(maze(heat=heat)), tmp_path / "episode")


def test_the_maze_says_whether_the_goal_was_reached() -> None:
    assert grid.path_words(maze()) == "Line: greedy episode, 14 steps to the goal."
    lost = maze(path=np.array([(0, 0), (0, 1), (0, 0)]))
    assert grid.path_words(lost) == "Line: greedy episode, goal not reached in 2 steps."
    crosses = [[line.get_marker() for line in grid.maze_sheet(f).axes[0].lines] for f in (maze(), lost)]
    assert [("X" in markers) for markers in crosses] == [False, True]


def test_an_animation_walks_the_path_and_pauses_at_its_end(tmp_path: Path) -> None:
    figure = maze()
    (path,) = draw.draw(MazeAnimation(figure), tmp_path / "episode")
    assert path.name == "episode.gif"
    again = draw.draw(MazeAnimation(figure), tmp_path / "again")[0]
    assert path.read_bytes() == again.read_bytes()
    with Image.open(path) as film:
        assert film.n_frames == len(figure.path) and film.info["loop"] == 0
        durations, walker, trail = [], [], []
        orange = np.array([0xD5, 0x5E, 0x00])
        for frame in range(film.n_frames):
            film.seek(frame)
            durations.append(film.info["duration"])
            seen = (np.asarray(film.convert("RGB")) == orange).all(-1)[60:-12, 12:-12]
            share = seen.reshape(8, 64, 8, 64).mean((1, 3))
            walker.append(np.unravel_index(share.argmax(), share.shape))
            trail.append((share > 0).sum())
    assert durations == [160] * 14 + [2000]
    assert np.array_equal(walker, figure.path)
    assert trail[0] == 1 and trail[-1] >= 13


def test_a_long_episode_is_thinned_and_ends_where_it_ended(tmp_path: Path) -> None:
    wandering = np.array([(0, step % 2) for step in range(1001)])
    (path,) = draw.draw(MazeAnimation(maze(4, path=wandering)), tmp_path / "episode")
    with Image.open(path) as film:
        assert film.n_frames == 400
        assert film.info["duration"] == 50
