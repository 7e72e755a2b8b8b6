"""Models of a reward, each for R seeds at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.data import FiniteEnvironment
from prefrl_cli.limits import Layers, Members, Positive, Units
from prefrl_cli.replicas import Activation, Initialisation, Network, Parameters, at, look_up
from prefrl_cli.saved_state import check_state
from prefrl_cli.streams import Streams

Policy = Callable[[Tensor], tuple[Tensor, Tensor]]
Combine = Literal["mean", "min"]


class Asks(Protocol):
    """The part of the queries that decides how many models are needed by default."""

    needs_members: bool


def default_members(members: int | None, queries: Asks | None) -> int:
    """Models in an ensemble: those wanted, else 3 where the queries go by what they disagree on (B-Pref's), else 1."""
    return members or (3 if queries is not None and queries.needs_members else 1)


def combine(rewards: Tensor, how: Combine) -> Tensor:
    """One reward `[R, ...]` from those of the M members of an ensemble `[R, M, ...]`; `min` is the pessimist's."""
    if rewards.shape[1] == 1:
        return rewards.squeeze(1)
    return rewards.amin(1) if how == "min" else rewards.mean(1)


class ProcessReward:
    """A reward for each state in (-1, 1), whose sum scores a trajectory: the tutorial's process reward model.

    Args:
        env: gives the number of states.
        streams: initial parameters.
        hidden: units of each hidden layer.
        layers: hidden layers, each with LayerNorm and ReLU.
        zero_head: start at zero everywhere, so that an untrained model shapes nothing.
        members: models in an ensemble, all fitted to the same preferences from different initial parameters; none
            is 3 where the queries need an ensemble, else 1.
        combine: the reward is the mean of the members', or the least.
        queries: say whether they need an ensemble.
    """

    def __init__(
        self,
        env: FiniteEnvironment,
        streams: Streams,
        hidden: Units = 128,
        layers: Layers = 2,
        zero_head: bool = False,
        members: Members | None = None,
        combine: Combine = "mean",
        queries: Asks | None = None,
    ) -> None:
        self._observe = env.observe
        members = default_members(members, queries)
        self._network = Network(
            streams, "init/reward_model", env.num_states, [hidden] * layers, 1,
            normalise=True, zero_head=zero_head, members=members,
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

    def _each(self, states: Tensor) -> Tensor:
        replicas = len(states)
        if self.members > 1:
            states = states.repeat_interleave(self.members, 0)
        rewards = at(self._network, self._observe(states)).squeeze(-1).tanh()
        return rewards.view(replicas, self.members, *rewards.shape[1:])

    def follow(self, policy: Policy) -> None:
        """A process reward model has no reference policy."""

    def state(self) -> dict[str, Any]:
        """What changes while training beside the parameters: nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is another model's."""
        check_state(self.state(), state, "reward model")


class ImplicitReward:
    """A reward for each step, beta ln(pi_phi(a|s) / pi_old(a|s)): the OPRL paper's (arXiv 2509.19199, eq. 3-5).

    pi_phi is a policy of its own that starts as a copy of the one that acts; pi_old, the reference, is the policy that
    collected the last batch. Fitted to preferences, the log-ratio goes towards the soft advantage of each action.

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

    def __init__(
        self,
        env: FiniteEnvironment,
        streams: Streams,
        hidden: Units = 128,
        layers: Layers = 2,
        beta: Positive = 0.5,
        zero_head: bool = False,
        members: Members | None = None,
        combine: Combine = "mean",
        queries: Asks | None = None,
    ) -> None:
        members = default_members(members, queries)
        streams.restart("init/policy")
        self._network = Network(
            streams, "init/policy", env.num_states, [hidden] * layers, env.num_actions + 1,
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
        rewards = self.beta * (self._log_probabilities() - self._reference[:, None])  # [R, M, S, A]
        flat = (states * rewards.shape[-1] + actions).flatten(1)[:, None].expand(-1, self.members, -1)
        return rewards.flatten(2).gather(2, flat).view(len(states), self.members, *states.shape[1:])

    @torch.no_grad()
    def follow(self, policy: Policy) -> None:
        """Take the policy that acted as the reference."""
        self._reference, _ = policy(self._states)

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
        logits = at(self._network, self._all)[..., :-1]
        return logits.view(-1, self.members, *logits.shape[1:])


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
        self.sizes = {"inputs": 2, "hidden": [], "outputs": 1, "members": 1}  # the same sum over two features
        self.parameters = Parameters([torch.zeros(len(streams.seeds), 2, device=streams.device)])

    @property
    def theta(self) -> Tensor:
        """The two weights, `[R, 2]`."""
        return self.parameters.views[0]

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
        env: ActionRange,
        streams: Streams,
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

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, B]` of states `[R, B, 2]` and actions `[R, B]`."""
        inputs = torch.cat([states, actions[..., None]], -1).float()
        return self._network(inputs * self._scale + self._shift).squeeze(-1)

    def action_slope(self, states: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from actions `[R, B]` to the derivative of the reward with respect to them."""
        fixed = torch.cat([states, torch.zeros_like(states[..., :1])], -1).float() * self._scale + self._shift
        direction = self._scale * torch.tensor([0.0, 0.0, 1.0], device=self._scale.device)
        return self._network.slope(fixed, direction)
