"""What is asked and answered, in whole experiments."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import direct
import pytest
import torch

from prefrl_cli.config.choices import choices
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.env.maze import Maze
from prefrl_cli.preference.criterion import Return
from prefrl_cli.preference.queries import UniformTrajectories
from prefrl_cli.preference.teacher import myopic_scores

R, M, C, K, Q = 3, 3, 40, 6, 4


VARIANTS = {
    "disagreement": ["queries=disagreement", "teacher=noisy", "teacher.mistake=0.2"],
    "disagreement, implicit": [
        "queries=disagreement_k_center", "reward_model=implicit", "reward_model.members=2", "shaping=step_advantage"
    ],
    "entropy": ["queries=entropy", "teacher=myopic", "queries.segment=9", "loss=rao_kupper", "criterion.ties=equal"],
    "entropy and centres": ["queries=entropy_k_center", "reward_model.combine=min", "reward_model.members=2"],
    "centres": ["queries=k_center", "teacher=skip", "queries.budget=15", "loss=davidson"],
    "segments": ["queries=uniform", "teacher=equal", "queries.segment=5", "env.layout=random"],
}  # fmt: skip


def configured(name: str, seeds: Sequence[int]) -> Any:
    return direct.configured(
        "oprl_maze", "criterion=progress", "queries.questions=7",
        "queries.from_newest=20", "env.size=5", "env.horizon=20", "reward_update.batch=9", f"seed={seeds[0]}",
        f"num_seeds={len(seeds)}",
        *[part if "=" in part else part for part in sorted(VARIANTS[name], key=lambda text: "." in text.split("=")[0])],
    )  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_seed_alone_and_among_others(name: str) -> None:
    groups = [configured(name, seeds) for seeds in ([7], [5, 6, 7, 8, 9])]
    for _ in range(4):
        alone, among = (experiment.update() for experiment in groups)
        for metric, value in alone.items():
            assert torch.equal(value[0].nan_to_num(-1), among[metric][2].nan_to_num(-1)), metric
    alone, among = (experiment.evaluate() for experiment in groups)
    for metric, value in alone.items():
        assert torch.equal(value[0].nan_to_num(-1), among[metric][2].nan_to_num(-1)), metric
    flats = [experiment.reward_model.parameters.flat for experiment in groups]
    assert torch.equal(flats[0][0], flats[1][2])
    assert alone["labels_used"] > 0


def test_queries_in_conf() -> None:
    assert {"uniform", "disagreement", "entropy", "k_center", "disagreement_k_center"} < set(choices("queries"))
    experiment = direct.configured("oprl_maze", "queries=entropy_k_center")
    assert experiment._queries.centres


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["queries=disagreement", "reward_model.members=1"],
            "reward_model.members=1: no two disagree; try reward_model.members=3",
        ),
        (
            ["queries.from_newest=1"],
            "queries.from_newest=1: must be a whole number between 2 .*; try queries.from_newest=2",
        ),
        (["queries.segment=61"], "queries.segment=61: an episode has at most 60 steps; try queries.segment=60"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}$"):
        direct.configured("oprl_maze", *overrides)


def test_return_teacher_of_segments_sees_their_rewards_only() -> None:
    """Segments without the goal tie and are skipped: whole successes are one question in few."""
    labels = []
    for segment in (None, 3):
        experiment = direct.ppo_maze(
            [1], env=Maze(4), criterion=Return(), queries=UniformTrajectories(questions=200, segment=segment)
        )
        labels.append(int(experiment.update()["labels_used"]))
    assert 0 < labels[1] < labels[0]


@pytest.mark.parametrize("overrides", [["queries.start=2"], ["queries.budget=0"]], ids=str)
def test_a_policy_learns_before_anything_was_asked_as_without_a_teacher(overrides: list[str]) -> None:
    experiment, plain = (
        direct.configured("oprl_maze", "num_seeds=2", "env.size=4", *some) for some in (overrides, ["shaping=none"])
    )
    for _ in range(2):
        metrics, expected = experiment.update(), plain.update()
        assert torch.equal(metrics["policy_loss"], expected["policy_loss"])
    assert not metrics["labels_used"].any() and "reward_loss" not in metrics
    assert torch.equal(experiment.policy_optimizer.parameters.flat, plain.policy_optimizer.parameters.flat)
    assert experiment.evaluate()["preference_accuracy"].isfinite().all()


def test_ties_alone_leave_the_step_advantage_at_zero() -> None:
    """No one reaches the goal, so that every answer says equal: a model fitted to that has no direction to give."""
    experiment = direct.configured(
        "oprl_maze", "num_seeds=2", "criterion=return", "criterion.ties=equal", "env.size=16", "env.horizon=30",
        "queries.questions=5", "queries.from_newest=20",
    )  # fmt: skip
    for _ in range(2):
        metrics = experiment.update()
    assert metrics["labels_used"].tolist() == [10.0, 10.0] and not metrics["success"].any()
    played = experiment._play(3, 0.0, "here")
    rewards = experiment.reward_model.step_rewards(played.states, played.actions)
    assert rewards.abs().amax((1, 2)).min() > 0  # it is not silent: the policy has moved away from where both began
    assert not experiment._shape(played)[1].any()
    experiment.preferences._answered._items["label"][0] = 1.0  # one preference of the first seed
    _, advantages = experiment._shape(played)
    assert advantages[0].any() and not advantages[1].any()


def test_held_out_ties_do_not_count_whatever_a_tie_is_called() -> None:
    each = [
        direct.configured("oprl_maze", "num_seeds=2", "env.size=4", f"criterion.ties={ties}")
        for ties in ("second", "first", "equal", "skip")
    ]
    weights = [one._predicted(one._fresh()).weights for one in each]
    assert 0 < weights[0].mean() < 1
    assert all(torch.equal(weights[0], other) for other in weights[1:])


def test_a_potential_has_the_discount_of_the_policy_update() -> None:
    experiment = direct.configured("oprl_maze", "shaping=potential", "policy_update.discount=0.9")
    assert experiment._shaping.discount == 0.9


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_progress_of_a_failed_segment_is_what_it_gained_itself(gamma: float) -> None:
    experiment = direct.configured(
        "oprl_maze", "criterion=progress", f"teacher.gamma={gamma}", "env.size=16", "env.horizon=100", "num_seeds=2",
        "queries.segment=7", "queries.questions=100",
    )  # fmt: skip
    for _ in range(2):
        experiment.update()
    env, criterion = experiment.env, experiment._criterion
    both = experiment._queries.draw(
        100, experiment._trajectories, experiment.reward_model, experiment.preferences, experiment.streams
    )
    scores, seen = criterion(both), myopic_scores(criterion, both, gamma)
    assert seen.unique().numel() > 5
    for r, q, side in itertools.product(range(2), range(100), range(2)):
        states, last = both.states[r, q, side].tolist(), int(both.last[r, q, side])
        assert last != env.goal and len(states) == 7
        distances = [int(env.distance[state]) for state in (*states, last)]
        gained = [before - after for before, after in itertools.pairwise(distances)]
        expected = sum(gamma ** (6 - step) * gain for step, gain in enumerate(gained))
        assert float(scores[r, q, side]) == sum(gained) - env.distance[env.start]
        assert float(seen[r, q, side]) == pytest.approx(expected - env.distance[env.start], abs=1e-4)
