"""Whether a saved state fits what is to go on from it: names, types, shapes and ranges, checked in one place.

torch stretches, converts and indexes what nearly fits, and a seed then goes on with another one's memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Field(NamedTuple):
    """What a tensor of a state must be.

    Attributes:
        shape: its sizes; None allows any size there.
        dtype: its type; None allows any.
        below: its numbers are at least 0 and less than this; None allows all.
    """

    shape: tuple[int | None, ...]
    dtype: torch.dtype | None = None
    below: int | None = None


def check_state(expected: Any, state: Any, name: str = "state") -> None:
    """Compare a saved state with what is expected of it.

    Args:
        expected: a tensor, for one of the same shape and type; a `Field`; a type, for a value of exactly this type; a
            mapping, for one with the same names, or a sequence, for one of the same length, each of whose values is
            compared in turn.
        state: what was saved.
        name: of the state, for the message.

    Raises:
        ValueError: for the first thing that does not fit.
    """
    if isinstance(expected, Tensor):
        expected = Field(tuple(expected.shape), expected.dtype)
    if isinstance(expected, Field):
        _check_tensor(expected, state, name)
    elif isinstance(expected, Mapping):
        if not isinstance(state, Mapping) or set(state) != set(expected):
            raise ValueError(f"{name} holds {_names(state)} for {_names(expected)}")
        for key, value in expected.items():
            check_state(value, state[key], f"{name}.{key}")
    elif isinstance(expected, list | tuple):
        if not isinstance(state, list | tuple) or len(state) != len(expected):
            raise ValueError(f"{name} is no list of {len(expected)}")
        for number, value in enumerate(expected):
            check_state(value, state[number], f"{name}.{number}")
    elif expected is not object and type(state) is not expected:
        raise ValueError(f"{name} is a {type(state).__name__} for a {expected.__name__}")


def _check_tensor(field: Field, state: Any, name: str) -> None:
    if not isinstance(state, Tensor):
        raise ValueError(f"{name} is a {type(state).__name__} for a tensor")
    wanted, found = field.shape, tuple(state.shape)
    if len(wanted) != len(found) or any(size not in (None, other) for size, other in zip(wanted, found, strict=True)):
        raise ValueError(f"{name} {list(found)} for {list(wanted)}")
    if field.dtype not in (None, state.dtype):
        raise ValueError(f"{name} of {state.dtype} for {field.dtype}".replace("torch.", ""))
    if field.below is not None and state.numel() and not 0 <= int(state.min()) <= int(state.max()) < field.below:
        raise ValueError(f"{name} holds numbers that are not between 0 and {field.below - 1}")


def _names(state: Any) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    return "[" + ", ".join(sorted(map(str, state))[:10]) + "]"
