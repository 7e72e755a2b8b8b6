"""Every loss, shaping, advantage and draw against a straightforward version of its own."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories, draw_pairs, draw_places, draw_subsets, standardise
from prefrl_cli.env.maze import Maze
from prefrl_cli.policy.advantages import bootstrapped, discounted_returns, generalised_advantages
from prefrl_cli.policy.distributions import Categorical
from prefrl_cli.preference.criterion import Closest, Progress, Return, judge
from prefrl_cli.preference.loss import bradley_terry
from prefrl_cli.reward_model.shaping import AdditiveShaping, NoShaping, PotentialShaping

R, B, T = 3, 4, 9


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def episodes() -> tuple[Tensor, list[list[int]]]:
    """A mask `[R, B, T]` and the lengths it stands for, the shortest 1 and the longest T."""
    lengths = [[1, 2, 5, T], [T, 3, 3, 8], [4, 1, 7, 6]]
    return (torch.arange(T) < torch.tensor(lengths)[..., None]).double(), lengths


def test_discounted_returns() -> None:
    rewards = numbers(R, B, T)
    mine = discounted_returns(rewards, 0.9)
    for r, b, t in np.ndindex(R, B, T):
        assert mine[r, b, t] == pytest.approx(sum(0.9**k * float(rewards[r, b, t + k]) for k in range(T - t)))


def test_generalised_advantages() -> None:
    mask, lengths = episodes()
    rewards, values = numbers(R, B, T) * mask, numbers(R, B, T, seed=1)
    mine = generalised_advantages(rewards, values, mask, 0.9, 0.8)
    for r, b in np.ndindex(R, B):
        end = lengths[r][b]
        value = [*values[r, b, :end].tolist(), 0.0]
        error = [float(rewards[r, b, t]) + 0.9 * value[t + 1] - value[t] for t in range(end)]
        expected = [sum((0.9 * 0.8) ** k * error[t + k] for k in range(end - t)) for t in range(end)]
        assert mine[r, b].tolist() == pytest.approx(expected + [0.0] * (T - end))


def test_generalised_advantages_at_the_ends_of_lambda() -> None:
    """With lambda 1 the advantage is the return less the value; with 0 it is the one-step error."""
    mask, _ = episodes()
    rewards, values = numbers(R, B, T) * mask, numbers(R, B, T, seed=1) * mask
    monte_carlo = generalised_advantages(rewards, values, mask, 0.9, 1.0)
    torch.testing.assert_close(monte_carlo, (discounted_returns(rewards, 0.9) - values) * mask)
    following = torch.nn.functional.pad(values[..., 1:], (0, 1))
    one_step = generalised_advantages(rewards, values, mask, 0.9, 0.0)
    torch.testing.assert_close(one_step, (rewards + 0.9 * following - values) * mask)


def values_of_states(states: torch.Tensor) -> tuple[None, torch.Tensor]:
    """A policy that gives state s the value s / 10."""
    return None, states / 10


def test_the_value_counts_past_a_time_limit_and_not_past_an_end() -> None:
    """By hand: three steps of which the last leads to state 7, worth 0.7, with discount 0.5 and lambda 0.5."""
    states = torch.tensor([[[1, 2, 3], [1, 2, 3]]])
    rewards, lengths, last = torch.tensor([[[0.0, 1.0, 2.0]] * 2]), torch.tensor([[3, 3]]), torch.tensor([[7, 7]])
    played = Trajectories(states, states, rewards, lengths, last, torch.tensor([[False, True]]))
    scaled = bootstrapped(rewards, played, values_of_states, 0.5)
    cut, ended = generalised_advantages(scaled, states / 10, played.mask, 0.5, 0.5)[0].tolist()
    # Errors: 0 + 0.5 * 0.2 - 0.1 = 0, 1 + 0.5 * 0.3 - 0.2 = 0.95, 2 + 0.5 * 0.7 - 0.3 = 2.05, or 1.7 without 0.35.
    assert cut == pytest.approx([0.25 * 0.95 + 0.0625 * 2.05, 0.95 + 0.25 * 2.05, 2.05])
    assert ended == pytest.approx([0.25 * 0.95 + 0.0625 * 1.7, 0.95 + 0.25 * 1.7, 1.7])
    whole = Trajectories(states, states, rewards, lengths, last)
    assert whole.terminated.all() and bootstrapped(rewards, whole, values_of_states, 0.5) is rewards


def test_a_potential_counts_past_a_time_limit_and_not_past_an_end() -> None:
    states = torch.tensor([[[1, 2, 3], [1, 2, 3]]])
    ended = torch.tensor([[False, True]])
    lengths, last = torch.tensor([[3, 3]]), torch.tensor([[7, 7]])
    played = Trajectories(states, states, torch.zeros(1, 2, 3), lengths, last, ended)
    shaped = PotentialShaping(2.0, 0.5)(played, lambda states: states / 10)
    assert shaped[0, 0].tolist() == pytest.approx([2 * (0.1 - 0.1), 2 * (0.15 - 0.2), 2 * (0.35 - 0.3)])
    assert shaped[0, 1].tolist() == pytest.approx([0.0, -0.1, -0.6])


def test_standardise() -> None:
    mask, lengths = episodes()
    values = numbers(R, B, T) * 5 + 3
    for floor, smallest in ((False, 1e-8), (False, 0.5), (True, 0.5), (True, 6.0)):
        mine = standardise(values, mask, smallest, floor=floor)
        for r, b in np.ndindex(R, B):
            some = values[r, b, : lengths[r][b]].numpy()
            deviation = some.std(ddof=1) if len(some) > 1 else 0.0
            divisor = max(deviation, smallest) if floor else deviation + smallest
            expected = [*((some - some.mean()) / divisor), *[0.0] * (T - len(some))]
            assert mine[r, b].tolist() == pytest.approx(expected)


def test_bradley_terry() -> None:
    logits, labels = numbers(R, B) * 3, torch.tensor([[1.0, 0.0, 0.5, 1.0]] * R).double()
    weights = torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0] * 4]).double()
    logits.requires_grad_()
    mine = bradley_terry(logits, labels, weights)
    (gradient,) = torch.autograd.grad(mine.sum(), logits)
    for r in range(R):
        chances = [1 / (1 + math.exp(-x)) for x in logits[r].tolist()]
        answers = zip(labels[r].tolist(), chances, strict=True)
        each = [-(y * math.log(p) + (1 - y) * math.log(1 - p)) for y, p in answers]
        counted = [b for b in range(B) if weights[r, b]]
        assert mine[r].item() == pytest.approx(sum(each[b] for b in counted) / max(len(counted), 1))
        slopes = [(chances[b] - float(labels[r, b])) / len(counted) if b in counted else 0.0 for b in range(B)]
        assert gradient[r].tolist() == pytest.approx(slopes)


def test_bradley_terry_stays_finite_where_a_probability_rounds_to_zero() -> None:
    logits = torch.tensor([[120.0, -120.0]], requires_grad=True)
    loss = bradley_terry(logits, torch.tensor([[0.0, 1.0]]), torch.ones(1, 2))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.item() == pytest.approx(120.0)
    assert gradient.tolist() == [[0.5, -0.5]]


def test_entropy() -> None:
    logs = numbers(R, B, 4).log_softmax(-1)
    expected = torch.distributions.Categorical(logits=logs).entropy()
    torch.testing.assert_close(Categorical(logs).entropy(), expected)
    assert float(Categorical(torch.full((4,), 0.25).log()).entropy()) == pytest.approx(math.log(4))


def trajectories() -> tuple[Trajectories, Tensor, list[list[int]]]:
    """Episodes over 12 states, a process reward for each state, and the lengths."""
    mask, lengths = episodes()
    states = torch.randint(0, 12, (R, B, T), generator=torch.Generator().manual_seed(3))
    some = Trajectories(states, states % 4, numbers(R, B, T) * mask, torch.tensor(lengths), states[..., 0])
    return some, numbers(12, seed=1), lengths


def test_shaping() -> None:
    some, process, lengths = trajectories()
    added = AdditiveShaping(0.1)(some, lambda states: process[states])
    potential = PotentialShaping(2.0, 0.9)(some, lambda states: process[states])
    assert NoShaping()(some, lambda states: process[states]) is some.rewards
    for r, b in np.ndindex(R, B):
        end, visited = lengths[r][b], [float(process[state]) for state in some.states[r, b]]
        for t in range(end):
            reward, following = float(some.rewards[r, b, t]), visited[t + 1] if t + 1 < end else 0.0
            assert float(added[r, b, t]) == pytest.approx(reward + 0.1 * visited[t])
            assert float(potential[r, b, t]) == pytest.approx(reward + 2.0 * (0.9 * following - visited[t]))
        assert added[r, b, end:].eq(0).all() and potential[r, b, end:].eq(0).all()


def test_potential_shaping_takes_the_first_potential_from_every_return() -> None:
    """Whatever the actions were, which is why the best policy stays the best (Ng et al. 1999)."""
    some, process, _ = trajectories()
    shaped = PotentialShaping(1.0, 0.9)(some, lambda states: process[states])
    difference = discounted_returns(shaped, 0.9)[..., 0] - discounted_returns(some.rewards, 0.9)[..., 0]
    torch.testing.assert_close(difference, -process[some.states[..., 0]])


@pytest.mark.parametrize(
    ("ties", "label", "weight"), [("first", 1.0, 1.0), ("second", 0.0, 1.0), ("equal", 0.5, 1.0), ("skip", 0.5, 0.0)]
)
def test_judge(ties: str, label: float, weight: float) -> None:
    labels, weights = judge(torch.tensor([[2.0, 1.0, 1.0]]), torch.tensor([[1.0, 2.0, 1.0]]), ties)
    assert labels.tolist() == [[1.0, 0.0, label]]
    assert weights.tolist() == [[1.0, 1.0, weight]]


def test_criteria_score_trajectories() -> None:
    """Success after 3 and after 5 steps, then failures 4 and 2 steps from the goal."""
    rewards = torch.zeros(1, 4, 6)
    rewards[0, 0, 2] = rewards[0, 1, 4] = 10.0
    env = Maze(4)
    near = [int((env.distance == steps).argmax()) for steps in (0, 0, 4, 2)]
    states = torch.zeros(1, 4, 6, dtype=torch.int64)
    played = Trajectories(states, states, rewards, torch.tensor([[3, 5, 6, 6]]), torch.tensor([near]))
    assert Return()(played).tolist() == [[10.0, 10.0, 0.0, 0.0]]
    assert Return(discount=0.5)(played).tolist() == [[2.5, 0.625, 0.0, 0.0]]
    assert Progress(env)(played).tolist() == [[4.0, 2.0, -4.0, -2.0]]
    answers, actions = torch.tensor([[5.0, 5.0]]), torch.tensor([[7.0, 2.0]])
    assert Closest()(answers, actions).tolist() == [[-2.0, -3.0]]


# --- draws from a store -------------------------------------------------------------------------------------------


def test_draw_pairs_are_two_different_places_each_equally_often() -> None:
    streams, count = PhiloxStreams([11]), torch.tensor([6])
    pairs = torch.cat([draw_pairs(streams, "p", count, 100) for _ in range(60)], 1)[0]  # [6000, 2]
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert (pairs.min(), pairs.max()) == (0, 5)
    seen = torch.bincount(pairs[:, 0] * 6 + pairs[:, 1], minlength=36).view(6, 6)
    assert seen.diagonal().eq(0).all()
    assert chisquare(seen[~torch.eye(6, dtype=torch.bool)].numpy()).pvalue > 0.01


def test_draw_pairs_and_places_of_the_newest() -> None:
    streams, count = PhiloxStreams([1, 2, 3]), torch.tensor([2, 5, 40])
    pairs = draw_pairs(streams, "p", count, 300, recent=4)
    places = draw_places(streams, "q", count, 300, recent=4)
    for row, expected in enumerate([{0, 1}, {1, 2, 3, 4}, {36, 37, 38, 39}]):
        assert set(pairs[row].flatten().tolist()) == set(places[row].tolist()) == expected
        assert (pairs[row, :, 0] != pairs[row, :, 1]).all()


def test_draw_places_are_uniform() -> None:
    places = draw_places(PhiloxStreams([5]), "p", torch.tensor([7]), 7000)[0]
    assert chisquare(torch.bincount(places, minlength=7).numpy()).pvalue > 0.01


def subset(streams: PhiloxStreams, counts: list[int], size: int, capacity: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One subset a seed, `[R, size]`; the draws of several are checked to be those of one after the other."""
    state = streams.state()
    count = torch.tensor(counts)
    places, exists = draw_subsets(streams, "p", count, 2, size, capacity)
    streams.restore(state)
    one = draw_subsets(streams, "p", count, 1, size, capacity)
    other = draw_subsets(streams, "p", count, 1, size, capacity)
    assert torch.equal(places, torch.cat([one[0], other[0]], 1)) and torch.equal(exists[:, :1], one[1])
    return places[:, 0], exists[:, 0]


def test_draw_subsets_is_uniform_over_subsets() -> None:
    streams = PhiloxStreams([3])
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(2000):
        places, exists = subset(streams, [5], 3, 9)
        assert exists.all()
        chosen = tuple(sorted(places[0].tolist()))
        assert len(set(chosen)) == 3
        seen[chosen] = seen.get(chosen, 0) + 1
    assert len(seen) == math.comb(5, 3)
    assert chisquare(list(seen.values())).pvalue > 0.01


def test_draw_subsets_of_fewer_items_than_wanted() -> None:
    places, exists = subset(PhiloxStreams([1, 2, 3, 4]), [0, 2, 8, 30], 8, 40)
    assert exists.sum(1).tolist() == [0, 2, 8, 8]
    for row, count in enumerate((0, 2, 8, 30)):
        chosen = places[row][exists[row]].tolist()
        assert len(set(chosen)) == len(chosen) and all(0 <= place < count for place in chosen)
    assert sorted(places[1][exists[1]].tolist()) == [0, 1]
    assert sorted(places[2].tolist()) == list(range(8))
    assert places[~exists].eq(0).all()


def test_draws_do_not_depend_on_the_seeds_beside() -> None:
    counts = {1: 4, 2: 9, 3: 40}
    together = subset(PhiloxStreams(list(counts)), list(counts.values()), 6, 40)
    for row, (seed, count) in enumerate(counts.items()):
        alone = subset(PhiloxStreams([seed]), [count], 6, 40)
        assert torch.equal(alone[0][0], together[0][row]) and torch.equal(alone[1][0], together[1][row])


# --- the store --------------------------------------------------------------------------------------------------


def test_store_keeps_the_newest_of_each_seed() -> None:
    """Against one deque a seed, with a different number of items wanted each time."""
    capacity, generator = 7, np.random.default_rng(0)
    store, queues = Store(capacity), [deque(maxlen=capacity) for _ in range(R)]
    assert len(store.count) == 0
    for turn in range(40):
        batch = int(generator.integers(1, capacity + 1))
        values = torch.from_numpy(generator.normal(size=(R, batch, 2)))
        names = torch.from_numpy(generator.integers(0, 1000, (R, batch)))
        wanted = torch.from_numpy(generator.random((R, batch)) < (0.2, 0.9)[turn % 2])
        store.add({"values": values, "names": names}, wanted)
        for row, queue in enumerate(queues):
            queue.extend((values[row, b].tolist(), int(names[row, b])) for b in range(batch) if wanted[row, b])
        assert store.count.tolist() == [len(queue) for queue in queues]
        fewest = min(len(queue) for queue in queues)
        places = torch.arange(fewest).expand(R, -1)
        newest = (store.count[:, None] - 1 - places) if fewest else places
        for chosen in (places, newest):
            kept = store.get(chosen)
            for row, queue in enumerate(queues):
                expected = [queue[place] for place in chosen[row].tolist()]
                mine = zip(kept["values"][row].tolist(), kept["names"][row].tolist(), strict=True)
                assert list(mine) == expected
    assert {len(queue) for queue in queues} == {capacity}


def test_store_refuses_more_than_it_keeps() -> None:
    with pytest.raises(ValueError, match="4 items at once are more than the 3 that are kept"):
        Store(3).add({"x": torch.zeros(1, 4)}, torch.ones(1, 4, dtype=torch.bool))


def test_store_goes_on_from_its_state() -> None:
    store, other = Store(3), Store(3)
    for value in range(5):
        store.add({"x": torch.full((1, 1), value)}, torch.ones(1, 1, dtype=torch.bool))
    other.restore(store.state())
    for some in (store, other):
        some.add({"x": torch.full((1, 1), 9)}, torch.ones(1, 1, dtype=torch.bool))
        assert some.get(torch.tensor([[0, 1, 2]]))["x"].tolist() == [[3, 4, 9]]


def test_trajectories_mask_and_fields() -> None:
    lengths = torch.tensor([[2, 4]])
    states = torch.tensor([[[5, 6, 9, 9], [1, 2, 3, 4]]])
    some = Trajectories(states, states, torch.ones(1, 2, 4), lengths, torch.tensor([[9, 8]]))
    assert some.mask.tolist() == [[[1, 1, 0, 0], [1, 1, 1, 1]]]
    assert some.returns.tolist() == [[4.0, 4.0]]
    again = Trajectories.of({**some.fields(), "more": states})
    assert again.last is some.last and again.fields().keys() == some.fields().keys()
