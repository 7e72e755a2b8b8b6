"""The passes through the layers of R networks, forward and back.

From a table of all one-hot vectors, and where NumPy computes the activations, which autograd does not see, the way back
is written out: operations of autograd in its order, so that not a bit differs (`tests/test_passes.py` compares them).
Activations and gradients are written over what they come from. Elsewhere autograd finds the way by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

_EPSILON = 1e-5  # of a LayerNorm, as torch has it
# Named overloads: resolving one at every call costs more than the arithmetic of a small layer.
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_relu_backward = torch.ops.aten.threshold_backward.grad_input
_leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input
_layer_norm = torch.ops.aten.native_layer_norm.default
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default


def _tanh(values: Tensor) -> Tensor:
    """NumPy's takes a fifth of the time of torch's; a part of a tensor gives the numbers of the whole."""
    if values.device.type != "cpu":
        return values.tanh_()
    array = values.numpy()
    np.tanh(array, out=array)
    return values


Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"relu": torch.relu, "leaky_relu": leaky_relu, "tanh": _tanh}
_IN_PLACE: dict[Activation, Activation] = {torch.relu: torch.relu_, leaky_relu: partial(leaky_relu, inplace=True)}


def _backward_in_place(activation: Activation, gradient: Tensor, out: Tensor) -> None:
    if activation is torch.relu:
        _relu_backward(gradient, out, 0, grad_input=gradient)
    elif activation is leaky_relu:
        _leaky_relu_backward(gradient, out, 0.01, True, grad_input=gradient)
    else:
        _tanh_backward(gradient, out, grad_input=gradient)


class _Kept(NamedTuple):
    """What the way back needs of what stands between two layers.

    Attributes:
        out: of the activation, `[R, B, H]`.
        normalisation: the LayerNorm's inputs, its outputs before gain and bias, means and inverse deviations.
    """

    out: Tensor
    normalisation: tuple[Tensor, ...] = ()


class Table:
    """The outputs of R networks for all one-hot vectors, in order: the first layer's product is its own weight.

    Autograd begins at them; the way back from there to the parameters is `backward`.

    Args:
        activation: as of `outputs`.
        layers: as there.

    Attributes:
        out: the outputs, `[R, S, outputs]`.
    """

    def __init__(self, activation: Activation, layers: Sequence[Sequence[Tensor]]) -> None:
        self._activation, self._layers = activation, layers
        with torch.no_grad():
            out, self._kept = _forward(activation, None, layers)
        self.out = out.requires_grad_()

    @torch.no_grad()
    def backward(self, gradient: Tensor, into: Sequence[Tensor], first: int) -> range:
        """Write the gradients of the parameters, and say where.

        Args:
            gradient: of the outputs.
            into: places for the gradients, of these parameters and of others.
            first: the place of the first of these; the rest follows it.
        """
        sizes = [len(layer) for layer in self._layers]
        places = range(first, first + sum(sizes))
        of_each = _layers(into[places.start : places.stop], sizes)
        _backward(self._activation, None, self._layers, self._kept, gradient, False, of_each)
        return places


def outputs(activation: Activation, features: Tensor, layers: Sequence[Sequence[Tensor]]) -> Tensor:
    """Outputs `[R, B, outputs]` of R networks.

    Args:
        activation: one of `ACTIVATIONS`, between the layers.
        features: `[R, B, inputs]`.
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
    def forward(ctx: Any, sizes: Sequence[int], features: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(features, *parameters)
        ctx.sizes = sizes
        out, ctx.kept = _forward(_tanh, features, _layers(parameters, sizes))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, *parameters = ctx.saved_tensors
        wanted, layers = ctx.needs_input_grad[1], _layers(parameters, ctx.sizes)
        of_parameters, of_features = _backward(_tanh, features, layers, ctx.kept, gradient, wanted)
        return None, of_features if wanted else None, *of_parameters


def _layers(parameters: Sequence[Tensor], sizes: Sequence[int]) -> list[list[Tensor]]:
    rest = iter(parameters)
    return [list(itertools.islice(rest, size)) for size in sizes]


def _forward(
    activation: Activation, features: Tensor | None, layers: Sequence[Sequence[Tensor]]
) -> tuple[Tensor, list[_Kept]]:
    if not torch.is_grad_enabled():
        activation = _IN_PLACE.get(activation, activation)
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
    activation: Activation,
    features: Tensor | None,
    layers: Sequence[Sequence[Tensor]],
    kept: Sequence[_Kept],
    gradient: Tensor,
    wanted: bool,
    into: Sequence[Sequence[Tensor]] = (),
) -> tuple[list[Tensor], Tensor]:
    """The gradients of the parameters and, where it is wanted, of the features, from that of the outputs.

    With `into`, those of the parameters are written there, and are not among what is returned.
    """
    found: list[Tensor] = []
    for number in reversed(range(len(layers))):
        weight, _, *normalisation = layers[number]
        to_weight, to_bias, *to_norm = into[number] if into else (None,) * len(layers[number])
        of_these: list[Tensor] = []
        if number < len(kept):
            out, normalised = kept[number]
            _backward_in_place(activation, gradient, out)
            if normalisation:
                inputs, before, *moments = normalised
                to_gain, to_shift = to_norm
                of_gain = torch.sum(gradient * before, 1, keepdim=True, out=to_gain)
                of_these = [of_gain, torch.sum(gradient, 1, keepdim=True, out=to_shift)]
                gradient.mul_(normalisation[0])
                gradient, *_ = _layer_norm_backward(
                    gradient, inputs, inputs.shape[-1:], *moments, None, None, [True, False, False]
                )
        below = kept[number - 1].out if number else features
        of_bias, of_weight = torch.sum(gradient, 1, keepdim=True, out=to_bias), gradient
        if below is not None:
            of_weight, gradient = _affine_backward(gradient, below, weight, number > 0 or wanted, to_weight)
        if to_weight is not None and of_weight is not to_weight:
            to_weight.copy_(of_weight)
        found = [of_weight, of_bias, *of_these, *found]
    return found, gradient


def _affine_backward(
    gradient: Tensor, features: Tensor, weight: Tensor, wanted: bool, into: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The gradients of the weight, in `into` where it can be, and, if wanted, of the features; see `affine`."""
    turned = weight.transpose(1, 2)
    if weight.shape[2] == 1:
        of_weight = (gradient * features).sum(1, keepdim=True).transpose(1, 2)
        return of_weight, gradient * turned if wanted else gradient
    if weight.shape[1] == 1:
        of_weight = (gradient * features).sum(1, keepdim=True)
        return of_weight, (gradient * weight).sum(-1, keepdim=True) if wanted else gradient
    if single := features.shape[1] == 1:
        gradient, features = torch.cat([gradient, torch.zeros_like(gradient)], 1), features.expand(-1, 2, -1)
    of_weight = torch.bmm(features.transpose(1, 2), gradient, out=into)
    of_features = torch.bmm(gradient, turned) if wanted else gradient
    return of_weight, of_features.sum(1, keepdim=True) if single and wanted else of_features
