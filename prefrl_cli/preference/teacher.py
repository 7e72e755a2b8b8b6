"""How a judge errs. A label is the probability that the FIRST is preferred; weight 0 says "I cannot tell".

A teacher is handed a criterion, by which it judges, and has numbers that say how it errs (Lee et al. 2021, B-Pref,
whose code has the opposite label: 1 where the second is preferred). Each of B-Pref's six teachers is one number set.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.core.option_types import Failed, Fraction, Given, NotNegative, Positive
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.preference.criterion import Criterion, Played, judge
from prefrl_cli.preference.dataset import Answers, Pending


class Teacher:
    """A program that answers as a person might, and at once (Lee et al. 2021, section 3 and algorithm 1).

    In this order: a question is skipped when neither of the two is good enough; it is marked equal when they are
    nearly as good; the (short-sighted) scores are compared, or a coin of their chance is tossed; the answer is
    flipped by mistake; what was marked equal is answered 0.5.

    What the paper leaves open, decided:

    * The unit of a score, and so of 1 / beta, is the criterion's `score_scale` (1 where it has none): for a return the
      reward of the goal, for progress one step. beta 1 hence prefers a success over a failure with chance 0.73 by
      return.
    * `skip` and `equal` are shares of what a recent trajectory typically gained over standing still: the mean of
      |score - score of the start|. It is the paper's mean return where rewards are not negative, and does not
      vanish where a mean return is zero or less. Where nobody gained anything, everything is skipped.
    * `gamma` weighs what each step added to the score: the score after it less the score before it.
    * `mistake` is the chance of a flip, once (the authors' code multiplies it with itself in most sessions).
    * An exact tie is what the criterion's `ties` says (`skip` where it has none). `first` and `second` stand for having
      no other way to decide, so that with a finite beta such a tie is a toss of a fair coin; the authors' code gives a
      tie to the first.

    Args:
        criterion: gives the scores.
        beta: how rational; none always prefers the better one.
        gamma: how far-sighted: weight of a step one step earlier, counted from the last step of each trajectory.
        mistake: chance that an answer is flipped.
        skip: a question is skipped when neither is better than this share of what is typical.
        equal: two are equally good when they differ by less than this share of what is typical.
        fatigue: by so much the chance of a flip grows in 100 questions, to a half at most.
        bias: chance that an answer goes by the side on which it is shown, which is drawn: then it says left.
        repeat: share of the questions that are answered once more, with the sides changed; see `Answers.again`.
    """

    def __init__(
        self,
        criterion: Given[Criterion],
        beta: Positive | None = None,
        gamma: Fraction = 1.0,
        mistake: Fraction = 0.0,
        skip: NotNegative = 0.0,
        equal: NotNegative = 0.0,
        fatigue: NotNegative = 0.0,
        bias: Fraction = 0.0,
        repeat: Fraction = 0.0,
    ) -> None:
        self.criterion, self.fatigue, self.bias, self.repeat = criterion, fatigue, bias, repeat
        self.beta, self.gamma, self.mistake, self.skip, self.equal = beta, gamma, mistake, skip, equal

    def answer(self, pending: Pending, recent: Store, streams: Streams) -> Answers | None:
        """Answer all that is pending.

        Args:
            pending: the questions.
            recent: the trajectories kept, by which it is judged what is typical.
            streams: the purpose `teacher` is drawn from where an answer depends on chance.
        """
        questions = pending.questions
        scores = self.criterion(questions)  # [R, Q, 2]
        seen = scores if self.gamma == 1 else myopic_scores(self.criterion, questions, self.gamma)
        start, typical = torch.zeros_like(scores), torch.zeros(len(scores), device=scores.device)
        if self.skip or self.equal:
            start = self.criterion(first_steps(questions, 0))
            typical = typical_gain(self.criterion, recent, questions.rewards.shape[-1])
        count, again = scores.shape[1], None
        tired = pending.number.double() * (self.fatigue / 100) if self.fatigue else None
        left = streams.uniform("teacher/side", count) < 0.5 if self.bias else None  # the first of a pair
        label, weight = self.labels(streams, scores, seen, start, typical, tired, left)
        if self.repeat:
            other = None if left is None else ~left
            second, known = self.labels(streams, scores, seen, start, typical, tired, other, "teacher/again")
            asked = streams.uniform("teacher/repeat", count) < self.repeat
            again = torch.where(asked & (known > 0), second, torch.nan)
        return Answers(pending.number.expand(len(label), -1), label, weight, again)

    def labels(
        self,
        streams: Streams,
        scores: Tensor,
        seen: Tensor,
        start: Tensor,
        typical: Tensor,
        tired: Tensor | None = None,
        left: Tensor | None = None,
        purpose: str = "teacher",
    ) -> tuple[Tensor, Tensor]:
        """Label and weight `[R, Q]` of questions, errors included.

        Args:
            streams: random numbers.
            scores: of both, `[R, Q, 2]`.
            seen: the scores as this teacher sees them, short-sighted or not, `[R, Q, 2]`.
            start: the score of each before its first step, `[R, Q, 2]`.
            typical: `[R]`, the unit of `skip` and `equal`.
            tired: added to the chance of a mistake, `[Q]`.
            left: whether the first is shown on the left, `[R, Q]`, of a teacher who goes by sides.
            purpose: of the streams that are drawn from.
        """
        first, second = seen.unbind(-1)
        label, weight = judge(first, second, getattr(self.criterion, "ties", "skip"))
        if self.beta is not None or self.mistake or self.fatigue:
            coin, slip = streams.uniform(purpose, label.shape[1], 2).unbind(-1)
            if self.beta is not None:
                # logsigmoid, since sigmoid rounds the last few elements of a tensor otherwise.
                scale = self.beta / getattr(self.criterion, "score_scale", 1.0)
                chance = logsigmoid((first - second).double() * scale).exp()
                tossed = (label != 0.5) | (first != second)
                label = torch.where(tossed, (coin < chance).float(), label)
            often = max(0.5, self.mistake)
            mistake = self.mistake if tired is None else (self.mistake + tired).clamp(max=often)
            label = torch.where(slip < mistake, 1 - label, label)
        if left is not None:
            label = torch.where(streams.uniform(f"{purpose}/bias", label.shape[1]) < self.bias, left.float(), label)
        if self.equal:
            alike = (scores[..., 0] - scores[..., 1]).abs() < self.equal * typical[:, None]
            label, weight = torch.where(alike, 0.5, label), torch.where(alike, 1.0, weight)
        if self.skip:
            good = (scores - start).amax(-1) > self.skip * typical[:, None]
            weight = torch.where(good, weight, 0.0)
        return label, weight


class Coin:
    """Tosses a fair coin, whatever it is asked: what is learned from it was not in the labels.

    Args:
        criterion: what others judge by; it is looked at for the held-out pairs alone.
    """

    def __init__(self, criterion: Given[Criterion]) -> None:
        self.criterion = criterion

    def answer(self, pending: Pending, recent: Store, streams: Streams) -> Answers | None:
        """Answer all that is pending; the purpose `teacher` is drawn from."""
        number = pending.number.expand(len(pending.open), -1)
        label = (streams.uniform("teacher", number.shape[1]) < 0.5).float()
        return Answers(number, label, torch.ones_like(label))


def check(answers: Answers) -> None:
    """Refuse answers of a teacher of one's own that are none.

    Args:
        answers: `[R, K]`.

    Raises:
        Failed: one line that says what is wrong and what is wanted.
    """
    number, label, weight, _ = answers
    if not number.shape == label.shape == weight.shape:
        found = ", ".join(
            f"{name} {list(one.shape)}" for name, one in zip(Answers._fields[:3], answers[:3], strict=True)
        )
        raise Failed(f"teacher: answered with {found}; the three have one shape, [seeds, answers]")
    given = number >= 0
    probable, counted = (label >= 0) & (label <= 1), (weight >= 0) & weight.isfinite()
    for name, values, wrong, wanted in (
        ("label", label, given & ~probable & (weight != 0), "is a probability, from 0 to 1"),
        ("weight", weight, given & ~counted, "is a finite number of at least 0"),
    ):
        if bool(wrong.any()):
            question, value = int(number[wrong][0]), values[wrong][0].item()
            raise Failed(f"teacher: question {question} is answered with the {name} {value:g}; a {name} {wanted}")


def typical_gain(criterion: Criterion, recent: Store, steps: int) -> Tensor:
    """What kept trajectories typically gained over standing still, the mean of absolute values `[R]`.

    Args:
        criterion: gives the scores.
        recent: trajectories.
        steps: of what is asked about: a part has its share of the gain.
    """
    count = recent.count
    indices = torch.arange(recent.capacity, device=count.device).expand(len(count), -1)
    mask = indices < count[:, None]
    kept = Trajectories.of(recent.get(torch.where(mask, indices, 0)))
    gained = torch.where(mask, (criterion(kept) - criterion(first_steps(kept, 0))).abs(), 0.0)
    return steps / kept.rewards.shape[-1] * gained.sum(-1) / mask.sum(-1).clamp(min=1)


def myopic_scores(criterion: Criterion, played: Played, gamma: float) -> Tensor:
    """Scores `[...]` in which what each step added counts gamma ** k, the step lying k before the trajectory's last.

    Args:
        criterion: gives the scores, of the first steps of a trajectory too.
        played: `[..., T]`.
        gamma: in [0, 1]; 1 gives the criterion's own scores.
    """
    width = played.rewards.shape[-1]
    after = torch.stack([criterion(first_steps(played, count)) for count in range(width + 1)], -1)  # [..., T + 1]
    before_last = played.lengths[..., None] - 1 - torch.arange(width, device=after.device)
    powers = gamma ** torch.arange(width, dtype=after.dtype, device=after.device)
    weights = torch.where(before_last >= 0, powers[before_last.clamp(min=0)], 0.0)
    return (after.diff(dim=-1) * weights).sum(-1) + after[..., 0]


def first_steps(played: Played, count: int) -> Trajectories:
    """What was played `[..., T]`, as it stood after its first `count` steps; of a shorter one, all."""
    width = played.rewards.shape[-1]
    ended = played.lengths <= count
    then = played.states.select(ended.ndim, min(count, width - 1))
    over = ended.view(*ended.shape, *[1] * (then.ndim - ended.ndim))
    return Trajectories(
        states=played.states,
        actions=played.actions,
        rewards=torch.where(torch.arange(width, device=ended.device) < count, played.rewards, 0.0),
        lengths=played.lengths.clamp(max=count),
        last=torch.where(over, played.last, then),
    )
