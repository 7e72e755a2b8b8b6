"""The newest trajectories or preferences, kept for learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from prefrl_cli.core.saved_state import Field, check_state


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
