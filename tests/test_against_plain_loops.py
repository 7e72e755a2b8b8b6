"""prefrl's batched code against the plain loops of `benchmarks/`: the same draws give the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import direct
import plain_notebook
import pytest
import torch
from plain_tutorial import GivenDraws, PlainLoop, load_layers
from torch import Tensor, nn

from prefrl_cli.algorithm.oprl import OPRL
from prefrl_cli.core.streams import PhiloxStreams

EPISODES = 90
SEED = 19  # reaches the goal early, so that labels of both kinds occur


def plain_copy(experiment: OPRL, seed: int) -> PlainLoop:
    """The tutorial's loop with the initial parameters and the random numbers of one seed of an experiment."""
    streams = PhiloxStreams([seed])
    loop = PlainLoop(GivenDraws(lambda purpose, count: streams.uniform(purpose, count)[0].tolist()), render_every=40)
    row = experiment.streams.seeds.index(seed)
    load_layers([loop.reward], [view[row] for view in experiment.reward_model.parameters.views])
    *trunk, weight, bias = [view[row] for view in experiment.policy.parameters.views]
    heads = [weight[:, :4], bias[:, :4], weight[:, 4:], bias[:, 4:]]
    load_layers([loop.policy.trunk, loop.policy.actor, loop.policy.critic], [*trunk, *heads])
    return loop


def assert_same_parameters(layers: Sequence[nn.Module], views: Sequence[Tensor], tolerance: float) -> None:
    mine = [parameter.detach() for layer in layers for parameter in layer.parameters()]
    assert len(mine) == len(views)
    for one, other in zip(mine, views, strict=True):
        turned = other.detach().T if one.dim() == 2 else other.detach().flatten()
        torch.testing.assert_close(one, turned, rtol=0, atol=tolerance)


def test_tutorial_plays_the_same_episodes_and_learns_the_same() -> None:
    experiment = direct.tutorial_maze([8, SEED], EPISODES, greedy_episode_every=40)
    loop = plain_copy(experiment, SEED)
    history = [experiment.update() for _ in range(EPISODES)]
    record = loop.train(EPISODES)
    assert [float(metrics["return"][1]) for metrics in history] == record.returns
    assert 0 < sum(record.returns)
    kept = experiment._trajectories.get(torch.arange(EPISODES + 2).expand(2, -1))
    lengths = kept["lengths"][1].tolist()
    assert [kept["actions"][1, place, :length].tolist() for place, length in enumerate(lengths)] == record.actions
    asked = experiment.preferences.get(torch.arange(len(record.labels)).expand(2, -1))
    assert asked.label[1].tolist() == record.labels
    assert {0.0, 1.0} == set(record.labels)

    # A loss is a mean of up to 60 terms of size 1, a margin a sum of 60 numbers below 1: each is right to ten units
    # in the last place of float32 (6e-8), 1e-6; ten times that leaves room for what the parameters have drifted apart.
    for name, losses in (("reward_loss", record.reward_losses), ("policy_loss", record.policy_losses)):
        mine = [float(metrics[name][1]) for metrics in history if name in metrics]
        assert len(mine) == len(losses) > 6
        assert mine == pytest.approx(losses, rel=0, abs=1e-5)

    # Adam divides a gradient by its own size, so an element that nearly vanishes, and hence is all rounding, may move
    # by up to the rate of 3e-4 a step in either direction; a tenth of one such step is far below any real difference.
    views = [view[1] for view in experiment.reward_model.parameters.views]
    assert_same_parameters([loop.reward], views, 3e-5)
    *trunk, weight, bias = [view[1] for view in experiment.policy.parameters.views]
    assert_same_parameters([loop.policy.trunk], trunk, 3e-5)
    assert_same_parameters([loop.policy.actor], [weight[:, :4], bias[:, :4]], 3e-5)
    assert_same_parameters([loop.policy.critic], [weight[:, 4:], bias[:, 4:]], 3e-5)


@pytest.mark.parametrize("objective", ["printed", "right"])
def test_addition_linear_follows_the_notebook(objective: str) -> None:
    seeds, epochs = (60, 7), 4
    experiment = direct.notebook_addition(seeds, epochs, objective)
    before = experiment.evaluate()["evaluation_mse"]
    losses = torch.stack([experiment.update()["loss"] for _ in range(epochs)])
    after = experiment.evaluate()
    for row, seed in enumerate(seeds):
        plain = plain_notebook.addition_linear(seed, epochs, objective)
        assert float(before[row]) == pytest.approx(plain.score_before, abs=1e-5)
        assert float(after["evaluation_mse"][row]) == pytest.approx(plain.score_after, abs=1e-5)
        torch.testing.assert_close(experiment.reward_model.theta[row].detach(), plain.parameters[0], rtol=0, atol=1e-5)
        assert losses[:, row].tolist() == pytest.approx(plain.losses, abs=1e-4)


@pytest.mark.parametrize(
    ("objective", "error", "theta"), [("printed", 1.902, (1.2151, 0.0941)), ("right", 1.931, (1.1445, 0.0863))]
)
def test_addition_linear_gives_the_printed_figures(objective: str, error: float, theta: tuple[float, float]) -> None:
    experiment = direct.notebook_addition([60], 10, objective)
    assert round(float(experiment.evaluate()["evaluation_mse"]), 3) == 2.457
    for _ in range(10):
        experiment.update()
    after = experiment.evaluate()
    assert round(float(after["evaluation_mse"]), 3) == error
    assert (round(float(after["theta_1"]), 4), round(float(after["theta_2"]), 4)) == theta


def test_rewardnet_mse_follows_the_notebook() -> None:
    seeds = (81, 5)
    experiment = direct.notebook_mse(seeds)
    before = experiment.evaluate()["loss"]
    losses = torch.stack([experiment.update()["loss"] for _ in range(300)])
    after = experiment.evaluate()["loss"]
    outcomes = [plain_notebook.rewardnet_mse(seed) for seed in seeds]
    assert float(before[0]) == pytest.approx(13.070858, abs=1e-5)
    assert float(after[0]) == pytest.approx(0.180154, abs=1e-4)
    assert [round(value, 2) for value in outcomes[0].before["predicted"]] == [1.21, -0.56, -2.84, 0.89, 1.72]
    assert [round(value, 2) for value in outcomes[0].after["predicted"]] == [-0.70, 1.41, -0.97, 1.50, 0.12]
    for row, plain in enumerate(outcomes):
        assert float(before[row]) == pytest.approx(plain.score_before, rel=1e-5)
        # 300 steps of Adam at 0.01 on a net with kinks: rounding grows to the fifth digit.
        assert float(after[row]) == pytest.approx(plain.score_after, rel=1e-2, abs=1e-4)
        assert losses[:100, row].tolist() == pytest.approx(plain.losses[:100], rel=1e-3, abs=1e-4)


def test_rewardnet_prefs_follows_the_notebook() -> None:
    seeds, epochs, questions = (81, 5), 3, 6
    experiment = direct.notebook_prefs(seeds, epochs, questions, questions)
    before = experiment.evaluate()
    losses = torch.stack([experiment.update()["loss"] for _ in range(epochs)])
    after = experiment.evaluate()
    for row, seed in enumerate(seeds):
        plain = plain_notebook.rewardnet_prefs(seed, epochs, questions, questions)
        for mine, score, table in (
            (before, plain.score_before, plain.before),
            (after, plain.score_after, plain.after),
        ):
            assert float(mine["preference_accuracy"][row]) == pytest.approx(score, abs=1e-6)
            error = sum(abs(a - g) for a, g in zip(table["answer"], table["greedy"], strict=True)) / questions
            assert float(mine["answer_error"][row]) == pytest.approx(error, abs=1e-3)
        assert losses[:, row].tolist() == pytest.approx(plain.losses, abs=1e-5)
        views = [view[row] for view in experiment.reward_model.parameters.views]
        for one, other in zip(plain.parameters, views, strict=True):
            turned = other.detach().T if one.dim() == 2 else other.detach().flatten()
            torch.testing.assert_close(one, turned, rtol=0, atol=1e-5)


def test_rewardnet_prefs_starts_with_the_printed_table() -> None:
    experiment = direct.notebook_prefs([81])
    assert float(experiment.evaluate()["preference_accuracy"]) == pytest.approx(0.45)
    again = direct.notebook_prefs([81])
    again.streams.restart("evaluation")
    states = again.env.draw_states(again.streams, "evaluation/states", 120)
    greedy, alternative = again._queries(again.env, again._answer, states, again.streams, None)
    assert again.env.answer(states)[0, :5].tolist() == [26, 25, 6, 18, 26]
    assert [round(value, 2) for value in greedy[0, :5].tolist()] == [12.34, 21.55, 7.62, 6.60, 21.55]
    assert [round(value, 2) for value in alternative[0, :5].tolist()] == [11.86, 23.20, 6.51, 7.03, 19.66]


@pytest.mark.parametrize(
    ("name", "by_hand", "steps", "metrics"),
    [
        ("tutorial/oprl_maze", direct.tutorial_maze, 80, "return reward_loss policy_loss labels_used greedy_steps"),
        (
            "notebook/addition_linear",
            lambda seeds, steps: direct.notebook_addition(seeds, steps, "printed"),
            12,
            "loss theta_1 theta_2 evaluation_mse",
        ),
        ("notebook/rewardnet_mse", direct.notebook_mse, 12, "loss"),
        ("notebook/rewardnet_prefs", direct.notebook_prefs, 12, "loss preference_accuracy answer_error"),
    ],
)
def test_the_originals_in_conf_are_those_built_by_hand(
    name: str, by_hand: Callable[[Sequence[int], int], Any], steps: int, metrics: str
) -> None:
    """So what is shown of those built by hand holds for the command."""
    pair = direct.configured(name, "seed=19", "num_seeds=2", f"steps={steps}"), by_hand([19, 20], steps)
    histories = [[some.evaluate(), *(some.update() for _ in range(steps)), some.evaluate()] for some in pair]
    compared = set()
    for mine, theirs in zip(*histories, strict=True):
        assert mine.keys() == theirs.keys()
        for metric in mine.keys() & set(metrics.split()):
            torch.testing.assert_close(mine[metric], theirs[metric], rtol=0, atol=0, equal_nan=True)
            compared.add(metric)
    assert compared == set(metrics.split())


def test_the_notebooks_seeds_are_the_defaults() -> None:
    seeds = {name: direct.configured(f"notebook/{name}").streams.seeds for name in ("addition_linear", "rewardnet_mse")}
    seeds["rewardnet_prefs"] = direct.configured("notebook/rewardnet_prefs").streams.seeds
    assert seeds == {"addition_linear": (60,), "rewardnet_mse": (81,), "rewardnet_prefs": (81,)}
