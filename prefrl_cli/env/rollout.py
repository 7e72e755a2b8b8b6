"""Play episodes of a finite environment for every seed at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.core.environment import FiniteEnvironment
from prefrl_cli.core.trajectories import Trajectories

_BITS = 32


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
