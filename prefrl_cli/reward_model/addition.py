"""Reward models of the addition task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.core.layers.networks import Activation, Initialisation, Network, Parameters
from prefrl_cli.core.option_types import Given, Layers, Positive, Units
from prefrl_cli.core.streams import Streams


class ActionRange(Protocol):
    """The part of an addition task that a reward model needs."""

    numbers: int
    actions: int


class LinearReward:
    """theta_1 (1 - slope |d|) + theta_2 sigmoid(d), d = a + b - x (the notebook's first reward); theta starts at 0.

    Args:
        streams: gives the number of seeds.
        slope: how fast the first feature falls with the distance.
    """

    def __init__(self, streams: Given[Streams], slope: Positive = 0.1) -> None:
        self._slope = slope
        self.sizes = {"inputs": 2, "hidden": [], "outputs": 1, "members": 1}  # the same sum over two features
        self.parameters = Parameters([torch.zeros(len(streams.seeds), 2, device=streams.device)])

    @property
    def theta(self) -> Tensor:
        """The two weights, `[R, 2]`."""
        return self.parameters.views[0]

    def metrics(self) -> dict[str, Tensor]:
        """What is told of the model at each step, `[R]` each."""
        first, second = self.theta.detach().clone().unbind(1)
        return {"theta_1": first, "theta_2": second}

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, B]` of states `[R, B, 2]` and actions `[R, B]`."""
        difference = states.sum(-1) - actions
        features = torch.stack([1 - self._slope * difference.abs(), logsigmoid(difference).exp()], -1)
        return (features * self.theta[:, None]).sum(-1)

    def action_slope(self, states: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from actions `[R, B]` to the derivative of the reward with respect to them."""
        answers = states.sum(-1)
        closeness, side = self.theta.detach()[:, :, None].unbind(1)  # [R, 1] each

        def derivative(actions: Tensor) -> Tensor:
            difference = answers - actions
            towards = torch.where(difference > 0, self._slope, -self._slope)
            share = logsigmoid(difference).exp()  # sigmoid() rounds the last few elements of a tensor otherwise
            return closeness * towards - side * share * (1 - share)

        return derivative


class RewardNet:
    """A small network from (a, b, x) to a reward (the notebook's second part).

    Args:
        env: gives the ranges for `scale`.
        streams: initial parameters.
        hidden: units of each hidden layer.
        layers: hidden layers.
        activation: between them.
        initialisation: `normal` with variance 0.1 as the notebook, or `uniform` as torch's Linear.
        scale: bring the inputs to -1 .. 1 first; the notebook does not.
    """

    def __init__(
        self,
        env: Given[ActionRange],
        streams: Given[Streams],
        hidden: Units = 6,
        layers: Layers = 2,
        activation: Activation = "leaky_relu",
        initialisation: Initialisation = "normal",
        scale: bool = False,
    ) -> None:
        self._network = Network(
            streams, "init/reward_model", 3, [hidden] * layers, 1, activation=activation, initialisation=initialisation
        )
        self.parameters, self.sizes = self._network.parameters, self._network.sizes
        largest = torch.tensor([env.numbers - 1, env.numbers - 1, env.actions - 1], device=streams.device)
        self._scale = 2 / largest if scale else torch.ones(3, device=streams.device)
        self._shift = -1.0 if scale else 0.0

    def metrics(self) -> dict[str, Tensor]:
        """What is told of the model at each step: nothing."""
        return {}

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, B]` of states `[R, B, 2]` and actions `[R, B]`."""
        inputs = torch.cat([states, actions[..., None]], -1).float()
        return self._network(inputs * self._scale + self._shift).squeeze(-1)

    def action_slope(self, states: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from actions `[R, B]` to the derivative of the reward with respect to them."""
        fixed = torch.cat([states, torch.zeros_like(states[..., :1])], -1).float() * self._scale + self._shift
        direction = self._scale * torch.tensor([0.0, 0.0, 1.0], device=self._scale.device)
        return self._network.slope(fixed, direction)
