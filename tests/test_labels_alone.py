"""Environments whose states are vectors, and policies that learn from labels alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import direct
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from prefrl_cli.core.environment import Box, is_finite
from prefrl_cli.core.layers.networks import Network
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories, take_steps
from prefrl_cli.env.maze import Maze
from prefrl_cli.env.rollout import play, probabilities, rollout, simulate
from prefrl_cli.policy.actor_critic import ActorCritic
from prefrl_cli.policy.distributions import Categorical, Gaussian
from prefrl_cli.policy.separate_actor_critic import SeparateActorCritic
from prefrl_cli.preference.queries import EarlyQuestions
from prefrl_cli.reward_model.shaping import EnvironmentReward, LearnedReward

SMALL = ["steps=3", "algorithm.episodes=4", "env.horizon=30", "queries.budget=12", "queries.until=3"]
SMALL += ["queries.segment=5", "policy.hidden=8", "reward_update.updates=3", "reward_update.first_updates=5"]


class MazeOfVectors:
    """A maze as an environment that is stepped through, whose states are one-hot vectors."""

    reset_draws, time_limit, return_range = 1, "end", (0.0, 10.0)

    def __init__(self, maze: Maze) -> None:
        self._maze, self.horizon = maze, maze.horizon
        self.observation_space = Box(0.0, 1.0, (maze.num_states,))
        self.action_space = maze.action_space

    def reset(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.full((*draws.shape[:-1], 1), float(self._maze.start))

    def step(self, state: NDArray[np.float64], actions: NDArray[Any]) -> tuple[Any, Any, Any]:
        following = self._maze.transitions[state[..., 0].astype(int), actions]
        reached = following == self._maze.goal
        return following[..., None].astype(float), self._maze.goal_reward * reached, reached

    def observe(self, state: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.eye(self._maze.num_states, dtype=np.float32)[state[..., 0].astype(int)]


def test_the_path_of_vectors_plays_what_the_table_plays() -> None:
    maze = Maze(5, 40, observation="one_hot")
    vectors = MazeOfVectors(maze)
    assert is_finite(maze) and not is_finite(vectors)  # type: ignore[arg-type]
    streams = PhiloxStreams([3, 4, 5])
    policy = ActorCritic(maze, streams, hidden=16)
    uniform = streams.uniform("policy", 7, maze.horizon)
    by_table = rollout(maze, probabilities(maze, policy, streams), uniform)
    streams.restart("policy")
    streams.restart("init/policy")
    same = ActorCritic(vectors, streams, hidden=16)  # type: ignore[arg-type]
    by_steps = play(vectors, same, streams, "policy", 7)  # type: ignore[arg-type]
    assert by_table.terminated.all() and 0 < int((by_table.returns > 0).sum()) < 21
    for name, value in by_table.fields().items():
        expected = one_hot(value, maze.num_states).float() if name in ("states", "last") else value
        assert torch.equal(by_steps.fields()[name], expected), name


@pytest.mark.parametrize("fixed", [True, False])
def test_an_end_is_no_time_limit(fixed: bool) -> None:
    env = direct.configured("cartpole", *SMALL, f"env.fixed_horizon={str(fixed).lower()}").env
    starts = torch.full((2, 3, env.reset_draws), 0.5, dtype=torch.float64)
    starts[1] = 0.4
    played = simulate(env, lambda observed, _: torch.ones(observed.shape[:2], dtype=torch.int64), starts)
    if fixed:
        assert not played.terminated.any() and (played.lengths == 30).all()
        assert (played.returns < 30).all()  # it fell, and earned nothing while it lay
        return
    assert played.terminated.all() and (played.lengths < 30).all()
    assert torch.equal(played.returns, played.lengths.float())
    for row, length in enumerate(played.lengths[:, 0]):
        assert (played.states[row, 0, length:] == played.last[row, 0]).all()
    held = simulate(env, lambda _, step: torch.full((2, 3), step % 2), starts)
    assert not held.terminated.any() and (held.lengths == 30).all()  # cut off: its last state is worth something


def test_distributions_against_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_std = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 1, 3, generator=generator)
    actions, mine = torch.randn(2, 5, 3, generator=generator), Gaussian(mean, log_std)
    theirs = torch.distributions.Normal(mean, log_std.exp().expand_as(mean))
    torch.testing.assert_close(mine.log_probability(actions), theirs.log_prob(actions).sum(-1))
    torch.testing.assert_close(mine.entropy(), theirs.entropy().sum(-1))
    noise = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(mine.sample(noise), mean + log_std.exp() * noise.float())
    chosen = Categorical(torch.randn(2, 5, 4, generator=generator).log_softmax(-1))
    uniform = torch.rand(2, 5, 20_000, generator=generator, dtype=torch.float64)
    drawn = Categorical(chosen.log_probabilities[:, :, None].expand(-1, -1, 20_000, -1)).sample(uniform)
    share = torch.stack([(drawn == number).float().mean(-1) for number in range(4)], -1)
    assert (share - chosen.log_probabilities.exp()).abs().max() < 0.02
    assert torch.equal(chosen.mode(), chosen.log_probabilities.argmax(-1))


@pytest.mark.parametrize("experiment", ["pendulum", "cartpole"])
def test_actor_and_critic_are_networks_of_their_own(experiment: str) -> None:
    env, streams = direct.configured(experiment, *SMALL).env, PhiloxStreams([1, 2])
    policy = SeparateActorCritic(env, streams, hidden=8)
    streams.restart("init")
    sizes = dict(inputs=env.observation_space.shape[0], hidden=[8, 8], activation="tanh")
    actor = Network(streams, "init/policy", outputs=1 if experiment == "pendulum" else 2, **sizes)  # type: ignore[arg-type]
    critic = Network(streams, "init/value", outputs=1, **sizes)  # type: ignore[arg-type]
    states = torch.randn(2, 6, env.observation_space.shape[0], generator=torch.Generator().manual_seed(0))
    chosen, values = policy(states)
    states = states * torch.tensor([1 / size for size in env.observation_scale])
    assert torch.equal(values, critic(states).squeeze(-1))
    expected = actor(states) if isinstance(chosen, Gaussian) else actor(states).log_softmax(-1)
    assert torch.equal(chosen[0], expected)
    found = torch.autograd.grad(values.sum(), policy.parameters.views, allow_unused=True)
    number = len(actor.parameters.views)
    assert [each is not None for each in found] == [False] * number + [True] * number + [False] * (
        len(found) - 2 * number
    )


def test_tanh_and_its_derivative() -> None:
    network = Network(PhiloxStreams([1, 2]), "init", 3, [5], 2, activation="tanh")
    features = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    weight, bias, last_weight, last_bias = network.parameters.views
    plain = torch.baddbmm(last_bias, torch.baddbmm(bias, features, weight).tanh(), last_weight)
    torch.testing.assert_close(network(features), plain, rtol=1e-5, atol=1e-6)
    mine, theirs = (network.parameters.gradient(each.square().sum((1, 2))) for each in (network(features), plain))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_steps_are_taken() -> None:
    values = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    places = torch.tensor([[[0, 3], [1, 1], [2, 0]]]).expand(2, -1, -1)
    for row in range(2):
        for episode in range(3):
            expected = values[row, episode, places[row, episode]]
            assert torch.equal(take_steps(values, places)[row, episode], expected)
            assert torch.equal(take_steps(values[..., 0], places)[row, episode], expected[:, 0])


@pytest.mark.parametrize(("budget", "first", "until"), [(250, 0.25, 32), (100, 1.0, 1), (7, 0.0, 5), (30, 0.5, 2)])
def test_early_questions(budget: int, first: float, until: int) -> None:
    queries = EarlyQuestions(budget, first, until)
    asked = [queries.number(step) for step in range(until + 5)]
    assert sum(asked) == budget and not any(asked[until:]) and max(asked) <= queries.questions
    assert asked[0] == (budget if until == 1 else int(first * budget))
    later = asked[1:until]
    assert not later or max(later) - min(later) <= 1  # spread evenly
    assert [queries.due(step) for step in range(until + 5)] == [number > 0 for number in asked]


def trained(*overrides: str) -> Any:
    algorithm = direct.configured(*overrides)
    for _ in range(algorithm.steps):
        algorithm.update()
    return algorithm


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A true reward that is another one on every step."""
    from prefrl_cli.env.classic_control.mountain_car import MountainCar

    step, noise = MountainCar.step, np.random.default_rng(0)

    def wrong(self: MountainCar, state: Any, actions: Any) -> tuple[Any, Any, Any]:
        following, reward, over = step(self, state, actions)
        return following, 1000 * noise.standard_normal(reward.shape), over

    monkeypatch.setattr(MountainCar, "step", wrong)
    yield


def learned(algorithm: Any) -> list[Tensor]:
    return [owner.parameters.flat.detach().clone() for owner in (algorithm.policy, algorithm.reward_model)]


def test_the_true_reward_reaches_no_parameter(request: pytest.FixtureRequest) -> None:
    """With the same labels, which go by position, a poisoned true reward changes nothing that is learned."""
    before, told = trained("mountain_car", *SMALL), trained("mountain_car", *SMALL, "shaping=environment_reward")
    request.getfixturevalue("poisoned")
    after, tricked = trained("mountain_car", *SMALL), trained("mountain_car", *SMALL, "shaping=environment_reward")
    for mine, theirs in zip(learned(before), learned(after), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(before._outcomes.returns, after._outcomes.returns)  # the metrics do see it
    assert not torch.equal(learned(told)[0], learned(tricked)[0])  # and so does who learns from it


def test_controls_learn_nothing_from_labels() -> None:
    constant = [
        learned(trained("pendulum", *SMALL, "reward_model=constant", f"criterion={c}"))[0]
        for c in ("return", "discounted_return")
    ]
    assert torch.equal(*constant)
    oracle, coin = trained("pendulum", *SMALL), trained("pendulum", *SMALL, "teacher=coin")
    assert torch.equal(oracle.preferences.used, coin.preferences.used) and oracle.preferences.used.tolist() == [12]
    labels = [algorithm.preferences.all()[0].label for algorithm in (oracle, coin)]
    assert not torch.equal(*labels) and set(labels[1].flatten().tolist()) == {0.0, 1.0}


def test_a_coin_is_fair_whatever_it_sees() -> None:
    coin = direct.configured("pendulum", *SMALL, "teacher=coin", "num_seeds=2", "queries.budget=900", "queries.first=1")
    coin.update()
    label = coin.preferences.all()[0].label
    assert ((label.mean(1) - 0.5).abs() < 4 * 0.5 / math.sqrt(900)).all()


def test_a_learned_reward_is_standardised_by_member() -> None:
    generator = torch.Generator().manual_seed(0)
    each = torch.randn(2, 3, 4, 6, generator=generator) * torch.tensor([1.0, 50.0, 0.1]).view(1, 3, 1, 1) + 7
    lengths = torch.tensor([[6, 2, 5, 6], [6, 6, 6, 1]])
    played = Trajectories(torch.zeros(2, 4, 6, 3), torch.zeros(2, 4, 6), each[:, 0], lengths, torch.zeros(2, 4, 3))

    class Model:
        def __call__(self, states: Tensor) -> Tensor:
            raise AssertionError

        def member_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
            return each

    shaped = LearnedReward()(played, Model())
    for row in range(2):
        there = played.mask[row] > 0
        members = [(member[there] - member[there].mean()) / member[there].std() for member in each[row]]
        torch.testing.assert_close(shaped[row][there], torch.stack(members).mean(0), rtol=1e-4, atol=1e-5)
        assert not shaped[row][~there].any()
    alone = EnvironmentReward()(played, Model())
    torch.testing.assert_close(alone[1][played.mask[1] > 0].std(), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["pendulum", "policy=actor_critic"], "policy=actor_critic: chooses among numbers; try policy=separate_actor"),
        (["pendulum", "reward_model=implicit"], "reward_model=implicit: needs states that are numbered; try reward_m"),
        (["cartpole", "criterion=progress"], "criterion=progress: the environment tells no distance to a goal; try cr"),
        (["cartpole", "criterion=farthest", "criterion.of=height"], "criterion.of=height: "),
        (["pendulum", "queries=kcenter"], "queries"),
    ],
)
def test_what_does_not_go_together_is_one_line(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as problem:
        direct.configured(*overrides)
    assert str(problem.value).startswith(told) and "\n" not in str(problem.value)
