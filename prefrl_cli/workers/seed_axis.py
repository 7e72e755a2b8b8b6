"""States put together and cut along the seed axis.

In a state every tensor has the seeds in front: R rows, or a multiple of R where each seed has several. What is no
tensor, or one without an axis, is the same for every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def join(states: Sequence[Any], name: str = "state") -> Any:
    """The state of all seeds from those of neighbouring shares of them.

    Args:
        states: `Algorithm.state()` of each share, the first seeds first.
        name: of the state, for the message.

    Raises:
        ValueError: where what is the same for every seed differs between two shares.
    """
    first = states[0]
    if isinstance(first, Tensor) and first.ndim:
        return torch.cat(list(states))
    if isinstance(first, Mapping):
        if any(set(one) != set(first) for one in states):
            raise ValueError(f"{name} has not the same names for all seeds")
        return {key: join([one[key] for one in states], f"{name}.{key}") for key in first}
    if isinstance(first, list | tuple):
        if any(len(one) != len(first) for one in states):
            raise ValueError(f"{name} has not the same length for all seeds")
        return [join(some, f"{name}.{number}") for number, some in enumerate(zip(*states, strict=True))]
    if any(one != first for one in states):
        raise ValueError(f"{name} is not the same for all seeds")
    return first


def cut(state: Any, seeds: range, number: int, name: str = "state") -> Any:
    """The state of some neighbouring seeds, in memory of its own.

    Args:
        state: `Algorithm.state()` of all seeds.
        seeds: the places of those that are wanted.
        number: of all seeds.
        name: of the state, for the message.

    Raises:
        ValueError: for a tensor whose rows cannot be shared out evenly.
    """
    if isinstance(state, Tensor) and state.ndim:
        each, rest = divmod(len(state), number)
        if rest:
            raise ValueError(f"{name} has {len(state)} rows for {number} seeds")
        return state[seeds.start * each : seeds.stop * each].clone()
    if isinstance(state, Mapping):
        return {key: cut(value, seeds, number, f"{name}.{key}") for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [cut(value, seeds, number, f"{name}.{place}") for place, value in enumerate(state)]
    return state


def shares(seeds: int, number: int) -> list[range]:
    """The places of R seeds in so many shares, as even as can be."""
    ends = [seeds * share // number for share in range(number + 1)]
    return [range(*pair) for pair in zip(ends, ends[1:], strict=False)]


def as_arrays(state: Any) -> Any:
    """A state with arrays in place of tensors, which a pipe takes as they are."""
    return _each(state, Tensor, lambda tensor: tensor.detach().cpu().numpy())


def as_tensors(state: Any) -> Any:
    """What `as_arrays` was given."""
    return _each(state, np.ndarray, torch.from_numpy)


def _each(state: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    if isinstance(state, kind):
        return change(state)
    if isinstance(state, Mapping):
        return {key: _each(value, kind, change) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_each(value, kind, change) for value in state]
    return state
