"""Which questions are asked: against plain loops, and within a budget."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import direct
import pytest
import torch

from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories, draw_pairs
from prefrl_cli.preference.queries import Disagreement, Entropy, KCenter, UniformTrajectories, k_centers
from prefrl_cli.preference.questions import segments

R, M, C, K, Q = 3, 3, 40, 6, 4


def candidates() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(R, M, C, generator=generator), torch.randint(0, 3, (R, C, K), generator=generator)


def centres_by_hand(points: list[list[int]], wanted: int, asked: Sequence[list[int]] = ()) -> list[int]:
    """The farthest from those chosen and those asked before, by Euclidean distance of one-hot vectors."""
    vectors, before = (
        [[float(value == one) for value in point for one in range(3)] for point in some] for some in (points, asked)
    )
    chosen: list[int] = [] if asked else [0]
    while len(chosen) < wanted:
        centres = [*before, *(vectors[other] for other in chosen)]
        nearest = [min(math.dist(one, other) for other in centres) for one in vectors]
        left = [number for number in range(len(points)) if number not in chosen]
        chosen.append(max(left, key=lambda number: (nearest[number], -number)))
    return chosen


def best(values: list[float], wanted: int) -> list[int]:
    return sorted(range(len(values)), key=lambda number: -values[number])[:wanted]


def spread(chances: list[list[float]]) -> list[float]:
    means = [sum(some) / M for some in zip(*chances, strict=True)]
    return [math.sqrt(sum((row[c] - means[c]) ** 2 for row in chances) / M) for c in range(C)]


def entropy(chances: list[list[float]]) -> list[float]:
    means = [sum(some) / M for some in zip(*chances, strict=True)]
    return [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in means]


def test_the_first_are_chosen_at_random() -> None:
    chances, steps = candidates()
    assert UniformTrajectories(Q).choose(chances, steps).tolist() == [[0, 1, 2, 3]] * R


@pytest.mark.parametrize(("queries", "value"), [(Disagreement, spread), (Entropy, entropy)])
def test_the_most_informative_are_chosen(queries: Any, value: Any) -> None:
    chances, steps = candidates()
    top, mixed = (queries(centres, questions=Q).choose(chances, steps) for centres in (False, True))
    for r in range(R):
        values = value(chances[r].tolist())
        assert top[r].tolist() == best(values, Q)
        half = best(values, C // 2)
        centres = centres_by_hand([steps[r, number].tolist() for number in half], Q)
        assert mixed[r].tolist() == [half[number] for number in centres]


def test_k_centers() -> None:
    chances, steps = candidates()
    mine = KCenter(questions=Q).choose(chances, steps)
    assert mine.tolist() == [centres_by_hand(row, Q) for row in steps.tolist()]
    equal = torch.zeros(1, 4, K, dtype=torch.int64)
    assert sorted(k_centers(equal, 4)[0].tolist()) == [0, 1, 2, 3]  # never one twice


@pytest.mark.parametrize("queries", [KCenter(Q), Disagreement(True, questions=Q), Entropy(True, questions=Q)])
def test_centres_stay_away_from_what_was_asked(queries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each seed from its own questions, of which it may have none; compared in parts of any size."""
    chances, steps = candidates()
    asked = torch.randint(0, 3, (R, 9, K), generator=torch.Generator().manual_seed(5))
    asked[0, 0] = steps[0, 0]  # what would be the first centre was asked about
    count = torch.tensor([9, 0, 4])
    mine = queries.choose(chances, steps, (asked, count))
    for r in range(R):
        among = list(range(C))
        if queries.needs_members or isinstance(queries, Entropy):
            among = best((entropy if isinstance(queries, Entropy) else spread)(chances[r].tolist()), C // 2)
        before = asked[r, : count[r]].tolist()
        centres = centres_by_hand([steps[r, number].tolist() for number in among], Q, before)
        assert mine[r].tolist() == [among[number] for number in centres]
    assert mine[1].tolist() == queries.choose(chances, steps)[1].tolist()
    assert mine[0].tolist() != queries.choose(chances, steps)[0].tolist()
    monkeypatch.setattr("prefrl_cli.preference.queries._COMPARED_AT_ONCE", 4)
    assert torch.equal(mine, queries.choose(chances, steps, (asked, count)))


def test_an_experiment_tells_its_centres_what_was_answered() -> None:
    experiment = direct.configured("oprl_maze", "queries=k_center", "queries.questions=6", "num_seeds=2", "env.size=4")
    assert experiment.preferences.all() is None
    while experiment.preferences.count.sum() == 0 or experiment.step < 3:
        experiment.update()
    before, mask = experiment.preferences.all()
    asked, count = before.numbered(4), mask.sum(1)
    assert count.tolist() == experiment.preferences.count.tolist()
    for r in range(2):
        kept = experiment.preferences.get(torch.arange(int(count.max())).clamp(max=int(count[r]) - 1).expand(2, -1))
        for number in range(int(count[r])):
            both = []
            for side in range(2):
                length = int(kept.lengths[r, number, side])
                taken = zip(kept.states[r, number, side], kept.actions[r, number, side], strict=True)
                numbers = [4 * int(state) + int(action) for state, action in taken]
                both += numbers[:length] + [-1] * (len(numbers) - length)
            assert asked[r, number].tolist() == both
    told: list[Any] = []
    choose = experiment._queries.choose
    experiment._queries.choose = lambda *given: told.append(given) or choose(*given)
    experiment.update()
    assert torch.equal(told[0][2][0], asked) and torch.equal(told[0][2][1], count)


def test_candidates_are_ten_for_each_question_and_uniform_ones_are_what_they_were() -> None:
    count = torch.tensor([5, 9])
    streams = (PhiloxStreams([1, 2]) for _ in range(2))
    drawn = {each: each(questions=3)(next(streams), count, 3) for each in (Entropy, UniformTrajectories)}
    assert drawn[Entropy].shape == (2, 30, 2)
    assert torch.equal(drawn[UniformTrajectories], draw_pairs(PhiloxStreams([1, 2]), "queries", count, 3))


def test_segments() -> None:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([[1, 4, 9, 6], [9, 3, 5, 2]])
    states = torch.randint(0, 50, (2, 4, 9), generator=generator)
    rewards = torch.where(torch.arange(9) == lengths[..., None] - 1, 10.0, 0.0)
    whole = Trajectories(states, states % 4, rewards, lengths, torch.full((2, 4), 99))
    streams, seen = PhiloxStreams([0, 1]), set()
    for _ in range(50):
        first, taken = UniformTrajectories(segment=4).cut(streams, lengths)
        part = segments(whole, first, taken, 4)
        assert part.states.shape == (2, 4, 4) and torch.equal(taken, lengths.clamp(max=4))
        for r, b in itertools.product(range(2), range(4)):
            start, end = int(first[r, b]), int(first[r, b] + taken[r, b])
            assert 0 <= start < end <= lengths[r, b]
            width = end - start
            assert part.states[r, b, :width].tolist() == states[r, b, start:end].tolist()
            assert part.actions[r, b, :width].tolist() == (states[r, b, start:end] % 4).tolist()
            assert part.rewards[r, b].tolist() == [10.0 * (start + t + 1 == lengths[r, b]) for t in range(width)] + [
                0.0
            ] * (4 - width)
            assert part.last[r, b] == (99 if end == lengths[r, b] else states[r, b, end])
            seen.add((r, b, start))
    assert {start for r, b, start in seen if (r, b) == (0, 2)} == set(range(6))  # every place of 9 - 4 + 1


def test_a_seed_stops_asking_when_its_budget_is_used() -> None:
    """And what it learns from is what it had: the same preferences to the end."""
    experiment = direct.configured(
        "oprl_maze", "criterion=progress", "queries.questions=5", "queries.budget=13", "num_seeds=3", "env.size=4"
    )
    used = [experiment.update()["labels_used"] for _ in range(6)]
    assert used[0].max() <= 5 and used[-1].tolist() == [13.0] * 3
    assert experiment.preferences.count.tolist() == [13] * 3


def test_the_schedule() -> None:
    queries = UniformTrajectories(every=3, start=4)
    assert [step for step in range(12) if queries.due(step)] == [6, 9]
