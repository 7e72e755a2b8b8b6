"""Charts and animations of a maze: what the maze makes of what was learned, and what is drawn of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.quiver import Quiver
from PIL import Image
from test_charts import written

from prefrl_cli.charts import grid
from prefrl_cli.core.figures import Learned, MazeAnimation, Question
from prefrl_cli.env.maze import Maze

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # up, right, down, left


def learned(maze: Maze, **changes) -> Learned:
    generator = np.random.default_rng(1)
    states = [0]
    while states[-1] != maze.goal:  # a shortest way
        states.append(int(min(maze.transitions[states[-1]], key=lambda state: maze.distance[state])))
    rewards = {update: update * generator.normal(size=(maze.num_states, 4)) for update in (1, 2, 4, 8, 12)}
    fields = dict(
        seed="seed 3, the median of 5 by success", success=np.array([0.0] * 5 + [1.0] * 15), labels=1234,
        policy=generator.dirichlet(np.ones(4), maze.num_states), rewards=rewards, states=np.array(states),
    )  # fmt: skip
    return Learned(**(fields | changes))


def question(maze: Maze, update: int = 2, label: float = 1.0, chance: float = 0.75) -> Question:
    """Four steps down, and two to the right and one that is not taken."""
    states, actions = np.array([[0, 8, 16, 24], [0, 1, 63, 63]]), np.array([[2, 2, 2, 2], [1, 1, 0, 0]])
    return Question(update, states, actions, np.array([4, 2]), label, chance)


def collections(sheet, kind: type) -> list:
    return [one for one in sheet.axes[0].collections if type(one) is kind]


def triangles(sheet) -> PolyCollection:
    return next(one for one in collections(sheet, PolyCollection) if one.get_zorder() == 0.1)


def texts(sheet) -> list[str]:
    return [text.get_text() for text in sheet.axes[0].texts]


def colour(sheet, value: float) -> np.ndarray:
    """What the sheet's colour bar says of a value."""
    (mesh,) = [one for one in sheet.axes[1].collections if one.get_array() is not None and one.get_array().size > 9]
    return np.asarray(mesh.cmap(mesh.norm(value)))


def test_a_maze_draws_what_was_learned_in_it() -> None:
    maze = Maze(8)
    seen = learned(maze, questions=(question(maze),))
    charts = maze.figures(seen)
    assert list(charts) == ["maze", "episode", "reward_over_time", "questions"]
    hero = charts["maze"]
    assert hero.title == "What was learned in a maze of 8 × 8 cells"
    assert hero.words == (
        "Seed 3, the median of 5 by success: 75 % of its 20 episodes reached the goal, 100 % of the last 2."
    )
    assert "1,234 answers" in hero.note[0] and hero.reward_label.startswith("learned reward of a move\n")
    policy, model = hero.panels
    assert policy.words == "greedy path: 14 steps to the goal; no path is shorter"
    np.testing.assert_array_equal(policy.path @ [8, 1], seen.states)
    np.testing.assert_array_equal(policy.policy.reshape(64, 4), seen.policy)
    nowhere = maze.walls.copy()
    nowhere[7, 7] = True  # the goal is never left
    np.testing.assert_array_equal(np.isnan(model.rewards).all(-1), nowhere)
    np.testing.assert_array_equal(model.rewards[~nowhere], seen.rewards[12].reshape(8, 8, 4)[~nowhere])
    episode = charts["episode"]
    assert isinstance(episode, MazeAnimation) and (episode.path == policy.path).all()
    assert set(maze.figures(replace(seen, questions=()))) == {"maze", "episode", "reward_over_time"}


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([0, 0, 1, 2], "greedy path: goal not reached in 3 steps"),
        ([0, 1, 0, 1, 2, 3, 7, 11, 15], "greedy path: 8 steps to the goal; the shortest has 6"),
    ],
)
def test_the_maze_says_how_the_greedy_path_went(states: list[int], words: str) -> None:
    maze = Maze(4, layout="open")
    hero = maze.figures(learned(maze, states=np.array(states)))["maze"]
    assert hero.panels[0].words == words and words in texts(grid.mazes_sheet(hero))
    crosses = [line for line in grid.mazes_sheet(hero).axes[0].lines if line.get_marker() == "X"]
    assert len(crosses) == ("not reached" in words)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_a_triangle_has_the_colour_of_the_reward_of_the_move_that_way(size: int) -> None:
    maze = Maze(size, 8 * size)
    hero = maze.figures(learned(maze))["maze"]
    sheet = grid.mazes_sheet(hero)
    drawn, rewards = triangles(sheet), hero.panels[1].rewards
    cells = np.argwhere(np.isfinite(rewards).all(-1))
    assert len(drawn.get_paths()) == 4 * len(cells)
    step = 5.4 / size
    for number in range(0, len(drawn.get_paths()), 7):
        (row, column), action = cells[number // 4], number % 4
        corners = drawn.get_paths()[number].vertices[:3]
        outwards = (corners[:2].mean(0) - corners[2]) / (step / 2)  # x, and y upwards
        np.testing.assert_allclose(outwards, MOVES[action][::-1] * [1, -1], atol=1e-9)
        np.testing.assert_allclose(drawn.get_facecolor()[number], colour(sheet, rewards[row, column, action]))
    low, high = np.nanquantile(rewards, [0.05, 0.995])
    luminance = [colour(sheet, value)[:3] @ [0.3, 0.59, 0.11] for value in np.linspace(low, high, 20)]
    assert (np.diff(luminance) < -0.005).all(), "in grey, darker must be better too"
    assert sheet.axes[1].get_ylabel() == hero.reward_label


def test_rewards_of_states_are_one_square_a_cell() -> None:
    maze = Maze(8)
    rewards = {3: np.linspace(-1, 1, 64)[:, None]}
    hero = maze.figures(learned(maze, rewards=rewards))["maze"]
    assert hero.reward_label.startswith("learned reward of being in a cell\n")
    assert hero.panels[1].words == "each cell: the reward of being in it, the darker the better"
    assert len(triangles(grid.mazes_sheet(hero)).get_paths()) == 63 - maze.walls.sum()


def test_cells_of_a_large_maze_are_drawn_in_blocks_of_their_means() -> None:
    maze = Maze(64, 512)
    rewards = {1: np.tile(np.arange(64.0)[:, None], (64, 4))}  # the column
    sheet = grid.mazes_sheet(maze.figures(learned(maze, rewards=rewards))["maze"])
    drawn = triangles(sheet)
    assert len(drawn.get_paths()) == 4 * 16 * 16
    np.testing.assert_allclose(drawn.get_facecolor()[0], colour(sheet, 1.5))  # columns 0 to 3
    assert "Rewards: the mean over blocks of 4 × 4 cells." in texts(sheet)[-1]
    assert "in every second cell" in texts(sheet)[-1]


@pytest.mark.parametrize("size", [4, 8, 16, 17, 32, 33, 64])
def test_arrows_stand_in_cells_that_can_be_left(size: int) -> None:
    maze = Maze(size, 8 * size)
    seen = learned(maze)
    sheet = grid.mazes_sheet(maze.figures(seen)["maze"])
    (arrows,) = collections(sheet, Quiver)
    frames = next(one for one in collections(sheet, PolyCollection) if one.get_zorder() == 0.3)
    frame = frames.get_paths()[0].vertices
    left, top, side = frame[:, 0].min(), frame[:, 1].max(), np.ptp(frame[:, 0])
    middle = np.stack([top - arrows.Y - arrows.V / 2, arrows.X + arrows.U / 2 - left], 1)
    cells = np.floor(middle / (side / size)).astype(int)
    assert not maze.walls[tuple(cells.T)].any() and (cells != size - 1).any(1).all()
    assert size * 1.5 < len(cells) <= 1100
    step = np.stack([-arrows.V, arrows.U], 1) / np.hypot(arrows.U, arrows.V)[:, None]
    action = (step.round() @ MOVES.T).argmax(1)
    policy = seen.policy.reshape(size, size, 4)
    np.testing.assert_allclose(arrows.get_facecolor()[:, 3], policy[(*cells.T, action)])
    if size > 16:
        assert (action == policy[tuple(cells.T)].argmax(1)).all()
    else:
        assert len(cells) == (policy[~maze.walls] >= 0.05).sum() - (policy[-1, -1] >= 0.05).sum()


def test_walls_start_and_goal_are_in_every_picture() -> None:
    maze = Maze(8)
    sheet = grid.mazes_sheet(maze.figures(learned(maze))["maze"])
    walls = next(one for one in collections(sheet, PolyCollection) if one.get_zorder() == 0.2)
    area = sum(np.ptp(path.vertices[:, 0]) * np.ptp(path.vertices[:, 1]) for path in walls.get_paths())
    assert area / (5.4 / 8) ** 2 == pytest.approx(2 * maze.walls.sum())
    letters = [line for line in sheet.axes[0].lines if str(line.get_marker()).startswith("$")]
    assert [("S" in line.get_marker(), len(line.get_xdata())) for line in letters] == [(True, 2), (False, 2)]


def test_the_reward_over_time_shows_the_last_moments_in_the_same_colours() -> None:
    maze = Maze(8)
    figure = maze.figures(learned(maze))["reward_over_time"]
    assert [panel.title for panel in figure.panels] == [f"After update {update}" for update in (2, 4, 8, 12)]
    assert figure.panels[0].words.startswith("from −") and figure.columns == 4
    sheet = grid.mazes_sheet(figure)
    inside = [panel.rewards[0, 0, 0] for panel in figure.panels]
    drawn = triangles(sheet).get_facecolor()
    for number, reward in enumerate(inside):
        np.testing.assert_allclose(drawn[number * len(drawn) // 4], colour(sheet, reward))
    silent = maze.figures(learned(maze, rewards={1: np.zeros((64, 4))}))["reward_over_time"]
    assert silent.panels[0].words == "the same for all: nothing learned yet"


def test_questions_show_both_paths_the_answer_and_what_the_model_expected(tmp_path: Path) -> None:
    maze = Maze(8)
    asked = tuple(question(maze, update, label) for update, label in ((1, 1.0), (2, 0.5), (4, 0.0)))
    figure = maze.figures(learned(maze, questions=asked))["questions"]
    first, second, *_ = figure.panels
    assert first.path.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [4, 0]]
    assert second.path.tolist() == [[0, 0], [0, 1], [0, 2]]
    assert [(panel.title, panel.framed) for panel in figure.panels] == [
        ("Update 1, path A: preferred", True), ("Update 1, path B: not preferred", False),
        ("Update 2, path A: a tie", True), ("Update 2, path B: a tie", True),
        ("Update 4, path A: not preferred", False), ("Update 4, path B: preferred", True),
    ]  # fmt: skip
    assert (first.words, second.words) == ("model: 75 %; 4 steps, no goal", "model: 25 %; 2 steps, no goal")
    frames = next(one for one in collections(grid.mazes_sheet(figure), PolyCollection) if one.get_zorder() == 0.3)
    assert [width > 2 for width in frames.get_linewidth()] == [panel.framed for panel in figure.panels]
    svg = written(figure, tmp_path / "questions")[1].read_text()
    assert "<!-- Update 4, path B: preferred -->" in svg and "<!-- model: 25 %; 2 steps, no goal -->" in svg
    many = tuple(question(maze, update) for update in (1, 2, 4, 8, 16, 32, 64))
    shown = maze.figures(learned(maze, questions=many))["questions"].panels[::2]
    assert [panel.title.split(",")[0] for panel in shown] == [f"Update {update}" for update in (1, 4, 16, 64)]


def test_a_part_of_an_episode_shows_where_it_begins() -> None:
    maze = Maze(8)
    whole = maze.figures(learned(maze, questions=(question(maze),)))["questions"]
    drawn = grid.mazes_sheet(whole)
    assert "Ring" not in texts(drawn)[-1]
    first, second = whole.panels[:2]
    part = replace(whole, panels=(replace(first, path=first.path[1:]), replace(second, path=second.path[1:])))
    sheet = grid.mazes_sheet(part)
    assert texts(sheet)[-1].count("Ring: where a part of an episode begins.") == 1
    rings, before = (sum(line.get_marker() == "o" for line in one.axes[0].lines) for one in (sheet, drawn))
    assert rings == before + 2


@pytest.mark.parametrize("table", [np.zeros((64, 4)), np.full((64, 1), np.nan)])
def test_a_silent_model_is_drawn(table: np.ndarray, tmp_path: Path) -> None:
    maze = Maze(8)
    for name, figure in maze.figures(learned(maze, rewards={0: table}, success=np.zeros(0))).items():
        assert written(figure, tmp_path / name)


def test_a_sheet_gives_the_same_files_each_time_and_says_its_words(tmp_path: Path) -> None:
    maze = Maze(8)
    figure = maze.figures(learned(maze))["maze"]
    first, second = (written(figure, tmp_path / name) for name in ("one", "two"))
    assert [one.read_bytes() for one in first] == [other.read_bytes() for other in second]
    svg = first[1].read_text()
    for words in (figure.title, figure.words, "The policy", "The reward model", figure.panels[1].words):
        assert f"<!-- {words} -->" in svg


def animation(size: int = 8, path: np.ndarray | None = None) -> MazeAnimation:
    maze = Maze(size, 8 * size)
    found = maze.figures(learned(maze))["episode"]
    return found if path is None else replace(found, path=path)


def test_an_animation_walks_the_path_and_pauses_at_its_end(tmp_path: Path) -> None:
    figure = animation()
    (path,) = written(figure, tmp_path / "episode")
    assert path.name == "episode.gif"
    again = written(figure, tmp_path / "again")[0]
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
    (path,) = written(animation(4, wandering), tmp_path / "episode")
    with Image.open(path) as film:
        assert film.n_frames == 400
        assert film.info["duration"] == 50
