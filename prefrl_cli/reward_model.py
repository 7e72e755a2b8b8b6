"""Models of a reward, each for R seeds at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from prefrl_cli.data import FiniteEnvironment
from prefrl_cli.limits import Count, Positive
from prefrl_cli.replicas import Activation, Initialisation, Network, Parameters, at
from prefrl_cli.streams import Streams


class ProcessReward:
    """A reward for each state in (-1, 1), whose sum scores a trajectory: the tutorial's process reward model.

    Args:
        env: gives the number of states.
        streams: initial parameters.
        hidden: units of each hidden layer.
        layers: hidden layers, each with LayerNorm and ReLU.
        zero_head: start at zero everywhere, so that an untrained model shapes nothing.
    """

    def __init__(
        self,
        env: FiniteEnvironment,
        streams: Streams,
        hidden: Count = 128,
        layers: Count = 2,
        zero_head: bool = False,
    ) -> None:
        self._network = Network(
            streams, "init/reward_model", env.num_states, [hidden] * layers, 1, normalise=True, zero_head=zero_head
        )
        self.parameters = self._network.parameters

    def __call__(self, observations: Tensor) -> Tensor:
        """Rewards `[R, ...]` of state numbers `[R, ...]` or features `[R, ..., D]`."""
        return at(self._network, observations).squeeze(-1).tanh()


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

    def __init__(self, streams: Streams, slope: Positive = 0.1) -> None:
        self._slope = slope
        self.parameters = Parameters([torch.zeros(len(streams.seeds), 2, device=streams.device)])

    @property
    def theta(self) -> Tensor:
        """The two weights, `[R, 2]`."""
        return self.parameters.views[0]

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, B]` of states `[R, B, 2]` and actions `[R, B]`."""
        difference = states.sum(-1) - actions
        features = torch.stack([1 - self._slope * difference.abs(), difference.sigmoid()], -1)
        return (features * self.theta[:, None]).sum(-1)

    def action_slope(self, states: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from actions `[R, B]` to the derivative of the reward with respect to them."""
        answers = states.sum(-1)
        closeness, side = self.theta.detach()[:, :, None].unbind(1)  # [R, 1] each

        def derivative(actions: Tensor) -> Tensor:
            difference = answers - actions
            towards = torch.where(difference > 0, self._slope, -self._slope)
            share = difference.sigmoid()
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
        env: ActionRange,
        streams: Streams,
        hidden: Count = 6,
        layers: Count = 2,
        activation: Activation = "leaky_relu",
        initialisation: Initialisation = "normal",
        scale: bool = False,
    ) -> None:
        self._network = Network(
            streams, "init/reward_model", 3, [hidden] * layers, 1, activation=activation, initialisation=initialisation
        )
        self.parameters = self._network.parameters
        largest = torch.tensor([env.numbers - 1, env.numbers - 1, env.actions - 1], device=streams.device)
        self._scale = 2 / largest if scale else torch.ones(3, device=streams.device)
        self._shift = -1.0 if scale else 0.0

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, B]` of states `[R, B, 2]` and actions `[R, B]`."""
        inputs = torch.cat([states, actions[..., None]], -1).float()
        return self._network(inputs * self._scale + self._shift).squeeze(-1)

    def action_slope(self, states: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from actions `[R, B]` to the derivative of the reward with respect to them."""
        fixed = torch.cat([states, torch.zeros_like(states[..., :1])], -1).float() * self._scale + self._shift
        direction = self._scale * torch.tensor([0.0, 0.0, 1.0], device=self._scale.device)
        return self._network.slope(fixed, direction)
