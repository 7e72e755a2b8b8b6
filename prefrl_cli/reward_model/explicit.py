"""An explicit process reward model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prefrl_cli.core.environment import Environment, is_finite, observer
from prefrl_cli.core.layers.networks import Activation, Network, forward, inputs_of
from prefrl_cli.core.option_types import Given, Layers, Members, Units
from prefrl_cli.core.saved_state import check_state
from prefrl_cli.core.streams import Streams
from prefrl_cli.reward_model.ensemble import Asks, Combine, combine, default_members

Policy = Callable[[Tensor], tuple[Any, Tensor]]  # what it chooses in states, and what they are worth


class ProcessReward:
    """A reward for each state, whose sum scores a trajectory: by default the tutorial's process reward model.

    Args:
        env: gives the space of observations.
        streams: initial parameters.
        hidden: units of each hidden layer.
        layers: hidden layers.
        zero_head: start at zero everywhere, so that an untrained model shapes nothing.
        members: models in an ensemble, all fitted to the same preferences from different initial parameters; none
            is 3 where the queries need an ensemble, else 1.
        combine: the reward is the mean of the members', or the least.
        queries: say whether they need an ensemble.
        activation: between the layers.
        normalise: whether a LayerNorm stands before each activation.
        bounded: whether a reward is the hyperbolic tangent of what comes out, so that it is in (-1, 1).
    """

    rewards_actions = False  # a state has one reward, whatever is done in it

    def __init__(
        self,
        env: Given[Environment],
        streams: Given[Streams],
        hidden: Units = 128,
        layers: Layers = 2,
        zero_head: bool = False,
        members: Members | None = None,
        combine: Combine = "mean",
        queries: Given[Asks | None] = None,
        activation: Activation = "relu",
        normalise: bool = True,
        bounded: bool = True,
    ) -> None:
        self._observe, self._space, self._bounded = observer(env), env.observation_space, bounded
        number = env.num_states if is_finite(env) else 0
        self._states = torch.arange(number, device=streams.device).expand(len(streams.seeds), -1)
        members = default_members(members, queries)
        self._network = Network(
            streams, "init/reward_model", inputs_of(self._space), [hidden] * layers, 1,
            activation=activation, normalise=normalise, zero_head=zero_head, members=members,
        )  # fmt: skip
        self.parameters, self.sizes = self._network.parameters, self._network.sizes
        self.members, self._combine = members, combine

    def __call__(self, states: Tensor) -> Tensor:
        """Rewards `[R, ...]` of states `[R, ...]`."""
        return combine(self._each(states), self._combine)

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of steps: those of the states they leave, whatever the action."""
        return self(states)

    def member_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Each member's rewards `[R, M, ...]` of steps."""
        return self._each(states)

    def reward_table(self) -> Tensor:
        """The reward of every state that has a number, `[R, S, 1]`, whatever the action."""
        return self(self._states)[..., None]

    def _each(self, states: Tensor) -> Tensor:
        replicas = len(states)
        if self.members > 1:
            states = states.repeat_interleave(self.members, 0)
        rewards = forward(self._network, self._observe(states), self._space).squeeze(-1)
        rewards = rewards.tanh() if self._bounded else rewards
        return rewards.view(replicas, self.members, *rewards.shape[1:])

    def follow(self, policy: Policy) -> None:
        """A process reward model has no reference policy."""

    def state(self) -> dict[str, Any]:
        """What changes while training beside the parameters: nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is another model's."""
        check_state(self.state(), state, "reward model")
