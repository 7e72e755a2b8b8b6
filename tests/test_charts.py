"""Charts: what is drawn, read back from matplotlib's artists and from the files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, PolyCollection
from matplotlib.quiver import Quiver
from PIL import Image

from prefrl_cli.algorithm import oprl_figures
from prefrl_cli.algorithm.reliability_figure import reliability_figure
from prefrl_cli.figures import Curves, Line, MazeAnimation, MazeMap, Panel
from prefrl_cli.quality import calibration_error
from prefrl_cli.report import charts, maze_charts

STEPS = np.arange(1, 31)


def panel(*lines: Line, **options) -> Panel:
    return Panel("Title", "episode", "value (unit)", lines, **options)


def axes_of(*panels: Panel) -> list[Axes]:
    return charts.curves_sheet(Curves("Sheet", panels)).axes


def caption_of(*lines: Line, note: str = "") -> str:
    return charts.curves_sheet(Curves("Sheet", (panel(*lines),), note)).get_supxlabel()


def noise(rows: int = 30, seeds: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, seeds))


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


def test_a_figure_gives_the_same_png_and_svg_each_time_whatever_style_is_set(tmp_path: Path) -> None:
    figure = Curves("Training", (panel(Line(STEPS, noise(), "a")), panel(Line(STEPS, noise(), style="points"))))
    first = charts.draw(figure, tmp_path / "loss.v1")
    assert [path.name for path in first] == ["loss.v1.png", "loss.v1.svg"]
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "pink", "svg.hashsalt": None}):
        second = charts.draw(figure, tmp_path / "again")
        assert matplotlib.rcParams["font.size"] == 30
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    with Image.open(first[0]) as picture:
        assert picture.size == (1920, 735)  # 12.8 inches at 150 dots
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    text = first[1].read_text()
    assert text.rstrip().endswith("</svg>") and "<dc:date>" not in text


def test_drawing_needs_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys; from prefrl_cli.report import charts, statistics; from prefrl_cli.algorithm import oprl_figures; "
        "print([name for name in ('torch', 'matplotlib.pyplot', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_band_is_the_median_and_the_ten_to_ninety_percent_of_the_seeds() -> None:
    values = noise(seeds=11)
    (axes,) = axes_of(panel(Line(STEPS, values)))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(values, 1))
    (band,) = [one for one in axes.collections if isinstance(one, FillBetweenPolyCollection)]
    corners = band.get_paths()[0].vertices
    low, high = np.quantile(values, [0.1, 0.9], 1)
    tenth = corners[corners[:, 0] == STEPS[10], 1]
    np.testing.assert_allclose([tenth.min(), tenth.max()], [low[10], high[10]])


def test_the_caption_says_over_how_many_seeds() -> None:
    reference = Line(STEPS, np.zeros((30, 1)), style="dashed")
    assert caption_of(Line(STEPS, noise(seeds=7)), reference) == "Median and 10–90 % band of 7 seeds."
    assert caption_of(Line(STEPS, noise(seeds=7), style="points"), reference) == "7 seeds, all shown."
    assert caption_of(Line(STEPS, noise(seeds=1), style="smooth"), note="Faint: raw.") == "1 seed. Faint: raw."


def test_the_caption_says_when_some_seeds_have_no_value() -> None:
    values = noise(seeds=7)
    values[:10] = np.nan  # not measured yet, for any seed
    assert caption_of(Line(STEPS, values)) == "Median and 10–90 % band of 7 seeds."
    values[20, 3] = np.nan
    assert caption_of(Line(STEPS, values)) == "Median and 10–90 % band of the seeds (of 7) that have a value."


def test_one_seed_has_no_band() -> None:
    (axes,) = axes_of(panel(Line(STEPS, noise(seeds=1))))
    assert not axes.collections
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), noise(seeds=1)[:, 0])


def test_a_metric_measured_now_and_then_is_joined_and_one_that_starts_late_starts_late() -> None:
    values = np.full((30, 4), np.nan)
    values[9::5] = noise(5, 4)
    values[14, :3] = np.nan  # one seed left
    (axes,) = axes_of(panel(Line(STEPS, values)))
    x, y = axes.lines[0].get_data()
    assert x.tolist() == [10, 15, 20, 25, 30]
    np.testing.assert_allclose(y, [np.nanmedian(values[int(row) - 1]) for row in x])


def test_a_loss_that_left_the_numbers_leaves_a_gap_and_no_warning() -> None:
    values = noise(30, 3)
    values[20:] = np.inf
    (axes,) = axes_of(panel(Line(STEPS, values, style="smooth"), Line(STEPS, values)))
    assert np.isfinite(axes.lines[-1].get_ydata()).sum() == 20
    assert np.isfinite(axes.get_ylim()).all()


def test_a_panel_without_values_says_so() -> None:
    (axes,) = axes_of(panel(Line(STEPS, np.full((30, 4), np.nan), style="smooth")))
    assert [text.get_text() for text in axes.texts] == ["no values"]
    assert not axes_of(panel(Line(STEPS, noise())))[0].texts


def test_moving_mean_is_that_of_the_rows_before() -> None:
    values = noise(23, 3)
    values[np.random.default_rng(4).random(values.shape) < 0.3] = np.nan
    expected = np.full_like(values, np.nan)
    for row, seed in np.argwhere(~np.isnan(values)):
        expected[row, seed] = np.nanmean(values[max(0, row - 6) : row + 1, seed])
    np.testing.assert_allclose(charts.moving_mean(values, 7), expected)
    np.testing.assert_allclose(
        charts.moving_mean(values, 100)[-1], np.where(np.isnan(values[-1]), np.nan, np.nanmean(values, 0))
    )


def test_smooth_shows_the_faint_raw_median_and_the_mean_over_the_window() -> None:
    (axes,) = axes_of(panel(Line(STEPS, noise(), style="smooth", window=4)))
    raw, smooth = axes.lines
    np.testing.assert_allclose(raw.get_ydata(), np.median(noise(), 1))
    np.testing.assert_allclose(smooth.get_ydata()[10], np.median(noise()[7:11].mean(0)))
    assert raw.get_alpha() < 0.5 and smooth.get_alpha() is None
    assert len(axes_of(panel(Line(STEPS, noise(), style="smooth", window=1)))[0].lines) == 1


def test_points_take_an_x_of_each_seed_and_other_styles_refuse_it() -> None:
    x, y = noise(6, 3), noise(6, 3) ** 2
    y[0, 0] = np.nan
    (axes,) = axes_of(panel(Line(x, y, "seen", "points")))
    assert sorted(zip(*axes.lines[0].get_data(), strict=True)) == sorted(zip(x.ravel()[1:], y.ravel()[1:], strict=True))
    with pytest.raises(ValueError, match=r"line 'seen': style band needs one x for all seeds, not \(6, 3\)"):
        axes_of(panel(Line(x, y, "seen")))


def test_many_points_are_a_picture_inside_the_svg() -> None:
    few, many = (axes_of(panel(Line(np.arange(rows), noise(rows, 4), style="points")))[0] for rows in (50, 500))
    assert not few.lines[0].get_rasterized() and many.lines[0].get_rasterized()


def test_marks_references_and_the_legend() -> None:
    reference = Line(np.array([1, 30]), np.array([[0.5], [0.5]]), "chance", "dashed")
    first, second = axes_of(
        panel(Line(STEPS, noise(), "model"), reference, marks=(7.0, 9.0), mark_label="answer"),
        panel(Line(STEPS, noise())),
    )
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["model", "chance", "answer"]
    assert [line.get_xdata()[0] for line in first.lines if len(set(line.get_xdata())) == 1] == [7.0, 9.0]
    assert second.get_legend() is None


def test_panels_are_labelled_and_ranges_kept() -> None:
    one, log = axes_of(
        panel(Line(STEPS, noise()), y_range=(0.0, 2.0), x_range=(0.0, 100.0)),
        panel(Line(STEPS, noise()), y_scale="log"),
    )
    assert (one.get_title(), one.get_xlabel(), one.get_ylabel()) == ("Title", "episode", "value (unit)")
    assert one.get_ylim() == (0.0, 2.0) and one.get_xlim() == (-2.0, 102.0)
    assert log.get_yscale() == "log" and (log.lines[0].get_ydata() > 0).all()


def test_long_histories_are_thinned_to_what_a_panel_can_show() -> None:
    (axes,) = axes_of(panel(Line(np.arange(30_000), noise(30_000, 2), style="smooth")))
    assert all(1000 < len(line.get_xdata()) <= 2000 for line in axes.lines)


@pytest.mark.parametrize("size", [4, 8, 16, 17, 32, 33, 64])
def test_arrows_stand_in_cells_that_can_be_left(size: int) -> None:
    figure = maze(size)
    axes = maze_charts.maze_sheet(figure).axes[0]
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
    axes, bar = maze_charts.maze_sheet(figure).axes
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
    written = charts.draw(maze(heat=heat), tmp_path / "maze")
    assert [path.name for path in written] == ["maze.png", "maze.svg"]
    charts.draw(MazeAnimation(maze(heat=heat)), tmp_path / "episode")


def test_the_maze_says_whether_the_goal_was_reached() -> None:
    assert maze_charts.path_words(maze()) == "Line: greedy episode, 14 steps to the goal."
    lost = maze(path=np.array([(0, 0), (0, 1), (0, 0)]))
    assert maze_charts.path_words(lost) == "Line: greedy episode, goal not reached in 2 steps."
    crosses = [[line.get_marker() for line in maze_charts.maze_sheet(f).axes[0].lines] for f in (maze(), lost)]
    assert [("X" in markers) for markers in crosses] == [False, True]


def test_an_animation_walks_the_path_and_pauses_at_its_end(tmp_path: Path) -> None:
    figure = maze()
    (path,) = charts.draw(MazeAnimation(figure), tmp_path / "episode")
    assert path.name == "episode.gif"
    again = charts.draw(MazeAnimation(figure), tmp_path / "again")[0]
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
    (path,) = charts.draw(MazeAnimation(maze(4, path=wandering)), tmp_path / "episode")
    with Image.open(path) as film:
        assert film.n_frames == 400
        assert film.info["duration"] == 50


def history(success: np.ndarray) -> dict[str, np.ndarray]:
    updates, replicas = success.shape
    accuracy = np.full((updates + 1, replicas), np.nan)
    accuracy[[0, -1]] = 0.5
    late = np.full_like(success, np.nan)
    late[3:] = 0.7
    names = {"return": 10 * success, "success": success, "reward_loss": late, "policy_loss": success - 1}
    return names | {"evaluation/label_accuracy": accuracy}


def oprl(success: np.ndarray, episodes: int = 10, **changes):
    replicas = success.shape[1]
    walls = np.zeros((4, 4), dtype=bool)
    walls[1, 2] = True
    arrays = dict(
        episodes=episodes, goal_reward=10.0, seeds=list(range(40, 40 + replicas)), walls=walls, start=0, goal=15,
        process_reward=np.arange(16.0) + 100 * np.arange(replicas)[:, None],
        policy=np.full((replicas, 16, 4), 0.25) + np.arange(replicas)[:, None, None],
        visited=np.array([[0, 4, 8, 12, 13, 14, 15, 15]] * replicas), lengths=np.array([6] * replicas),
        last=np.array([15] * replicas),
        held_out=(np.full((replicas, 4), 0.7), np.ones((replicas, 4)), np.zeros((replicas, 4))),
    )  # fmt: skip
    return oprl_figures.figures(changes.pop("history", history(success)), **(arrays | changes))


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([0.2], 0),
        ([0.9, 0.1, 0.5], 2),
        ([0.9, 0.1, 0.5, 0.6], 2),  # of two in the middle the lower
        ([0.5, 1.0, 0.5, 0.0, 0.5], 2),  # of equals the one in the middle
        ([1.0, 1.0], 0),
        ([np.nan, 0.4, 0.8], 1),  # no value counts as no success
    ],
)
def test_the_seed_that_is_shown_is_the_median_by_success(shares: list[float], expected: int) -> None:
    success = np.tile(shares, (6, 1))
    assert oprl_figures.median_seed(history(success), len(shares)) == expected
    pictures = oprl(success)
    chosen = pictures["maze"]
    assert isinstance(chosen, MazeMap) and pictures["episode"] == MazeAnimation(chosen)
    rank = f", the median of {len(shares)} by success" if len(shares) > 1 else ""
    assert chosen.title == f"Seed {40 + expected}{rank}"
    assert chosen.heat[0, 3] == 100 * expected + 3 and chosen.policy[0, 0, 0] == 0.25 + expected


def test_the_maze_of_oprl_has_the_path_to_its_end_and_no_heat_on_the_goal() -> None:
    chosen = oprl(np.ones((6, 3)))["maze"]
    assert chosen.path.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1], [3, 2], [3, 3]]
    assert (chosen.start, chosen.goal) == ((0, 0), (3, 3))
    assert np.argwhere(np.isnan(chosen.heat)).tolist() == [[3, 3]]
    lost = oprl(np.ones((6, 3)), visited=np.array([[0, 1]] * 3), lengths=np.array([2] * 3), last=np.array([1] * 3))
    assert lost["maze"].path.tolist() == [[0, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize(("episodes", "window"), [(1, 20), (10, 2), (7, 3), (50, 1)])
def test_training_charts_count_and_smooth_by_episodes(episodes: int, window: int) -> None:
    success = np.random.default_rng(0).random((6, 3))
    sheet = oprl(success, episodes)["training"]
    assert [one.title for one in sheet.panels] == ["Return", "Success rate", "Reward model", "Policy"]
    for one, name in zip(sheet.panels, ("return", "success", "reward_loss", "policy_loss"), strict=True):
        assert one.lines[0].window == window and one.lines[0].style == "smooth"
        np.testing.assert_array_equal(one.lines[0].x, episodes * np.arange(1, 7))
        np.testing.assert_array_equal(one.lines[0].y, history(success)[name])
    assert f"{window * episodes} episodes" in sheet.note


def test_label_accuracy_counts_from_before_training_and_is_left_out_where_it_was_not_measured() -> None:
    success = np.ones((6, 3))
    measured, chance = oprl(success)["label_accuracy"].panels[0].lines
    assert measured.x.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert (chance.style, chance.x.tolist(), chance.y.tolist()) == ("dashed", [0, 60], [[0.5], [0.5]])
    kept = history(success)
    del kept["evaluation/label_accuracy"], kept["reward_loss"]
    pictures = oprl(success, history=kept)
    assert set(pictures) == {"training", "maze", "episode"}
    assert np.isnan(pictures["training"].panels[2].lines[0].y).all()


def test_reliability_pools_the_pairs_of_all_seeds_and_shows_each() -> None:
    generator = np.random.default_rng(0)
    chances = generator.random((3, 400))
    labels = (generator.random((3, 400)) < chances**2).astype(float)
    weights = (generator.random((3, 400)) < 0.6).astype(float)
    weights[:, chances[0] > 0.9] = 0.0
    (sheet,) = reliability_figure(chances, labels, weights).values()
    (one,) = sheet.panels
    assert [line.style for line in one.lines] == ["bars", "dashed", "line", "points"]
    bars, _, pooled, dots = one.lines
    for number in range(9):
        inside = (weights > 0) & (chances >= number / 10) & (chances < (number + 1) / 10)
        assert bars.y[number, 0] == pytest.approx(inside.sum() / weights.sum())
        assert pooled.x[number] == pytest.approx(chances[inside].mean())
        assert pooled.y[number, 0] == pytest.approx(labels[inside].mean())
        for seed in range(3):
            mine = labels[seed][inside[seed]]
            assert dots.y[number, seed] == pytest.approx(mine.mean() if len(mine) >= 5 else np.nan, nan_ok=True)
    error = np.median(calibration_error(chances, labels, weights))
    assert one.title == f"Calibration error {error:.3f} (median of 3 seeds)"
    assert f"{weights.sum():.0f} held-out pairs" in sheet.note
    assert caption_of(*one.lines) == "3 seeds, all shown."
    (axes,) = axes_of(one)
    assert [patch.get_height() for patch in axes.patches] == pytest.approx(bars.y[:, 0].tolist())
    (alone,) = reliability_figure(chances[:1], labels[:1], weights[:1])["reliability"].panels
    assert [line.style for line in alone.lines] == ["bars", "dashed", "line"] and "(1 seed)" in alone.title
    assert reliability_figure(chances, labels, 0 * weights) == {}


def test_a_reward_learned_from_preferences_has_the_chart_too() -> None:
    import direct

    experiment = direct.notebook_prefs([81, 5], steps=1, initial=10, final=40)
    before = str(experiment.state()["streams"])
    pictures = experiment.figures({"loss": np.ones((1, 2))})
    assert str(experiment.state()["streams"]) == before and "80 held-out pairs" in pictures["reliability"].note


def test_the_algorithm_gives_its_own_arrays_to_its_charts(tmp_path: Path) -> None:
    import torch

    from prefrl_cli.algorithm.oprl import OPRL, Exploration, RewardUpdate
    from prefrl_cli.env.maze import Maze
    from prefrl_cli.optimizers import Adam
    from prefrl_cli.policy import ActorCritic
    from prefrl_cli.policy_update import PPO
    from prefrl_cli.queries import UniformTrajectories
    from prefrl_cli.reward_model import ProcessReward
    from prefrl_cli.shaping import PotentialShaping
    from prefrl_cli.streams import PhiloxStreams
    from prefrl_cli.teacher import Progress

    streams, env = PhiloxStreams(range(3, 6)), Maze(4, 12)
    policy, model = ActorCritic(env, streams, 16), ProcessReward(env, streams, 16)
    algorithm = OPRL(
        env=env, streams=streams, policy=policy, reward_model=model, teacher=Progress(),
        queries=UniformTrajectories(8), reward_update=RewardUpdate(1, 8), shaping=PotentialShaping(),
        policy_update=PPO(), exploration=Exploration(), policy_optimizer=Adam(policy.parameters),
        reward_optimizer=Adam(model.parameters), steps=2, episodes=5,
    )  # fmt: skip
    updates = [algorithm.update() for _ in range(2)]
    recorded = {name: np.array([one[name].numpy() for one in updates]) for name in updates[0]}
    before = algorithm.state()["streams"]
    pictures = algorithm.figures(recorded)
    assert str(before) == str(algorithm.state()["streams"])
    assert set(pictures) == {"training", "reliability", "maze", "episode"}
    chosen = oprl_figures.median_seed(recorded, 3)
    picture = pictures["maze"]
    assert picture.title == f"Seed {3 + chosen}, the median of 3 by success"
    with torch.no_grad():
        heat = model(torch.arange(16).expand(3, -1))[chosen].numpy().reshape(4, 4)
    np.testing.assert_array_equal(picture.heat.ravel()[:-1], heat.ravel()[:-1])
    states = (picture.path @ [4, 1]).tolist()
    assert states[0] == env.start and (states[-1] == env.goal or len(states) == 13)
    for state, following in zip(states[:-1], states[1:], strict=True):
        action = picture.policy.reshape(16, 4)[state].argmax()
        assert env.transitions[state, action] == following
    np.testing.assert_allclose(picture.policy.sum(-1), 1, rtol=1e-5)
    assert pictures["training"].panels[0].lines[0].x.tolist() == [5, 10]
