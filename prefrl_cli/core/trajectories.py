"""What is learned from: trajectories and stores of past experience, all with the seed axis R in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from prefrl_cli.core.environment import FiniteEnvironment
from prefrl_cli.core.saved_state import Field
from prefrl_cli.core.streams import Streams


@dataclass(frozen=True)
class Trajectories:
    """B episodes for each of R seeds, padded to T steps.

    Attributes:
        states: `[R, B, T]`, the state before each step.
        actions: `[R, B, T]`.
        rewards: `[R, B, T]`, zero past the end.
        lengths: `[R, B]`, steps taken.
        last: `[R, B]`, the state after the last step.
        terminated: `[R, B]`, whether an end was reached, and not only a time limit; all where it is not said.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    lengths: Tensor
    last: Tensor
    terminated: Tensor = None  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        """Without a word of time limits, every episode has come to its end."""
        if self.terminated is None:
            object.__setattr__(self, "terminated", torch.ones_like(self.lengths, dtype=torch.bool))

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
        "terminated": Field((), torch.bool),
    }


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
