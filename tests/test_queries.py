"""Which questions are asked: against plain loops, and within a budget; ensembles as one more axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import direct
import pytest
import torch

from prefrl_cli.choices import choices
from prefrl_cli.data import Trajectories, draw_pairs
from prefrl_cli.env.maze import Maze
from prefrl_cli.options import ConfigError
from prefrl_cli.queries import Disagreement, Entropy, KCenter, UniformTrajectories, k_centers, segments
from prefrl_cli.replicas import Network
from prefrl_cli.reward_model import ImplicitReward, ProcessReward
from prefrl_cli.streams import PhiloxStreams
from prefrl_cli.teacher import Return

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
    monkeypatch.setattr("prefrl_cli.queries._COMPARED_AT_ONCE", 4)
    assert torch.equal(mine, queries.choose(chances, steps, (asked, count)))


def test_an_experiment_tells_its_centres_what_was_answered() -> None:
    experiment = direct.configured("oprl_maze", "queries=k_center", "queries.questions=6", "num_seeds=2", "env.size=4")
    assert experiment._questions._asked_before() is None
    while experiment._preferences.count.sum() == 0 or experiment.step < 3:
        experiment.update()
    asked, count = experiment._questions._asked_before()
    assert count.tolist() == experiment._preferences.count.tolist()
    for r in range(2):
        kept = experiment._preferences.get(torch.arange(int(count.max())).clamp(max=int(count[r]) - 1).expand(2, -1))
        for number in range(int(count[r])):
            both = []
            for side in range(2):
                length = int(kept["lengths"][r, number, side])
                taken = zip(kept["states"][r, number, side], kept["actions"][r, number, side], strict=True)
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
    drawn = {queries: queries(questions=3)(PhiloxStreams([1, 2]), count) for queries in (Entropy, UniformTrajectories)}
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


def test_within_a_budget() -> None:
    answered = torch.tensor([[True, False, True, True], [True, True, True, True], [True, True, False, False]])
    used = torch.tensor([3, 5, 0])
    kept = UniformTrajectories(budget=5).within(answered, used)
    assert kept.tolist() == [[True, False, True, False], [False] * 4, [True, True, False, False]]
    assert UniformTrajectories().within(answered, used) is answered
    spent = [UniformTrajectories(budget=budget).spent(used) for budget in (0, 3, 5)]
    assert spent == [True, False, False]


def test_a_seed_stops_asking_when_its_budget_is_used() -> None:
    """And what it learns from is what it had: the same preferences to the end."""
    experiment = direct.configured(
        "oprl_maze", "teacher=progress", "queries.questions=5", "queries.budget=13", "num_seeds=3", "env.size=4"
    )
    used = [experiment.update()["labels_used"] for _ in range(6)]
    assert used[0].max() <= 5 and used[-1].tolist() == [13.0] * 3
    assert experiment._preferences.count.tolist() == [13] * 3


def test_the_schedule() -> None:
    queries = UniformTrajectories(every=3, start=4)
    assert [step for step in range(12) if queries.due(step)] == [6, 9]


# --- ensembles ----------------------------------------------------------------------------------------------------


def test_an_ensemble_is_as_many_networks() -> None:
    """The first member is the network that would stand there alone; each has a gradient of its own."""
    ensemble = Network(PhiloxStreams([4, 9]), "init", 3, [8], 2, members=3)
    assert ensemble.parameters.flat.shape[0] == 2
    features = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0))
    outputs = ensemble(features)
    gradient = ensemble.parameters.gradient(outputs.square().sum((1, 2)).view(2, 3).sum(1)).view(2, 3, -1)
    for member, purpose in enumerate(("init", "init/1", "init/2")):
        alone = Network(PhiloxStreams([4, 9]), purpose, 3, [8], 2)
        mine = alone(features[member::3])
        assert torch.equal(mine, outputs[member::3])
        assert torch.equal(alone.parameters.gradient(mine.square().sum((1, 2))), gradient[:, member])
        assert torch.equal(alone.parameters.flat, ensemble.parameters.flat.view(2, 3, -1)[:, member])


@pytest.mark.parametrize("kind", [ProcessReward, ImplicitReward])
def test_mean_and_pessimistic_rewards(kind: Any) -> None:
    env, streams = Maze(4), PhiloxStreams([1, 2])
    mean, least = kind(env, streams, 16, members=3), kind(env, PhiloxStreams([1, 2]), 16, members=3, combine="min")
    generator = torch.Generator().manual_seed(0)
    states, actions = (torch.randint(0, high, (2, 5, 7), generator=generator) for high in (16, 4))
    each = mean.member_rewards(states, actions)
    if kind is ImplicitReward:  # all start as one function: let them learn something
        with torch.no_grad():
            for model in (mean, least):
                model.parameters.flat += 0.1
        each = mean.member_rewards(states, actions)
    assert each.shape == (2, 3, 5, 7) and not torch.allclose(each[:, 0], each[:, 1], atol=1e-3)
    torch.testing.assert_close(mean.step_rewards(states, actions), each.mean(1))
    assert torch.equal(least.step_rewards(states, actions), each.min(1).values)
    alone = kind(env, PhiloxStreams([1, 2]), 16)
    if kind is ImplicitReward:
        with torch.no_grad():
            alone.parameters.flat += 0.1
    assert torch.equal(alone.step_rewards(states, actions), each[:, 0])
    assert torch.equal(alone.member_rewards(states, actions), each[:, :1])
    assert mean(states).shape == least(states).shape == (2, 5, 7) and bool((least(states) <= mean(states)).all())


def test_members_of_an_implicit_model_are_silent_at_first_and_then_disagree() -> None:
    experiment = direct.configured(
        "oprl_maze", "queries=disagreement", "queries.questions=20", "teacher=progress", "num_seeds=2"
    )
    model = experiment.reward_model
    assert model.members == 3
    states, actions = (
        of.reshape(-1).expand(2, -1) for of in torch.meshgrid(torch.arange(64), torch.arange(4), indexing="ij")
    )
    assert model.member_rewards(states, actions).abs().max() < 1e-6
    assert not torch.allclose(*model.parameters.flat.view(2, 3, -1)[0, :2])
    experiment.update()
    with torch.no_grad():
        learned = model.member_rewards(states, actions)
    between = learned.std(1).mean(1)
    assert between.min() > 0.02 * learned.std() > 0


def test_members_are_as_many_as_the_queries_need() -> None:
    for queries, typed, expected in (
        ("disagreement", [], 3), ("disagreement_k_center", [], 3), ("entropy", [], 1), ("uniform_trajectories", [], 1),
        ("disagreement", ["reward_model.members=5"], 5), ("entropy", ["reward_model.members=2"], 2),
    ):  # fmt: skip
        for model in ("process", "implicit"):
            shaping = "none" if model == "process" else "step_advantage"
            chosen = [f"queries={queries}", f"reward_model={model}", f"shaping={shaping}", *typed]
            assert direct.configured("oprl_maze", *chosen).reward_model.members == expected


def test_members_learn_apart_from_one_another() -> None:
    """The first of three is fitted as it would be alone, as long as it is given the same preferences."""
    alone, together = (
        direct.configured(
            "oprl_maze", "num_seeds=2", "teacher=progress", "shaping=none", f"reward_model.members={members}"
        )
        for members in (1, 3)
    )
    for _ in range(2):
        losses = [some.update()["reward_loss"] for some in (alone, together)]
    flat = together.reward_model.parameters.flat.view(2, 3, -1)
    assert torch.equal(alone.reward_model.parameters.flat, flat[:, 0])
    assert not torch.equal(flat[:, 0], flat[:, 1]) and not torch.equal(*losses)


VARIANTS = {
    "disagreement": ["queries=disagreement", "teacher=noisy", "teacher.mistake=0.2"],
    "disagreement, implicit": [
        "queries=disagreement_k_center", "reward_model=implicit", "reward_model.members=2", "shaping=step_advantage"
    ],
    "entropy": ["queries=entropy", "teacher=myopic", "queries.segment=9", "loss=rao_kupper", "teacher.ties=equal"],
    "entropy and centres": ["queries=entropy_k_center", "reward_model.combine=min", "reward_model.members=2"],
    "centres": ["queries=k_center", "teacher=skip", "queries.budget=15", "loss=davidson"],
    "segments": ["queries=uniform_trajectories", "teacher=equal", "queries.segment=5", "env.layout=random"],
}  # fmt: skip


def configured(name: str, seeds: Sequence[int]) -> Any:
    return direct.configured(
        "oprl_maze", "teacher.criterion=progress", "teacher.discount=1.0", "queries.questions=7",
        "queries.recent=20", "env.size=5", "env.horizon=20", "reward_update.batch=9", f"seed={seeds[0]}",
        f"num_seeds={len(seeds)}",
        *[part if "=" in part else part for part in sorted(VARIANTS[name], key=lambda text: "." in text.split("=")[0])],
    )  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_seed_alone_and_among_others(name: str) -> None:
    groups = [configured(name, seeds) for seeds in ([7], [5, 6, 7, 8, 9])]
    for _ in range(4):
        alone, among = (experiment.update() for experiment in groups)
        for metric, value in alone.items():
            assert torch.equal(value[0].nan_to_num(-1), among[metric][2].nan_to_num(-1)), metric
    alone, among = (experiment.evaluate() for experiment in groups)
    for metric, value in alone.items():
        assert torch.equal(value[0].nan_to_num(-1), among[metric][2].nan_to_num(-1)), metric
    flats = [experiment.reward_model.parameters.flat for experiment in groups]
    assert torch.equal(flats[0][0], flats[1][2])
    assert alone["labels_used"] > 0


def test_queries_in_conf() -> None:
    assert {"uniform_trajectories", "disagreement", "entropy", "k_center", "disagreement_k_center"} < set(
        choices("queries")
    )
    experiment = direct.configured("oprl_maze", "queries=entropy_k_center")
    assert experiment._queries.centres


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["queries=disagreement", "reward_model.members=1"],
            "reward_model.members=1: no two disagree; try reward_model.members=3",
        ),
        (["queries.recent=1"], "queries.recent=1: must be a whole number between 2 .*; try queries.recent=2"),
        (["queries.segment=61"], "queries.segment=61: an episode has at most 60 steps; try queries.segment=60"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}$"):
        direct.configured("oprl_maze", *overrides)


def test_return_teacher_of_segments_sees_their_rewards_only() -> None:
    """Segments without the goal tie and are skipped: whole successes are one question in few."""
    labels = []
    for segment in (None, 3):
        experiment = direct.ppo_maze(
            [1], env=Maze(4), teacher=Return(), queries=UniformTrajectories(questions=200, segment=segment)
        )
        labels.append(int(experiment.update()["labels_used"]))
    assert 0 < labels[1] < labels[0]


@pytest.mark.parametrize("overrides", [["queries.start=2"], ["queries.budget=0"]], ids=str)
def test_a_policy_learns_before_anything_was_asked_as_without_a_teacher(overrides: list[str]) -> None:
    experiment, plain = (
        direct.configured("oprl_maze", "num_seeds=2", "env.size=4", *some) for some in (overrides, ["shaping=none"])
    )
    for _ in range(2):
        metrics, expected = experiment.update(), plain.update()
        assert torch.equal(metrics["policy_loss"], expected["policy_loss"])
    assert not metrics["labels_used"].any() and "reward_loss" not in metrics
    assert torch.equal(experiment.policy_optimizer.parameters.flat, plain.policy_optimizer.parameters.flat)
    assert experiment.evaluate()["label_accuracy"].isfinite().all()


def test_ties_alone_leave_the_step_advantage_at_zero() -> None:
    """No one reaches the goal, so that every answer says equal: a model fitted to that has no direction to give."""
    experiment = direct.configured(
        "oprl_maze", "num_seeds=2", "teacher=return", "teacher.ties=equal", "env.size=16", "env.horizon=30",
        "queries.questions=5", "queries.recent=20",
    )  # fmt: skip
    for _ in range(2):
        metrics = experiment.update()
    assert metrics["labels_used"].tolist() == [10.0, 10.0] and not metrics["success"].any()
    played = experiment._play(3, 0.0, "here")
    rewards = experiment.reward_model.step_rewards(played.states, played.actions)
    assert rewards.abs().amax((1, 2)).min() > 0  # it is not silent: the policy has moved away from where both began
    assert not experiment._shape(played).advantages.any()
    experiment._preferences._items["label"][0] = 1.0  # one preference of the first seed
    advantages = experiment._shape(played).advantages
    assert advantages[0].any() and not advantages[1].any()


def test_held_out_ties_do_not_count_whatever_a_tie_is_called() -> None:
    weights = [
        direct.configured("oprl_maze", "num_seeds=2", "env.size=4", f"teacher.ties={ties}")._held_out().weights
        for ties in ("second", "first", "equal", "skip")
    ]
    assert 0 < weights[0].mean() < 1
    assert all(torch.equal(weights[0], other) for other in weights[1:])


def test_a_potential_has_the_discount_of_the_policy_update() -> None:
    experiment = direct.configured("oprl_maze", "shaping=potential", "policy_update.discount=0.9")
    assert experiment._shaping.discount == 0.9


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_progress_of_a_failed_segment_is_what_it_gained_itself(gamma: float) -> None:
    experiment = direct.configured(
        "oprl_maze", "teacher=progress", f"teacher.gamma={gamma}", "env.size=16", "env.horizon=100", "num_seeds=2",
        "queries.segment=7", "queries.questions=100",
    )  # fmt: skip
    for _ in range(2):
        experiment.update()
    env, questions = experiment.env, experiment._questions
    both = questions._candidates(experiment._trajectories)
    impressions, _ = questions._impressions(both, experiment._trajectories)
    assert impressions.unique().numel() > 5
    for r, q, side in itertools.product(range(2), range(100), range(2)):
        states, last = both["states"][r, q, side].tolist(), int(both["last"][r, q, side])
        assert last != env.goal and len(states) == 7
        distances = [int(env.distance[state]) for state in (*states, last)]
        gained = [before - after for before, after in itertools.pairwise(distances)]
        seen = sum(gamma ** (6 - step) * gain for step, gain in enumerate(gained))
        assert float(both["score"][r, q, side]) == sum(gained) - env.distance[env.start]
        assert float(impressions[r, q, side]) == pytest.approx(seen - env.distance[env.start], abs=1e-4)
