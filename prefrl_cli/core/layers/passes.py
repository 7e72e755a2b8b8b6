"""The passes through the layers of R networks, forward and back.

The way back is written out: autograd's operations in its order, so that not a bit differs (`tests/test_passes.py`
compares them). It saves the engine's calls, and writes activations where their inputs were, and gradients likewise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_EPSILON = 1e-5  # of a LayerNorm, as torch has it
# Named overloads: resolving one at every call costs more than the arithmetic of a small layer.
_relu_backward = torch.ops.aten.threshold_backward.grad_input
_leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_layer_norm = torch.ops.aten.native_layer_norm.default
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default


class Activation(NamedTuple):
    """What stands between two layers.

    Attributes:
        apply: writes the outputs over the inputs.
        backward: writes the gradient of the inputs over that of the outputs, given the outputs.
    """

    apply: Callable[[Tensor], object]
    backward: Callable[[Tensor, Tensor], object]


def _tanh(values: Tensor) -> None:
    """NumPy's takes a fifth of the time of torch's; a part of a tensor gives the numbers of the whole."""
    if values.device.type == "cpu":
        array = values.numpy()
        np.tanh(array, out=array)
    else:
        values.tanh_()


ACTIVATIONS = {
    "relu": Activation(torch.relu_, lambda gradient, out: _relu_backward(gradient, out, 0, grad_input=gradient)),
    "leaky_relu": Activation(
        torch.nn.functional.leaky_relu_,
        lambda gradient, out: _leaky_relu_backward(gradient, out, 0.01, True, grad_input=gradient),
    ),
    "tanh": Activation(_tanh, lambda gradient, out: _tanh_backward(gradient, out, grad_input=gradient)),
}


class _Kept(NamedTuple):
    """What the way back needs of what stands between two layers.

    Attributes:
        out: of the activation, `[R, B, H]`.
        normalisation: the LayerNorm's inputs, its outputs before gain and bias, means and inverse deviations.
    """

    out: Tensor
    normalisation: tuple[Tensor, ...] = ()


def outputs(activation: Activation, features: Tensor | None, layers: Sequence[Sequence[Tensor]]) -> Tensor:
    """Outputs `[R, B, outputs]` of R networks.

    Args:
        activation: between the layers.
        features: `[R, B, inputs]`; none stands for all one-hot vectors in order: the first layer's product is its own
            weight then.
        layers: weight `[R, in, out]` and bias `[R, 1, out]` of each, and the gain and bias `[R, 1, out]` of the
            LayerNorm that stands before the activation, where there is one.
    """
    if not torch.is_grad_enabled():
        return _forward(activation, features, layers)[0]
    parameters = [parameter for layer in layers for parameter in layer]
    sizes = [len(layer) for layer in layers]
    return _Passes.apply(activation, sizes, features, *parameters)  # type: ignore[no-any-return, no-untyped-call]


def affine(bias: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """`features @ weight + bias` for each replica, `[R, B, out]`.

    With one column or row, `baddbmm` of one seed alone sums in another order.
    """
    if weight.shape[2] == 1:
        return (features * weight.transpose(1, 2)).sum(-1, keepdim=True) + bias
    if weight.shape[1] == 1:
        return features * weight + bias
    if features.shape[1] == 1:
        return torch.baddbmm(bias, features.expand(-1, 2, -1), weight)[:, :1]
    return torch.baddbmm(bias, features, weight)


class _Passes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, activation: Activation, sizes: Sequence[int], features: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        ctx.save_for_backward(features, *parameters)
        ctx.activation, ctx.sizes = activation, sizes
        out, ctx.kept = _forward(activation, features, _layers(parameters, sizes))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, *parameters = ctx.saved_tensors
        wanted, layers = ctx.needs_input_grad[2], _layers(parameters, ctx.sizes)
        of_parameters, of_features = _backward(ctx.activation, features, layers, ctx.kept, gradient, wanted)
        return None, None, of_features if wanted else None, *of_parameters


def _layers(parameters: Sequence[Tensor], sizes: Sequence[int]) -> list[list[Tensor]]:
    rest = iter(parameters)
    return [list(itertools.islice(rest, size)) for size in sizes]


def _forward(
    activation: Activation, features: Tensor | None, layers: Sequence[Sequence[Tensor]]
) -> tuple[Tensor, list[_Kept]]:
    kept = []
    weight, bias, *normalisation = layers[0]
    out = weight + bias if features is None else affine(bias, features, weight)
    for weight, bias, *following in layers[1:]:
        normalised: tuple[Tensor, ...] = ()
        if normalisation:
            gain, shift = normalisation
            normalised = (out, *_layer_norm(out, out.shape[-1:], None, None, _EPSILON))
            out = torch.addcmul(shift, normalised[1], gain)
        activation.apply(out)
        kept.append(_Kept(out, normalised))
        out, normalisation = affine(bias, out, weight), following
    return out, kept


def _backward(
    activation: Activation,
    features: Tensor | None,
    layers: Sequence[Sequence[Tensor]],
    kept: Sequence[_Kept],
    gradient: Tensor,
    wanted: bool,
) -> tuple[list[Tensor], Tensor]:
    """The gradients of the parameters and, where it is wanted, of the features, from that of the outputs."""
    found: list[Tensor] = []
    for number in reversed(range(len(layers))):
        weight, _, *normalisation = layers[number]
        of_these: list[Tensor] = []
        if number < len(kept):
            out, normalised = kept[number]
            activation.backward(gradient, out)
            if normalisation:
                inputs, before, *moments = normalised
                of_these = [(gradient * before).sum(1, keepdim=True), gradient.sum(1, keepdim=True)]
                gradient, *_ = _layer_norm_backward(
                    gradient * normalisation[0], inputs, inputs.shape[-1:], *moments, None, None, [True, False, False]
                )
        below = kept[number - 1].out if number else features
        of_bias, of_weight = gradient.sum(1, keepdim=True), gradient
        if below is not None:
            of_weight, gradient = _affine_backward(gradient, below, weight, number > 0 or wanted)
        found = [of_weight, of_bias, *of_these, *found]
    return found, gradient


def _affine_backward(gradient: Tensor, features: Tensor, weight: Tensor, wanted: bool) -> tuple[Tensor, Tensor]:
    """The gradients of the weight and, where it is wanted, of the features; see `affine`."""
    turned = weight.transpose(1, 2)
    if weight.shape[2] == 1:
        of_weight = (gradient * features).sum(1, keepdim=True).transpose(1, 2)
        return of_weight, gradient * turned if wanted else gradient
    if weight.shape[1] == 1:
        of_weight = (gradient * features).sum(1, keepdim=True)
        return of_weight, (gradient * weight).sum(-1, keepdim=True) if wanted else gradient
    if single := features.shape[1] == 1:
        gradient, features = torch.cat([gradient, torch.zeros_like(gradient)], 1), features.expand(-1, 2, -1)
    of_weight = torch.bmm(features.transpose(1, 2), gradient)
    of_features = torch.bmm(gradient, turned) if wanted else gradient
    return of_weight, of_features.sum(1, keepdim=True) if single and wanted else of_features
