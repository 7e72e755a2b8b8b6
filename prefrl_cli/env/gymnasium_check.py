"""Whether an environment of Gymnasium does what a run relies on: each defect by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.core.environment import Discrete

if TYPE_CHECKING:
    from prefrl_cli.env.gymnasium import Gymnasium

STEPS = 1000  # of a trial, so that a check ends soon
_SEEDS = (0.1, 0.7)  # as draws


class Defect(NamedTuple):
    """What is wrong, what follows or helps, and whether runs suffer from it, or only some of them."""

    what: str
    cure: str
    serious: bool = True


def defects(env: Gymnasium) -> Iterator[Defect]:
    """Try an environment; what is wrong with it.

    Args:
        env: it is played from several starts, with the same actions each time.
    """
    first = _play(env, _SEEDS[:1])
    if _differ(first, _play(env, _SEEDS[:1])):
        yield Defect("the same seed and actions give other numbers the second time", "its runs do not repeat; seed all")
    elif _differ(first, _row(_play(env, _SEEDS), 0)):
        yield Defect("an episode depends on another one beside it", "its objects share a generator; give each its own")
    seen, rewards, ended = first
    if not np.isfinite(seen).all() or not np.isfinite(rewards).all():
        yield Defect("an observation or a reward is not finite", "a seed that meets it fails")
    if env.outside(seen[0, 0]):
        yield Defect("an observation lies outside its space", "its bounds mislead; set env.scale")
    if not ended.any() and len(rewards[0, 0]) < env.horizon:
        yield Defect(f"no episode ends within {STEPS} steps", f"each takes {env.horizon}; set env.horizon=200")
    if np.ptp(rewards[rewards == rewards]) == 0 and not ended.any():
        yield Defect("every reward of random actions is the same", "labels of the return say nothing at first", False)


def _play(env: Gymnasium, draws: tuple[float, ...]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Random episodes side by side: what is seen `[1, B, T + 1, F]`, rewards `[1, B, T]`, and what ended, `[1, B]`."""
    random = np.random.default_rng(0)
    state = env.reset(np.array(draws)[None, :, None])
    seen, rewards = [env.observe(state)], []
    ended = env.over
    for _ in range(min(env.horizon, STEPS)):
        action = _random_action(env, random)
        state, reward, terminated = env.step(state, np.broadcast_to(action, (*ended.shape, *np.shape(action))))
        seen.append(env.observe(state))
        rewards.append(reward)
        ended = env.over
        if ended.all():
            break
    return np.stack(seen, 2), np.stack(rewards, 2), ended


def _random_action(env: Gymnasium, random: np.random.Generator) -> Any:
    """An action drawn evenly from all, as `step` takes it."""
    if isinstance(env.action_space, Discrete):
        return random.integers(env.action_space.n)
    return random.uniform(-1.0, 1.0, env.action_space.shape)


def _row(played: tuple[NDArray[Any], ...], row: int) -> tuple[NDArray[Any], ...]:
    return tuple(each[:, row : row + 1] for each in played)


def _differ(one: tuple[NDArray[Any], ...], other: tuple[NDArray[Any], ...]) -> bool:
    """Whether two plays differ as far as both went."""
    steps = min(one[1].shape[2], other[1].shape[2])
    pairs = ((one[0][:, :, :steps], other[0][:, :, :steps]), (one[1][:, :, :steps], other[1][:, :, :steps]))
    return not all(np.array_equal(mine, theirs, equal_nan=True) for mine, theirs in pairs)
