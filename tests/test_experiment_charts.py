"""The charts that the experiments choose."""

from __future__ import annotations

import copy
from pathlib import Path

import direct
import numpy as np
import pytest
import torch
from test_charts import axes_of, caption_of

from prefrl_cli.algorithm import figures as charts
from prefrl_cli.algorithm.metrics import OPRL_METRICS, oprl_metrics
from prefrl_cli.charts import draw
from prefrl_cli.env.maze import Maze
from prefrl_cli.reward_model.quality import Predictions, calibration_error
from prefrl_cli.reward_model.reliability_figure import reliability_figure

SUCCESS = charts.outcome(OPRL_METRICS)


def history(success: np.ndarray, labels: int = 4) -> dict[str, np.ndarray]:
    updates, replicas = success.shape
    accuracy = np.full((updates + 1, replicas), np.nan)
    accuracy[[0, -1]] = 0.5
    late = np.full_like(success, np.nan)
    late[3:] = 0.7
    used = labels * np.arange(1.0, updates + 1)[:, None] * np.arange(1, replicas + 1)
    names = {"success": success, "reward_loss": late, "labels_used": used}
    return names | {"evaluation/preference_accuracy": accuracy}


def oprl(success: np.ndarray, episodes: int = 10, **changes):
    replicas = success.shape[1]
    living = np.ones(replicas, dtype=bool)
    held_out = Predictions(*(torch.full((replicas, 4), value) for value in (0.7, 1.0, 0.0)))
    kept, result = changes.get("history", history(success)), changes.get("result", SUCCESS)
    return charts.oprl_figures(kept, living, 20 + success, held_out, episodes, result)


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
    living = np.ones(len(shares), dtype=bool)
    assert charts.median_seed(history(np.tile(shares, (6, 1))), living, SUCCESS) == expected
    rank = f", the median of {len(shares)} by success" if len(shares) > 1 else ""
    assert charts.seed_words(47, living, SUCCESS) == f"seed 47{rank}"
    if len(shares) > 2:
        living[0] = False
        words = f"seed 47, the median of {len(shares) - 1} by success that did not fail"
        assert charts.seed_words(47, living, SUCCESS) == words


@pytest.mark.parametrize(("episodes", "window"), [(1, 20), (10, 2), (7, 3), (50, 1)])
def test_training_charts_count_and_smooth_by_episodes(episodes: int, window: int) -> None:
    success = np.random.default_rng(0).random((6, 3))
    success[4:, 2] = np.nan  # a seed that failed
    sheet = oprl(success, episodes)["training"]
    named = {panel.title: panel for panel in sheet.panels}
    assert list(named) == [
        "Success",
        "Success by labels used",
        "Way to the goal",
        "Reward model",
        "Preferences predicted",
    ]
    assert [panel.x_label for panel in sheet.panels] == ["episodes", "labels", "episodes", "episodes", "episodes"]
    assert sheet.rows == (2, 3)
    for title, values in (
        ("Success", success),
        ("Way to the goal", 20 + success),
        ("Reward model", history(success)["reward_loss"]),
    ):
        (line,) = named[title].lines
        assert (line.window, line.style) == (window, "smooth")
        np.testing.assert_array_equal(line.x, episodes * np.arange(1, 7))
        np.testing.assert_array_equal(line.y, values)
    measured, chance = named["Preferences predicted"].lines
    assert measured.x.tolist() == (episodes * np.arange(7)).tolist()
    assert (chance.style, chance.x.tolist(), chance.y.tolist()) == ("dashed", [0, 6 * episodes], [[0.5], [0.5]])
    assert f"{window * episodes} episodes" in sheet.note


def test_where_returns_count_they_are_drawn_over_environment_steps() -> None:
    """A control task, whose episodes all have a horizon, is measured in steps as elsewhere."""
    success = np.random.default_rng(0).random((6, 3))
    result = charts.outcome(oprl_metrics(200, (-300.0, 0.0)))
    assert result.name == "return"
    steps = 200 * 8 * np.arange(1.0, 7)[:, None] * np.ones(3)
    kept = history(success) | {"return": -100 * success, "env_steps": steps}
    panels = {panel.title: panel for panel in oprl(success, 8, history=kept, result=result)["training"].panels}
    assert list(panels) == [
        "Return", "Return by labels used", "Learned and true reward", "Reward model", "Preferences predicted",
    ]  # fmt: skip
    assert {panel.x_label for panel in panels.values()} == {"environment steps", "labels"}
    (line,) = panels["Return"].lines
    assert line.x.tolist() == steps[:, 0].tolist() and np.array_equal(line.y, kept["return"])
    assert panels["Preferences predicted"].lines[0].x.tolist() == [0, *steps[:, 0]]
    best = charts.median_seed(kept, np.ones(3, dtype=bool), result)
    assert charts.seed_words(4, np.ones(3, dtype=bool), result) == "seed 4, the median of 3 by return"
    assert best == np.argsort(-success.sum(0))[1]


def test_success_by_labels_is_that_of_each_seed_when_it_had_used_so_many() -> None:
    success = np.array([[0.0, 0.1], [0.2, 0.3], [0.4, 0.5], [0.6, np.nan]])
    (line,) = oprl(success, 20)["training"].panels[1].lines  # 20 episodes an update: nothing is smoothed
    used = history(success)["labels_used"]
    assert line.x[0] == 1 and line.x[-1] == 32
    for labels, values in zip(line.x, line.y, strict=True):
        for seed in range(2):
            known = np.flatnonzero((used[:, seed] <= labels) & ~np.isnan(success[:, seed]))
            assert values[seed] == pytest.approx(success[known[-1], seed] if len(known) else np.nan, nan_ok=True)


@pytest.mark.parametrize("labels", [0, None])
def test_without_labels_the_charts_say_that_there_are_no_values(labels: int | None) -> None:
    kept = history(np.ones((6, 3)), labels or 0)
    if labels is None:
        del kept["labels_used"], kept["evaluation/preference_accuracy"], kept["reward_loss"]
    sheet = oprl(np.ones((6, 3)), history=kept)["training"]
    words = [[text.get_text() for text in axes.texts] for axes in draw.curves_sheet(sheet).axes]
    assert words == [[], ["no values"], [], *([[], []] if labels == 0 else [["no values"]] * 2)]


def test_the_training_charts_of_reward_learning_say_what_a_step_is() -> None:
    for build, words in (
        (direct.notebook_prefs, "steps of 10 labels each"),
        (direct.notebook_mse, "steps of 10 rewards each"),
    ):
        experiment = build([81, 5])
        sheet = experiment.figures({"loss": np.ones((3, 2))}, np.ones(2, dtype=bool))["training"]
        assert {panel.x_label for panel in sheet.panels} == {words}


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


def test_reliability_joins_no_two_bins_and_says_how_many_pairs_each_bin_has() -> None:
    chances = np.array([[0.05] * 8 + [0.95] * 9 + [0.55] * 2])
    labels = (chances > 0.5).astype(float)
    (sheet,) = reliability_figure(chances, labels, np.ones_like(chances)).values()
    (one,) = sheet.panels
    assert [line.style for line in one.lines] == ["bars", "dashed", "points"]
    assert one.lines[2].x.tolist() == pytest.approx([0.05, 0.95])
    assert "19 held-out pairs of 1 seed, in the ten bins 8; 0; 0; 0; 0; 2; 0; 0; 0; 9." in sheet.note
    assert "A line would need 3 bins" in sheet.note


def test_reliability_says_of_how_many_seeds_it_is_and_separates_thousands() -> None:
    generator = np.random.default_rng(0)
    chances = generator.random((4, 5000))
    labels = (generator.random(chances.shape) < chances).astype(float)
    weights = np.ones_like(chances)
    (sheet,) = reliability_figure(chances, labels, weights).values()
    assert sheet.panels[0].title.endswith("(median of 4 seeds)") and sheet.note.startswith("20,000 held-out pairs, in")
    weights[1:] = 0.0
    (sheet,) = reliability_figure(chances, labels, weights).values()
    assert sheet.panels[0].title.endswith(" (1 of 4 seeds)") and sheet.note.startswith("5,000 held-out pairs of 1 seed")
    assert caption_of(*sheet.panels[0].lines) == "4 seeds, of which 1 has dots."
    weights[2] = 1.0
    (sheet,) = reliability_figure(chances, labels, weights).values()
    assert sheet.panels[0].title.endswith(" (median of 2 of 4 seeds)") and " pairs of 2 seeds, in" in sheet.note
    assert caption_of(*sheet.panels[0].lines) == "4 seeds, of which 2 have dots."


@pytest.mark.parametrize("name", ["return", "success"])
def test_the_title_of_training_is_true_of_every_algorithm(name: str) -> None:
    success = np.random.default_rng(0).random((6, 3))
    kept = history(success) | {"return": success, "env_steps": np.cumsum(1 + success, 0)}
    result = charts.outcome(oprl_metrics(200, (0.0, 1.0)) if name == "return" else OPRL_METRICS)
    assert oprl(success, history=kept, result=result)["training"].title == "Policy and reward model while training"


def test_a_reward_learned_from_preferences_has_the_chart_too() -> None:
    experiment = direct.notebook_prefs([81, 5], steps=1, initial=40, final=40)
    experiment.evaluate()
    before = str(experiment.state()["streams"])
    pictures = experiment.figures({"loss": np.ones((1, 2))}, np.ones(2, dtype=bool))
    assert str(experiment.state()["streams"]) == before and "80 held-out pairs" in pictures["reliability"].note


def test_the_algorithm_gives_its_own_arrays_to_its_charts(tmp_path: Path) -> None:
    from prefrl_cli.algorithm.oprl import OPRL
    from prefrl_cli.core.optimizer import Adam
    from prefrl_cli.core.streams import PhiloxStreams
    from prefrl_cli.policy.actor_critic import ActorCritic
    from prefrl_cli.policy.exploration import Exploration
    from prefrl_cli.policy.ppo import PPO
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
    assert set(pictures) == {"training", "reliability", "maze", "episode", "reward_over_time", "questions"}
    chosen = charts.median_seed(recorded, np.ones(3, dtype=bool), SUCCESS)
    hero = pictures["maze"]
    assert hero.words.startswith(f"Seed {3 + chosen}, the median of 3 by success: ")
    with torch.no_grad():
        heat = model(torch.arange(16).expand(3, -1))[chosen].numpy().reshape(4, 4)
    shown = np.isfinite(hero.panels[1].rewards[..., 0])
    np.testing.assert_array_equal(hero.panels[1].rewards[shown, 0], heat[shown].astype(float))
    assert shown.sum() == 15 - env.walls.sum()
    states = (hero.panels[0].path @ [4, 1]).tolist()
    assert states[0] == env.start and (states[-1] == env.goal or len(states) == 13)
    policy = hero.panels[0].policy.reshape(16, 4)
    for state, following in zip(states[:-1], states[1:], strict=True):
        assert env.transitions[state, policy[state].argmax()] == following
    np.testing.assert_allclose(policy.sum(-1), 1, rtol=1e-5)
    assert pictures["training"].panels[0].lines[0].x.tolist() == [5, 10]
    assert [panel.title for panel in pictures["reward_over_time"].panels] == ["After update 1", "After update 2"]
    updates = [panel.title[:8] for panel in pictures["questions"].panels]
    assert updates == ["Update 1"] * 2 + ["Update 2"] * 2


def test_snapshots_are_of_the_seed_alone_and_part_of_the_state() -> None:
    options = ["env.size=4", "env.horizon=12", "queries.questions=4", "reward_update.updates=2", "policy.hidden=8"]
    options += ["reward_model.hidden=8", "steps=9", "teacher=oracle", "criterion=progress"]
    whole, alone, resumed = (
        direct.configured("oprl_maze", *options, seeds) for seeds in ("num_seeds=2", "seed=1", "num_seeds=2")
    )
    for _ in range(5):
        whole.update()
    resumed.restore(copy.deepcopy(whole.state()))
    for experiment in (whole, resumed, *[alone] * 2):
        while experiment.step < 9:
            experiment.update()
    kept = whole.state()["snapshots"]
    assert list(kept["rewards"]) == list(kept["questions"]) == ["1", "2", "4", "8"]
    assert kept["goal_steps"].shape == (2, 9)
    assert str(kept) == str(resumed.state()["snapshots"])
    one = alone.state()["snapshots"]
    for update, table in kept["rewards"].items():
        assert torch.equal(table[1:], one["rewards"][update])
        for name, values in kept["questions"][update].items():
            torch.testing.assert_close(values[1:], one["questions"][update][name], rtol=0, atol=0, equal_nan=True)
    assert kept["questions"]["1"]["chance"].tolist() == [0.5, 0.5]  # it had learned nothing yet, not even these answers
    asked = kept["questions"]["8"]
    assert asked["update"].tolist() == [8, 8] and not torch.equal(asked["chance"], torch.full((2,), 0.5))
    older = {name: value for name, value in whole.state().items() if name != "snapshots"}
    resumed.restore(older)  # as a version without snapshots wrote it
    wrong = whole.state() | {"snapshots": kept | {"goal_steps": kept["goal_steps"][:1]}}
    with pytest.raises(ValueError, match="goal_steps"):
        resumed.restore(wrong)
