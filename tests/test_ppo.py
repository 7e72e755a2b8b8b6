"""PPO against plain loops, whole batches and parts of them, and one seed among others."""

from __future__ import annotations

import math
from typing import Any

import direct
import pytest
import torch
from torch import Tensor

from prefrl_cli.core.layers.networks import Parameters
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.policy.distributions import Categorical
from prefrl_cli.policy.ppo import PPO

R, B, T, S, A = 2, 3, 5, 6, 3
CLIP, DISCOUNT, TRACE, VALUE, BONUS, LEAST, UNIT = 0.1, 0.9, 0.8, 0.7, 0.03, 0.2, 4.0
RATE = 3.0


class Table:
    """A policy whose logits and values are its parameters."""

    def __init__(self) -> None:
        start = torch.randn(R, S, A + 1, generator=torch.Generator().manual_seed(9))
        self.parameters = Parameters([start])

    def __call__(self, states: Tensor) -> tuple[Categorical, Tensor]:
        outputs = self.parameters.views[0]
        rows = torch.arange(len(states)).view(-1, *[1] * (states.dim() - 1))
        return Categorical(outputs[..., :-1].log_softmax(-1)[rows, states]), outputs[..., -1][rows, states]


class Descent:
    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    def step(self, loss: Tensor) -> None:
        gradient = self.parameters.gradient(loss)
        with torch.no_grad():
            self.parameters.flat -= RATE * gradient


def batch() -> Trajectories:
    generator = torch.Generator().manual_seed(0)
    states, actions = (torch.randint(0, high, (R, B, T), generator=generator) for high in (S, A))
    lengths = torch.tensor([[5, 2, 3], [4, 5, 1]])
    mask = torch.arange(T) < lengths[..., None]
    return Trajectories(states, actions, torch.randn(R, B, T, generator=generator) * 10 * mask, lengths, states[..., 0])


def plain(some: Trajectories, steps: Tensor, epochs: int, minibatches: int, r: int) -> tuple[float, Tensor]:
    """One seed in plain loops: the mean loss and the parameters in the end."""
    outputs = torch.randn(R, S, A + 1, generator=torch.Generator().manual_seed(9))[r].double().requires_grad_()
    start = outputs.detach()
    taken = [(b, t) for b in range(B) for t in range(int(some.lengths[r, b]))]
    state = {key: int(some.states[r][key]) for key in taken}
    action = {key: int(some.actions[r][key]) for key in taken}
    advantage: dict[tuple[int, int], float] = {}
    for b, t in reversed(taken):
        end = (b, t + 1) not in state
        value, following = float(start[state[b, t], -1]), 0.0 if end else float(start[state[b, t + 1], -1])
        error = float(some.rewards[r, b, t]) / UNIT + DISCOUNT * following - value
        advantage[b, t] = error + (0.0 if end else DISCOUNT * TRACE * advantage[b, t + 1])
    target = {key: advantage[key] + float(start[state[key], -1]) for key in taken}
    mean = sum(advantage.values()) / len(taken)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in advantage.values()) / (len(taken) - 1))
    whole = {key: (advantage[key] - mean) / max(deviation, LEAST) + float(steps[r][key]) for key in taken}
    before = start[:, :-1].log_softmax(-1)
    streams, losses = PhiloxStreams(range(R)), []
    for _ in range(epochs):
        parts = [taken]
        if minibatches > 1:
            drawn = streams.uniform("minibatches", B * T)[r]
            mixed = sorted(taken, key=lambda key: float(drawn[key[0] * T + key[1]]))
            parts = [mixed[part::minibatches] for part in range(minibatches)]
        for part in parts:
            now = outputs[:, :-1].log_softmax(-1)
            loss = torch.zeros((), dtype=torch.float64)
            for key in part:
                s, a = state[key], action[key]
                ratio = (now[s, a] - before[s, a]).exp()
                loss = loss - torch.minimum(ratio * whole[key], ratio.clamp(1 - CLIP, 1 + CLIP) * whole[key])
                loss = loss + VALUE * (outputs[s, -1] - target[key]) ** 2 + BONUS * (now[s].exp() * now[s]).sum()
            loss = loss / len(part)
            (gradient,) = torch.autograd.grad(loss, outputs)
            with torch.no_grad():
                outputs -= RATE * gradient
            losses.append(float(loss.detach()))
    return sum(losses) / len(losses), outputs.detach()


@pytest.mark.parametrize("minibatches", [1, 2, 3])
def test_against_plain_loops(minibatches: int) -> None:
    some = batch()
    steps = torch.randn(R, B, T, generator=torch.Generator().manual_seed(4))
    policy = Table()
    optimizer: Any = Descent(policy.parameters)
    update = PPO(4, minibatches, CLIP, DISCOUNT, TRACE, VALUE, BONUS, LEAST, UNIT)
    loss = update(policy, optimizer, some, some.rewards, steps, PhiloxStreams(range(R)))["policy_loss"]
    for r in range(R):
        expected, outputs = plain(some, steps, 4, minibatches, r)
        assert float(loss[r]) == pytest.approx(expected, rel=1e-4)
        torch.testing.assert_close(policy.parameters.views[0][r].detach().double(), outputs, rtol=1e-4, atol=1e-4)
    start = torch.randn(R, S, A + 1, generator=torch.Generator().manual_seed(9))
    assert (policy.parameters.views[0].detach() - start).abs().amax() > 0.01


@pytest.mark.parametrize("minibatches", [2, 7])
def test_a_seed_alone_and_among_others(minibatches: int) -> None:
    def group(first: int, seeds: int) -> Any:
        typed = [f"policy_update.minibatches={minibatches}", "criterion=progress", "env.size=5", "env.horizon=23"]
        return direct.configured("oprl_maze", *typed, f"seed={first}", f"num_seeds={seeds}")

    for alone, among, row in ((group(7, 1), group(5, 3), 2), (group(7, 3), group(5, 16), 2)):
        for _ in range(4):
            one, other = alone.update(), among.update()
            assert torch.equal(one["policy_loss"][0], other["policy_loss"][row])
        flats = [experiment.policy.parameters.flat for experiment in (alone, among)]
        assert torch.equal(flats[0][0], flats[1][row])
