"""Implicit process rewards: a policy fitted to preferences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prefrl_cli.core.environment import Discrete, FiniteEnvironment, is_finite
from prefrl_cli.core.layers.networks import Network, forward, inputs_of, look_up
from prefrl_cli.core.option_types import Given, Layers, Members, OptionError, Positive, Units
from prefrl_cli.core.saved_state import check_state
from prefrl_cli.core.streams import Streams
from prefrl_cli.reward_model.ensemble import Asks, Combine, combine, default_members
from prefrl_cli.reward_model.explicit import Policy


class ImplicitReward:
    """A reward for each step, beta ln(pi_phi(a|s) / pi_old(a|s)): the OPRL paper's (arXiv 2509.19199, eq. 3-5).

    pi_phi is a policy of its own that starts as a copy of the one that acts; pi_old, the reference, is the policy that
    collected the last batch. Fitted to labels sampled from Bradley-Terry over whole episodes, the log-ratio goes to
    the soft advantage of each action; hard labels order actions alike and leave the scale open.

    Args:
        env: gives the numbers of states and actions.
        streams: initial parameters, those of the policy of the same shape.
        hidden: units of each hidden layer, as the policy's.
        layers: hidden layers, as the policy's.
        beta: how much reward one nat of log-ratio is worth.
        zero_head: as the policy's.
        members: models in an ensemble, of different initial parameters; none is 3 where the queries need one, else 1.
            The first starts as the policy does. To the logits of each other one the fixed difference is added that
            makes it start as the same function (as in Osband et al. 2018, where an ensemble's priors are fixed and
            added): all are silent before any preference, and differ in how they generalise from the first one on.
        combine: the reward is the mean of the members', or the least.
        queries: say whether they need an ensemble.
    """

    rewards_actions = True

    def __init__(
        self,
        env: Given[FiniteEnvironment],
        streams: Given[Streams],
        hidden: Units = 128,
        layers: Layers = 2,
        beta: Positive = 0.5,
        zero_head: bool = False,
        members: Members | None = None,
        combine: Combine = "mean",
        queries: Given[Asks | None] = None,
    ) -> None:
        if not is_finite(env):
            raise OptionError("reward_model", "implicit", "needs states that are numbered", "state")
        members, self._space = default_members(members, queries), env.observation_space
        streams.restart("init/policy")
        self._network = Network(
            streams, "init/policy", inputs_of(self._space), [hidden] * layers, env.num_actions + 1,
            zero_head=zero_head, members=members,
        )  # fmt: skip
        streams.restart("init/policy")
        self.parameters, self.sizes = self._network.parameters, self._network.sizes
        self.beta, self.members, self._combine = beta, members, combine
        self._states = torch.arange(env.num_states, device=streams.device).expand(len(streams.seeds), -1)
        self._all = env.observe(self._states.repeat_interleave(members, 0))
        with torch.no_grad():
            logits = self._logits()
            self._start = logits[:, :1] - logits  # [R, M, S, A], zero for the first
            self._reference = logits[:, 0].log_softmax(-1)

    def __call__(self, states: Tensor) -> Tensor:
        """The expected reward `[R, ...]` of a step of pi_phi in each state: beta times its divergence from pi_old."""
        learned = self._log_probabilities()
        divergence = (learned.exp() * (learned - self._reference[:, None])).sum(-1)
        return self.beta * look_up(combine(divergence, self._combine)[..., None], states).squeeze(-1)

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of taking `actions` `[R, ...]` in `states` `[R, ...]`."""
        return combine(self.member_rewards(states, actions), self._combine)

    def member_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Each member's rewards `[R, M, ...]` of steps."""
        rewards = self._log_ratios()
        flat = (states * rewards.shape[-1] + actions).flatten(1)[:, None].expand(-1, self.members, -1)
        return rewards.flatten(2).gather(2, flat).view(len(states), self.members, *states.shape[1:])

    def reward_table(self) -> Tensor:
        """The reward of every action in every state, `[R, S, A]`."""
        return combine(self._log_ratios(), self._combine)

    def _log_ratios(self) -> Tensor:
        """Of each member, times beta, `[R, M, S, A]`."""
        return self.beta * (self._log_probabilities() - self._reference[:, None])

    @torch.no_grad()
    def follow(self, policy: Policy) -> None:
        """Take the policy that acted as the reference."""
        self._reference = policy(self._states)[0].log_probabilities

    def state(self) -> dict[str, Any]:
        """What changes while training beside the parameters: the reference."""
        return {"reference": self._reference}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes."""
        check_state(self.state(), state, "reward model")
        self._reference = state["reference"]

    def _log_probabilities(self) -> Tensor:
        """Of each member, `[R, M, S, A]`."""
        logits = self._logits()
        return (logits + self._start if self.members > 1 else logits).log_softmax(-1)

    def _logits(self) -> Tensor:
        numbered = isinstance(self._space, Discrete)  # then it is the table itself, in order
        outputs = self._network.table() if numbered else forward(self._network, self._all, self._space)
        logits = outputs[..., :-1]
        return logits.view(-1, self.members, *logits.shape[1:])
