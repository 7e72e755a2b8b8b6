"""Questions: pairs of what was played, the teacher's and the reward model's view of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, Self

import torch
from torch import Tensor

from prefrl_cli.core.trajectories import Trajectories, take_steps


class Model(Protocol):
    """A learned reward, as questions need it: M members give each step a reward."""

    members: int

    def member_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Each member's rewards `[R, M, ...]` of taking `actions` `[R, ...]` in `states` `[R, ...]`."""


@dataclass(frozen=True)
class Pairs:
    """Q pairs for each of R seeds, padded to T steps: what a reward model sees of a question.

    Attributes:
        states: `[R, Q, 2, T]`, the state before each step; vectors `[R, Q, 2, T, *shape]` where there are no numbers.
        actions: `[R, Q, 2, T]`, or vectors `[R, Q, 2, T, A]`.
        lengths: `[R, Q, 2]`, steps taken.
    """

    states: Tensor
    actions: Tensor
    lengths: Tensor

    def return_differences(self, reward_model: Model) -> Tensor:
        """Each member's sum of rewards of the first less that of the second, `[R, M, Q]`."""
        return differences(reward_model.member_rewards(self.states, self.actions), self.lengths[:, None])

    def numbered(self, num_actions: int | None) -> Tensor:
        """Pairs as numbers `[R, Q, 2 T]`: the steps of the first, then of the second, -1 past their ends.

        Vectors have no numbers: of them, without `num_actions`, there are only the lengths `[R, Q, 2]`.
        """
        if num_actions is None:
            return self.lengths
        steps = self.states * num_actions + self.actions
        past = torch.arange(steps.shape[-1], device=steps.device) >= self.lengths[..., None]
        return torch.where(past, -1, steps).flatten(2)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Questions(Pairs):
    """Pairs before they are answered: also what a criterion looks at.

    Attributes:
        rewards: `[R, Q, 2, T]`, zero past the end.
        last: `[R, Q, 2]` or `[R, Q, 2, *shape]`, the state after the last step.
    """

    rewards: Tensor
    last: Tensor

    @classmethod
    def of(cls, trajectories: Trajectories) -> Self:
        """Trajectories `[R, 2 Q, T]`, each two neighbours of which are a question."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: getattr(trajectories, name).unflatten(1, (-1, 2)) for name in names})

    def take(self, numbers: Tensor) -> Self:
        """The questions of these numbers `[R, K]`."""
        rows = torch.arange(len(numbers), device=numbers.device)[:, None]
        return type(self)(**{name: value[rows, numbers] for name, value in self.tensors().items()})

    @classmethod
    def join(cls, several: list[Self]) -> Self:
        """Several batches of questions side by side."""
        if len(several) == 1:
            return several[0]
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(one, name) for one in several], 1) for name in names})


@dataclass(frozen=True)
class Preferences(Pairs):
    """Pairs with their answers.

    Attributes:
        label: `[R, Q]`, the probability that the first is preferred.
        weight: `[R, Q]`, how much it counts, above 0.
        number: `[R, Q]`, of the question, counted from the first that was asked.
        asked: `[R, Q]`, the update at which it was; -1 where an earlier version did not note it.
        answered: `[R, Q]`, the update at which it was answered; the same.
    """

    label: Tensor
    weight: Tensor
    number: Tensor
    asked: Tensor
    answered: Tensor


def differences(rewards: Tensor, lengths: Tensor) -> Tensor:
    """The sum of step rewards `[..., 2, T]` of the first less that of the second, `[...]`, of `lengths` `[..., 2]`."""
    steps = torch.arange(rewards.shape[-1], device=rewards.device)
    signs = torch.tensor([[1.0], [-1.0]], device=rewards.device)
    signed = torch.where(steps < lengths[..., None], signs, 0.0)
    return (rewards * signed).flatten(-2).sum(-1)


def segments(whole: Trajectories, first: Tensor, lengths: Tensor, width: int) -> Trajectories:
    """Parts of trajectories `[R, B, T]`, padded to `width` steps.

    Args:
        whole: the trajectories.
        first: the number of each part's first step, `[R, B]`.
        lengths: steps of each part, `[R, B]`, at most `width`; none may pass its trajectory's end.
        width: T of what comes back.
    """
    steps = torch.arange(width, device=first.device)
    places = (first[..., None] + steps).clamp(max=whole.rewards.shape[-1] - 1)
    end = first + lengths
    after = take_steps(whole.states, end.clamp(max=whole.rewards.shape[-1] - 1)[..., None]).squeeze(2)
    inside = (end < whole.lengths).view(*end.shape, *[1] * (after.ndim - 2))
    return Trajectories(
        states=take_steps(whole.states, places),
        actions=take_steps(whole.actions, places),
        rewards=torch.where(steps < lengths[..., None], whole.rewards.gather(-1, places), 0.0),
        lengths=lengths,
        last=torch.where(inside, after, whole.last),
        terminated=(end == whole.lengths) & whole.terminated,
    )
