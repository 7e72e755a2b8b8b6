"""The passes through a network against an operation at a time by autograd: the same bits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, leaky_relu

from prefrl_cli.core.layers.networks import Network, share
from prefrl_cli.core.layers.passes import affine
from prefrl_cli.core.optimizer import Adam
from prefrl_cli.core.streams import PhiloxStreams

WIDTHS = ([], [1], [16], [7, 13], [33, 1, 5], [64, 64])
PLAIN = {"relu": torch.relu, "leaky_relu": leaky_relu}


class Tanh(torch.autograd.Function):
    """NumPy's, of which autograd knows nothing."""

    @staticmethod
    def forward(ctx, inputs: Tensor) -> Tensor:
        outputs = torch.from_numpy(np.tanh(inputs.detach().numpy()))
        ctx.save_for_backward(outputs)
        return outputs

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return torch.ops.aten.tanh_backward(gradient, *ctx.saved_tensors)


def by_autograd(layers: list[list[Tensor]], features: Tensor | None, activation: str) -> Tensor:
    """The same network, an operation at a time."""
    weight, bias, *norm = layers[0]
    hidden = weight + bias if features is None else affine(bias, features, weight)
    for weight, bias, *following in layers[1:]:
        if norm:
            hidden = torch.addcmul(norm[1], layer_norm(hidden, hidden.shape[-1:]), norm[0])
        hidden = affine(bias, PLAIN.get(activation, Tanh.apply)(hidden), weight)
        norm = following
    return hidden


@pytest.mark.parametrize("normalise", [False, True], ids=["plain", "normalised"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
def test_outputs_and_gradients_are_autograds_to_the_bit(activation: str, normalise: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    for (seeds, rows, inputs, outputs), hidden in itertools.product(
        [(1, 1, 1, 1), (3, 1, 4, 2), (2, 5, 1, 3), (3, 17, 3, 1), (5, 33, 7, 5), (16, 64, 4, 2)], WIDTHS
    ):
        streams = PhiloxStreams(range(seeds))
        network = Network(streams, "init", inputs, hidden, outputs, activation=activation, normalise=normalise)
        with torch.no_grad():
            network.parameters.flat.add_(torch.randn(network.parameters.flat.shape, generator=draw), alpha=0.3)
        vectors = torch.randn(seeds, rows, inputs, generator=draw).requires_grad_()
        for features in (vectors, None):
            found = network.table() if features is None else network(features)
            expected = by_autograd(network._layers, features, activation)
            assert torch.equal(found, expected)
            with torch.no_grad():
                assert torch.equal(network.table() if features is None else network(features), expected)
            weights = torch.randn(found.shape, generator=draw)
            losses = [(output * weights).sum((1, 2)) for output in (found, expected)]
            if features is not None:
                of_features = [torch.autograd.grad(loss.sum(), vectors, retain_graph=True) for loss in losses]
                assert torch.equal(*(gradient for (gradient,) in of_features)), (seeds, rows, inputs, hidden, outputs)
            gradients = [network.parameters.gradient(loss) for loss in losses]
            assert torch.equal(*gradients), (seeds, rows, inputs, hidden, outputs)


def test_a_table_is_computed_once_for_as_long_as_the_parameters_stay() -> None:
    network = Network(PhiloxStreams(range(2)), "init", 5, [7], 3)
    with torch.no_grad():
        seen = network.table()
        assert not seen.requires_grad and network.table().data_ptr() == seen.data_ptr()
    optimizer, before = Adam(network.parameters), seen.clone()
    assert network.table().data_ptr() == seen.data_ptr()
    optimizer.step(network.table().square().sum((1, 2)))
    assert torch.equal(seen, before) and not torch.equal(network.table(), before)
    assert torch.equal(network.table(), by_autograd(network._layers, None, "relu"))
    optimizer.restore({**optimizer.state(), "flat": torch.zeros_like(network.parameters.flat)})
    assert not network.table().any()


def test_parameters_that_a_table_and_a_loss_itself_look_at() -> None:
    """The gradients of both ways are added; what nobody looks at has none."""
    streams, weights = PhiloxStreams(range(3)), torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    one, other, idle = (Network(streams, name, 4, [5], 2) for name in "abc")
    more = torch.ones(3, 1, 2)
    parameters = share([one, other, idle], more)
    losses = [
        (first * weights * parameters.views[-1]).sum((1, 2)) + second.square().sum((1, 2))
        + one._layers[0][0].square().sum((1, 2))
        for first, second in (
            (one.table(), other(weights @ torch.ones(2, 4))),
            (by_autograd(one._layers, None, "relu"), by_autograd(other._layers, weights @ torch.ones(2, 4), "relu")),
        )
    ]  # fmt: skip
    mine = parameters.gradient(losses[0])
    expected = torch.autograd.grad(losses[1].sum(), parameters.views, allow_unused=True)
    place = 0
    for gradient, view in zip(expected, parameters.views, strict=True):
        size = view[0].numel()
        found, place = mine[:, place : place + size].view(view.shape), place + size
        torch.testing.assert_close(found, torch.zeros_like(view) if gradient is None else gradient)
    assert not mine[:, place:].any() and sum(gradient is None for gradient in expected) == 4


def test_two_networks_that_share_their_parameters_and_a_network_that_is_used_twice() -> None:
    streams, features = PhiloxStreams(range(3)), torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0))
    one, other = (
        Network(streams, name, 4, [7, 5], outputs, activation="tanh") for name, outputs in (("a", 2), ("b", 1))
    )
    parameters = share([one, other])
    written_out, plain = (
        [run(network, given) for network, given in ((one, features), (one, 0.5 * features), (other, features))]
        for run in (
            lambda network, given: network(given),
            lambda network, given: by_autograd(network._layers, given, "tanh"),
        )
    )
    gradients = [
        parameters.gradient(first.square().sum((1, 2)) - again.sum((1, 2)) + second.exp().sum((1, 2)))
        for first, again, second in (written_out, plain)
    ]
    assert torch.equal(*gradients) and gradients[0].abs().sum(1).gt(0).all()


@pytest.mark.parametrize("table", [True, False])
def test_a_parameter_that_moves_between_the_passes_is_noticed(table: bool) -> None:
    network = Network(PhiloxStreams([0]), "init", 2, [3], 1)
    loss = (network.table() if table else network(torch.ones(1, 4, 2))).sum((1, 2))
    with torch.no_grad():
        network.parameters.flat.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        network.parameters.gradient(loss)
