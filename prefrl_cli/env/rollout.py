"""Play episodes of a finite environment for every seed at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.data import FiniteEnvironment, Trajectories


def rollout(
    env: FiniteEnvironment, act: Callable[[np.ndarray, int], np.ndarray], shape: tuple[int, int]
) -> Trajectories:
    """Play B episodes for each of R seeds until each is on the goal or the horizon is reached.

    Args:
        env: its transition table is walked.
        act: from states `[R, B]` and the step's number to actions `[R, B]`.
        shape: (R, B).

    Returns:
        The episodes; past its end an episode stays on its last state.
    """
    horizon = env.horizon
    states = np.full((horizon + 1, *shape), env.start, dtype=np.int64)
    actions = np.zeros((horizon, *shape), dtype=np.int64)
    table = env.transitions.ravel()
    for step in range(horizon):
        state = states[step]
        if step % 8 == 0 and (state == env.goal).all():
            states[step:] = env.goal
            break
        actions[step] = act(state, step)
        np.take(table, state * env.num_actions + actions[step], out=states[step + 1])
    arrived = states[1:] == env.goal  # [T, R, B]
    lengths = np.where(arrived.any(0), arrived.argmax(0) + 1, horizon)
    rewards = np.zeros((horizon, *shape), dtype=np.float32)
    np.put_along_axis(rewards, lengths[None] - 1, np.where(arrived.any(0), env.goal_reward, 0.0)[None], axis=0)
    return Trajectories(
        states=_episodes_first(states[:-1]),
        actions=_episodes_first(actions),
        rewards=_episodes_first(rewards),
        lengths=torch.from_numpy(lengths),
        last=torch.from_numpy(np.ascontiguousarray(states[-1])),
    )


def sampler(probabilities: Tensor, uniform: Tensor) -> Callable[[np.ndarray, int], np.ndarray]:
    """An `act` for `rollout` that draws from a table of action probabilities by inverting its distribution.

    Args:
        probabilities: `[R, S, A]`.
        uniform: numbers in [0, 1), `[R, B, T]`, one a step.
    """
    replicas, num_states, num_actions = probabilities.shape
    cumulative = probabilities.cpu().numpy().cumsum(-1)[..., :-1].reshape(replicas * num_states, num_actions - 1)
    offset = np.arange(replicas)[:, None] * num_states
    drawn = np.ascontiguousarray(uniform.cpu().numpy().transpose(2, 0, 1))[..., None]  # [T, R, B, 1]

    def act(states: np.ndarray, step: int) -> np.ndarray:
        actions: np.ndarray = (drawn[step] >= cumulative.take(states + offset, axis=0)).sum(-1)
        return actions

    return act


def _episodes_first(steps: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(steps, 0, -1)))
