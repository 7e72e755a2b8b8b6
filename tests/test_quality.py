"""Measures of a learned reward against scipy, and against their definitions spelled out over all transitions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import direct
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from prefrl_cli.algorithm.metrics import OPRL_METRICS
from prefrl_cli.algorithm.oprl_evaluation import reward_quality
from prefrl_cli.core.metric import by_name
from prefrl_cli.env.maze import Maze
from prefrl_cli.env.rollout import play_greedily
from prefrl_cli.reward_model.quality import (
    calibration_error,
    calibration_floor,
    epic_distance,
    reliability,
    spearman,
)

Array = NDArray[np.floating]
GENERATOR = np.random.default_rng(0)


def test_calibration_error() -> None:
    seeds, pairs = 4, 60
    chances = GENERATOR.random((seeds, pairs))
    chances[0, :4] = 0.0, 1.0, 0.1, 0.5
    labels = (GENERATOR.random((seeds, pairs)) < chances**2).astype(float)
    weights = (GENERATOR.random((seeds, pairs)) < 0.7).astype(float)
    mine = calibration_error(chances, labels, weights)
    for r in range(seeds):
        bins: dict[int, list[tuple[float, float]]] = {}
        for chance, label, weight in zip(chances[r], labels[r], weights[r], strict=True):
            if weight:
                bins.setdefault(min(int(chance * 10), 9), []).append((chance, label))
        gaps = [abs(sum(c for c, _ in some) - sum(y for _, y in some)) for some in bins.values()]
        assert mine[r] == pytest.approx(sum(gaps) / weights[r].sum())
    assert np.isnan(calibration_error(chances, labels, 0 * weights)).all()


def test_calibration_of_a_perfect_and_of_an_overconfident_model() -> None:
    chances = GENERATOR.random((1, 200_000))
    labels = (GENERATOR.random(chances.shape) < chances).astype(float)
    ones = np.ones_like(chances)
    assert calibration_error(chances, labels, ones)[0] < 0.01
    sure = (chances > 0.5).astype(float)  # right with the mean of max(p, 1 - p), 3/4
    assert calibration_error(sure, labels, ones)[0] == pytest.approx(0.25, abs=0.01)
    predicted, observed, total = reliability(sure, labels, ones)
    assert total.sum() == 200_000 and np.isnan(predicted[0, 1:-1]).all()
    assert observed[0, [0, -1]] == pytest.approx([0.25, 0.75], abs=0.01)


def test_a_perfect_model_has_a_calibration_error_where_pairs_are_few() -> None:
    random = np.random.default_rng(1)
    chances = random.random((2000, 128))
    labels = (random.random(chances.shape) < chances).astype(float)
    ones = np.ones_like(chances)
    floor = calibration_floor(chances, ones, draws=10)
    assert floor.mean() == pytest.approx(calibration_error(chances, labels, ones).mean(), abs=0.001)
    assert floor.mean() == pytest.approx(0.088, abs=0.001)
    half = np.where(np.arange(128) < 64, ones, 0.0)
    assert calibration_floor(chances[:9], half[:9]) == pytest.approx(
        calibration_floor(chances[:9, :64], ones[:9, :64]), abs=0.02
    )
    assert calibration_floor(np.round(chances[:1]), ones[:1])[0] == 0.0  # who is sure, and right, has none
    assert np.isnan(calibration_floor(chances[:1], 0 * ones[:1])).all()


def canonical(reward: Array, discount: float) -> Array:
    """Definition 4.1 of Gleave et al. for `reward` `[S, A, S]`, expectations as sums over all of what is drawn."""
    states, actions, _ = reward.shape
    shaped = np.empty_like(reward)
    everything = reward.mean()
    for s, a, following in itertools.product(range(states), range(actions), range(states)):
        shaped[s, a, following] = (
            reward[s, a, following] + discount * reward[following].mean() - reward[s].mean() - discount * everything
        )
    return shaped


def epic_by_definition(first: Array, second: Array, discount: float) -> float:
    one, two = (canonical(reward, discount).ravel() for reward in (first, second))
    return math.sqrt((1 - np.corrcoef(one, two)[0, 1]) / 2)


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_epic_distance_is_exact(discount: float) -> None:
    seeds, states, actions = 3, 6, 4
    leaving = [GENERATOR.normal(size=(seeds, states, actions)), GENERATOR.normal(size=(1, states, actions))]
    arriving = [GENERATOR.normal(size=(seeds, states)), GENERATOR.normal(size=(1, states))]
    mine = epic_distance((leaving[0], leaving[1]), (arriving[0], arriving[1]), discount)
    for r in range(seeds):
        first = leaving[0][r][..., None] + arriving[0][r]
        second = leaving[1][0][..., None] + arriving[1][0]
        assert mine[r] == pytest.approx(epic_by_definition(first, second, discount))


def test_epic_distance_of_equivalent_and_opposite_rewards() -> None:
    leaving, arriving = GENERATOR.normal(size=(1, 6, 4)), GENERATOR.normal(size=(1, 6))
    potential = GENERATOR.normal(size=(1, 6))
    shaped = (3 * leaving + 2 - potential[..., None], 3 * arriving + 0.9 * potential)
    assert epic_distance((leaving, shaped[0]), (arriving, shaped[1]), 0.9)[0] == pytest.approx(0.0, abs=1e-6)
    assert epic_distance((leaving, -shaped[0]), (arriving, -shaped[1]), 0.9)[0] == pytest.approx(1.0)
    nothing = (0 * leaving - potential[..., None], 0.9 * potential)
    assert np.isnan(epic_distance((leaving, nothing[0]), (arriving, nothing[1]), 0.9)).all()


def test_epic_distance_ranks_no_implicit_rewards() -> None:
    """Exact advantages, which implicit rewards tend to, are nearly as far from the maze's reward as random ones."""
    maze = Maze(8)
    cells = np.flatnonzero(~maze.walls.ravel())
    nothing, true = np.zeros((1, len(cells))), maze.goal_reward * (cells == maze.goal)[None]

    def distance(rewards: Array) -> Array:
        leaving = np.where((cells == maze.goal)[:, None], 0.0, rewards[:, cells])
        return epic_distance((leaving, nothing[..., None]), (nothing, true), 0.98)

    nearer = -maze.distance[maze.transitions].astype(float)
    assert distance((nearer - nearer.max(1, keepdims=True))[None])[0] == pytest.approx(0.656, abs=5e-4)
    assert distance(GENERATOR.normal(size=(100, *nearer.shape))).mean() == pytest.approx(0.71, abs=0.01)
    assert by_name(OPRL_METRICS)["epic_distance"].direction == "none"


def test_spearman() -> None:
    first = GENERATOR.normal(size=(5, 40))
    second = np.round(first + GENERATOR.normal(size=(5, 40)))  # with ties
    mine = spearman(first, second)
    assert mine == pytest.approx([spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)])
    assert spearman(first, np.exp(first)) == pytest.approx(np.ones(5))
    assert spearman(first, second[:1])[3] == pytest.approx(spearmanr(first[3], second[0]).statistic)
    assert np.isnan(spearman(first, np.ones((1, 40)))).all()


class Known:
    """A reward model whose rewards are known: of a cell, or of a step."""

    def __init__(self, rewards: torch.Tensor) -> None:
        self.rewards = rewards  # [S, A]

    def step_rewards(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return self.rewards[states, actions]


def measured(experiment: Any) -> dict[str, torch.Tensor]:
    fresh = play_greedily(experiment.env, experiment.policy, experiment.streams)
    return reward_quality(experiment.env, experiment.reward_model, fresh, 0.98)


def test_an_experiment_measures_its_reward_model() -> None:
    experiment = direct.ppo_maze([1, 2])
    env = experiment.env
    distance = torch.from_numpy(env.distance).float()
    experiment.reward_model = Known(-distance[:, None].expand(-1, 4))
    assert measured(experiment)["distance_correlation"].tolist() == [1.0, 1.0]
    cells = np.flatnonzero(~env.walls.ravel())
    true = np.zeros((len(cells), 4, len(cells))) + 10.0 * (cells == env.goal)
    for sign in (1.0, -1.0):
        rewards = sign * GENERATOR.normal(size=(env.num_states, 4))
        rewards[env.goal] = 0.0
        experiment.reward_model = Known(torch.from_numpy(rewards))
        learned = np.repeat(rewards[cells][..., None], len(cells), -1)
        expected = epic_by_definition(learned, true, 0.98)
        assert measured(experiment)["epic_distance"].tolist() == pytest.approx([expected] * 2, abs=1e-6)


def test_the_step_rewards_of_an_implicit_model_are_ranked_by_how_much_nearer_they_lead() -> None:
    experiment = direct.configured("oprl_maze", "reward_model=implicit", "shaping=step_advantage", "num_seeds=2")
    env = experiment.env
    nearer = torch.from_numpy(env.distance[:, None] - env.distance[env.transitions]).float()
    experiment.reward_model.step_rewards = Known(nearer**3).step_rewards
    assert measured(experiment)["distance_correlation"].tolist() == pytest.approx([1.0, 1.0])
    experiment.reward_model.step_rewards = Known(-nearer).step_rewards
    assert measured(experiment)["distance_correlation"].tolist() == pytest.approx([-1.0, -1.0])


def test_an_evaluation_reports_them_all() -> None:
    experiment = direct.configured("oprl_maze", "criterion=progress", "num_seeds=2")
    for _ in range(3):
        experiment.update()
    metrics = experiment.evaluate()
    for name, low in (("calibration_error", 0.0), ("epic_distance", 0.0), ("distance_correlation", -1.0)):
        assert metrics[name].shape == (2,) and metrics[name].dtype == torch.float32
        assert low <= metrics[name].min() and metrics[name].max() <= 1.0
