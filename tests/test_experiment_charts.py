"""The charts that the experiments choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_charts import axes_of, caption_of

from prefrl_cli.algorithm import oprl_figures
from prefrl_cli.algorithm.reliability_figure import reliability_figure
from prefrl_cli.charts.figures import MazeAnimation, MazeMap
from prefrl_cli.env.maze import Maze
from prefrl_cli.reward_model.quality import calibration_error


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
    arrays = dict(
        episodes=episodes, goal_reward=10.0, seeds=list(range(40, 40 + replicas)), env=Maze(4),
        process_reward=np.arange(16.0) + 100 * np.arange(replicas)[:, None],
        policy=np.full((replicas, 16, 4), 0.25) + np.arange(replicas)[:, None, None],
        visited=np.array([[0, 4, 8, 12, 13, 14, 15, 15]] * replicas), lengths=np.array([6] * replicas),
        last=np.array([15] * replicas),
        living=np.ones(replicas, dtype=bool),
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
    assert oprl_figures.median_seed(history(success), np.ones(len(shares), dtype=bool)) == expected
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

    experiment = direct.notebook_prefs([81, 5], steps=1, initial=40, final=40)
    experiment.evaluate()
    before = str(experiment.state()["streams"])
    pictures = experiment.figures({"loss": np.ones((1, 2))}, np.ones(2, dtype=bool))
    assert str(experiment.state()["streams"]) == before and "80 held-out pairs" in pictures["reliability"].note


def test_the_algorithm_gives_its_own_arrays_to_its_charts(tmp_path: Path) -> None:
    import torch

    from prefrl_cli.algorithm.oprl import OPRL
    from prefrl_cli.core.optimizer import Adam
    from prefrl_cli.core.streams import PhiloxStreams
    from prefrl_cli.policy.actor_critic import ActorCritic
    from prefrl_cli.policy.exploration import Exploration
    from prefrl_cli.policy_update.ppo import PPO
    from prefrl_cli.preference.criterion import Progress
    from prefrl_cli.preference.queries import UniformTrajectories
    from prefrl_cli.preference.teacher import Teacher
    from prefrl_cli.reward_model.explicit import ProcessReward
    from prefrl_cli.reward_model.reward_update import RewardUpdate
    from prefrl_cli.reward_model.shaping import PotentialShaping

    streams, env = PhiloxStreams(range(3, 6)), Maze(4, 12)
    policy, model = ActorCritic(env, streams, 16), ProcessReward(env, streams, 16)
    criterion = Progress(env)
    algorithm = OPRL(
        env=env, streams=streams, policy=policy, reward_model=model, criterion=criterion, teacher=Teacher(criterion),
        queries=UniformTrajectories(8), reward_update=RewardUpdate(1, 8), shaping=PotentialShaping(),
        policy_update=PPO(), exploration=Exploration(), policy_optimizer=Adam(policy.parameters),
        reward_optimizer=Adam(model.parameters), steps=2, episodes=5,
    )  # fmt: skip
    updates = [algorithm.update() for _ in range(2)]
    recorded = {name: np.array([one[name].numpy() for one in updates]) for name in updates[0]}
    assert "reliability" not in algorithm.figures(recorded, np.ones(3, dtype=bool))  # nothing was measured yet
    algorithm.evaluate()
    before = algorithm.state()["streams"]
    pictures = algorithm.figures(recorded, np.ones(3, dtype=bool))
    assert str(before) == str(algorithm.state()["streams"])
    assert set(pictures) == {"training", "reliability", "maze", "episode"}
    chosen = oprl_figures.median_seed(recorded, np.ones(3, dtype=bool))
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
