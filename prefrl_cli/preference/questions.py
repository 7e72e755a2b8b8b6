"""Questions: pairs of what was played, the teacher's and the reward model's view of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.environment import Discrete
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
    steps, signs = _steps_and_signs(rewards.shape[-1], rewards.device)
    signed = torch.where(steps < lengths[..., None], signs, 0.0)
    return (rewards * signed).flatten(-2).sum(-1)


@lru_cache(maxsize=8)
def _steps_and_signs(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.arange(width, device=device), torch.tensor([[1.0], [-1.0]], device=device)


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


def fingerprint(env: Any) -> bytes:
    """What tells an environment from others in which the same states and actions mean something else."""
    table = getattr(env, "transitions", None)
    if table is None:
        return f"{type(env).__name__} {env.observation_space} {env.action_space}".encode()
    return hashlib.sha256(np.ascontiguousarray(table, dtype=np.int64).tobytes()).digest()


class Part(NamedTuple):
    """What happened in one of a pair: T steps.

    Attributes:
        states: that it came through, `[T + 1, ...]`.
        actions: `[T, ...]`.
        rewards: `[T]`.
    """

    states: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[Any]

    @classmethod
    def of(cls, env: Any, states: list[Any], actions: list[Any], rewards: list[float]) -> Part:
        """From lists, in the types that an environment's trajectories have.

        Raises:
            ValueError: where they are none of that environment.
        """
        finite = getattr(env, "transitions", None) is not None
        kinds = np.int64 if finite else np.float32, np.int64 if isinstance(env.action_space, Discrete) else np.float32
        found = cls(np.asarray(states, kinds[0]), np.asarray(actions, kinds[1]), np.asarray(rewards, np.float32))
        if not len(found.states) - 1 == len(found.actions) == len(found.rewards):
            raise ValueError("a question's steps do not fit its states")
        return found

    def padded(self, steps: int) -> dict[str, NDArray[Any]]:
        """The arrays of one of a pair, as `Questions` has them, `[steps, ...]`."""
        more = [(0, steps - len(self.actions))]
        states, actions, rewards = (
            np.pad(values, more + [(0, 0)] * (values.ndim - 1))
            for values in (self.states[:-1], self.actions, self.rewards)
        )
        found = {"states": states, "actions": actions, "rewards": rewards}
        return found | {"lengths": np.array(len(self.actions)), "last": self.states[-1]}

    def hash(self, about: bytes) -> str:
        """32 hexadecimal digits of states and actions.

        Args:
            about: the environment's `fingerprint`.
        """
        found = hashlib.sha256(about)
        for values in (self.states, self.actions):
            found.update(f"{values.dtype} {values.shape}".encode() + values.tobytes())
        return found.hexdigest()[:32]


def parts(questions: Mapping[str, NDArray[Any]], row: int, place: int) -> tuple[Part, Part]:
    """What happened in the first and in the second of one seed's question; `questions` are its tensors, as arrays."""
    found = {name: values[row, place] for name, values in questions.items()}

    def part(one: int) -> Part:
        steps = int(found["lengths"][one])
        through = np.concatenate([found["states"][one, :steps], found["last"][one : one + 1]])
        return Part(through, found["actions"][one, :steps], found["rewards"][one, :steps])

    return part(0), part(1)


def arrays(questions: Questions) -> dict[str, NDArray[Any]]:
    """The tensors of questions by name, as arrays."""
    return {name: values.cpu().numpy() for name, values in questions.tensors().items()}
