"""Networks on the seed axis against torch's own modules."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest
from torch import nn

from prefrl_cli.core.environment import Box, Discrete
from prefrl_cli.core.layers.networks import Network, forward, look_up
from prefrl_cli.core.streams import PhiloxStreams

SEEDS = (4, 5, 6)
KINDS = [
    {"activation": "relu", "normalise": True},
    {"activation": "relu"},
    {"activation": "leaky_relu", "initialisation": "normal"},
    {"activation": "tanh"},
]
MODULES = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh}


def network(inputs: int = 10, outputs: int = 3, **options: object) -> Network:
    return Network(PhiloxStreams(SEEDS), "init", inputs, [12, 7], outputs, **options)


def module(one: Network, row: int, activation: str, normalise: bool = False, **_: object) -> nn.Sequential:
    """The same network made of torch's layers."""
    layers: list[nn.Module] = []
    views = [view[row].detach() for view in one.parameters.views]
    while views:
        weight, bias = views.pop(0), views.pop(0)
        linear = nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias.flatten().clone()
        layers.append(linear)
        if views and normalise:
            norm = nn.LayerNorm(weight.shape[1])
            norm.weight.data, norm.bias.data = views.pop(0).flatten().clone(), views.pop(0).flatten().clone()
            layers.append(norm)
        if views:
            layers.append(MODULES[activation]())
    return nn.Sequential(*layers)


def disturb(one: Network) -> None:
    """Move every parameter, so that no scale is 1 and no bias 0."""
    noise = torch.randn(one.parameters.flat.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one.parameters.flat.add_(noise, alpha=0.3)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_network_equals_torch_modules(kind: dict) -> None:
    one = network(**kind)
    disturb(one)
    inputs = torch.randn(len(SEEDS), 5, 10, generator=torch.Generator().manual_seed(1))
    outputs = one(inputs)
    gradient = one.parameters.gradient(outputs.square().sum((1, 2)))
    for row in range(len(SEEDS)):
        plain = module(one, row, **kind)
        torch.testing.assert_close(plain(inputs[row]), outputs[row], rtol=1e-5, atol=1e-5)
        plain(inputs[row]).square().sum().backward()
        expected = torch.cat([(p.grad.T if p.dim() == 2 else p.grad).flatten() for p in plain.parameters()])
        torch.testing.assert_close(gradient[row, : len(expected)], expected, rtol=1e-4, atol=1e-4)
        assert gradient[row, len(expected) :].eq(0).all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_state_numbers_and_one_hot_vectors_agree(kind: dict) -> None:
    one = network(**kind)
    disturb(one)
    everything = torch.eye(10).expand(len(SEEDS), -1, -1)
    torch.testing.assert_close(one.table(), one(everything), rtol=1e-5, atol=1e-6)
    states = torch.randint(0, 10, (len(SEEDS), 4, 6), generator=torch.Generator().manual_seed(1))
    vectors = nn.functional.one_hot(states, 10).float()
    by_number, by_vector = forward(one, states, Discrete(10)), forward(one, vectors, Box(0.0, 1.0, (10,)))
    assert by_number.shape == by_vector.shape == (len(SEEDS), 4, 6, 3)
    torch.testing.assert_close(by_number, by_vector, rtol=1e-5, atol=1e-6)
    again = forward(one, states, Discrete(10))
    gradients = [one.parameters.gradient(outputs.square().sum((1, 2, 3))) for outputs in (again, by_vector)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_whole_numbers_of_a_box_are_a_vector_and_not_states() -> None:
    one = network()
    disturb(one)
    vectors = torch.randint(0, 10, (len(SEEDS), 4, 2, 5), generator=torch.Generator().manual_seed(1))
    found = forward(one, vectors, Box(0.0, 9.0, (2, 5)))
    torch.testing.assert_close(found, one(vectors.flatten(2).float()))
    assert found.shape == (len(SEEDS), 4, 3)


def test_look_up_takes_rows_of_each_seed() -> None:
    table = torch.arange(12.0).view(2, 3, 2)
    found = look_up(table, torch.tensor([[[0, 2]], [[1, 1]]]))
    assert found.tolist() == [[[[0, 1], [4, 5]]], [[[8, 9], [8, 9]]]]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_slope_equals_autograd(activation: str) -> None:
    one = network(3, 1, activation=activation)
    disturb(one)
    generator = torch.Generator().manual_seed(2)
    fixed = torch.randn(len(SEEDS), 6, 3, generator=generator)
    fixed[..., 2] = 0.0
    moving = torch.randn(len(SEEDS), 6, generator=generator).requires_grad_()
    direction = torch.tensor([0.0, 0.0, 0.5])
    (expected,) = torch.autograd.grad(one(fixed + moving[..., None] * direction).sum(), moving)
    torch.testing.assert_close(one.slope(fixed, direction)(moving.detach()), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{"activation": "tanh"}, {"normalise": True}])
def test_slope_is_refused_where_it_would_be_wrong(options: dict) -> None:
    with pytest.raises(ValueError, match="relu and leaky_relu layers only"):
        network(3, 1, **options).slope(torch.zeros(3, 1, 3), torch.ones(3))


def test_initial_parameters() -> None:
    """Uniform within 1 / sqrt(fan-in), or Gaussian with variance 0.1, and silent with a zero head."""
    big = Network(PhiloxStreams([1]), "init", 100, [100], 4)
    weight, bias = (view.detach().flatten() for view in big.parameters.views[:2])
    assert kstest(weight[:5000].numpy(), "uniform", (-0.1, 0.2)).pvalue > 0.01
    assert float(bias.abs().max()) <= 0.1
    gauss = Network(PhiloxStreams([1]), "init", 100, [100], 4, initialisation="normal")
    weight = gauss.parameters.views[0].detach().flatten()
    assert kstest(weight[:5000].numpy(), "norm", (0, math.sqrt(0.1))).pvalue > 0.01
    assert network(zero_head=True).table().eq(0).all()
