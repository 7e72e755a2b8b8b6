"""Our optimisers against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from test_replicas import SEEDS, module, network
from torch import Tensor, nn

from prefrl_cli.core.layers.networks import Network
from prefrl_cli.core.optimizer import SGD, Adam, Optimizer, RMSprop

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
    optimizer = SGD(one.parameters, lr=0.5, decay_steps=10)
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
    assert optimizer.finite_losses.tolist() == [True, False, True]


def test_huge_losses_are_numbers() -> None:
    one = network()
    optimizer = SGD(one.parameters, lr=1e-30)
    for _ in range(3):  # their sum is none in single precision
        optimizer.step(losses(one, torch.ones(len(SEEDS), 5, 10)) * 0 + 3e38)
    assert optimizer.finite_losses.all()


def test_parameters_that_are_no_numbers_are_seen_and_cleared_for_their_replica_alone() -> None:
    one = network()
    optimizer = Adam(one.parameters)
    optimizer.step(losses(one, torch.ones(3, 2, 10)))
    with torch.no_grad():
        one.parameters.flat[0] = 3e38  # whose sum is not finite
        one.parameters.flat[1, 4] = math.inf
    assert optimizer.finite_parameters.tolist() == [True, False, True]
    before = [part[2].clone() for part in (one.parameters.flat, *optimizer._slots)]
    optimizer.clear(torch.tensor([False, True, False]))
    assert optimizer.finite_parameters.all() and not one.parameters.flat[1].any() and not optimizer._slots[0][1].any()
    now = (one.parameters.flat, *optimizer._slots)
    assert all(torch.equal(part[2], kept) for part, kept in zip(now, before, strict=True))


def test_wrong_betas_are_refused() -> None:
    with pytest.raises(ValueError, match=r"betas=\[0.9,1.0\]: two numbers of at least 0 and below 1"):
        Adam(network().parameters, betas=[0.9, 1.0])
