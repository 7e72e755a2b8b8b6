"""The same reward everywhere: a control that learns nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prefrl_cli.core.environment import Box, Environment, is_finite
from prefrl_cli.core.networks import Parameters
from prefrl_cli.core.option_types import Given, Number
from prefrl_cli.core.saved_state import check_state
from prefrl_cli.core.streams import Streams


class ConstantReward:
    """A reward model whose every step is worth the same, whatever the answers.

    Where a policy learns from it as it learns from a learned reward, it was not the labels that taught it: an episode
    that ends early or late has told it.

    Args:
        env: gives the number of states, where they are numbered.
        streams: give the seeds and the device.
        value: of each step.
    """

    rewards_actions = False
    members = 1

    def __init__(self, env: Given[Environment], streams: Given[Streams], value: Number = 1.0) -> None:
        self._value, replicas = value, len(streams.seeds)
        space = env.observation_space
        self._features = len(space.shape) if isinstance(space, Box) and not is_finite(env) else 0
        self._states = torch.zeros(replicas, env.num_states if is_finite(env) else 0, device=streams.device)
        self.parameters = Parameters([torch.zeros(replicas, 1, device=streams.device)])  # which no loss depends on

    def __call__(self, states: Tensor) -> Tensor:
        """Rewards `[R, ...]` of states `[R, ...]`."""
        shape = states.shape[: states.ndim - self._features]
        unmoved = 0 * self.parameters.views[0]
        return (self._value + unmoved).view(len(states), *[1] * (len(shape) - 1)).expand(shape)

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of steps."""
        return self(states)

    def member_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """The one member's rewards `[R, 1, ...]` of steps."""
        return self(states)[:, None]

    def reward_table(self) -> Tensor:
        """The reward of every state that has a number, `[R, S, 1]`."""
        return self(self._states)[..., None]

    def follow(self, policy: Callable[[Tensor], Any]) -> None:
        """A constant has no reference policy."""

    def state(self) -> dict[str, Any]:
        """What changes while training: nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is another model's."""
        check_state(self.state(), state, "reward model")
