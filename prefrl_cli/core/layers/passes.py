"""The passes through the layers of R networks, forward and back.

Where NumPy computes the activations, which autograd does not see, the way back is written out: operations of autograd
in its order, so that not a bit differs (`tests/test_passes.py` compares them). Activations and gradients are written
over what they come from. Behind other activations autograd finds the way by itself, with no call of Python.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

_EPSILON = 1e-5  # of a LayerNorm, as torch has it
# Named overloads: resolving one at every call costs more than the arithmetic of a small layer.
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_layer_norm = torch.ops.aten.native_layer_norm.default
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default


def _tanh(values: Tensor) -> Tensor:
    """NumPy's takes a fifth of the time of torch's; a part of a tensor gives the numbers of the whole."""
    if values.device.type != "cpu":
        return values.tanh_()
    array = values.numpy()
    np.tanh(array, out=array)
    return values


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "leaky_relu": leaky_relu, "tanh": _tanh}


class _Kept(NamedTuple):
    """What the way back needs of what stands between two layers.

    Attributes:
        out: of the activation, `[R, B, H]`.
        normalisation: the LayerNorm's inputs, its outputs before gain and bias, means and inverse deviations.
    """

    out: Tensor
    normalisation: tuple[Tensor, ...] = ()


def outputs(
    activation: Callable[[Tensor], Tensor], features: Tensor | None, layers: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Outputs `[R, B, outputs]` of R networks.

    Args:
        activation: one of `ACTIVATIONS`, between the layers.
        features: `[R, B, inputs]`; none stands for all one-hot vectors in order: the first layer's product is its own
            weight then.
        layers: weight `[R, in, out]` and bias `[R, 1, out]` of each, and the gain and bias `[R, 1, out]` of the
            LayerNorm that stands before the activation, where there is one.
    """
    if activation is not _tanh or not torch.is_grad_enabled():
        return _forward(activation, features, layers)[0]
    parameters = [parameter for layer in layers for parameter in layer]
    sizes = [len(layer) for layer in layers]
    return _Passes.apply(sizes, features, *parameters)  # type: ignore[no-any-return, no-untyped-call]


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
    def forward(ctx: Any, sizes: Sequence[int], features: Tensor | None, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(features, *parameters)
        ctx.sizes = sizes
        out, ctx.kept = _forward(_tanh, features, _layers(parameters, sizes))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, *parameters = ctx.saved_tensors
        wanted, layers = ctx.needs_input_grad[1], _layers(parameters, ctx.sizes)
        of_parameters, of_features = _backward(features, layers, ctx.kept, gradient, wanted)
        return None, of_features if wanted else None, *of_parameters


def _layers(parameters: Sequence[Tensor], sizes: Sequence[int]) -> list[list[Tensor]]:
    rest = iter(parameters)
    return [list(itertools.islice(rest, size)) for size in sizes]


def _forward(
    activation: Callable[[Tensor], Tensor], features: Tensor | None, layers: Sequence[Sequence[Tensor]]
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
        out = activation(out)
        kept.append(_Kept(out, normalised))
        out, normalisation = affine(bias, out, weight), following
    return out, kept


def _backward(
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
            _tanh_backward(gradient, out, grad_input=gradient)
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
