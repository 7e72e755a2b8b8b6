"""What losses make of ties, against the models' probabilities written down from their papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import direct
import pytest
import torch
from torch import Tensor

from prefrl_cli.config.choices import choices
from prefrl_cli.preference.loss import Davidson, RaoKupper, SkipTies, SoftTies, bradley_terry, davidson, rao_kupper

Outcomes = tuple[float, float, float]  # chance that the first wins, of a tie, that the second wins


def rao_kupper_chances(strength: float, theta: float) -> Outcomes:
    first, second = math.exp(strength), 1.0
    wins, loses = first / (first + theta * second), second / (second + theta * first)
    return wins, 1 - wins - loses, loses


def davidson_chances(strength: float, nu: float) -> Outcomes:
    first, second = math.exp(strength), 1.0
    total = first + second + nu * math.sqrt(first * second)
    return first / total, nu * math.sqrt(first * second) / total, second / total


def expected(logit: float, label: float, chances: Callable[[float], Outcomes]) -> float:
    wins, tie, loses = chances(logit)
    return -math.log(tie) if label == 0.5 else -(label * math.log(wins) + (1 - label) * math.log(loses))


MODELS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Callable[[float], Outcomes]]] = {
    "rao_kupper 1.1": (lambda *given: rao_kupper(*given, 1.1), lambda z: rao_kupper_chances(z, 1.1)),
    "rao_kupper 3": (lambda *given: rao_kupper(*given, 3.0), lambda z: rao_kupper_chances(z, 3.0)),
    "davidson 0.2": (lambda *given: davidson(*given, 0.2), lambda z: davidson_chances(z, 0.2)),
    "davidson 2": (lambda *given: davidson(*given, 2.0), lambda z: davidson_chances(z, 2.0)),
}
each_model = pytest.mark.parametrize("name", MODELS)


def questions(rows: int, pairs: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(pairs)
    logits = 3 * torch.randn(rows, pairs, generator=generator, dtype=torch.float64)
    labels = torch.tensor([1.0, 0.5, 0.0, 0.9]).double()[torch.randint(0, 4, (rows, pairs), generator=generator)]
    weights = (torch.rand(rows, pairs, generator=generator) < 0.8).double()
    return logits, labels, weights


@each_model
def test_losses_and_gradients(name: str) -> None:
    """Gradients against differences of the papers' formula."""
    loss, chances = MODELS[name]
    logits, labels, weights = questions(3, 9)
    logits[0, 0], labels[0, 0] = 0.0, 0.5
    weights[2] = 0.0
    logits.requires_grad_()
    mine = loss(logits, labels, weights)
    (gradient,) = torch.autograd.grad(mine.sum(), logits)
    for r in range(3):
        total = max(float(weights[r].sum()), 1.0)
        each = [
            w * expected(z, y, chances)
            for z, y, w in zip(*(x[r].tolist() for x in (logits, labels, weights)), strict=True)
        ]
        assert float(mine[r].detach()) == pytest.approx(sum(each) / total, abs=1e-12)
        for k, (z, y, w) in enumerate(zip(*(x[r].tolist() for x in (logits, labels, weights)), strict=True)):
            slope = (expected(z + 1e-5, y, chances) - expected(z - 1e-5, y, chances)) / 2e-5
            assert float(gradient[r, k]) == pytest.approx(w * slope / total, abs=1e-8)


@each_model
@pytest.mark.parametrize("logit", [-4.0, 0.0, 1.5])
def test_the_three_outcomes_are_all(name: str, logit: float) -> None:
    loss, _ = MODELS[name]
    losses = loss(torch.full((3, 1), logit).double(), torch.tensor([[1.0], [0.5], [0.0]]), torch.ones(3, 1))
    assert float((-losses).exp().sum()) == pytest.approx(1.0)


@each_model
def test_losses_stay_finite(name: str) -> None:
    logits = torch.tensor([[300.0, -300.0, 300.0]], requires_grad=True)
    loss = MODELS[name][0](logits, torch.tensor([[0.0, 1.0, 0.5]]), torch.ones(1, 3))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    tie = 0.5 if name.startswith("davidson") else 1.0  # nats lost for each by which a tie is too unlikely
    assert loss.item() == pytest.approx(300 * (2 + tie) / 3, abs=2)
    assert gradient[0].tolist() == pytest.approx([1 / 3, -1 / 3, tie / 3])


def test_without_ties_the_models_are_bradley_terry() -> None:
    logits, _, weights = questions(3, 9)
    labels = (torch.rand(3, 9, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    plain = bradley_terry(logits, labels, weights)
    torch.testing.assert_close(rao_kupper(logits, labels, weights, 1 + 1e-12), plain)
    torch.testing.assert_close(davidson(logits, labels, weights, 1e-12), plain)


def test_soft_and_skipped_ties() -> None:
    logits = torch.tensor([[2.0, -1.0, 3.0], [2.0, 2.0, 2.0]])
    labels = torch.tensor([[1.0, 0.5, 0.0], [0.5, 0.5, 0.5]])
    weights = torch.ones(2, 3)
    win, lose = math.log(1 + math.exp(-2.0)), math.log(1 + math.exp(3.0))
    half = (math.log(1 + math.exp(1.0)) + math.log(1 + math.exp(-1.0))) / 2
    assert SoftTies()(logits, labels, weights)[0].item() == pytest.approx((win + half + lose) / 3)
    assert SkipTies()(logits, labels, weights).tolist() == pytest.approx([(win + lose) / 2, 0.0])


def test_label_smoothing() -> None:
    logits, weights = torch.tensor([[2.0]]), torch.ones(1, 1)
    for label, chance in ((1.0, 0.9), (0.0, 0.1), (0.5, 0.5)):
        expected_loss = chance * math.log(1 + math.exp(-2.0)) + (1 - chance) * math.log(1 + math.exp(2.0))
        smoothed = SoftTies(smoothing=0.2)(logits, torch.tensor([[label]]), weights)
        assert smoothed.item() == pytest.approx(expected_loss)
    assert SkipTies(smoothing=0.2)(logits, torch.tensor([[0.5]]), weights).item() == 0.0
    for model, chances in (
        (RaoKupper(2.0, 0.2), rao_kupper_chances(2.0, 2.0)),
        (Davidson(2.0, 0.2), davidson_chances(2.0, 2.0)),
    ):
        tie = model(logits, torch.tensor([[0.5]]), weights).item()
        win = model(logits, torch.tensor([[1.0]]), weights).item()
        assert tie == pytest.approx(-math.log(chances[1]))
        assert win == pytest.approx(-0.9 * math.log(chances[0]) - 0.1 * math.log(chances[2]))


@pytest.mark.parametrize(
    "model", [SoftTies(0.1), SkipTies(), RaoKupper(1.5, 0.1), Davidson(0.7)], ids=lambda model: type(model).__name__
)
@pytest.mark.parametrize("pairs", [1, 3, 8, 17, 33, 120])
def test_a_loss_does_not_depend_on_the_seeds_beside_it(model: SoftTies | RaoKupper | Davidson, pairs: int) -> None:
    logits, labels, weights = (some.float() for some in questions(6, pairs))
    logits.requires_grad_()
    together = model(logits, labels, weights)
    (gradient,) = torch.autograd.grad(together.sum(), logits)
    for start, stop in ((0, 1), (5, 6), (1, 3), (2, 5)):
        some = logits[start:stop].detach().requires_grad_()
        mine = model(some, labels[start:stop], weights[start:stop])
        assert torch.equal(mine, together[start:stop])
        assert torch.equal(torch.autograd.grad(mine.sum(), some)[0], gradient[start:stop])


@pytest.mark.parametrize("name", ["soft", "skip", "rao_kupper", "davidson"])
def test_losses_in_conf(name: str) -> None:
    """Ties reach the loss; how a model fits them shows in its loss."""
    assert name in choices("loss")
    overrides = ["env.size=4", "env.horizon=12", "num_seeds=2", "criterion.ties=equal"]
    plain, experiment = (direct.configured("oprl_maze", *overrides, *more) for more in ([], [f"loss={name}"]))
    losses = [some.update()["reward_loss"] for some in (plain, experiment)]
    assert losses[1].isfinite().all() and torch.equal(*losses) == (name == "soft")


def test_a_threshold_of_one_is_refused() -> None:
    with pytest.raises(Exception, match=r"^loss.theta=1.0: must be a number above 1"):
        direct.configured("oprl_maze", "loss=rao_kupper", "loss.theta=1.0")
