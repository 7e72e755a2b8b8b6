"""What was learned, a seed at a time, as functions of arrays: a policy, a reward, episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from prefrl_cli.core.environment import Box, is_finite
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.core.streams import Streams
from prefrl_cli.env.rollout import play as play_all
from prefrl_cli.env.rollout import probabilities, rollout, simulate


@dataclass(frozen=True)
class Episodes:
    """E episodes of one policy, padded to T steps.

    Attributes:
        states: `[E, T]` numbers, or `[E, T, features]` of what is observed (of the addition task, 2); the state before
            each step.
        actions: `[E, T]`, or `[E, T, A]` where they are vectors.
        rewards: `[E, T]`, the environment's, zero past the end.
        lengths: `[E]`, steps taken.
    """

    states: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[Any]
    lengths: NDArray[np.int64]

    @property
    def returns(self) -> NDArray[Any]:
        """Sum of the rewards, `[E]`."""
        total: NDArray[Any] = self.rewards.sum(-1)
        return total

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Whether a step was taken, `[E, T]`."""
        return np.asarray(np.arange(self.rewards.shape[1]) < self.lengths[:, None])

    def __repr__(self) -> str:
        """How many, how long and how good."""
        count = len(self.lengths)
        return f"<{count} episodes, mean length {self.lengths.mean():.4g}, mean return {self.returns.mean():.4g}>"


class LearnedPolicy:
    """From states to actions, as one seed has learned it.

    Args:
        algorithm: with what was learned.
        seed: of training.

    Attributes:
        seed: of training.

    Raises:
        ConfigError: for an algorithm that learns none.
    """

    def __init__(self, algorithm: Any, seed: int) -> None:
        if not hasattr(algorithm, "policy"):
            raise ConfigError("policy: this experiment learns a reward and no policy; ask reward_model() in its place")
        self.seed = seed
        self._algorithm, self._row = algorithm, algorithm.streams.seeds.index(seed)
        self._random = np.random.default_rng(seed)
        self._table: NDArray[Any] | None = None  # [S, A]
        self._acts = hasattr(algorithm.policy, "act")
        if self._acts and is_finite(algorithm.env):
            chances = probabilities(algorithm.env, algorithm.policy, algorithm.streams)
            self._table = chances[self._row].double().cpu().numpy()

    def __call__(self, states: ArrayLike, *, greedy: bool = True) -> NDArray[Any]:
        """The action in each state.

        Args:
            states: numbers of states `[...]`, whole numbers, or what the policy observes of them, `[..., features]`;
                of the addition task its two numbers, `[..., 2]`.
            greedy: the most probable action, the lowest number where several are; else one is drawn. Where an action
                is a number on a line, the policy searches the best one and draws none.

        Returns:
            `[...]`, or `[..., A]` where actions are vectors.

        Raises:
            ValueError: for what is no state.
        """
        if not self._acts:
            return np.asarray(_answers(self._algorithm, _pairs(states))[self._row])
        if self._table is None and not hasattr(chosen := self._chosen(states), "log_probabilities"):
            noise = torch.from_numpy(self._random.standard_normal(chosen.mean.shape))
            return np.asarray((chosen.mode() if greedy else chosen.sample(noise)).numpy())
        chances = self.probabilities(states)
        if greedy:
            return np.asarray(chances.argmax(-1))
        drawn = self._random.random(chances.shape[:-1])[..., None]
        return np.asarray((chances.cumsum(-1)[..., :-1] <= drawn).sum(-1))

    def probabilities(self, states: ArrayLike) -> NDArray[Any]:
        """The chance of each of A actions, `[..., A]`, in states `[...]` as for a call.

        Raises:
            ValueError: for what is no state, and where an action is a number on a line.
        """
        if self._table is not None:
            chances: NDArray[Any] = self._table[_numbers(self._algorithm.env, states)]
            return chances
        if not self._acts or not hasattr(chosen := self._chosen(states), "log_probabilities"):
            raise ValueError("an action of this policy is a number on a line, and has no chance")
        return np.asarray(chosen.log_probabilities.double().exp().numpy())

    @torch.no_grad()
    def _chosen(self, states: ArrayLike) -> Any:
        """What this seed's policy would do in observed states `[..., features]`: a distribution of the policy's."""
        observed = _observed(self._algorithm.env, states)
        every = self._algorithm.policy.act(_for_each(self._algorithm, observed))
        return type(every)(*(each[self._row].cpu() if len(each) > 1 else each[0].cpu() for each in every))

    def __repr__(self) -> str:
        """Whose it is."""
        return f"<policy of seed {self.seed}>"


class LearnedReward:
    """From states and actions to rewards, as one seed has learned it.

    Args:
        algorithm: with what was learned.
        seed: of training.

    Attributes:
        seed: of training.
    """

    def __init__(self, algorithm: Any, seed: int) -> None:
        self.seed = seed
        self._algorithm, self._row = algorithm, algorithm.streams.seeds.index(seed)

    @torch.no_grad()
    def __call__(self, states: ArrayLike, actions: ArrayLike | None = None) -> NDArray[Any]:
        """The reward of each step, `[...]`.

        Args:
            states: as for `LearnedPolicy`.
            actions: `[...]`; none asks what a state is worth (of an implicit reward, a step of the policy that it
                stands for). The addition task's reward is always one of an action.

        Raises:
            ValueError: for what is no state or action.
        """
        model, env = self._algorithm.reward_model, self._algorithm.env
        if hasattr(env, "draw_states"):  # the addition task
            if actions is None:
                raise ValueError("actions: this reward is one of states and actions; give both")
            pairs = _pairs(states)
            shape = _together(pairs.shape[:-1], np.shape(actions))
            pairs = np.broadcast_to(pairs, (*shape, 2))
            given = np.broadcast_to(np.asarray(actions, np.float64), shape)
            found = model(self._each(pairs.reshape(-1, 2)), self._each(given.reshape(-1)))
        elif isinstance(env.observation_space, Box) and not is_finite(env):
            observed = _observed(env, states)
            shape = observed.shape[: observed.ndim - len(env.observation_space.shape)]
            found = model(self._each(observed.reshape(-1, *observed.shape[len(shape) :])))
        else:
            known = is_finite(env)  # of others a file has numbers, and nobody knows what is observed of them
            numbers = _numbers(env, states) if known else _whole("state", states, env.observation_space.n)
            if actions is not None:
                chosen = _whole("action", actions, env.action_space.n)
                _together(numbers.shape, chosen.shape)
                numbers, chosen = np.broadcast_arrays(numbers, chosen)
                found = model.step_rewards(self._each(numbers.reshape(-1)), self._each(chosen.reshape(-1)))
            else:
                found = model(self._each(numbers.reshape(-1)))
            shape = numbers.shape
        rewards: NDArray[Any] = found[self._row].cpu().numpy().reshape(shape)
        return rewards

    def _each(self, values: NDArray[Any]) -> Tensor:
        """The same for every seed, `[R, ...]`: they share one network's call."""
        return _for_each(self._algorithm, values)

    def __repr__(self) -> str:
        """Whose it is."""
        return f"<reward model of seed {self.seed}>"


def play(algorithm: Any, policy: LearnedPolicy, episodes: int, streams: Streams, *, greedy: bool = False) -> Episodes:
    """Play episodes of one seed's policy.

    Args:
        algorithm: with what was learned.
        policy: one seed's.
        episodes: how many.
        streams: random numbers, one seed for each of the algorithm's; they begin anew.
        greedy: whether the most probable action is always taken; else actions are drawn.
    """
    streams.restart("evaluation")
    row = algorithm.streams.seeds.index(policy.seed)
    env = algorithm.env
    if not hasattr(algorithm.policy, "act"):  # an episode is one answer
        states = env.draw_states(streams, "evaluation/states", episodes)[row]
        actions = torch.from_numpy(policy(states.cpu().numpy()))
        rewards = env.reward(states.cpu()[None], actions[None])[0]
        one = np.ones(episodes, np.int64)
        return Episodes(states.cpu().numpy()[:, None], actions.numpy()[:, None], rewards.numpy()[:, None], one)
    if is_finite(env):
        chances = probabilities(env, algorithm.policy, algorithm.streams)[row : row + 1]
        if greedy:
            chances = torch.nn.functional.one_hot(chances.argmax(-1), env.num_actions)
        found, row = rollout(env, chances, streams.uniform("evaluation", episodes, env.horizon)[row : row + 1]), 0
    elif greedy:
        starts = streams.uniform("evaluation/env", episodes, env.reset_draws)
        found = simulate(env, lambda observed, _: algorithm.policy.act(observed).mode(), starts)
    else:
        found = play_all(env, algorithm.policy, streams, "evaluation", episodes)
    return Episodes(*(each[row].cpu().numpy() for each in (found.states, found.actions, found.rewards, found.lengths)))


def _answers(algorithm: Any, states: NDArray[Any]) -> NDArray[Any]:
    """Actions `[R, ...]` of policies that search, in states `[..., 2]`."""
    found = algorithm.policy(algorithm.reward_model, _for_each(algorithm, states.reshape(-1, 2)))
    answers: NDArray[Any] = found.cpu().numpy().reshape(-1, *states.shape[:-1])
    return answers


def _for_each(algorithm: Any, values: NDArray[Any]) -> Tensor:
    streams = algorithm.streams
    return torch.from_numpy(np.array(values)).to(streams.device).expand(len(streams.seeds), *values.shape)


def _pairs(states: ArrayLike) -> NDArray[Any]:
    """The addition task's states, float64."""
    pairs = np.asarray(states, np.float64)
    if pairs.ndim == 0 or pairs.shape[-1] != 2:
        raise ValueError(f"states have the shape {list(pairs.shape)}: the last axis must be the 2 numbers of a sum")
    return pairs


def _observed(env: Any, states: ArrayLike) -> NDArray[np.float32]:
    """What is observed of states, `[..., *shape]`."""
    given, shape = np.asarray(states, np.float32), env.observation_space.shape
    if given.shape[given.ndim - len(shape) :] != shape:
        raise ValueError(f"states have the shape {list(given.shape)}: the last axes must be {list(shape)}, as observed")
    return given


def _numbers(env: Any, states: ArrayLike) -> NDArray[np.int64]:
    """The numbers of states that are given as such, or as what is observed of them."""
    given = np.asarray(states)
    if given.dtype.kind != "f":
        return _whole("state", given, env.num_states)
    every = env.observe(torch.arange(env.num_states)).cpu().numpy()
    if every.ndim == 1:  # numbers are observed; what networks see of them is one-hot
        every = np.eye(env.num_states)
    if given.ndim == 0 or given.shape[-1] != every.shape[-1]:
        raise ValueError(
            f"states have the shape {list(given.shape)}: type whole numbers, or observations of"
            f" {every.shape[-1]} features in the last axis"
        )
    same = (given[..., None, :] == every).all(-1)
    if not same.any(-1).all():
        raise ValueError("an observation is that of no state of the environment")
    return np.asarray(same.argmax(-1))


def _together(states: tuple[int, ...], actions: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of states and actions beside each other."""
    try:
        return np.broadcast_shapes(states, actions)
    except ValueError:
        raise ValueError(
            f"states have the shape {list(states)} and actions {list(actions)}: give an action for each state, or one"
        ) from None


def _whole(what: str, values: ArrayLike, number: int) -> NDArray[np.int64]:
    """Whole numbers below a limit."""
    given = np.asarray(values)
    if given.dtype.kind not in "iu":
        raise ValueError(f"{what}s must be whole numbers, 0 to {number - 1}")
    wrong = given[(given < 0) | (given >= number)]
    if wrong.size:
        raise ValueError(f"{what} {show(int(wrong.flat[0]))}: there are {number}, 0 to {number - 1}")
    return given.astype(np.int64)
