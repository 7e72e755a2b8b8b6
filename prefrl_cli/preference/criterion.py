"""What a judge looks at: a criterion gives scores, the larger the better. How a judge errs is the teacher's.

A criterion of one's own is any object that is called with what was played and returns scores, see `Criterion`.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from prefrl_cli.core.environment import Box, Environment
from prefrl_cli.core.option_types import Fraction, Given, OptionError

Ties = Literal["first", "second", "equal", "skip"]


class Played(Protocol):
    """What was played and is looked at: trajectories `[R, B, T]`, or the two of each question `[R, Q, 2, T]`.

    Attributes:
        states: the state before each step, `[..., T]`.
        actions: `[..., T]`.
        rewards: `[..., T]`, zero past the end.
        lengths: steps taken, `[...]`.
        last: the state after the last step, `[...]`.
    """

    @property
    def states(self) -> Tensor: ...  # noqa: D102
    @property
    def actions(self) -> Tensor: ...  # noqa: D102
    @property
    def rewards(self) -> Tensor: ...  # noqa: D102
    @property
    def lengths(self) -> Tensor: ...  # noqa: D102
    @property
    def last(self) -> Tensor: ...  # noqa: D102


class Criterion(Protocol):
    """Gives scores. It may also have `ties` (default `skip`) and `score_scale` (default 1), see `Return`."""

    def __call__(self, played: Played) -> Tensor:
        """Scores `[...]` of what was played; trajectories of no step at all, which are the start, have one too."""


def judge(first: Tensor, second: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
    """Labels for pairs of scores.

    Args:
        first: scores of the first of each pair, any shape.
        second: scores of the second, same shape.
        ties: what an exact tie becomes.

    Returns:
        Label (1, 0 or 0.5) and weight (1, or 0 for a skipped tie and a score that is no number), float32, same shape.
    """
    tied = first == second
    label = (first > second).float()
    if ties in ("first", "equal", "skip"):
        label = torch.where(tied, 1.0 if ties == "first" else 0.5, label)
    weight = torch.where(tied, 0.0, 1.0) if ties == "skip" else torch.ones_like(label)
    return label, torch.where(first.isnan() | second.isnan(), 0.0, weight)


class Return:
    """The (discounted) sum of rewards.

    Args:
        discount: weight of a reward one step later; below 1, the shorter of two successes is preferred.
        ties: what an exact tie becomes: a preference for the `first` or the `second`, `equal`, or no answer (`skip`).
        env: gives the unit of a return.

    Attributes:
        score_scale: the unit of a score, by which a teacher's beta is divided: the reward of a success (1 without env).
    """

    def __init__(self, discount: Fraction = 1.0, ties: Ties = "skip", env: Given[Environment | None] = None) -> None:
        self.discount, self.ties = discount, ties
        self.score_scale = float(getattr(env, "goal_reward", 1.0))

    def __call__(self, played: Played) -> Tensor:
        """Scores `[...]` in units of the reward."""
        rewards = played.rewards
        later = self.discount ** torch.arange(rewards.shape[-1], dtype=rewards.dtype, device=rewards.device)
        return (rewards * later).sum(-1)


class Progress:
    """What a person watching a maze would say, in steps.

    A success beats a failure, of two successes the shorter one is better, of two failures the one that came closer to
    the goal. A part that begins elsewhere than at the start counts as if it had begun there: a reward model sums over
    the steps of a part, so that an answer that went by where it began would be noise to it.

    Args:
        env: tells the distance to the goal.
        ties: what an exact tie becomes, see `Return`.

    Raises:
        OptionError: where the environment tells no distance.
    """

    score_scale = 1.0

    def __init__(self, env: Given[Environment], ties: Ties = "skip") -> None:
        if not hasattr(env, "start") or "distance" not in env.diagnostics(torch.tensor([env.start])):
            raise OptionError("criterion", "progress", "the environment tells no distance to a goal", "return")
        self.ties, self._env = ties, env

    def __call__(self, played: Played) -> Tensor:
        """Scores `[...]`: T + 1 - the steps taken of a success; of a failure, minus the distance that is left."""
        rewards = played.rewards
        steps_left = torch.arange(rewards.shape[-1], 0, -1, dtype=rewards.dtype, device=rewards.device)
        early = torch.where(rewards > 0, steps_left, 0.0).amax(-1)
        head_start = self._distance(torch.full_like(played.last, self._env.start)) - self._distance(
            played.states[..., 0]
        )
        left = self._distance(played.last) + head_start
        return torch.where(early > 0, early, -left.to(rewards.dtype))

    def _distance(self, states: Tensor) -> Tensor:
        return self._env.diagnostics(states)["distance"]


class Farthest:
    """How far something got: the largest number that an environment tells of the states, such as a car's position.

    Args:
        env: tells it of each state.
        of: its name among the environment's diagnostics.
        ties: what an exact tie becomes, see `Return`.

    Raises:
        OptionError: where the environment tells no such thing.
    """

    score_scale = 1.0

    def __init__(self, env: Given[Environment], of: str = "position", ties: Ties = "skip") -> None:
        space = env.observation_space
        state = torch.zeros((1, *space.shape)) if isinstance(space, Box) else torch.zeros(1, dtype=torch.int64)
        if of not in (told := env.diagnostics(state)):
            instead = next(iter(told), None)
            reason = "the environment tells no such thing of a state"
            raise OptionError("of", of, reason, {"criterion": "return"} if instead is None else instead)
        self.ties, self._of, self._env = ties, of, env

    def __call__(self, played: Played) -> Tensor:
        """Scores `[...]`, in the unit of what is told."""
        steps = torch.arange(played.rewards.shape[-1], device=played.rewards.device)
        before = torch.where(steps < played.lengths[..., None], self._told(played.states), -torch.inf).amax(-1)
        return torch.maximum(before, self._told(played.last))

    def _told(self, states: Tensor) -> Tensor:
        return self._env.diagnostics(states)[self._of].to(torch.float32)


class Closest:
    """The answer closer to the right one (the addition task).

    Args:
        ties: what an exact tie becomes, see `Return`.
    """

    def __init__(self, ties: Ties = "skip") -> None:
        self.ties = ties

    def __call__(self, answers: Tensor, actions: Tensor) -> Tensor:
        """Minus the distance `[R, B]` of actions from the right answers."""
        return -(answers - actions).abs()
