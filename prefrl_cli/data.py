"""What is learned from: trajectories and stores of past experience, all with the seed axis R in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.saved_state import Field, check_state
from prefrl_cli.streams import Streams


class FiniteEnvironment(Protocol):
    """An environment whose states are numbered; see `prefrl_cli.env.maze.Maze`."""

    num_states: int
    num_actions: int
    horizon: int
    goal_reward: float
    start: int
    goal: int
    transitions: np.ndarray
    distance: np.ndarray

    def observe(self, states: Tensor) -> Tensor:
        """What models see of states `[...]`: their numbers, or features `[..., num_states]`."""


@dataclass(frozen=True)
class Trajectories:
    """B episodes for each of R seeds, padded to T steps.

    Attributes:
        states: `[R, B, T]`, the state before each step.
        actions: `[R, B, T]`.
        rewards: `[R, B, T]`, zero past the end.
        lengths: `[R, B]`, steps taken.
        last: `[R, B]`, the state after the last step.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    lengths: Tensor
    last: Tensor

    @property
    def mask(self) -> Tensor:
        """1 for the steps taken, 0 past the end, `[R, B, T]`."""
        steps = torch.arange(self.states.shape[-1], device=self.states.device)
        return (steps < self.lengths[..., None]).float()

    @property
    def returns(self) -> Tensor:
        """Sum of the rewards, `[R, B]`."""
        return self.rewards.sum(-1)

    def fields(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def join(cls, some: Sequence[Trajectories]) -> Trajectories:
        """Several batches of trajectories side by side."""
        return cls(**{field.name: torch.cat([getattr(one, field.name) for one in some], 1) for field in fields(cls)})

    @classmethod
    def of(cls, items: dict[str, Tensor]) -> Trajectories:
        """Trajectories from what a store gave; what else it holds is left out."""
        return cls(**{field.name: items[field.name] for field in fields(cls)})


def trajectory_fields(env: FiniteEnvironment) -> dict[str, Field]:
    """What trajectories of an environment are made of, the shapes without `[R, B]`."""
    steps = (env.horizon,)
    return {
        "states": Field(steps, torch.int64, env.num_states),
        "actions": Field(steps, torch.int64, env.num_actions),
        "rewards": Field(steps, torch.float32),
        "lengths": Field((), torch.int64, env.horizon + 1),
        "last": Field((), torch.int64, env.num_states),
    }


class Store:
    """The newest `capacity` items of each seed; which items are kept may differ from seed to seed.

    Items are dictionaries of tensors `[R, B, ...]`. Places are counted from the oldest kept item, 0, to the newest.

    Args:
        capacity: items kept.
        replicas: R, where it is known: what is restored must fit it.
        fields: what an item is made of, the shapes without `[R, B]`, where that is known; the same.
    """

    def __init__(self, capacity: int, replicas: int | None = None, fields: Mapping[str, Field] | None = None) -> None:
        self.capacity = capacity
        self._replicas, self._fields = replicas, fields
        self._items: dict[str, Tensor] = {}  # [R * capacity, ...]
        self._written = torch.zeros(0, dtype=torch.int64)

    @property
    def count(self) -> Tensor:
        """Items kept, `[R]`; empty before the first `add`."""
        return self._written.clamp(max=self.capacity)

    def add(self, items: dict[str, Tensor], wanted: Tensor | None = None) -> None:
        """Keep the items `[R, B, ...]`, or those where `wanted` `[R, B]` is true; B may not exceed the capacity."""
        first = next(iter(items.values()))
        replicas, batch = first.shape[:2]
        if batch > self.capacity:
            raise ValueError(f"{batch} items at once are more than the {self.capacity} that are kept")
        if not self._items:
            self._written = torch.zeros(replicas, dtype=torch.int64, device=first.device)
            self._items = {k: v.new_zeros(replicas * self.capacity, *v.shape[2:]) for k, v in items.items()}
        if wanted is None:
            rows = self._rows(self._written[:, None] + torch.arange(batch, device=first.device))
            self._written = self._written + batch
            for name, value in items.items():
                self._items[name].index_copy_(0, rows, value.flatten(0, 1))
            return
        rows = self._rows(self._written[:, None] + wanted.cumsum(1) - 1)
        self._written = self._written + wanted.sum(1)
        chosen = wanted.flatten().nonzero().squeeze(1)
        for name, value in items.items():
            self._items[name].index_copy_(0, rows[chosen], value.flatten(0, 1)[chosen])

    def get(self, places: Tensor) -> dict[str, Tensor]:
        """The items `[R, K, ...]` at places `[R, K]`, which must be below the count (any value where it is 0)."""
        oldest = (self._written - self.count)[:, None]
        rows = self._rows(oldest + places)
        return {name: v.index_select(0, rows).view(*places.shape, *v.shape[1:]) for name, v in self._items.items()}

    def column(self, name: str) -> tuple[Tensor, Tensor]:
        """One field of all items `[R, capacity, ...]`, in no order, and whether there is such an item."""
        values = self._items[name].unflatten(0, (-1, self.capacity))
        return values, torch.arange(self.capacity, device=values.device) < self.count[:, None]

    def _rows(self, numbers: Tensor) -> Tensor:
        """Where the items of these numbers, `[R, K]` and counted from the first ever written, lie: `[R * K]`."""
        replicas = torch.arange(len(numbers), device=numbers.device)[:, None]
        return (replicas * self.capacity + numbers % self.capacity).flatten()

    def state(self) -> dict[str, Any]:
        """The items and how many were ever written."""
        return {"items": self._items, "written": self._written}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes."""
        items, replicas = state["items"], self._replicas
        rows = None if replicas is None else replicas * self.capacity
        fields = {name: field._replace(shape=(rows, *field.shape)) for name, field in (self._fields or {}).items()}
        written = Field((replicas if items else 0,), torch.int64, 2**62)
        check_state({"items": fields if items and fields else object, "written": written}, state, "store")
        self._items, self._written = dict(items), state["written"]


def draw_places(streams: Streams, purpose: str, count: Tensor, draws: int, recent: int | None = None) -> Tensor:
    """Places in a store, each drawn independently among the newest `recent` items: `[R, draws]`."""
    window = count if recent is None else count.clamp(max=recent)
    drawn = (streams.uniform(purpose, draws) * window[:, None]).floor().long()
    return drawn + (count - window)[:, None]


def draw_pairs(streams: Streams, purpose: str, count: Tensor, pairs: int, recent: int | None = None) -> Tensor:
    """Pairs of two different places among the newest `recent` items: `[R, pairs, 2]`; needs two items."""
    window = (count if recent is None else count.clamp(max=recent))[:, None]
    drawn = streams.uniform(purpose, pairs, 2)
    first = (drawn[..., 0] * window).floor()
    second = (drawn[..., 1] * (window - 1)).floor()
    second = second + (second >= first)
    return torch.stack([first, second], -1).long() + (count[:, None] - window)[..., None]


def draw_subsets(
    streams: Streams, purpose: str, count: Tensor, subsets: int, size: int, capacity: int
) -> tuple[Tensor, Tensor]:
    """Different places in a store: those with the smallest of `capacity` random numbers, one a place.

    Args:
        streams: where from.
        purpose: the stream's purpose.
        count: items to choose among, `[R]`.
        subsets: how many times to draw.
        size: places wanted each time, at most `capacity`.
        capacity: the store's; so many numbers are drawn however many items there are.

    Returns:
        Places `[R, subsets, size]`, and whether each exists: a seed with fewer items has them all, then 0.
    """
    drawn = streams.uniform(purpose, subsets, capacity)
    drawn = drawn.where(torch.arange(capacity, device=count.device) < count[:, None, None], 1.0)
    places = drawn.topk(size, dim=-1, largest=False).indices  # ascending; a fifth of the time of a whole sort
    exists = torch.arange(size, device=count.device) < count[:, None, None]
    return torch.where(exists, places, 0), exists.expand_as(places)
