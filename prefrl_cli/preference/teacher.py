"""Who answers which of two is better. A label is the probability that the FIRST is preferred; weight 0 is skipped.

A teacher is a criterion, by which it judges, and five numbers that say how it errs (Lee et al. 2021, B-Pref, whose
code has the opposite label: 1 where the second is preferred). Each of B-Pref's six teachers is one number set.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.core.environment import FiniteEnvironment
from prefrl_cli.core.option_types import Fraction, NotNegative, OptionError, Positive
from prefrl_cli.core.streams import Streams

Ties = Literal["first", "second", "equal", "skip"]
Criterion = Literal["return", "progress"]


def judge(first: Tensor, second: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
    """Labels for pairs of scores.

    Args:
        first: scores of the first of each pair, any shape.
        second: scores of the second, same shape.
        ties: what an exact tie becomes.

    Returns:
        Label (1, 0 or 0.5) and weight (1, or 0 for a skipped tie), float32, same shape.
    """
    tied = first == second
    label = (first > second).float()
    if ties in ("first", "equal", "skip"):
        label = torch.where(tied, 1.0 if ties == "first" else 0.5, label)
    weight = torch.where(tied, 0.0, 1.0) if ties == "skip" else torch.ones_like(label)
    return label, weight


class Teacher:
    """A program that answers as a person might (Lee et al. 2021, section 3 and algorithm 1).

    In this order: a question is skipped when neither of the two is good enough; it is marked equal when they are
    nearly as good; the (short-sighted) scores are compared, or a coin of their chance is tossed; the answer is
    flipped by mistake; what was marked equal is answered 0.5.

    What the paper leaves open, decided:

    * The unit of a score, and so of 1 / beta: for `return` the reward of the goal (1 without `env`), for `progress`
      one step. beta 1 hence prefers a success over a failure with chance 0.73 by return.
    * `skip` and `equal` are shares of what a recent trajectory typically gained over standing still: the mean of
      |score - score of standing still|. It is the paper's mean return where rewards are not negative, and does not
      vanish where a mean return is zero or less. Where nobody gained anything, everything is skipped.
    * `mistake` is the chance of a flip, once (the authors' code multiplies it with itself in most sessions).
    * An exact tie is what `ties` says. `first` and `second` stand for having no other way to decide, so that with a
      finite beta such a tie is a toss of a fair coin; the authors' code gives a tie to the first.

    Args:
        criterion: `return`, the sum of rewards; or `progress`, what a person watching a maze would say: a success
            beats a failure, of two successes the shorter one is better, of two failures the one that ended closer to
            the goal.
        discount: for `return`: weight of a reward one step later; below 1, the shorter of two successes is preferred.
        ties: what an exact tie becomes.
        beta: how rational; none always prefers the better one.
        gamma: how far-sighted: weight of a step one step earlier, counted from the last step of each trajectory.
        mistake: chance that an answer is flipped.
        skip: a question is skipped when neither is better than this share of what is typical.
        equal: two are equally good when they differ by less than this share of what is typical.
        env: gives the unit of a return and the distance from which progress is made.

    Raises:
        ValueError: for a discount of progress.
    """

    def __init__(
        self,
        criterion: Criterion = "return",
        discount: Fraction = 1.0,
        ties: Ties = "skip",
        beta: Positive | None = None,
        gamma: Fraction = 1.0,
        mistake: Fraction = 0.0,
        skip: NotNegative = 0.0,
        equal: NotNegative = 0.0,
        env: FiniteEnvironment | None = None,
    ) -> None:
        if criterion == "progress" and discount != 1:
            raise OptionError("discount", discount, "only a return is discounted", 1.0)
        self.criterion, self.discount, self.ties = criterion, discount, ties
        self.beta, self.gamma, self.mistake, self.skip, self.equal = beta, gamma, mistake, skip, equal
        progress = criterion == "progress"
        self.unit = env.goal_reward if env is not None and not progress else 1.0
        self._still = -float(env.distance[env.start]) if env is not None and progress else 0.0

    def score(self, rewards: Tensor, distances: Tensor) -> Tensor:
        """How good trajectories are by the criterion, without any error.

        Args:
            rewards: `[R, B, T]`, zero past the end; for progress a positive one is the goal.
            distances: `[R, B]`, shortest-path steps from the last state to the goal; only progress looks at them.

        Returns:
            `[R, B]`: the (discounted) return in units of the reward; or, in steps, minus the last distance of a
            failure and T + 1 - the steps taken of a success.
        """
        if self.criterion == "return":
            return (rewards * self._later(rewards)).sum(-1)
        early = _early(rewards).amax(-1)
        return torch.where(early > 0, early, -distances.to(rewards.dtype))

    def impression(self, rewards: Tensor, distances: Tensor, visited: Tensor, lengths: Tensor) -> Tensor:
        """What a short-sighted teacher thinks of trajectories: steps before the last count less; `score` if gamma is 1.

        The score is a sum over steps (of progress: the distance at the start, then what each step gained), and a
        step that lies k steps before the trajectory's own last one is multiplied by gamma ** k.

        Args:
            rewards: `[R, B, T]`, zero past the end.
            distances: `[R, B]`, steps from the last state to the goal.
            visited: `[R, B, T]`, steps to the goal from the state before each step.
            lengths: `[R, B]`, steps taken.
        """
        if self.gamma == 1:
            return self.score(rewards, distances)
        before_last = lengths[..., None] - 1 - torch.arange(rewards.shape[-1], device=rewards.device)
        powers = self.gamma ** torch.arange(rewards.shape[-1], dtype=rewards.dtype, device=rewards.device)
        weights = torch.where(before_last >= 0, powers[before_last.clamp(min=0)], 0.0)
        if self.criterion == "return":
            return (rewards * self._later(rewards) * weights).sum(-1)
        visited = visited.to(rewards.dtype)
        following = torch.cat([visited[..., 1:], visited[..., -1:]], -1)
        following = torch.where(before_last == 0, distances[..., None].to(rewards.dtype), following)
        return ((visited - following + _early(rewards)) * weights).sum(-1) - visited[..., 0]

    def typical(self, scores: Tensor, exists: Tensor, share: float = 1.0) -> Tensor:
        """What a recent trajectory gained over standing still, the mean of absolute values `[R]`.

        Args:
            scores: of recent trajectories, `[R, K]`.
            exists: whether there is such a one, `[R, K]`.
            share: length of what is asked about, over that of an episode.
        """
        gained = torch.where(exists, (scores - self._still).abs(), 0.0)
        return share * gained.sum(-1) / exists.sum(-1).clamp(min=1)

    def label(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Label and weight of pairs of scores of a teacher that never errs."""
        return judge(first, second, self.ties)

    def answer(self, streams: Streams, scores: Tensor, impressions: Tensor, typical: Tensor) -> tuple[Tensor, Tensor]:
        """Label and weight `[R, Q]` of questions, errors included.

        Args:
            streams: the purpose `teacher` is drawn from where an answer depends on chance.
            scores: of both, `[R, Q, 2]`.
            impressions: of both, `[R, Q, 2]`, as this teacher thinks of them.
            typical: `[R]`, the unit of `skip` and `equal`.
        """
        first, second = impressions.unbind(-1)
        label, weight = judge(first, second, self.ties)
        if self.beta is not None or self.mistake:
            coin, slip = streams.uniform("teacher", label.shape[1], 2).unbind(-1)
            if self.beta is not None:
                # logsigmoid, since sigmoid rounds the last few elements of a tensor otherwise.
                chance = logsigmoid((first - second).double() * (self.beta / self.unit)).exp()
                tossed = (label != 0.5) | (first != second)
                label = torch.where(tossed, (coin < chance).float(), label)
            label = torch.where(slip < self.mistake, 1 - label, label)
        if self.equal:
            alike = (scores[..., 0] - scores[..., 1]).abs() < self.equal * typical[:, None]
            label, weight = torch.where(alike, 0.5, label), torch.where(alike, 1.0, weight)
        if self.skip:
            good = scores.amax(-1) - self._still > self.skip * typical[:, None]
            weight = torch.where(good, weight, 0.0)
        return label, weight

    def _later(self, rewards: Tensor) -> Tensor:
        """Weight of a reward at each step, `[T]`."""
        return self.discount ** torch.arange(rewards.shape[-1], dtype=rewards.dtype, device=rewards.device)


class Return(Teacher):
    """A teacher that judges by the (discounted) return, for code; `errors` are the five numbers and `env`."""

    def __init__(self, discount: Fraction = 1.0, ties: Ties = "skip", **errors: object) -> None:
        super().__init__("return", discount, ties, **errors)  # type: ignore[arg-type]


class Progress(Teacher):
    """A teacher that judges by progress, for code; `errors` are the five numbers and `env`."""

    def __init__(self, ties: Ties = "skip", **errors: object) -> None:
        super().__init__("progress", 1.0, ties, **errors)  # type: ignore[arg-type]


def _early(rewards: Tensor) -> Tensor:
    """T + 1 - the steps taken at the step that reaches the goal, `[..., T]`; 0 elsewhere."""
    steps_left = torch.arange(rewards.shape[-1], 0, -1, dtype=rewards.dtype, device=rewards.device)
    return torch.where(rewards > 0, steps_left, 0.0)


class Closest:
    """Prefers the answer closer to the right one (the addition task).

    Args:
        ties: what a tie becomes.
    """

    def __init__(self, ties: Ties = "skip") -> None:
        self.ties = ties

    def score(self, answers: Tensor, actions: Tensor) -> Tensor:
        """Minus the distance `[R, B]` of actions from the right answers."""
        return -(answers - actions).abs()

    def label(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Label and weight of pairs of scores."""
        return judge(first, second, self.ties)
