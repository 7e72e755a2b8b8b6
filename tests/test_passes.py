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
            of = [*network.parameters.views, *([vectors] if features is not None else [])]
            gradients = [torch.autograd.grad((output * weights).sum(), of) for output in (found, expected)]
            for mine, theirs in zip(*gradients, strict=True):
                assert torch.equal(mine, theirs), (seeds, rows, inputs, hidden, outputs)


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


def test_a_parameter_that_moves_between_the_passes_is_noticed() -> None:
    network = Network(PhiloxStreams([0]), "init", 2, [3], 1)
    loss = network(torch.ones(1, 4, 2)).sum((1, 2))
    with torch.no_grad():
        network.parameters.flat.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        network.parameters.gradient(loss)
