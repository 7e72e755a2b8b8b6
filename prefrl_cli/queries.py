"""Which questions are asked, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from torch import Tensor

from prefrl_cli.data import draw_pairs
from prefrl_cli.limits import Count, CountOrZero, NotNegative, Number, Positive
from prefrl_cli.streams import Streams


class UniformTrajectories:
    """Random pairs of kept trajectories.

    Args:
        questions: a call.
        every: updates from one call to the next.
        start: the first update at which it may be.
        recent: ask about this many of the newest trajectories; none asks about all that are kept.
    """

    def __init__(
        self, questions: Count = 1, every: Count = 1, start: CountOrZero = 0, recent: Count | None = None
    ) -> None:
        self.questions, self.every, self.start, self.recent = questions, every, start, recent

    def due(self, step: int) -> bool:
        """Whether questions are asked at this update (the first is 0)."""
        return step % self.every == 0 and step >= self.start

    def __call__(self, streams: Streams, count: Tensor) -> Tensor:
        """Places `[R, questions, 2]` among `count` `[R]` kept trajectories."""
        return draw_pairs(streams, "queries", count, self.questions, self.recent)


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
