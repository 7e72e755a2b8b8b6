"""States put together and cut along the seed axis, and how they go through a pipe.

In a state every tensor has the seeds in front: R rows, or a multiple of R where each seed has several. What is no
tensor, or one without an axis, is the same for every seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.files.checkpoint_file import Whole, narrowest


def sent(state: Any) -> Any:
    """A state with arrays in place of tensors, which are the same memory where they are not narrower."""
    if isinstance(state, Tensor):
        tensor = state.detach().cpu()
        if tensor.dtype == torch.int64 and tensor.ndim:
            return Whole(tensor.to(narrowest(tensor)).numpy())
        return tensor.numpy()
    if isinstance(state, Mapping):
        return {key: sent(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [sent(value) for value in state]
    return state


def joined(parts: Sequence[Any], name: str = "state") -> Any:
    """The state of all seeds from those of neighbouring shares of them; `widened` makes it an algorithm's own.

    Args:
        parts: of each share, as `sent`, the first seeds first.
        name: of the state, for the message.

    Raises:
        ValueError: where what is the same for every seed differs between two shares.
    """
    first = parts[0]
    if isinstance(first, Whole):
        return Whole(_stacked([one.numbers for one in parts]))
    if isinstance(first, np.ndarray) and first.ndim:
        return torch.from_numpy(_stacked(parts))
    if isinstance(first, Mapping):
        if any(set(one) != set(first) for one in parts):
            raise ValueError(f"{name} has not the same names for all seeds")
        return {key: joined([one[key] for one in parts], f"{name}.{key}") for key in first}
    if isinstance(first, list | tuple):
        if any(len(one) != len(first) for one in parts):
            raise ValueError(f"{name} has not the same length for all seeds")
        return [joined(some, f"{name}.{place}") for place, some in enumerate(zip(*parts, strict=True))]
    if any(one != first for one in parts):
        raise ValueError(f"{name} is not the same for all seeds")
    return torch.from_numpy(first) if isinstance(first, np.ndarray) else first


def _stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Parts `[R, ...]` one after another; where a seed has more items than others have, `[R, N, ...]`, zeros follow."""
    most = max(part.shape[1:2] for part in parts)
    whole = np.zeros((sum(map(len, parts)), *most, *parts[0].shape[2:]), np.result_type(*parts))
    done = 0
    for part in parts:
        whole[(slice(done, done + len(part)), *map(slice, part.shape[1:2]))] = part
        done += len(part)
    return whole


def widened(state: Any) -> Any:
    """A state with a tensor for each `Whole`."""
    if isinstance(state, Whole):
        return torch.from_numpy(state.numbers).to(torch.int64)
    if isinstance(state, Mapping):
        return {key: widened(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [widened(value) for value in state]
    return state


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
