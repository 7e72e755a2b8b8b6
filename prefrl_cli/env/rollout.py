"""Play episodes for every seed at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from prefrl_cli.core.environment import Box, Environment, FiniteEnvironment, VectorEnvironment, is_finite
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories

_BITS = 32


class Actor(Protocol):
    """What acts: from states `[R, ...]` to a distribution over actions, see `prefrl_cli.policy.distributions`."""

    def act(self, states: Tensor) -> Any: ...  # noqa: D102


def play(
    env: Environment, actor: Actor, streams: Streams, purpose: str, episodes: int, epsilon: float = 0.0
) -> Trajectories:
    """Play episodes `[R, episodes, T]`.

    Args:
        env: where.
        actor: chooses the actions.
        streams: random numbers.
        purpose: the stream's purpose.
        episodes: of each seed.
        epsilon: share of actions that are drawn evenly from all instead.
    """
    if is_finite(env):
        return rollout(
            env, probabilities(env, actor, streams, epsilon), streams.uniform(purpose, episodes, env.horizon)
        )
    env = cast(VectorEnvironment, env)
    space, shape = env.action_space, (episodes, env.horizon)
    size = space.shape if isinstance(space, Box) else ()
    noise = streams.normal(purpose, *shape, *size) if isinstance(space, Box) else streams.uniform(purpose, *shape)
    evenly = streams.uniform(f"{purpose}/explore", *shape, 1 + math.prod(size)) if epsilon else None

    def act(observed: Tensor, step: int) -> Tensor:
        taken: Tensor = actor.act(observed).sample(noise[:, :, step])
        if evenly is None:
            return taken
        coin, drawn = evenly[:, :, step, :1], evenly[:, :, step, 1:].view(*evenly.shape[:2], *size)
        if isinstance(space, Box):
            other = (space.low + (space.high - space.low) * drawn).to(taken.dtype)
            return torch.where(coin.view(*coin.shape[:2], *[1] * len(size)) < epsilon, other, taken)
        return torch.where(coin[..., 0] < epsilon, (drawn * space.n).long(), taken)

    return simulate(env, act, streams.uniform(_starts(purpose), episodes, env.reset_draws))


def play_greedily(env: Environment, actor: Actor, streams: Streams) -> Trajectories:
    """One episode `[R, 1, T]` a seed that takes the most probable action; the lowest number wins a tie.

    Where states are vectors, its start is the evaluation's first.
    """
    if is_finite(env):
        best = one_hot(probabilities(env, actor, streams).argmax(-1), env.num_actions)
        return rollout(env, best, torch.zeros(len(best), 1, env.horizon))
    env = cast(VectorEnvironment, env)
    streams.restart("evaluation/greedy")
    starts = streams.uniform(_starts("evaluation/greedy"), 1, env.reset_draws)
    return simulate(env, lambda observed, _: cast(Tensor, actor.act(observed).mode()), starts)


def _starts(purpose: str) -> str:
    return "env" if purpose == "policy" else f"{purpose}/env"


@torch.no_grad()
def probabilities(env: FiniteEnvironment, actor: Actor, streams: Streams, epsilon: float = 0.0) -> Tensor:
    """The chance of each action in every state, `[R, S, A]`, with a share `epsilon` of evenly drawn actions."""
    states = torch.arange(env.num_states, device=streams.device).expand(len(streams.seeds), -1)
    chosen: Tensor = actor.act(states).log_probabilities
    return epsilon / env.num_actions + (1 - epsilon) * chosen.exp()


def rollout(env: FiniteEnvironment, probabilities: Tensor, uniform: Tensor) -> Trajectories:
    """Play B episodes for each of R seeds until each is on the goal or the horizon is reached.

    An action is drawn by inverting the distribution of its state, both in whole numbers of 2 ** -32. All thresholds of
    all seeds and states lie in one sorted array, a state's own block after block, so that one binary search finds the
    pair of state and action, and one look-up the state that follows.

    Args:
        env: whose transition table is followed.
        probabilities: of each action in every state, `[R, S, A]`.
        uniform: numbers in [0, 1), `[R, B, T]`, one a step.

    Returns:
        The episodes; past its end an episode stays on its last state.
    """
    replicas, num_states, num_actions = probabilities.shape
    batch, horizon = uniform.shape[1:]
    blocks = np.arange(replicas * num_states, dtype=np.int64) << _BITS
    cumulative = (probabilities.double().cumsum(-1).cpu().numpy() * 2**_BITS).astype(np.int64)
    thresholds = cumulative.reshape(-1, num_actions).clip(0, 1 << _BITS)
    thresholds[:, -1] = 1 << _BITS
    thresholds = (blocks[:, None] + thresholds).ravel()
    first = (np.arange(replicas) * num_states)[:, None, None]
    following = (first + env.transitions).ravel() << _BITS
    drawn = np.ascontiguousarray((uniform.cpu().numpy() * 2**_BITS).astype(np.int64).transpose(2, 0, 1))

    block = np.broadcast_to((first[:, 0] + env.start) << _BITS, (replicas, batch))
    goal = np.broadcast_to((first[:, 0] + env.goal) << _BITS, (replicas, batch))
    taken = np.empty((horizon, replicas, batch), dtype=np.int64)  # numbers of the pairs (seed, state, action)
    for step in range(horizon):
        if step % 8 == 0 and np.array_equal(block, goal):
            taken[step:] = (goal >> _BITS) * num_actions
            break
        pair = thresholds.searchsorted(block + drawn[step], side="right")
        taken[step] = pair
        block = following.take(pair)
    return _trajectories(env, taken, block >> _BITS)


def _trajectories(env: FiniteEnvironment, taken: np.ndarray, last: np.ndarray) -> Trajectories:
    """Episodes from the numbers of the pairs that were taken, `[T, R, B]`, and of the last states."""
    horizon, replicas, _ = taken.shape
    first = (np.arange(replicas) * env.num_states)[:, None]
    states, actions = np.divmod(taken, env.num_actions)
    states, last = states - first, last - first
    arrived = np.concatenate([states[1:], last[None]]) == env.goal  # [T, R, B]
    success = arrived.any(0)
    lengths = np.where(success, arrived.argmax(0) + 1, horizon)
    # What is drawn past the end goes on until the last episode of all seeds has ended.
    actions = np.where(np.arange(horizon)[:, None, None] < lengths, actions, 0)
    rewards = np.zeros(taken.shape, dtype=np.float32)
    np.put_along_axis(rewards, lengths[None] - 1, np.where(success, env.goal_reward, 0.0)[None], axis=0)
    return Trajectories(
        states=_episodes_first(states),
        actions=_episodes_first(actions),
        rewards=_episodes_first(rewards),
        lengths=torch.from_numpy(lengths),
        last=torch.from_numpy(last),
        terminated=torch.from_numpy(success if env.time_limit == "bootstrap" else np.ones_like(success)),
    )


def _episodes_first(steps: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(steps, 0, -1)))


@torch.no_grad()
def simulate(env: VectorEnvironment, act: Callable[[Tensor, int], Tensor], draws: Tensor) -> Trajectories:
    """Play B episodes for each of R seeds, step by step, until each has come to its end or to the horizon.

    Args:
        env: is asked for what follows.
        act: from what is observed `[R, B, *shape]`, and the number of the step, to actions `[R, B]` or `[R, B, A]`.
        draws: uniform numbers in [0, 1) from which the first states come, `[R, B, D]`.

    Returns:
        The episodes, float32; past its end an episode stays on its last state.
    """
    device, state = draws.device, env.reset(draws.double().cpu().numpy())
    batch = state.shape[:2]
    ended, off = np.zeros((2, *batch), dtype=np.bool_)
    cut = getattr(env, "cut", None)
    lengths = np.zeros(batch, dtype=np.int64)
    observed, rewards = env.observe(state), np.zeros((env.horizon, *batch), dtype=np.float32)
    states = np.empty((env.horizon, *observed.shape), dtype=np.float32)
    actions: NDArray[np.generic] | None = None
    for step in range(env.horizon):
        states[step] = observed
        taken = act(torch.from_numpy(observed).to(device), step).cpu().numpy()
        actions = np.zeros((env.horizon, *taken.shape), taken.dtype) if actions is None else actions
        actions[step] = taken
        following, reward, terminated = env.step(state, taken)
        lengths += ~ended
        rewards[step] = np.where(ended, 0.0, reward)
        if ended.any():
            actions[step][ended] = 0  # what is drawn past an end goes on until the last episode of all seeds has ended
            following = np.where(ended[..., None], state, following)
        state, ended = following, ended | terminated
        if cut is not None:
            off = off | (cut(state) & ~terminated)
            ended = ended | off
        observed = env.observe(state)
        if ended.all():
            states[step + 1 :] = observed
            break

    def whole(steps: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(steps, 0, 2))).to(device)

    assert actions is not None
    over = ended & ~off if env.time_limit == "bootstrap" else np.ones_like(ended)
    last, steps, reached = (torch.from_numpy(each).to(device) for each in (observed, lengths, over))
    return Trajectories(whole(states), whole(actions), whole(rewards), steps, last, reached)
