"""Ensembles of reward models: as many networks, that learn apart."""

from __future__ import annotations

from typing import Any

import direct
import pytest
import torch

from prefrl_cli.core.layers.networks import Network
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.env.maze import Maze
from prefrl_cli.reward_model.explicit import ProcessReward
from prefrl_cli.reward_model.implicit import ImplicitReward

R, M, C, K, Q = 3, 3, 40, 6, 4


def test_an_ensemble_is_as_many_networks() -> None:
    """The first member is the network that would stand there alone; each has a gradient of its own."""
    ensemble = Network(PhiloxStreams([4, 9]), "init", 3, [8], 2, members=3)
    assert ensemble.parameters.flat.shape[0] == 2
    features = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0))
    outputs = ensemble(features)
    gradient = ensemble.parameters.gradient(outputs.square().sum((1, 2)).view(2, 3).sum(1)).view(2, 3, -1)
    for member, purpose in enumerate(("init", "init/1", "init/2")):
        alone = Network(PhiloxStreams([4, 9]), purpose, 3, [8], 2)
        mine = alone(features[member::3])
        assert torch.equal(mine, outputs[member::3])
        assert torch.equal(alone.parameters.gradient(mine.square().sum((1, 2))), gradient[:, member])
        assert torch.equal(alone.parameters.flat, ensemble.parameters.flat.view(2, 3, -1)[:, member])


@pytest.mark.parametrize("kind", [ProcessReward, ImplicitReward])
def test_mean_and_pessimistic_rewards(kind: Any) -> None:
    env, streams = Maze(4), PhiloxStreams([1, 2])
    mean, least = kind(env, streams, 16, members=3), kind(env, PhiloxStreams([1, 2]), 16, members=3, combine="min")
    generator = torch.Generator().manual_seed(0)
    states, actions = (torch.randint(0, high, (2, 5, 7), generator=generator) for high in (16, 4))
    each = mean.member_rewards(states, actions)
    if kind is ImplicitReward:  # all start as one function: let them learn something
        with torch.no_grad():
            for model in (mean, least):
                model.parameters.flat += 0.1
        each = mean.member_rewards(states, actions)
    assert each.shape == (2, 3, 5, 7) and not torch.allclose(each[:, 0], each[:, 1], atol=1e-3)
    torch.testing.assert_close(mean.step_rewards(states, actions), each.mean(1))
    assert torch.equal(least.step_rewards(states, actions), each.min(1).values)
    alone = kind(env, PhiloxStreams([1, 2]), 16)
    if kind is ImplicitReward:
        with torch.no_grad():
            alone.parameters.flat += 0.1
    assert torch.equal(alone.step_rewards(states, actions), each[:, 0])
    assert torch.equal(alone.member_rewards(states, actions), each[:, :1])
    assert mean(states).shape == least(states).shape == (2, 5, 7) and bool((least(states) <= mean(states)).all())


def test_members_of_an_implicit_model_are_silent_at_first_and_then_disagree() -> None:
    experiment = direct.configured(
        "oprl_maze", "queries=disagreement", "queries.questions=20", "criterion=progress", "num_seeds=2"
    )
    model = experiment.reward_model
    assert model.members == 3
    states, actions = (
        of.reshape(-1).expand(2, -1) for of in torch.meshgrid(torch.arange(64), torch.arange(4), indexing="ij")
    )
    assert model.member_rewards(states, actions).abs().max() < 1e-6
    assert not torch.allclose(*model.parameters.flat.view(2, 3, -1)[0, :2])
    experiment.update()
    with torch.no_grad():
        learned = model.member_rewards(states, actions)
    between = learned.std(1).mean(1)
    assert between.min() > 0.02 * learned.std() > 0


def test_members_are_as_many_as_the_queries_need() -> None:
    for queries, typed, expected in (
        ("disagreement", [], 3), ("disagreement_k_center", [], 3), ("entropy", [], 1), ("uniform", [], 1),
        ("disagreement", ["reward_model.members=5"], 5), ("entropy", ["reward_model.members=2"], 2),
    ):  # fmt: skip
        for model in ("process", "implicit"):
            shaping = "none" if model == "process" else "step_advantage"
            chosen = [f"queries={queries}", f"reward_model={model}", f"shaping={shaping}", *typed]
            assert direct.configured("oprl_maze", *chosen).reward_model.members == expected


def test_members_learn_apart_from_one_another() -> None:
    """The first of three is fitted as it would be alone, as long as it is given the same preferences."""
    alone, together = (
        direct.configured(
            "oprl_maze", "num_seeds=2", "criterion=progress", "shaping=none", f"reward_model.members={members}"
        )
        for members in (1, 3)
    )
    for _ in range(2):
        losses = [some.update()["reward_loss"] for some in (alone, together)]
    flat = together.reward_model.parameters.flat.view(2, 3, -1)
    assert torch.equal(alone.reward_model.parameters.flat, flat[:, 0])
    assert not torch.equal(flat[:, 0], flat[:, 1]) and not torch.equal(*losses)
