"""An actor and a critic of their own networks, for actions that are numbers or vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from prefrl_cli.core.environment import Box, Environment, observer
from prefrl_cli.core.layers.networks import Activation, Network, forward, inputs_of, share
from prefrl_cli.core.option_types import Given, Layers, Number, Units
from prefrl_cli.core.streams import Streams
from prefrl_cli.policy.distributions import Categorical, Gaussian


class SeparateActorCritic:
    """A distribution over actions from one network, a value from another.

    Actions that are vectors are drawn from normal distributions whose standard deviation is learned, one number an
    action, whatever the state.

    Args:
        env: gives the spaces of observations and actions.
        streams: initial parameters.
        hidden: units of each hidden layer, in both networks.
        layers: hidden layers of each.
        activation: between the layers.
        log_std: what the logarithm of the standard deviation begins with, in units of the action.
        zero_head: start with equal probabilities, or a mean of zero, and values of zero.
    """

    def __init__(
        self,
        env: Given[Environment],
        streams: Given[Streams],
        hidden: Units = 64,
        layers: Layers = 2,
        activation: Activation = "tanh",
        log_std: Number = 0.0,
        zero_head: bool = False,
    ) -> None:
        self._observe, self._space = observer(env), env.observation_space
        inputs, space = inputs_of(self._space), env.action_space
        self._continuous = isinstance(space, Box)
        outputs = inputs_of(space)

        def network(name: str, numbers: int) -> Network:
            sizes = [hidden] * layers
            return Network(streams, name, inputs, sizes, numbers, activation=activation, zero_head=zero_head)

        self._actor, self.critic = network("init/policy", outputs), network("init/value", 1)
        self.sizes = self._actor.sizes
        deviation = torch.full((len(streams.seeds), 1, outputs), log_std, device=streams.device)
        self.parameters = share([self._actor, self.critic], *([deviation] if self._continuous else []))

    def __call__(self, states: Tensor) -> tuple[Categorical | Gaussian, Tensor]:
        """The distribution over actions and the values `[R, ...]` of states `[R, ...]`."""
        return self.act(states), forward(self.critic, self._observe(states), self._space).squeeze(-1)

    def act(self, states: Tensor) -> Categorical | Gaussian:
        """The distribution over actions in states `[R, ...]`."""
        outputs = forward(self._actor, self._observe(states), self._space)
        if not self._continuous:
            return Categorical(outputs.log_softmax(-1))
        deviation = self.parameters.views[-1]
        return Gaussian(outputs, deviation.view(len(deviation), *[1] * (outputs.ndim - 2), -1))
