"""Teachers against B-Pref's rules written down once more for a single pair of reward lists."""

from __future__ import annotations

import itertools
import math
from typing import Any

import direct
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from prefrl_cli.config.choices import choices
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.preference.criterion import Played, Progress, Return, Ties, judge
from prefrl_cli.preference.dataset import Answers, Pending
from prefrl_cli.preference.loss import measured_smoothing
from prefrl_cli.preference.questions import Questions
from prefrl_cli.preference.teacher import Teacher, myopic_scores, typical_gain

T, FAR = 12, 7


class Line:
    """States are the steps that are left to the goal, 0; the start is farther away than anything below."""

    start, goal_reward = FAR, 10.0

    def diagnostics(self, states: Tensor) -> dict[str, Tensor]:
        return {"distance": states}


def judged_by(criterion: str, ties: str = "skip", discount: float = 1.0, **numbers: Any) -> Teacher:
    if criterion == "return":
        return Teacher(Return(discount, ties, Line()), **numbers)
    return Teacher(Progress(Line(), ties), **numbers)


def one_answer(
    first: dict[str, Any], second: dict[str, Any], teacher: Teacher, typical: float, coin: float, slip: float
) -> tuple[float, float]:
    """Label and weight of one question: the six steps in order, on Python lists."""
    returns, ties = isinstance(teacher.criterion, Return), teacher.criterion.ties
    best = max(first["score"], second["score"]) - (0 if returns else -FAR)
    if teacher.skip > 0 and not best > teacher.skip * typical:  # 1
        return math.nan, 0.0
    equal = abs(first["score"] - second["score"]) < teacher.equal * typical  # 2
    one, two = first["short_sighted"], second["short_sighted"]  # 3
    weight = 1.0
    unit = 10.0 if returns else 1.0
    if one == two and ties in ("skip", "equal"):
        label, weight = 0.5, 0.0 if ties == "skip" else 1.0
    elif teacher.beta is not None:  # 4
        label = float(
            coin < math.exp(teacher.beta * one / unit) / sum(math.exp(teacher.beta * g / unit) for g in (one, two))
        )
    else:
        label = 1.0 if one > two or (one == two and ties == "first") else 0.0
    if slip < teacher.mistake:  # 5
        label = 1 - label
    return (0.5, 1.0) if equal else (label, weight)  # 6


def one_trajectory(rewards: list[float], distances: list[int], teacher: Teacher) -> dict[str, Any]:
    """Score and short-sighted score of one trajectory; `distances` has one more entry than `rewards`."""
    length = len(rewards)
    if isinstance(teacher.criterion, Return):
        steps = [teacher.criterion.discount**t * reward for t, reward in enumerate(rewards)]
        start = 0.0
    else:
        steps = [float(distances[t] - distances[t + 1]) for t in range(length)]
        start = -float(FAR)
        if rewards[-1] > 0:  # a success is T + 1 - the steps taken, wherever it began
            steps[-1] = T + 1 - length - start - sum(steps[:-1])
    weighted = [teacher.gamma ** (length - 1 - t) * step for t, step in enumerate(steps)]
    return {"score": start + sum(steps), "short_sighted": start + sum(weighted)}


def walks(seeds: int, episodes: int) -> tuple[Trajectories, list[list[tuple[list[float], list[int]]]]]:
    """Random rewards, distances and lengths, padded; and the same as lists. Some reach the goal, some are equal."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, T + 1, (seeds, episodes), generator=generator)
    visited = torch.randint(1, 6, (seeds, episodes, T), generator=generator)
    last = torch.randint(0, 3, (seeds, episodes), generator=generator)  # 0 is the goal
    rewards = torch.zeros(seeds, episodes, T)
    rewards.scatter_(2, lengths[..., None] - 1, torch.where(last == 0, 10.0, 0.0)[..., None])
    lists = []
    for r in range(seeds):
        lists.append([])
        for b, length in enumerate(lengths[r].tolist()):
            lists[-1].append((rewards[r, b, :length].tolist(), [*visited[r, b, :length].tolist(), int(last[r, b])]))
    return Trajectories(visited, torch.zeros_like(visited), rewards, lengths, last), lists


NUMBERS: list[dict[str, Any]] = [
    {},
    {"ties": "first"},
    {"ties": "second"},
    {"ties": "equal"},
    {"beta": 1.0},
    {"beta": 0.3, "ties": "first"},
    {"mistake": 0.3},
    {"mistake": 0.3, "ties": "equal"},
    {"skip": 0.9},
    {"skip": 1.5, "beta": 2.0},
    {"equal": 0.5},
    {"gamma": 0.9},
    {"gamma": 0.0},
    {"beta": 0.5, "gamma": 0.8, "mistake": 0.2, "skip": 0.7, "equal": 0.4, "ties": "second"},
]


@pytest.mark.parametrize("criterion", ["return", "progress"])
@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_every_pair_against_the_rules(numbers: dict[str, Any], criterion: str) -> None:
    seeds, episodes = (3, 8, 11), 9
    discount = 0.95 if criterion == "return" and "gamma" in numbers else 1.0
    teacher = judged_by(criterion, discount=discount, **numbers)
    played, lists = walks(len(seeds), episodes)
    count = torch.tensor([9, 4, 7])
    recent = Store(episodes)
    recent.add(played.fields(), torch.arange(episodes) < count[:, None])
    pairs = torch.tensor([list(itertools.product(range(episodes), repeat=2))] * len(seeds))
    rows = torch.arange(len(seeds))[:, None]
    asked = Questions.of(
        Trajectories(**{name: value[rows, pairs.flatten(1)] for name, value in played.fields().items()})
    )
    number = torch.arange(100, 100 + pairs.shape[1])
    pending = Pending(asked, number, torch.zeros_like(number), torch.ones(pairs.shape[:2], dtype=torch.bool), 0)
    answers = teacher.answer(pending, recent, PhiloxStreams(seeds))
    assert answers.number.tolist() == [number.tolist()] * len(seeds)
    scores, seen = teacher.criterion(played), myopic_scores(teacher.criterion, played, teacher.gamma)
    typical = typical_gain(teacher.criterion, recent, T)
    drawn = PhiloxStreams(seeds).uniform("teacher", pairs.shape[1], 2)
    for r in range(len(seeds)):
        alone = [one_trajectory(*walk, teacher) for walk in lists[r]]
        assert scores[r].tolist() == pytest.approx([one["score"] for one in alone], abs=1e-5)
        still = 0 if criterion == "return" else -FAR
        gains = [abs(one["score"] - still) for one in alone[: int(count[r])]]
        assert float(typical[r]) == pytest.approx(sum(gains) / len(gains))
        for q, (i, j) in enumerate(pairs[r].tolist()):
            # The rounding of float32 may not decide what is a tie, so the two take the same scores.
            sights = seen if teacher.gamma < 1 else scores
            given = [{"score": float(scores[r, k]), "short_sighted": float(sights[r, k])} for k in (i, j)]
            assert given[0]["short_sighted"] == pytest.approx(alone[i]["short_sighted"], abs=1e-5)
            expected = one_answer(*given, teacher, float(typical[r]), *drawn[r, q].tolist())
            assert float(answers.weight[r, q]) == expected[1]
            assert expected[1] == 0 or float(answers.label[r, q]) == expected[0]


def test_a_part_has_its_share_of_what_is_typical() -> None:
    played, _ = walks(2, 5)
    recent = Store(5)
    recent.add(played.fields())
    whole, part = (typical_gain(Return(), recent, steps) for steps in (T, T // 4))
    assert whole.min() > 0 and torch.equal(part, whole / 4)


def labels_of(
    teacher: Teacher, scores: Tensor, typical: Tensor | None = None, start: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Label and weight of questions of these scores `[R, Q, 2]`, with the streams of the seeds 0, 1, ..."""
    typical = torch.zeros(len(scores)) if typical is None else typical
    streams = PhiloxStreams(range(len(scores)))
    return teacher.labels(streams, scores, scores, torch.full_like(scores, start), typical)


def test_without_an_error_the_answer_is_the_label_and_nothing_is_drawn() -> None:
    scores = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]])
    streams = PhiloxStreams([4])
    for ties in ("first", "second", "equal", "skip"):
        teacher = Teacher(Return(ties=ties))
        answer = teacher.labels(streams, scores, scores, torch.zeros_like(scores), torch.zeros(1))
        for mine, expected in zip(answer, judge(*scores.unbind(-1), ties), strict=True):
            assert torch.equal(mine, expected)
    assert streams.state() == {}


def shares(teacher: Teacher, first: float, second: float, count: int = 4000) -> int:
    """How often the first is preferred."""
    label, weight = labels_of(teacher, torch.tensor([first, second]).expand(1, count, 2), torch.ones(1))
    assert weight.eq(1).all() and ((label == 0) | (label == 1)).all()
    return int(label.sum())


def test_a_mistake_is_made_with_its_chance_and_not_with_its_square() -> None:
    wrong = 4000 - shares(judged_by("return", mistake=0.1), 10.0, 0.0)
    assert binomtest(wrong, 4000, 0.1).pvalue > 0.01
    assert binomtest(wrong, 4000, 0.01).pvalue < 1e-6


def asked(teacher: Teacher, count: int, first: int = 0) -> Answers:
    """Answers to questions of which the first is always better, from a number on."""
    steps = torch.zeros(2, count, 2, 1, dtype=torch.int64)
    rewards = torch.tensor([10.0, 0.0]).view(1, 1, 2, 1).expand(2, count, 2, 1)
    lengths = torch.ones(2, count, 2, dtype=torch.int64)
    questions = Questions(steps, steps, lengths, rewards, steps[..., 0])
    number, everywhere = torch.arange(first, first + count), torch.ones(2, count, dtype=torch.bool)
    found = teacher.answer(Pending(questions, number, number, everywhere, 0), Store(1), PhiloxStreams([3, 8]))
    assert found is not None
    return found


def test_who_tires_errs_the_more_the_longer_to_a_half_of_the_time() -> None:
    teacher = judged_by("return", mistake=0.1, fatigue=0.1)
    wrong = [1 - asked(teacher, 2000, first).label for first in (0, 200_000)]
    early, late = (
        wrong[0][:, :1000],
        wrong[1],
    )  # the chance grows from 0.1 by 0.1 in a hundred, so it is 0.5 from 400 on
    chances = (0.1 + torch.arange(1000) / 1000).clamp(max=0.5)
    assert abs(float(early.mean() - chances.mean())) < 4 * 0.5 / 2000**0.5
    assert abs(float(late.mean()) - 0.5) < 4 * 0.5 / 4000**0.5
    assert torch.equal(
        asked(judged_by("return", mistake=0.1), 50).label,
        asked(judged_by("return", mistake=0.1, fatigue=1e-9), 50).label,
    )


def test_who_goes_by_the_side_says_left_and_is_found_out_where_the_sides_are_changed() -> None:
    honest = asked(judged_by("return", bias=0.0, repeat=1.0), 4000)
    assert honest.again is not None and honest.label.eq(1).all() and honest.again.eq(1).all()
    found = asked(judged_by("return", bias=0.4, repeat=1.0), 4000)
    assert found.again is not None and binomtest(int((found.label[0] == 0).sum()), 4000, 0.2).pvalue > 0.01
    # Both times by the side: never the same; once: half of the time.
    same = int((found.label == found.again)[0].sum())
    assert binomtest(same, 4000, 0.6**2 + 2 * 0.4 * 0.6 / 2).pvalue > 0.01


def test_a_share_of_questions_is_answered_twice_and_the_first_answers_stay_as_they_are() -> None:
    once, twice = (asked(judged_by("return", mistake=0.2, repeat=share), 4000) for share in (0.0, 0.25))
    assert once.again is None and twice.again is not None and torch.equal(once.label, twice.label)
    there = ~twice.again.isnan()
    assert binomtest(int(there[0].sum()), 4000, 0.25).pvalue > 0.01
    same = (twice.label == twice.again)[0][there[0]]
    assert binomtest(int(same.sum()), len(same), 0.8**2 + 0.2**2).pvalue > 0.01
    share = measured_smoothing(torch.tensor([[len(same), int(same.sum())], [0, 0], [8, 8], [9, 1]]))
    assert abs(float(share[0]) - 0.4) < 0.12  # twice the chance of a mistake
    assert share[1:].tolist() == [0.0, 0.0, pytest.approx(0.8)]


@pytest.mark.parametrize(("criterion", "first"), [("return", 10.0), ("progress", 1.0)])
def test_the_unit_of_beta_is_the_goal_reward_or_a_step(criterion: str, first: float) -> None:
    teacher = judged_by(criterion, beta=1.0)
    assert binomtest(shares(teacher, first, 0.0), 4000, 1 / (1 + math.exp(-1))).pvalue > 0.01


def test_a_tie_that_must_be_decided_is_a_fair_coin_where_beta_is_finite() -> None:
    assert shares(judged_by("return", "first"), 3.0, 3.0) == 4000
    assert binomtest(shares(judged_by("return", "first", beta=5.0), 3.0, 3.0), 4000, 0.5).pvalue > 0.01


def test_thresholds_work_where_the_mean_score_is_not_positive() -> None:
    """All have failed and the mean score is below zero: who went nowhere is skipped, who came nearer is not."""
    teacher = judged_by("progress", skip=0.5)
    last = torch.tensor([[FAR, FAR, FAR - 4, FAR - 4]])
    states = torch.full((1, 4, T), FAR)
    played = Trajectories(states, states, torch.zeros(1, 4, T), torch.full((1, 4), T), last)
    recent = Store(4)
    recent.add(played.fields())
    scores, typical = teacher.criterion(played), typical_gain(teacher.criterion, recent, T)
    assert scores.mean() < 0 and typical.tolist() == [2.0]
    pairs = torch.stack([scores[:, [0, 0]], scores[:, [0, 2]]], 1)
    _, weight = labels_of(teacher, pairs, typical, -FAR)
    assert weight.tolist() == [[0.0, 1.0]]
    nothing = torch.zeros(1, 1, 2)
    for numbers in ({}, {"equal": 0.1}):  # nobody gained anything: skip, in any case
        assert labels_of(judged_by("return", "first", skip=0.1, **numbers), nothing)[1].item() == 0


def test_a_question_that_is_skipped_is_not_equal_and_one_marked_equal_is_not_flipped() -> None:
    scores = torch.tensor([[[1.0, 1.1], [5.0, 5.1]]])
    teacher = judged_by("return", skip=0.5, equal=0.5, mistake=1.0)
    label, weight = labels_of(teacher, scores, torch.tensor([4.0]))
    assert weight.tolist() == [[0.0, 1.0]] and label[0, 1] == 0.5


@pytest.mark.parametrize("ties", ["first", "second", "equal", "skip"])
def test_a_score_that_is_no_number_is_preferred_to_nothing(ties: Ties) -> None:
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0], [torch.nan, 1.0], [1.0, torch.nan], [torch.nan, torch.nan]])
    label, weight = judge(*scores.unbind(-1), ties)
    assert label[:2].tolist() == [1.0, 0.0] and weight.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_tie_is_marked_equal_where_there_is_an_equal_teacher() -> None:
    scores = torch.full((1, 1, 2), 3.0)
    for typical, weight in ((4.0, 1.0), (0.0, 0.0)):  # nothing is less than a threshold of 0 apart
        answer = labels_of(judged_by("return", equal=0.1), scores, torch.tensor([typical]))
        assert [float(value) for value in answer] == [0.5, weight]


def test_myopia_does_not_prefer_the_later_success() -> None:
    """The goal is each trajectory's own last step: gamma says nothing about two successes."""
    rewards = torch.zeros(1, 2, T)
    rewards[0, 0, 3] = rewards[0, 1, 8] = 10.0
    states = torch.ones(1, 2, T, dtype=torch.int64)
    played = Trajectories(states, states, rewards, torch.tensor([[4, 9]]), torch.zeros(1, 2, dtype=torch.int64))
    assert myopic_scores(Return(), played, 0.5).tolist() == [[10.0, 10.0]]


def test_an_answer_does_not_depend_on_the_seeds_beside_it() -> None:
    teacher = judged_by("progress", beta=0.7, mistake=0.1, skip=0.2, equal=0.3)
    for questions in (1, 3, 7, 17):
        scores = 4 * torch.randn(5, questions, 2, generator=torch.Generator().manual_seed(questions))
        typical, start = torch.arange(5.0), torch.zeros(5, questions, 2)
        label, weight = teacher.labels(PhiloxStreams(range(5)), scores, scores, start, typical)
        for row in range(5):
            alone = teacher.labels(PhiloxStreams([row]), scores[[row]], scores[[row]], start[[row]], typical[[row]])
            assert torch.equal(alone[0][0], label[row]) and torch.equal(alone[1][0], weight[row])


def by_where_it_ended(played: Played) -> Tensor:
    """A criterion that only gives scores."""
    return -played.last.float()


@pytest.mark.parametrize(
    "numbers",
    [{"gamma": 0.5}, {"skip": 0.5}, {"equal": 0.5}, {"beta": 1.0}, {"mistake": 0.2}, {"fatigue": 9.0}, {"bias": 0.5}],
    ids=str,
)
def test_a_criterion_that_only_gives_scores_works_with_every_error(numbers: dict[str, float]) -> None:
    """As Progress does, whose failures it agrees with: walks from the same start that all fail."""
    played, _ = walks(3, 9)
    states = played.states.clone()
    states[..., 0] = FAR
    failed = Trajectories(states, played.actions, torch.zeros_like(played.rewards), played.lengths, played.last + 1)
    recent = Store(9)
    recent.add(failed.fields())
    asked = Questions.of(Trajectories(**{name: value[:, :8] for name, value in failed.fields().items()}))
    number = torch.arange(4)
    pending = Pending(asked, number, number, torch.ones(3, 4, dtype=torch.bool), 0)
    mine, expected = (
        Teacher(criterion, **numbers).answer(pending, recent, PhiloxStreams(range(3)))
        for criterion in (by_where_it_ended, Progress(Line()))
    )
    assert all(torch.equal(one, other) for one, other in zip(mine[:3], expected[:3], strict=True))
    assert mine.weight.any()


B_PREF = {
    "oracle": (None, 1.0, 0.0, 0.0, 0.0),
    "mistake": (None, 1.0, 0.1, 0.0, 0.0),
    "noisy": (1.0, 1.0, 0.0, 0.0, 0.0),
    "skip": (None, 1.0, 0.0, 0.1, 0.0),
    "myopic": (None, 0.9, 0.0, 0.0, 0.0),
    "equal": (None, 1.0, 0.0, 0.0, 0.1),
}


@pytest.mark.parametrize("criterion", ["return", "progress"])
@pytest.mark.parametrize("name", B_PREF)
def test_the_six_teachers_over_either_criterion(name: str, criterion: str) -> None:
    experiment = direct.configured(
        "oprl_maze", f"teacher={name}", f"criterion={criterion}", "num_seeds=2", "env.size=4"
    )
    teacher = experiment.teacher
    assert (teacher.beta, teacher.gamma, teacher.mistake, teacher.skip, teacher.equal) == B_PREF[name]
    assert teacher.criterion is experiment._criterion
    assert teacher.criterion.score_scale == (10.0 if criterion == "return" else 1.0)
    for _ in range(2):
        metrics = experiment.update()
    assert metrics["labels_used"].min() > 0


def test_teachers_and_criteria_in_conf() -> None:
    assert set(choices("teacher")) == {*B_PREF, "tired", "one_sided", "coin", "human", "recorded"}
    assert set(choices("criterion")) == {"return", "discounted_return", "progress", "farthest", "closest"}
