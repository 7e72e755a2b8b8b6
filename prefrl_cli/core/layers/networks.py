"""Networks for R seeds at once, whose parameters carry a leading axis R.

A network on the seed axis equals R separate networks bit for bit (`tests/test_seed_axis.py`). Beyond `baddbmm` that
needs a gradient clip for each replica, and parameters that lie in one `[R, P]` tensor whose rows are a multiple of 16
numbers long, since the fused Adam kernel rounds the last few numbers of a tensor otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from prefrl_cli.core.environment import Box, Discrete
from prefrl_cli.core.layers.passes import ACTIVATIONS, Table, affine, outputs
from prefrl_cli.core.streams import Streams

Activation = Literal["relu", "leaky_relu", "tanh"]
Initialisation = Literal["uniform", "normal"]


_LANE = 16
_MOST_KEPT = 1 << 22  # numbers of a layer of a table that is kept for as long as it holds
_MOVED = "parameters have been modified by an inplace operation since the loss was computed, or it has none"
# Named overloads: resolving one at every call costs more than the arithmetic of a small layer.
_leaky_relu = torch.ops.aten.leaky_relu.out
_leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input


class Parameters:
    """Every parameter of one model, in a single `[R, P]` tensor that the layers look into.

    Args:
        initial: `[R * members, *shape]` each.
        members: networks a replica, which an optimiser sees as one.

    Attributes:
        flat: `[R, P]`, the replicas' parameters side by side.
        views: the layers' parameters `[R * members, *shape]`, each a view of `flat`.
        tables: of the networks that look into them, by the place of their first view, with the version they are of.
    """

    def __init__(self, initial: Sequence[Tensor], members: int = 1) -> None:
        rows = [parameter.float().flatten(1) for parameter in initial]
        width = sum(row.shape[1] for row in rows)
        padding = rows[0].new_zeros(len(rows[0]), -width % _LANE)
        flat = torch.cat([*rows, padding], 1)
        self._padding, self._shape, self._moves = padding, flat.shape, 0
        self.views, self.tables = [], dict[int, tuple[tuple[int, int], Table]]()
        start = 0
        for parameter, row in zip(initial, rows, strict=True):
            window = flat[:, start : start + row.shape[1]].view(parameter.shape)
            self.views.append(window.requires_grad_())
            start += row.shape[1]
        self._windows = [(view.shape, view.stride(), view.storage_offset()) for view in self.views]
        self.flat = flat.view(len(flat) // members, -1)

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever they do."""
        return self._moves, self.flat._version

    def moved(self) -> None:
        """Note that they are others: torch does not count what its fused optimisers write."""
        self._moves += 1
        self.tables.clear()

    def gradient(self, loss: Tensor) -> Tensor:
        """The gradient `[R, P]` of each replica's own loss `[R]`.

        Raises:
            RuntimeError: where they have changed since the loss was computed.
        """
        if not self.tables:
            gradients = torch.autograd.grad(loss.sum(), self.views)
            return torch.cat([*(gradient.flatten(1) for gradient in gradients), self._padding], 1).view(self.flat.shape)
        tables = [table for _, table in self.tables.values()]
        found = torch.autograd.grad(loss.sum(), [*(table.out for table in tables), *self.views], allow_unused=True)
        whole = self.flat.new_empty(self._shape)
        if self._padding.shape[1]:
            whole[:, -self._padding.shape[1] :] = 0.0
        into = [whole.as_strided(*window) for window in self._windows]
        missing = dict(enumerate(found[len(tables) :]))  # what no table gives
        for (first, (version, table)), gradient in zip(self.tables.items(), found, strict=False):
            if gradient is None:
                continue
            if version != self.version:
                raise RuntimeError(_MOVED)
            for number in table.backward(gradient, into, first):
                if (more := missing.pop(number)) is not None:
                    into[number] += more
        if len(missing) == len(into) and all(more is None for more in missing.values()):
            raise RuntimeError(_MOVED)
        for number, more in missing.items():
            into[number].zero_() if more is None else into[number].copy_(more)
        return whole.view(self.flat.shape)


class Network:
    """R multilayer perceptrons of one shape, each with its own parameters.

    Args:
        streams: where the initial parameters are drawn.
        purpose: the stream's purpose.
        inputs: features of an input, or the number of states where inputs are one-hot.
        hidden: units of each hidden layer.
        outputs: numbers that come out.
        activation: between the layers.
        normalise: whether a LayerNorm (Ba et al. 2016) stands before each activation.
        initialisation: `uniform` in +-1/sqrt(fan-in) as torch's Linear, or `normal` with variance 0.1 (the notebook).
        zero_head: start the last layer at zero, so that an untrained network is silent.
        members: networks a seed, of which the first is what it would be alone: R stands for R * members then.

    Attributes:
        sizes: the arguments after `purpose`, by name: another network can be made of the same sizes.
    """

    def __init__(
        self,
        streams: Streams,
        purpose: str,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        activation: Activation = "relu",
        normalise: bool = False,
        initialisation: Initialisation = "uniform",
        zero_head: bool = False,
        members: int = 1,
    ) -> None:
        self._activation = ACTIVATIONS[activation]
        self._normalise = normalise
        self.inputs = inputs
        self.sizes = {
            "inputs": inputs, "hidden": list(hidden), "outputs": outputs, "activation": activation,
            "normalise": normalise, "initialisation": initialisation, "zero_head": zero_head, "members": members,
        }  # fmt: skip
        sizes = [inputs, *hidden, outputs]
        initial: list[Tensor] = []
        draws = streams if members == 1 else _Members(streams, members)
        for number, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            last = zero_head and number == len(hidden)
            initial += _initial_layer(draws, purpose, fan_in, fan_out, initialisation, zero=last)
            if normalise and number < len(hidden):
                initial += [torch.ones_like(initial[-1]), torch.zeros_like(initial[-1])]
        self._look_into(Parameters(initial, members), 0, len(initial))

    def _look_into(self, parameters: Parameters, first: int, count: int) -> None:
        """Take `count` of the views as the layers' parameters, from the first on."""
        self.parameters, self._first, step = parameters, first, 4 if self._normalise else 2
        self._layers = [parameters.views[start : start + step] for start in range(first, first + count, step)]

    def __call__(self, features: Tensor) -> Tensor:
        """Outputs `[R, B, outputs]` of features `[R, B, inputs]`."""
        return outputs(self._activation, features, self._layers)

    def table(self) -> Tensor:
        """Outputs `[R, S, outputs]` for all S one-hot inputs, computed once for as long as the parameters stay."""
        parameters, learns = self.parameters, torch.is_grad_enabled()
        version, table = parameters.tables.get(self._first, (None, None))
        if table is None or version != parameters.version:
            table = Table(self._activation, self._layers)
            if learns or self._layers[0][0].numel() <= _MOST_KEPT:
                parameters.tables[self._first] = parameters.version, table
        return table.out if learns else table.out.detach()

    @property
    def has_slope(self) -> bool:
        """Whether `slope` knows its layers: one output after (leaky) ReLU."""
        known = not self._normalise and self._activation is not ACTIVATIONS["tanh"]
        return known and len(self._layers) > 1 and self._layers[-1][0].shape[2] == 1

    def slope(self, fixed: Tensor, direction: Tensor) -> Callable[[Tensor], Tensor]:
        """The derivative of the output with respect to one input, carried forward through the layers.

        Args:
            fixed: `[R, B, inputs]`, the other inputs, zero where the moving one stands.
            direction: `[inputs]`, one where the moving input stands, times its scale.

        Returns:
            A function from the moving input `[R, B]` to the derivative `[R, B]`.

        Raises:
            ValueError: for a network with LayerNorm, another activation than (leaky) ReLU, or more outputs.
        """
        if not self.has_slope:
            raise ValueError("the slope is carried by hand through relu and leaky_relu layers only")
        leak = 0.01 if self._activation is ACTIVATIONS["leaky_relu"] else 0.0
        (first, bias), *middle, (last, _) = [[p.detach() for p in layer] for layer in self._layers]
        start = affine(bias, fixed, first)  # [R, B, H]
        along = (direction[:, None] * first).sum(1, keepdim=True).expand_as(start).contiguous()
        head = last.transpose(1, 2)  # [R, 1, H]
        rows = start.shape[1]
        # Every step writes into the same buffers: values in the upper half of a layer's rows, tangents in the lower.
        value, layers = torch.empty_like(start), [_SlopeLayer(weight, bias, rows) for weight, bias in middle]
        tangent, weighted = (start.new_empty(*start.shape[:2], head.shape[2]) for _ in range(2))

        @torch.no_grad()
        def derivative(moving: Tensor) -> Tensor:
            torch.addcmul(start, moving[..., None], along, out=value)
            here, moved = value, along
            for layer in layers:
                _leaky_relu(here, leak, out=layer.value_in)
                _leaky_relu_backward(moved, here, leak, False, grad_input=layer.tangent_in)
                if layer.thin:
                    layer.both_out.copy_(affine(layer.bias, layer.both_in, layer.weight))
                else:
                    torch.baddbmm(layer.bias, layer.both_in, layer.weight, out=layer.both_out)
                here, moved = layer.value_out, layer.tangent_out
            _leaky_relu_backward(moved, here, leak, False, grad_input=tangent)
            slope: Tensor = torch.mul(tangent, head, out=weighted).sum(-1)
            return slope

        return derivative


def share(networks: Sequence[Network], *more: Tensor) -> Parameters:
    """Put parameters of several networks, then `more` tensors `[R, *shape]`, into one."""
    of_each = [[view.detach() for view in network.parameters.views] for network in networks]
    parameters = Parameters([*(view for views in of_each for view in views), *more])
    for number, network in enumerate(networks):
        network._look_into(parameters, sum(map(len, of_each[:number])), len(of_each[number]))
    return parameters


class _Members:
    """Draws for every member of every seed, `[R * members, *shape]`, a member's own from a purpose of its own."""

    def __init__(self, streams: Streams, members: int) -> None:
        self._streams, self._members = streams, members

    def uniform(self, purpose: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        drawn = [self._streams.uniform(name, *shape, low=low, high=high) for name in self._names(purpose)]
        return torch.stack(drawn, 1).flatten(0, 1)

    def normal(self, purpose: str, *shape: int, std: float = 1.0) -> Tensor:
        drawn = [self._streams.normal(name, *shape, std=std) for name in self._names(purpose)]
        return torch.stack(drawn, 1).flatten(0, 1)

    def _names(self, purpose: str) -> list[str]:
        return [purpose, *(f"{purpose}/{number}" for number in range(1, self._members))]


class _SlopeLayer:
    """A middle layer's parameters and the buffers of `Network.slope`: B rows of values, then B of tangents."""

    def __init__(self, weight: Tensor, bias: Tensor, rows: int) -> None:
        replicas, fan_in, fan_out = weight.shape
        self.weight, self.thin = weight.contiguous(), 1 in (fan_in, fan_out)
        self.bias = torch.cat([bias.expand(-1, rows, -1), torch.zeros_like(bias).expand(-1, rows, -1)], 1)
        self.both_in, self.both_out = weight.new_empty(replicas, 2 * rows, fan_in), torch.empty_like(self.bias)
        self.value_in, self.tangent_in = self.both_in[:, :rows], self.both_in[:, rows:]
        self.value_out, self.tangent_out = self.both_out[:, :rows], self.both_out[:, rows:]


def _initial_layer(
    streams: Streams | _Members, purpose: str, fan_in: int, fan_out: int, initialisation: Initialisation, *, zero: bool
) -> list[Tensor]:
    """Weight `[R, in, out]` and bias `[R, 1, out]`, drawn in torch's order `[out, in]`."""
    if initialisation == "normal":
        weight = streams.normal(purpose, fan_out, fan_in, std=math.sqrt(0.1))
        bias = streams.normal(purpose, fan_out, std=math.sqrt(0.1))
    else:
        bound = 1 / math.sqrt(fan_in)
        weight = streams.uniform(purpose, fan_out, fan_in, low=-bound, high=bound)
        bias = streams.uniform(purpose, fan_out, low=-bound, high=bound)
    scale = 0.0 if zero else 1.0
    return [scale * weight.transpose(1, 2), scale * bias[:, None]]


def forward(network: Network, observations: Tensor, space: Discrete | Box) -> Tensor:
    """Outputs of a network for observations of either kind; the only place that tells the two apart.

    Args:
        network: takes them.
        observations: of a `Discrete` space state numbers `[R, ...]`; of a `Box` vectors `[R, ..., *shape]` of any type.
        space: of the observations.

    Returns:
        `[R, ..., outputs]`; those of state numbers from the table of all states, which is evaluated once.
    """
    if isinstance(space, Discrete):
        return look_up(network.table(), observations)
    shape = observations.shape[: observations.ndim - len(space.shape)]
    features = observations.reshape(len(observations), -1, math.prod(space.shape))
    return network(features.float()).view(*shape, -1)


def inputs_of(space: Discrete | Box) -> int:
    """How many numbers a network takes of an observation; a state's number counts as a one-hot vector."""
    return space.n if isinstance(space, Discrete) else math.prod(space.shape)


def look_up(table: Tensor, states: Tensor) -> Tensor:
    """Rows of a table `[R, S, K]` for state numbers `[R, ...]`: `[R, ..., K]`."""
    width = table.shape[2]
    index = states.reshape(len(table), -1, 1).expand(-1, -1, width)
    return table.gather(1, index).view(*states.shape, width)
