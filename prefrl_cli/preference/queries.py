"""Which questions are asked, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.core.option_types import Count, CountOrZero, Fraction, Items, Limits, NotNegative, Number, Positive
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories, draw_pairs
from prefrl_cli.preference.dataset import PreferenceDataset
from prefrl_cli.preference.questions import Model, Questions, segments

Asked = tuple[Tensor, Tensor]  # questions `[R, N, K]` as `steps` below, and how many of them each seed has `[R]`

_COMPARED_AT_ONCE = 256  # questions asked before, so that what is in memory does not grow with their number
CANDIDATES = 10  # for each question of those that choose (Lee et al. 2021, section 4)


class UniformTrajectories:
    """Random pairs of kept trajectories, or of segments of them.

    Args:
        questions: a call.
        every: updates from one call to the next.
        start: the first update at which it may be.
        from_newest: ask about this many of the newest trajectories; none asks about all that are kept.
        segment: ask about so many steps at a random place of each; none asks about whole trajectories.
        budget: answers in all for each seed (a skipped question costs nothing); none is without end.
    """

    candidates = 1  # pairs drawn for each question
    needs_members = False
    centres = False  # whether what was asked before counts

    def __init__(
        self,
        questions: Items = 1,
        every: Count = 1,
        start: CountOrZero = 0,
        from_newest: Annotated[int, Limits(2, 10**9)] | None = None,
        segment: Count | None = None,
        budget: CountOrZero | None = None,
    ) -> None:
        self.questions, self.every, self.start, self.from_newest = questions, every, start, from_newest
        self.segment, self.budget = segment, budget

    def due(self, step: int) -> bool:
        """Whether questions are asked at this update (the first is 0)."""
        return step % self.every == 0 and step >= self.start

    def number(self, step: int) -> int:
        """How many questions are asked at this update."""
        return self.questions if self.due(step) else 0

    def draw(
        self, number: int, kept: Store, reward_model: Model, preferences: PreferenceDataset, streams: Streams
    ) -> Questions:
        """What is asked about kept trajectories, `[R, number, 2, T]`.

        Args:
            number: of questions, at most `questions`.
            kept: the trajectories.
            reward_model: for queries that go by what it expects of the answer.
            preferences: what was answered before, for those that stay away from it.
            streams: random numbers.
        """
        whole = Trajectories.of(kept.get(self(streams, kept.count, number).flatten(1)))
        if self.segment is not None:
            whole = segments(whole, *self.cut(streams, whole.lengths), self.segment)
        candidates = Questions.of(whole)
        if self.candidates == 1:
            return candidates
        with torch.no_grad():
            chances = logsigmoid(candidates.return_differences(reward_model)).exp()  # [R, M, C]
        before = preferences.all() if self.centres else None
        asked = None if before is None else (before[0].numbered(preferences.num_actions), before[1].sum(1))
        return candidates.take(self.choose(chances, candidates.numbered(preferences.num_actions), asked))

    def __call__(self, streams: Streams, count: Tensor, number: int) -> Tensor:
        """Candidates for so many questions: places `[R, C, 2]` among `count` `[R]` kept trajectories."""
        return draw_pairs(streams, "queries", count, number * self.candidates, self.from_newest)

    def cut(self, streams: Streams, lengths: Tensor, purpose: str = "queries/segments") -> tuple[Tensor, Tensor]:
        """First steps and lengths `[R, K]` of the segments that are asked about, of trajectories of `lengths` steps."""
        if self.segment is None:
            return torch.zeros_like(lengths), lengths
        places = (lengths - self.segment).clamp(min=0) + 1
        drawn = streams.uniform(purpose, lengths.shape[1])
        return (drawn * places).floor().long(), lengths.clamp(max=self.segment)

    def choose(self, chances: Tensor, steps: Tensor, asked: Asked | None = None) -> Tensor:
        """Which candidates are asked.

        Args:
            chances: that the first is preferred, by each of M models, `[R, M, C]`.
            steps: what happened, `[R, C, K]` whole numbers, a different one for each different step.
            asked: the questions that were answered before; `centres` stay away from them.

        Returns:
            Numbers `[R, questions]` of candidates.
        """
        return torch.arange(self.questions, device=steps.device).expand(len(steps), -1)


class EarlyQuestions(UniformTrajectories):
    """Random pairs, a share of them at the first update, when answers teach most, the others evenly until an update.

    Args:
        budget: questions in all; each seed may use as many answers.
        first: the share of the first update.
        until: the update (the first is 1) by which all are asked.
        from_newest, segment: see `UniformTrajectories`.
    """

    def __init__(
        self,
        budget: Items = 100,
        first: Fraction = 0.25,
        until: Count = 20,
        from_newest: Annotated[int, Limits(2, 10**9)] | None = None,
        segment: Count | None = None,
    ) -> None:
        super().__init__(from_newest=from_newest, segment=segment, budget=budget)
        self.first, self.until, self.total = first, until, budget
        self.questions = max(self._by(0), self._by(1) - self._by(0) + 1)  # the most at one time

    def due(self, step: int) -> bool:
        """Whether questions are asked at this update (the first is 0)."""
        return self.number(step) > 0

    def number(self, step: int) -> int:
        """How many questions are asked at this update."""
        return self._by(step) - (self._by(step - 1) if step else 0)

    def _by(self, step: int) -> int:
        """Questions asked by the end of an update."""
        if step + 1 >= self.until:
            return self.total
        return int(self.total * (self.first + (1 - self.first) * step / (self.until - 1)))


class Disagreement(UniformTrajectories):
    """The candidates whose chance an ensemble of reward models disagrees on most (Christiano et al. 2017, 2.2.4).

    Args:
        centres: choose k centres among the better half instead, so that the questions differ from one another and
            from those asked before.
    """

    candidates = CANDIDATES
    needs_members = True

    def __init__(self, centres: bool = False, **schedule: object) -> None:
        super().__init__(**schedule)  # type: ignore[arg-type]
        self.centres = centres

    def choose(self, chances: Tensor, steps: Tensor, asked: Asked | None = None) -> Tensor:
        """Numbers `[R, questions]` of candidates, see `UniformTrajectories.choose`."""
        order = self.value(chances).argsort(dim=-1, descending=True, stable=True)
        if not self.centres:
            return order[:, : self.questions]
        half = order[:, : order.shape[1] // 2]
        index = half[..., None].expand(-1, -1, steps.shape[-1])
        return half.gather(1, k_centers(steps.gather(1, index), self.questions, asked))

    def value(self, chances: Tensor) -> Tensor:
        """The standard deviation `[R, C]` over models of chances `[R, M, C]`."""
        return (chances - chances.mean(1, keepdim=True)).square().mean(1).sqrt()


class Entropy(Disagreement):
    """The candidates whose answer is least certain by the models' mean chance.

    Args:
        centres: choose k centres among the better half instead, so that the questions differ from one another and
            from those asked before.
    """

    needs_members = False

    def value(self, chances: Tensor) -> Tensor:
        """P (1 - p) `[R, C]` of the mean chance, which orders pairs as its entropy does."""
        chance = chances.mean(1)
        return chance * (1 - chance)


class KCenter(UniformTrajectories):
    """The candidates that, with what was asked before, cover all candidates best (Sener and Savarese 2018, alg. 1)."""

    candidates = CANDIDATES
    centres = True

    def choose(self, chances: Tensor, steps: Tensor, asked: Asked | None = None) -> Tensor:
        """Numbers `[R, questions]` of candidates, see `UniformTrajectories.choose`."""
        return k_centers(steps, self.questions, asked)


def k_centers(points: Tensor, centers: int, asked: Asked | None = None) -> Tensor:
    """Each time the point farthest from those chosen and from those asked before; the lowest index wins a tie.

    Distances are Euclidean between one-hot vectors: the root of twice the number of places in which two points differ,
    a place being the state and action at one time of the first or of the second of a pair. So a pair and the same pair
    the other way round are far apart, as in B-Pref, where the vectors of both are put one after the other.

    Args:
        points: `[R, C, K]` whole numbers, each standing for a one-hot vector.
        centers: how many are chosen, at most C.
        asked: centres that are there already, `[R, N, K]`, and how many of them each seed has, `[R]`, the first ones.
            Where there are none, the first point is the first centre.

    Returns:
        Numbers `[R, centers]` of points.
    """
    chosen = torch.zeros(len(points), centers, dtype=torch.int64, device=points.device)
    rows = torch.arange(len(points), device=points.device)
    order = torch.arange(points.shape[1], device=points.device)
    nearest = _nearest(points, *asked) if asked is not None else torch.full_like(points[..., 0], points.shape[2] + 1)
    for number in range(centers):
        last = (nearest * points.shape[1] - order).argmax(1)
        chosen[:, number] = last
        apart = (points != points[rows, last][:, None]).sum(-1)
        nearest = torch.minimum(nearest, apart)
        nearest[rows, last] = -1  # never again, even where all that is left equals it
    return chosen


def _nearest(points: Tensor, asked: Tensor, count: Tensor) -> Tensor:
    """In how many places each of points `[R, C, K]` differs from the nearest of the first `count` `[R]` of `asked`.

    K + 1 where there is none, `[R, C]`.
    """
    nearest = torch.full_like(points[..., 0], points.shape[2] + 1)
    numbers = torch.arange(asked.shape[1], device=points.device)
    vectors = points.float()  # cdist counts differing places where p is 0; whole numbers below 2 ** 24 are exact
    for start in range(0, asked.shape[1], _COMPARED_AT_ONCE):
        some = slice(start, start + _COMPARED_AT_ONCE)
        apart = torch.cdist(vectors, asked[:, some].float(), p=0.0).long()  # [R, C, n]
        missing = numbers[some] >= count[:, None, None]
        nearest = torch.minimum(nearest, apart.masked_fill(missing, points.shape[2] + 1).amin(2))
    return nearest


class AnswerRange(Protocol):
    """The part of an addition task that queries need."""

    actions: int


Answer = Callable[[Tensor], Tensor]


class NearGreedy:
    """The greedy action against one near it (the notebook): + U(-w, w), w = exp(-(step - centre) / decay) + least.

    Args:
        centre: the step at which the exponential is 1.
        decay: steps in which it falls by a factor of e.
        least: what the width ends at.
        evaluation_width: w at an evaluation.
    """

    def __init__(
        self,
        centre: Number = 300.0,
        decay: Positive = 500.0,
        least: NotNegative = 0.0,
        evaluation_width: Positive = 2.0,
    ) -> None:
        self.centre, self.decay, self.least, self.evaluation_width = centre, decay, least, evaluation_width

    def __call__(
        self, env: AnswerRange, answer: Answer, states: Tensor, streams: Streams, step: int | None
    ) -> tuple[Tensor, Tensor]:
        """Two actions `[R, B]` for each of states `[R, B, 2]`; `step` none is an evaluation."""
        greedy = answer(states)
        if step is None:
            width, purpose = self.evaluation_width, "evaluation/alternatives"
        else:
            width, purpose = float(np.exp(-(step - self.centre) / self.decay)) + self.least, "alternatives"
        return greedy, greedy + streams.uniform(purpose, states.shape[1], low=-width, high=width)


class WholeRange:
    """Two actions drawn independently over the whole range of actions."""

    def __call__(
        self, env: AnswerRange, answer: Answer, states: Tensor, streams: Streams, step: int | None
    ) -> tuple[Tensor, Tensor]:
        """Two actions `[R, B]` for each of states `[R, B, 2]`; `step` none is an evaluation."""
        purpose = "evaluation/alternatives" if step is None else "alternatives"
        drawn = streams.uniform(purpose, states.shape[1], 2, high=env.actions - 1)
        first, second = drawn.unbind(-1)
        return first, second
