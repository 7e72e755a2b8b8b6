"""Group baselines against plain loops, a hand example, and one seed among others."""

from __future__ import annotations

import math
from typing import Any

import direct
import pytest
import torch
from torch import Tensor

from prefrl_cli.config.choices import choices
from prefrl_cli.core.layers.networks import Parameters
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.maze import Maze
from prefrl_cli.policy.distributions import Categorical
from prefrl_cli.policy.exploration import Exploration
from prefrl_cli.policy.group_baseline import Baseline, GroupBaseline, episode_advantages
from prefrl_cli.preference.criterion import Progress
from prefrl_cli.preference.queries import UniformTrajectories
from prefrl_cli.reward_model.shaping import AdditiveShaping, NoShaping, PotentialShaping

R, B, T, S, A = 2, 4, 5, 6, 3
BASELINES: tuple[Baseline, ...] = ("leave_one_out", "standardised")


class Table:
    """A policy whose logits are its parameters."""

    def __init__(self, logits: Tensor) -> None:
        self.parameters = Parameters([logits])

    def __call__(self, states: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.parameters.views[0].log_softmax(-1)
        rows = torch.arange(len(states)).view(-1, *[1] * (states.dim() - 1))
        return Categorical(logits[rows, states]), torch.full(states.shape, math.nan)  # a value that is used would show


class Ascent:
    """An optimiser that goes one step of a fixed length, and keeps what it was given."""

    def __init__(self, parameters: Parameters, rate: float) -> None:
        self.parameters, self.rate = parameters, rate
        self.gradients: list[Tensor] = []

    def step(self, loss: Tensor) -> None:
        self.gradients.append(self.parameters.gradient(loss))
        with torch.no_grad():
            self.parameters.flat -= self.rate * self.gradients[-1]


def batch(seed: int = 0) -> Trajectories:
    generator = torch.Generator().manual_seed(seed)
    states, actions = (torch.randint(0, high, (R, B, T), generator=generator) for high in (S, A))
    lengths = torch.tensor([[5, 2, 3, 1], [4, 5, 5, 2]])
    mask = torch.arange(T) < lengths[..., None]
    return Trajectories(
        states, actions, torch.randn(R, B, T, generator=generator) * 10 * mask, lengths, states[..., -1]
    )


def improve(
    update: GroupBaseline, some: Trajectories, rewards: Tensor, steps: Tensor | None = None, rate: float = 0.0
) -> tuple[Table, Ascent, Tensor]:
    policy = Table(torch.randn(len(some.states), S, A, generator=torch.Generator().manual_seed(9)))
    optimizer: Any = Ascent(policy.parameters, rate)
    streams = PhiloxStreams(range(len(some.states)))
    loss = update(policy, optimizer, some, rewards, steps, streams)["policy_loss"]
    return policy, optimizer, loss


def plain(
    some: Trajectories, rewards: Tensor, steps: Tensor | None, baseline: str, epochs: int, rate: float, r: int
) -> tuple[float, Tensor]:
    """One seed in plain loops: the mean loss and the logits in the end."""
    clip, discount, bonus, least, unit = 0.1, 0.9, 0.03, 0.2, 4.0
    logits = torch.randn(R, S, A, generator=torch.Generator().manual_seed(9))[r].double().requires_grad_()
    lengths = some.lengths[r].tolist()
    returns = [sum(discount**t * float(rewards[r, b, t]) / unit for t in range(lengths[b])) for b in range(B)]
    mean = sum(returns) / B
    deviation = math.sqrt(sum((one - mean) ** 2 for one in returns) / (B - 1))
    losses: list[float] = []
    before = logits.detach().log_softmax(-1)
    for _ in range(epochs):
        now = logits.log_softmax(-1)
        loss = torch.zeros((), dtype=torch.float64)
        for b in range(B):
            if baseline == "leave_one_out":
                advantage = returns[b] - sum(returns[other] for other in range(B) if other != b) / (B - 1)
            else:
                advantage = (returns[b] - mean) / max(deviation, least)
            for t in range(lengths[b]):
                s, a = int(some.states[r, b, t]), int(some.actions[r, b, t])
                whole = advantage + (float(steps[r, b, t]) if steps is not None else 0.0)
                ratio = (now[s, a] - before[s, a]).exp()
                gain = torch.minimum(ratio * whole, ratio.clamp(1 - clip, 1 + clip) * whole)
                loss = loss - gain + bonus * (now[s].exp() * now[s]).sum()
        loss = loss / sum(lengths)
        (gradient,) = torch.autograd.grad(loss, logits)
        with torch.no_grad():
            logits -= rate * gradient
        losses.append(float(loss.detach()))
    return sum(losses) / epochs, logits.detach()


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("with_steps", [False, True])
@pytest.mark.parametrize("silent", [False, True])
def test_against_plain_loops(baseline: Baseline, with_steps: bool, silent: bool) -> None:
    some = batch()
    rewards = some.rewards * (1e-3 if silent else 1.0)  # far below the floor of the standard deviation
    steps = torch.randn(R, B, T, generator=torch.Generator().manual_seed(4)) if with_steps else None
    update = GroupBaseline(baseline, 5, 0.1, 0.9, 0.03, 0.2, 4.0)
    policy, _, loss = improve(update, some, rewards, steps, rate=2.0)
    for r in range(R):
        expected, logits = plain(some, rewards, steps, baseline, 5, 2.0, r)
        assert float(loss[r]) == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(policy.parameters.views[0][r].detach().double(), logits, rtol=0, atol=1e-5)
    start = torch.randn(R, S, A, generator=torch.Generator().manual_seed(9))
    moved = (policy.parameters.views[0].detach() - start).abs().amax()
    assert moved > 0.01  # the entropy bonus alone moves it


def test_advantages_by_hand() -> None:
    returns = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    left_out = episode_advantages(returns, "leave_one_out", 0.1)
    torch.testing.assert_close(left_out, torch.tensor([[1.0, -1 / 3, -1 / 3, -1 / 3], [0.0] * 4]))
    standardised = episode_advantages(returns, "standardised", 0.1)
    torch.testing.assert_close(standardised, torch.tensor([[1.5, -0.5, -0.5, -0.5], [0.0] * 4]))
    noise = episode_advantages(1e-3 * returns, "standardised", 0.1)
    torch.testing.assert_close(noise[0], torch.tensor([7.5e-3, -2.5e-3, -2.5e-3, -2.5e-3]))  # divided by 0.1 only


def test_the_gradient_of_one_step_by_hand() -> None:
    """Two episodes of one step in one state, of which the first is better by 1: +-(one-hot - p), halved."""
    states, actions = torch.zeros(1, 2, 1, dtype=torch.int64), torch.tensor([[[0], [2]]])
    rewards, lengths = torch.tensor([[[1.0], [0.0]]]), torch.ones(1, 2, dtype=torch.int64)
    some = Trajectories(states, actions, rewards, lengths, states[..., 0])
    update = GroupBaseline("leave_one_out", 1, 0.2, 1.0, 0.0, 0.1, 1.0)
    _, optimizer, loss = improve(update, some, rewards)
    gradient = optimizer.gradients[0][0, : S * A].view(S, A)
    torch.testing.assert_close(gradient[0], torch.tensor([-0.5, 0.0, 0.5]))
    assert gradient[1:].eq(0).all() and float(loss) == 0.0  # the two advantages cancel


def test_what_shaping_does() -> None:
    """Additive shaping changes the returns; a potential of the same discount takes the start's from each of them."""
    some = batch()
    some.states[..., 0] = 3
    process = torch.randn(S, generator=torch.Generator().manual_seed(1))
    update = GroupBaseline(epochs=1, discount=0.9)
    gradients = {}
    for name, shaping in (
        ("none", NoShaping()), ("potential", PotentialShaping(2.0, 0.9)), ("additive", AdditiveShaping(5.0))
    ):  # fmt: skip
        shaped = shaping(some, lambda states: process[states])
        gradients[name] = improve(update, some, shaped)[1].gradients[0]
    torch.testing.assert_close(gradients["potential"], gradients["none"], rtol=0, atol=1e-6)
    assert not torch.allclose(gradients["additive"], gradients["none"], atol=1e-3)


VARIANTS = {
    "rloo": ["policy_update=rloo"],
    "grpo, additive": ["policy_update=grpo", "shaping=additive"],
    "rloo, implicit": ["policy_update=rloo", "reward_model=implicit", "shaping=step_advantage", "env.layout=random"],
    "grpo, odd": ["policy_update=grpo", "policy_update.epochs=3", "algorithm.episodes=3", "env.horizon=13"],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_seed_alone_and_among_others(name: str) -> None:
    def group(first: int, seeds: int) -> Any:
        return direct.configured(
            "oprl_maze", *VARIANTS[name], "criterion=progress", "queries.questions=7", "env.size=5",
            *(["env.horizon=20"] if "odd" not in name else []), f"seed={first}", f"num_seeds={seeds}",
        )  # fmt: skip

    for alone, among, row in ((group(7, 1), group(5, 3), 2), (group(7, 3), group(5, 16), 2)):
        for _ in range(4):
            one, other = alone.update(), among.update()
            for metric, value in one.items():
                assert torch.equal(value[0].nan_to_num(-1), other[metric][row].nan_to_num(-1)), metric
        flats = [experiment.policy.parameters.flat for experiment in (alone, among)]
        assert torch.equal(flats[0][0], flats[1][row]) and not torch.equal(flats[1][0], flats[1][row])


def test_it_learns_from_the_sparse_reward() -> None:
    experiment = direct.ppo_maze(
        range(4), env=Maze(4), hidden=32, policy_update=GroupBaseline(), shaping=NoShaping(),
        criterion=Progress(Maze(4)),
        queries=UniformTrajectories(), exploration=Exploration(),
    )  # fmt: skip
    first, *_, last = [experiment.update()["return"] for _ in range(25)]
    assert last.min() > 9 and first.mean() < last.mean()


def test_in_conf() -> None:
    assert {"rloo", "grpo"} < set(choices("policy_update"))
    with pytest.raises(ConfigError, match=r"^algorithm\.episodes=1: .* try algorithm.episodes=10$"):
        direct.configured("oprl_maze", "policy_update=rloo", "algorithm.episodes=1", "queries.start=2")
