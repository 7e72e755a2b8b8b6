"""What is learned from: trajectories and stores of past experience, all with the seed axis R in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from prefrl_cli.core.environment import Box, Environment, is_finite
from prefrl_cli.core.saved_state import Field
from prefrl_cli.core.streams import Streams


@dataclass(frozen=True)
class Trajectories:
    """B episodes for each of R seeds, padded to T steps.

    Attributes:
        states: the state before each step, its number `[R, B, T]` or what is observed of it `[R, B, T, *shape]`.
        actions: numbers `[R, B, T]` or vectors `[R, B, T, A]`.
        rewards: `[R, B, T]`, zero past the end.
        lengths: `[R, B]`, steps taken.
        last: the state after the last step, `[R, B]` or `[R, B, *shape]`.
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
        steps = torch.arange(self.rewards.shape[-1], device=self.rewards.device)
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


def trajectory_fields(env: Environment) -> dict[str, Field]:
    """What trajectories of an environment are made of, the shapes without `[R, B]`."""
    steps = (env.horizon,)
    return {
        "states": state_field(env, steps),
        "actions": action_field(env, steps),
        "rewards": Field(steps, torch.float32),
        "lengths": Field((), torch.int64, env.horizon + 1),
        "last": state_field(env, ()),
        "terminated": Field((), torch.bool),
    }


def state_field(env: Environment, shape: tuple[int, ...]) -> Field:
    """States of trajectories, so many of them: numbers, or what is observed."""
    if is_finite(env):
        return Field(shape, torch.int64, env.num_states)
    space = env.observation_space
    return Field((*shape, *space.shape) if isinstance(space, Box) else shape, torch.float32)


def action_field(env: Environment, shape: tuple[int, ...]) -> Field:
    """Actions, so many of them: numbers, or vectors."""
    space = env.action_space
    if isinstance(space, Box):
        return Field((*shape, *space.shape), torch.float32)
    return Field(shape, torch.int64, space.n)


def take_steps(values: Tensor, places: Tensor) -> Tensor:
    """Some steps of each trajectory: of values `[..., T, *shape]` those at places `[..., W]`, `[..., W, *shape]`."""
    axis = places.ndim - 1
    shape = values.shape[places.ndim :]
    index = places.view(*places.shape, *[1] * len(shape)).expand(*places.shape, *shape)
    return values.gather(axis, index)


def standardise(values: Tensor, mask: Tensor, smallest: float, *, floor: bool = False) -> Tensor:
    """Subtract the mean and divide by the (unbiased) standard deviation over the last axis, where `mask` is 1.

    Args:
        values: `[..., N]`.
        mask: `[..., N]`.
        smallest: added to the standard deviation, or, with `floor`, its lowest value. Without a floor a
            batch in which nothing happened has its noise blown up to full size.
        floor: see `smallest`.

    Returns:
        `[..., N]`, zero where the mask is.
    """
    count = mask.sum(-1, keepdim=True)
    centred = (values - (values * mask).sum(-1, keepdim=True) / count.clamp(min=1)) * mask
    deviation = (centred.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (deviation.clamp(min=smallest) if floor else deviation + smallest)


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
