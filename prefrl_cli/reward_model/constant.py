"""Rewards that no answer moves: the same everywhere, a control, and what another run has learned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from prefrl_cli.core.environment import Box, Environment, is_finite
from prefrl_cli.core.layers.networks import Parameters
from prefrl_cli.core.option_types import Given, Number
from prefrl_cli.core.saved_state import check_state
from prefrl_cli.core.streams import Streams


class Learned(Protocol):
    """A reward model that was fitted."""

    rewards_actions: bool

    @property
    def parameters(self) -> Parameters:
        """What it has learned."""

    def __call__(self, states: Tensor) -> Tensor:
        """Rewards `[R, ...]` of states `[R, ...]`."""

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of steps."""

    def reward_table(self) -> Tensor:
        """The reward of every state that has a number, `[R, S, 1]`, or of every action in it, `[R, S, A]`."""


class Unmoved:
    """A reward of steps that no answer moves; what learns from it takes steps that lead nowhere.

    Args:
        replicas: R, number of seeds.
        device: of the parameters, on which no loss depends.
    """

    members = 1

    def __init__(self, replicas: int, device: torch.device) -> None:
        self.parameters = Parameters([torch.zeros(replicas, 1, device=device)])

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of steps."""
        raise NotImplementedError

    def member_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """The one member's rewards `[R, 1, ...]` of steps."""
        return self.step_rewards(states, actions)[:, None]

    def follow(self, policy: Callable[[Tensor], Any]) -> None:
        """There is no reference policy."""

    def state(self) -> dict[str, Any]:
        """What has to be the same when training goes on: nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is another model's."""
        check_state(self.state(), state, "reward model")

    def moved_by_nothing(self, rewards: Tensor) -> Tensor:
        """Rewards `[R, ...]` that depend on the parameters in name only, so that an optimiser can take its steps."""
        return rewards + 0 * self.parameters.views[0].view(len(rewards), *[1] * (rewards.ndim - 1))


class FrozenReward(Unmoved):
    """The reward that another run has learned, its members together; answers are counted and change nothing.

    Args:
        env: which the model is of.
        streams: that it is made with.
        learned: the model, with what each seed of this run takes of it.
        run: the folder of the other run. A seed takes the model of the same seed, or that of its only one.
    """

    def __init__(
        self, env: Given[Environment], streams: Given[Streams], learned: Given[Learned], run: str | None = None
    ) -> None:
        self._learned, self.rewards_actions = learned, learned.rewards_actions
        flat = learned.parameters.flat.detach()
        self._content = hashlib.sha256(flat.cpu().numpy().tobytes()).hexdigest()
        super().__init__(len(flat), flat.device)

    def __call__(self, states: Tensor) -> Tensor:
        """Rewards `[R, ...]` of states `[R, ...]`."""
        with torch.no_grad():
            rewards = self._learned(states)
        return self.moved_by_nothing(rewards)

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of steps."""
        with torch.no_grad():
            rewards = self._learned.step_rewards(states, actions)
        return self.moved_by_nothing(rewards)

    def reward_table(self) -> Tensor:
        """The reward of every state that has a number, `[R, S, 1]`, or of every action in it, `[R, S, A]`."""
        with torch.no_grad():
            return self._learned.reward_table()

    def state(self) -> dict[str, Any]:
        """A text that stands for what the other run has learned."""
        return {"content": self._content}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where the other run has learned something else since."""
        check_state({"content": str}, state, "reward model")
        if state["content"] != self._content:
            raise ValueError("reward_model.run has learned another reward than it had")


class ConstantReward(Unmoved):
    """A reward model whose every step is worth the same, whatever the answers.

    Where a policy learns from it as it learns from a learned reward, it was not the labels that taught it: an episode
    that ends early or late has told it.

    Args:
        env: gives the number of states, where they are numbered.
        streams: give the seeds and the device.
        value: of each step.
    """

    rewards_actions = False

    def __init__(self, env: Given[Environment], streams: Given[Streams], value: Number = 1.0) -> None:
        self._value, replicas = value, len(streams.seeds)
        space = env.observation_space
        self._features = len(space.shape) if isinstance(space, Box) and not is_finite(env) else 0
        self._states = torch.zeros(replicas, env.num_states if is_finite(env) else 0, device=streams.device)
        super().__init__(replicas, streams.device)

    def __call__(self, states: Tensor) -> Tensor:
        """Rewards `[R, ...]` of states `[R, ...]`."""
        rewards = states.new_full(states.shape[: states.ndim - self._features], self._value, dtype=torch.float32)
        return self.moved_by_nothing(rewards)

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of steps."""
        return self(states)

    def reward_table(self) -> Tensor:
        """The reward of every state that has a number, `[R, S, 1]`."""
        return self(self._states)[..., None]
