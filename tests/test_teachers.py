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
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.env.maze import Maze
from prefrl_cli.preference.teacher import Progress, Return, Teacher

T, SIZE = 12, 5
MAZE = Maze(SIZE, 20)
STILL = -int(MAZE.distance[MAZE.start])


def one_answer(
    first: dict[str, Any], second: dict[str, Any], teacher: Teacher, typical: float, coin: float, slip: float
) -> tuple[float, float]:
    """Label and weight of one question: the six steps in order, on Python lists."""
    best = max(first["score"], second["score"]) - (STILL if teacher.criterion == "progress" else 0)
    if teacher.skip > 0 and not best > teacher.skip * typical:  # 1
        return math.nan, 0.0
    equal = abs(first["score"] - second["score"]) < teacher.equal * typical  # 2
    one, two = first["short_sighted"], second["short_sighted"]  # 3
    weight = 1.0
    unit = 10.0 if teacher.criterion == "return" else 1.0
    if one == two and teacher.ties in ("skip", "equal"):
        label, weight = 0.5, 0.0 if teacher.ties == "skip" else 1.0
    elif teacher.beta is not None:  # 4
        label = float(
            coin < math.exp(teacher.beta * one / unit) / sum(math.exp(teacher.beta * g / unit) for g in (one, two))
        )
    else:
        label = 1.0 if one > two or (one == two and teacher.ties == "first") else 0.0
    if slip < teacher.mistake:  # 5
        label = 1 - label
    return (0.5, 1.0) if equal else (label, weight)  # 6


def one_trajectory(rewards: list[float], distances: list[int], teacher: Teacher) -> dict[str, Any]:
    """Score and short-sighted score of one trajectory; `distances` has one more entry than `rewards`."""
    length = len(rewards)
    if teacher.criterion == "return":
        steps = [teacher.discount**t * reward for t, reward in enumerate(rewards)]
        start = 0.0
    else:
        steps = [float(distances[t] - distances[t + 1]) for t in range(length)]
        steps[-1] += T + 1 - length if rewards[-1] > 0 else 0
        start = -float(distances[0])
    weighted = [teacher.gamma ** (length - 1 - t) * step for t, step in enumerate(steps)]
    return {"score": start + sum(steps), "short_sighted": start + sum(weighted)}


def walks(
    seeds: int, episodes: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[list[tuple[list[float], list[int]]]]]:
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
    return rewards, last, visited, lengths, lists


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
    teacher = Teacher(criterion, discount, env=MAZE, **numbers)
    rewards, last, visited, lengths, lists = walks(len(seeds), episodes)
    scores = teacher.score(rewards, last)
    impressions = teacher.impression(rewards, last, visited, lengths)
    exists = torch.arange(episodes) < torch.tensor([[9], [4], [7]])
    typical = teacher.typical(scores, exists, 0.5)
    pairs = torch.tensor([list(itertools.product(range(episodes), repeat=2))] * len(seeds))
    rows = torch.arange(len(seeds))[:, None, None]
    label, weight = teacher.answer(PhiloxStreams(seeds), scores[rows, pairs], impressions[rows, pairs], typical)
    drawn = PhiloxStreams(seeds).uniform("teacher", pairs.shape[1], 2)
    for r in range(len(seeds)):
        alone = [one_trajectory(*walk, teacher) for walk in lists[r]]
        assert scores[r].tolist() == pytest.approx([one["score"] for one in alone], abs=1e-5)
        still = STILL if criterion == "progress" else 0
        gains = [abs(one["score"] - still) for one, there in zip(alone, exists[r], strict=True) if there]
        assert float(typical[r]) == pytest.approx(0.5 * sum(gains) / len(gains))
        for q, (i, j) in enumerate(pairs[r].tolist()):
            # The rounding of float32 may not decide what is a tie, so the two take the same scores.
            given = [{"score": float(scores[r, k]), "short_sighted": float(impressions[r, k])} for k in (i, j)]
            assert given[0]["short_sighted"] == pytest.approx(alone[i]["short_sighted"], abs=1e-5)
            expected = one_answer(*given, teacher, float(typical[r]), *drawn[r, q].tolist())
            assert float(weight[r, q]) == expected[1]
            assert expected[1] == 0 or float(label[r, q]) == expected[0]


def test_without_an_error_the_answer_is_the_label_and_nothing_is_drawn() -> None:
    scores = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]])
    streams = PhiloxStreams([4])
    for ties in ("first", "second", "equal", "skip"):
        teacher = Teacher(ties=ties)
        answer = teacher.answer(streams, scores, scores, torch.zeros(1))
        for mine, expected in zip(answer, teacher.label(*scores.unbind(-1)), strict=True):
            assert torch.equal(mine, expected)
    assert streams.state() == {}


def shares(teacher: Teacher, first: float, second: float, count: int = 4000) -> int:
    """How often the first is preferred."""
    scores = torch.tensor([first, second]).expand(1, count, 2)
    label, weight = teacher.answer(PhiloxStreams([2]), scores, scores, torch.ones(1))
    assert weight.eq(1).all() and ((label == 0) | (label == 1)).all()
    return int(label.sum())


def test_a_mistake_is_made_with_its_chance_and_not_with_its_square() -> None:
    wrong = 4000 - shares(Return(mistake=0.1), 10.0, 0.0)
    assert binomtest(wrong, 4000, 0.1).pvalue > 0.01
    assert binomtest(wrong, 4000, 0.01).pvalue < 1e-6


@pytest.mark.parametrize(("criterion", "first"), [("return", 10.0), ("progress", 1.0)])
def test_the_unit_of_beta_is_the_goal_reward_or_a_step(criterion: str, first: float) -> None:
    teacher = Teacher(criterion, beta=1.0, env=MAZE)
    assert binomtest(shares(teacher, first, 0.0), 4000, 1 / (1 + math.exp(-1))).pvalue > 0.01


def test_a_tie_that_must_be_decided_is_a_fair_coin_where_beta_is_finite() -> None:
    assert shares(Return(ties="first"), 3.0, 3.0) == 4000
    assert binomtest(shares(Return(ties="first", beta=5.0), 3.0, 3.0), 4000, 0.5).pvalue > 0.01


def test_thresholds_work_where_the_mean_score_is_not_positive() -> None:
    """All have failed and the mean score is below zero: who went nowhere is skipped, who came nearer is not."""
    teacher = Progress(skip=0.5, env=MAZE)
    scores = torch.tensor([[STILL, STILL, STILL + 4.0, STILL + 4.0]])
    typical = teacher.typical(scores, torch.ones(1, 4, dtype=torch.bool))
    assert scores.mean() < 0 and typical.tolist() == [2.0]
    pairs = torch.stack([scores[:, [0, 0]], scores[:, [0, 2]]], 1)
    _, weight = teacher.answer(PhiloxStreams([0]), pairs, pairs, typical)
    assert weight.tolist() == [[0.0, 1.0]]
    nothing = torch.zeros(1, 1, 2)
    for numbers in ({"ties": "first"}, {"ties": "first", "equal": 0.1}):  # nobody gained anything: skip, in any case
        assert Return(skip=0.1, **numbers).answer(PhiloxStreams([0]), nothing, nothing, torch.zeros(1))[1].item() == 0


def test_a_question_that_is_skipped_is_not_equal_and_one_marked_equal_is_not_flipped() -> None:
    scores = torch.tensor([[[1.0, 1.1], [5.0, 5.1]]])
    teacher = Return(skip=0.5, equal=0.5, mistake=1.0)
    label, weight = teacher.answer(PhiloxStreams([0]), scores, scores, torch.tensor([4.0]))
    assert weight.tolist() == [[0.0, 1.0]] and label[0, 1] == 0.5


def test_a_tie_is_marked_equal_where_there_is_an_equal_teacher() -> None:
    scores = torch.full((1, 1, 2), 3.0)
    for typical, weight in ((4.0, 1.0), (0.0, 0.0)):  # nothing is less than a threshold of 0 apart
        answer = Return(equal=0.1, ties="skip").answer(PhiloxStreams([0]), scores, scores, torch.tensor([typical]))
        assert [float(value) for value in answer] == [0.5, weight]


def test_myopia_does_not_prefer_the_later_success() -> None:
    """The goal is each trajectory's own last step: gamma says nothing about two successes."""
    rewards = torch.zeros(1, 2, T)
    rewards[0, 0, 3] = rewards[0, 1, 8] = 10.0
    visited = torch.ones(1, 2, T, dtype=torch.int64)
    teacher = Return(gamma=0.5)
    impressions = teacher.impression(rewards, torch.zeros(1, 2), visited, torch.tensor([[4, 9]]))
    assert impressions.tolist() == [[10.0, 10.0]]


def test_an_answer_does_not_depend_on_the_seeds_beside_it() -> None:
    teacher = Teacher("progress", beta=0.7, mistake=0.1, skip=0.2, equal=0.3, env=MAZE)
    for questions in (1, 3, 7, 17):
        scores = 4 * torch.randn(5, questions, 2, generator=torch.Generator().manual_seed(questions))
        typical = torch.arange(5.0)
        label, weight = teacher.answer(PhiloxStreams(range(5)), scores, scores, typical)
        for row in range(5):
            alone = teacher.answer(PhiloxStreams([row]), scores[[row]], scores[[row]], typical[[row]])
            assert torch.equal(alone[0][0], label[row]) and torch.equal(alone[1][0], weight[row])


def test_a_discount_of_progress_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^discount=0.9: only a return is discounted; try discount=1.0$"):
        Teacher("progress", 0.9)
    with pytest.raises(ConfigError, match=r"^teacher.discount=0.98: .*; try teacher.discount=1.0$"):
        direct.configured("oprl_maze", "teacher.criterion=progress")


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
        "oprl_maze", f"teacher={name}", f"teacher.criterion={criterion}", "num_seeds=2", "env.size=4"
    )
    teacher = experiment._teacher
    assert (teacher.beta, teacher.gamma, teacher.mistake, teacher.skip, teacher.equal) == B_PREF[name]
    assert teacher.criterion == criterion and teacher.unit == (10.0 if criterion == "return" else 1.0)
    for _ in range(2):
        metrics = experiment.update()
    assert metrics["labels_used"].min() > 0


def test_teachers_in_conf() -> None:
    assert set(choices("teacher")) == {*B_PREF, "return", "discounted_return", "progress", "closest"}
