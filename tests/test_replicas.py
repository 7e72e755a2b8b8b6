"""Networks, optimisers and random streams on the seed axis against torch's and NumPy's own."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn

from prefrl_cli.optimizers import SGD, Adam, Optimizer, RMSprop
from prefrl_cli.replicas import Network, at, look_up
from prefrl_cli.streams import NotebookStreams, PhiloxStreams

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
    by_number, by_vector = at(one, states), at(one, vectors)
    assert by_number.shape == by_vector.shape == (len(SEEDS), 4, 6, 3)
    torch.testing.assert_close(by_number, by_vector, rtol=1e-5, atol=1e-6)
    gradients = [one.parameters.gradient(outputs.square().sum((1, 2, 3))) for outputs in (at(one, states), by_vector)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


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


# --- optimisers ---------------------------------------------------------------------------------------------------

OPTIMISERS = [
    (Adam, {"lr": 0.01}, torch.optim.Adam, {"lr": 0.01}),
    (Adam, {"lr": 0.01, "betas": [0.5, 0.9]}, torch.optim.Adam, {"lr": 0.01, "betas": (0.5, 0.9)}),
    (Adam, {"lr": 0.01, "eps": 1e-3}, torch.optim.Adam, {"lr": 0.01, "eps": 1e-3}),
    (Adam, {"lr": 0.01, "weight_decay": 0.1}, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    (RMSprop, {"lr": 0.01, "alpha": 0.9}, torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9}),
    (SGD, {"lr": 0.05}, torch.optim.SGD, {"lr": 0.05}),
    (SGD, {"lr": 0.05, "momentum": 0.9}, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
]  # fmt: skip


def losses(one: Network, inputs: Tensor) -> Tensor:
    return one(inputs).square().mean((1, 2))


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize(("mine", "options", "theirs", "expected"), OPTIMISERS)
def test_optimiser_equals_torch(mine: type, options: dict, theirs: type, expected: dict, clip: float | None) -> None:
    one = network(normalise=True)
    plain = [module(one, row, "relu", True) for row in range(len(SEEDS))]
    optimizer: Optimizer = mine(one.parameters, clip=clip, **options)
    others = [theirs(some.parameters(), **expected) for some in plain]
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        inputs = torch.randn(len(SEEDS), 5, 10, generator=generator)
        optimizer.step(losses(one, inputs))
        for row, (some, other) in enumerate(zip(plain, others, strict=True)):
            other.zero_grad()
            some(inputs[row]).square().mean().backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(some.parameters(), clip)
            other.step()
    for row, some in enumerate(plain):
        expected_row = torch.cat([(p.T if p.dim() == 2 else p).flatten() for p in some.parameters()]).detach()
        # Twenty steps; where a gradient nearly vanishes Adam turns its rounding into a visible part of a step.
        torch.testing.assert_close(one.parameters.flat[row, : len(expected_row)], expected_row, rtol=0, atol=2e-4)


def test_clip_is_for_each_replica() -> None:
    """A replica with a huge gradient leaves the one beside it alone."""
    one = network()
    optimizer = SGD(one.parameters, lr=1.0, clip=1.0)
    before = one.parameters.flat.detach().clone()
    scale = torch.tensor([1e-3, 1e6, 1.0])
    gradient = one.parameters.gradient(losses(one, torch.ones(3, 2, 10)) * scale)
    optimizer.step(losses(one, torch.ones(3, 2, 10)) * scale)
    moved = before - one.parameters.flat.detach()
    norms = gradient.norm(dim=1)
    assert norms[0] < 1 < norms[1]
    torch.testing.assert_close(moved[0], gradient[0], rtol=1e-3, atol=1e-6)
    assert float(moved[1].norm()) == pytest.approx(1.0, rel=1e-3)


def test_cosine_schedule() -> None:
    one = network()
    optimizer = SGD(one.parameters, lr=0.5, steps=10)
    weight = nn.Parameter(torch.zeros(1))
    plain = torch.optim.SGD([weight], lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(plain, 10)
    for _ in range(10):
        assert optimizer._rate() == pytest.approx(plain.param_groups[0]["lr"])
        optimizer.step(losses(one, torch.ones(3, 2, 10)))
        plain.step()
        schedule.step()
    assert optimizer._rate() == pytest.approx(0.0)
    optimizer.step(losses(one, torch.ones(3, 2, 10)))
    assert optimizer._rate() == pytest.approx(0.0)


def test_a_loss_that_is_no_number_is_remembered() -> None:
    one = network()
    optimizer = Adam(one.parameters)
    optimizer.step(losses(one, torch.ones(3, 2, 10)) * torch.tensor([1.0, math.nan, 1.0]))
    optimizer.step(losses(one, torch.ones(3, 2, 10)))
    assert optimizer.finite.tolist() == [True, False, True]


def test_wrong_betas_are_refused() -> None:
    with pytest.raises(ValueError, match=r"betas=\[0.9, 1.0\]: two numbers of at least 0 and below 1"):
        Adam(network().parameters, betas=[0.9, 1.0])


# --- streams ------------------------------------------------------------------------------------------------------


def reload(state: dict) -> dict:
    """Through a file, as a checkpoint goes."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def draw(streams: PhiloxStreams | NotebookStreams) -> list[Tensor]:
    return [
        streams.uniform("states", 3, 2, high=20.0),
        streams.normal("init", 5, std=2.0),
        streams.uniform("init/alternatives", 3),
        streams.uniform("states", 1),
    ]


@pytest.mark.parametrize("kind", [PhiloxStreams, NotebookStreams])
@pytest.mark.parametrize("warm_up", [0, 1, 7])
def test_streams_go_on_from_their_state(kind: type, warm_up: int) -> None:
    streams = kind(SEEDS)
    for _ in range(warm_up):
        draw(streams)
    state = reload(streams.state())
    expected = draw(streams)
    other = kind(SEEDS)
    draw(other)
    other.restore(state)
    assert all(torch.equal(*pair) for pair in zip(expected, draw(other), strict=True))


def test_philox_streams_are_independent() -> None:
    """A purpose's numbers depend neither on other purposes, nor on other seeds, nor on how many are asked at once."""
    expected = PhiloxStreams([7]).uniform("env", 6)[0]
    streams = PhiloxStreams([3, 7, 9])
    streams.uniform("teacher", 100)
    streams.normal("init", 3)
    parts = [streams.uniform("env", 2)]
    streams.uniform("teacher", 1)
    parts.append(streams.uniform("env", 4))
    assert torch.equal(torch.cat(parts, 1)[1], expected)
    others = [*torch.cat(parts, 1)[[0, 2]].tolist(), PhiloxStreams([7]).uniform("teacher", 6)[0].tolist()]
    apart = [expected.tolist(), *others]
    assert len({number for row in apart for number in row}) == 24


@pytest.mark.parametrize("purpose", ["a", "b"])
def test_philox_numbers_are_uniform_and_normal(purpose: str) -> None:
    streams = PhiloxStreams([1, 2])
    drawn = streams.uniform(purpose, 4000, low=-2.0, high=3.0)
    assert drawn.dtype == torch.float64 and drawn.shape == (2, 4000)
    assert kstest(drawn.flatten().numpy(), "uniform", (-2, 5)).pvalue > 0.01
    assert abs(float(torch.corrcoef(drawn)[0, 1])) < 0.05
    assert kstest(streams.normal(purpose, 4000, std=2.0).flatten().numpy(), "norm", (0, 2)).pvalue > 0.01


def test_philox_restart_begins_again_and_leaves_the_others() -> None:
    streams = PhiloxStreams(SEEDS)
    first, other = streams.uniform("evaluation", 4), streams.uniform("env", 4)
    streams.restart("evaluation")
    assert torch.equal(streams.uniform("evaluation", 4), first)
    assert not torch.equal(streams.uniform("env", 4), other)


def test_notebook_streams_are_numpys_and_torchs() -> None:
    streams = NotebookStreams([81, 5], torch_purposes=("init", "alternatives"))
    for row, seed in enumerate((81, 5)):
        one = NotebookStreams([seed], torch_purposes=("init", "alternatives"))
        generator, legacy = torch.Generator().manual_seed(seed), np.random.RandomState(seed)
        expected = [
            torch.normal(0.0, 0.5, (6, 3), generator=generator).double(),
            torch.normal(0.0, 0.5, (6,), generator=generator).double(),
            torch.empty(20).uniform_(-2, 2, generator=generator).double(),
            torch.from_numpy(legacy.uniform(0, 20, (10, 2))),
            torch.from_numpy(legacy.uniform(0, 40, 10)),
        ]
        for some, place in ((one, 0), (streams, row)):
            if some is streams and row:
                continue  # drawn once for both seeds, compared below
            drawn = [
                some.normal("init/reward_model", 6, 3, std=0.5),
                some.normal("init/reward_model", 6, std=0.5),
                some.uniform("alternatives", 20, low=-2.0, high=2.0),
                some.uniform("states", 10, 2, high=20.0),
                some.uniform("actions", 10, high=40.0),
            ]
            assert all(torch.equal(mine[place], theirs) for mine, theirs in zip(drawn, expected, strict=True))
            if some is streams:
                together = drawn
        assert all(torch.equal(mine[row], theirs) for mine, theirs in zip(together, expected, strict=True))


def test_notebook_evaluation_is_always_on_its_own_seed() -> None:
    streams = NotebookStreams([1, 2])
    expected = torch.from_numpy(np.random.RandomState(42).uniform(0, 10, (7, 2)))
    for _ in range(2):
        streams.restart("evaluation")
        assert torch.equal(streams.uniform("evaluation/states", 7, 2, high=10.0), expected.expand(2, -1, -1))
        streams.uniform("states", 3)


def test_the_state_of_the_notebooks_generators_is_numpys() -> None:
    streams = NotebookStreams([1, 2])
    for draws in (0, 3, 700):
        streams.uniform("states", draws)
        kept = streams.state()["training"]
        for generator, words in zip(streams._training, kept.tolist(), strict=True):
            expected: Any = generator.get_state()
            assert words == [*expected[1].tolist(), expected[2]]
