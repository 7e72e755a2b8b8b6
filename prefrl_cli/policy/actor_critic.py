"""An actor and a critic in one network: action probabilities and a value."""

from __future__ import annotations

from torch import Tensor

from prefrl_cli.core.environment import Discrete, Environment, observer
from prefrl_cli.core.layers.networks import Network, forward, inputs_of
from prefrl_cli.core.option_types import Given, Layers, OptionError, Units
from prefrl_cli.core.streams import Streams
from prefrl_cli.policy.distributions import Categorical


class ActorCritic:
    """Logits of the actions and a value from one network (the tutorial's policy).

    Args:
        env: gives the spaces of observations and actions.
        streams: initial parameters.
        hidden: units of each hidden layer.
        layers: hidden layers.
        zero_head: start with equal probabilities and values of zero.

    Raises:
        OptionError: where actions are vectors.
    """

    def __init__(
        self,
        env: Given[Environment],
        streams: Given[Streams],
        hidden: Units = 128,
        layers: Layers = 2,
        zero_head: bool = False,
    ) -> None:
        self._observe, self._space = observer(env), env.observation_space
        if not isinstance(env.action_space, Discrete):
            raise OptionError("policy", "actor_critic", "chooses among numbers", "separate_actor_critic")
        inputs, outputs = inputs_of(self._space), env.action_space.n + 1
        self._network = Network(streams, "init/policy", inputs, [hidden] * layers, outputs, zero_head=zero_head)
        self.parameters, self.sizes = self._network.parameters, self._network.sizes

    def __call__(self, states: Tensor) -> tuple[Categorical, Tensor]:
        """The distribution over actions and the values `[R, ...]` of states `[R, ...]`."""
        outputs = forward(self._network, self._observe(states), self._space)
        return Categorical(outputs[..., :-1].log_softmax(-1)), outputs[..., -1]

    def act(self, states: Tensor) -> Categorical:
        """The distribution over actions in states `[R, ...]`."""
        return self(states)[0]
