"""A seed is a seed: alone, among others, on one thread or two, or continued from a file, it gives the same numbers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import direct
import pytest
import torch
from torch import Tensor

from prefrl_cli.config.choices import choices
from prefrl_cli.core.layers.networks import Network
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.env.maze import Maze
from prefrl_cli.policy.exploration import Exploration
from prefrl_cli.preference.criterion import Progress
from prefrl_cli.preference.loss import bradley_terry
from prefrl_cli.preference.queries import UniformTrajectories
from prefrl_cli.reward_model.reward_update import RewardUpdate

SEED = 7
GROUPS = (2, 3, 5, 16, 64)


def tutorial(seeds: Sequence[int]) -> Any:
    """The tutorial, with its questions and reward updates early enough to be seen in a short test."""
    return direct.tutorial_maze(
        seeds,
        queries=UniformTrajectories(every=2, start=3),
        reward_update=RewardUpdate(updates=3, batch=8, every=2, start=7, min_questions=3, dataset_capacity=10),
        policy_start=2,
        greedy_episode_every=9,
        replay_capacity=12,
    )


def ppo(seeds: Sequence[int]) -> Any:
    return direct.ppo_maze(seeds)


def ppo_asking_for_progress(seeds: Sequence[int]) -> Any:
    """Here seeds have different numbers of preferences, since ties are skipped."""
    return direct.ppo_maze(
        seeds,
        criterion=Progress(Maze()),
        queries=UniformTrajectories(questions=5, from_newest=20),
        exploration=Exploration(0.2),
    )


def ppo_of_odd_sizes(seeds: Sequence[int]) -> Any:
    """Numbers of states, units and questions that fill no vector register, and a layer of one unit."""
    return direct.ppo_maze(seeds, env=Maze(5, 30), hidden=1, episodes=3, queries=UniformTrajectories(questions=7))


def ppo_of_one_episode(seeds: Sequence[int]) -> Any:
    """Its returns are a product of one row."""
    queries = UniformTrajectories(questions=3, start=1)
    return direct.ppo_maze(seeds, env=Maze(4, 28), hidden=33, episodes=1, queries=queries)


def prefs(seeds: Sequence[int]) -> Any:
    return direct.notebook_prefs(seeds, initial=10, final=10)


EXPERIMENTS: dict[str, tuple[Callable[[Sequence[int]], Any], int]] = {
    "tutorial": (tutorial, 30),
    "ppo": (ppo, 4),
    "ppo, progress": (ppo_asking_for_progress, 4),
    "ppo, odd sizes": (ppo_of_odd_sizes, 6),
    "ppo, one episode": (ppo_of_one_episode, 6),
    "addition": (direct.notebook_addition, 10),
    "addition, printed": (lambda seeds: direct.notebook_addition(seeds, objective="printed"), 10),
    "mse": (direct.notebook_mse, 40),
    "prefs": (prefs, 10),
}
each_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def train(experiment: Any, updates: int) -> list[dict[str, Tensor]]:
    """Metrics of an evaluation, of the updates and of another evaluation."""
    first = experiment.evaluate()
    return [first, *(experiment.update() for _ in range(updates)), experiment.evaluate()]


def parameters(experiment: Any) -> list[Tensor]:
    owners = (getattr(experiment, name, None) for name in ("policy", "reward_model"))
    return [owner.parameters.flat.detach() for owner in owners if hasattr(owner, "parameters")]


def same(one: Tensor, other: Tensor) -> bool:
    """Equal bit for bit; NaN, which stands for no value, equals itself."""
    return torch.equal(one.isnan(), other.isnan()) and torch.equal(one.nan_to_num(), other.nan_to_num())


def assert_same_row(
    one: tuple[Any, list[dict[str, Tensor]]], row: int, other: tuple[Any, list[dict[str, Tensor]]], place: int
) -> None:
    (mine, my_history), (theirs, their_history) = one, other
    assert len(my_history) == len(their_history)
    for step, (some, others) in enumerate(zip(my_history, their_history, strict=True)):
        assert some.keys() == others.keys()
        for metric, value in some.items():
            assert same(value[row], others[metric][place]), (step, metric)
    for value, expected in zip(parameters(mine), parameters(theirs), strict=True):
        assert torch.equal(value[row], expected[place])


@each_experiment
def test_alone_and_among_others(name: str) -> None:
    build, updates = EXPERIMENTS[name]
    alone = build([SEED])
    history = train(alone, updates)
    assert not all(torch.equal(*pair) for pair in zip(parameters(alone), parameters(build([SEED])), strict=True))
    for size in GROUPS:
        place = size // 2
        together = build([*range(100, 100 + place), SEED, *range(200, 199 + size - place)])
        assert together.streams.seeds.index(SEED) == place and len(together.streams.seeds) == size
        assert_same_row((alone, history), 0, (together, train(together, updates)), place)
        flat = parameters(together)[0]
        assert not torch.equal(flat[0], flat[-1])


@each_experiment
def test_one_thread_and_two(name: str, threads: Callable[[int], None]) -> None:
    build, updates = EXPERIMENTS[name]
    seeds = list(range(SEED, SEED + 16))
    results = []
    for count in (1, 2):
        threads(count)
        experiment = build(seeds)
        results.append((experiment, train(experiment, min(updates, 6))))
    for row in range(len(seeds)):
        assert_same_row(results[0], row, results[1], row)


@each_experiment
def test_continued_from_a_file(name: str) -> None:
    build, updates = EXPERIMENTS[name]
    seeds = [SEED, 40, 3]
    whole = build(seeds)
    history = train(whole, updates)
    first, file = build(seeds), io.BytesIO()
    begun = [first.evaluate(), *(first.update() for _ in range(updates // 2))]
    torch.save(first.state(), file)
    for _ in range(3):  # what happens after the file was written must not matter
        first.update()
    file.seek(0)
    second = build(seeds)
    second.restore(torch.load(file, weights_only=True))
    rest = [second.update() for _ in range(updates - updates // 2)]
    continued = [*begun, *rest, second.evaluate()]
    for row in range(len(seeds)):
        assert_same_row((whole, history), row, (second, continued), row)


@each_experiment
def test_the_same_twice_and_another_seed_differs(name: str) -> None:
    build, updates = EXPERIMENTS[name]
    one, two, other = (train(build([seed]), updates // 2) for seed in (SEED, SEED, SEED + 1))
    for some, others in zip(one, two, strict=True):
        assert all(same(value, others[metric]) for metric, value in some.items())
    assert any(
        not same(value, others[metric])
        for some, others in zip(one, other, strict=True)
        for metric, value in some.items()
    )


@pytest.mark.parametrize("name", ["tutorial", "ppo"])
def test_an_evaluation_changes_nothing(name: str) -> None:
    build, updates = EXPERIMENTS[name]
    one, two = build([SEED, 3]), build([SEED, 3])
    for _ in range(updates // 2):
        mine, theirs = one.update(), two.update()
        two.evaluate()
        assert all(same(value, theirs[metric]) for metric, value in mine.items())


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_of_conf(name: str) -> None:
    """Alone and among three; on one seed the metrics of the first updates and of an evaluation."""
    updates = 30 if name.startswith("tutorial") else 4
    alone = direct.configured(name, f"seed={SEED}")
    together = direct.configured(name, f"seed={SEED - 1}", "num_seeds=3")
    assert_same_row((alone, train(alone, updates)), 0, (together, train(together, updates)), 1)


@pytest.mark.parametrize("rows", [1, 3, 10, 300])
@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("hidden", [[], [1], [1, 1], [3], [5], [6, 6], [7, 13], [33], [128, 128]], ids=str)
def test_a_network_of_any_shape(hidden: list[int], outputs: int, rows: int) -> None:
    """One column, one row or an odd number of anything: outputs and gradients do not depend on the seeds beside."""
    features = torch.randn(6, rows, 3, generator=torch.Generator().manual_seed(0))
    seeds = range(6)
    together = Network(PhiloxStreams(seeds), "init", 3, hidden, outputs, activation="leaky_relu")
    expected = together(features)
    gradient = together.parameters.gradient(expected.square().sum((1, 2)))
    for start, stop in ((0, 1), (3, 4), (1, 3), (2, 5)):
        some = Network(PhiloxStreams(seeds[start:stop]), "init", 3, hidden, outputs, activation="leaky_relu")
        mine = some(features[start:stop])
        assert torch.equal(mine, expected[start:stop])
        assert torch.equal(some.parameters.gradient(mine.square().sum((1, 2))), gradient[start:stop])


@pytest.mark.parametrize("rows", [1, 3, 10])
@pytest.mark.parametrize("hidden", [[1], [1, 1], [1, 33], [33, 1], [6, 6], [33, 33], [128, 128]], ids=str)
def test_a_slope_of_any_shape(hidden: list[int], rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    fixed, moving = torch.randn(5, rows, 3, generator=generator), torch.randn(5, rows, generator=generator)
    fixed[..., 2], direction = 0.0, torch.tensor([0.0, 0.0, 1.0])
    slopes = [
        Network(PhiloxStreams(seeds), "init", 3, hidden, 1, activation="leaky_relu").slope(fixed[seeds], direction)(
            moving[seeds]
        )
        for seeds in (range(5), range(3, 4), range(1, 3))
    ]
    assert torch.equal(slopes[1], slopes[0][3:4]) and torch.equal(slopes[2], slopes[0][1:3])
    assert slopes[0].abs().max() > 0


@pytest.mark.parametrize("pairs", [1, 3, 8, 17, 33, 120])
def test_the_loss_of_any_number_of_pairs(pairs: int) -> None:
    """A vectorised kernel may round the last few elements of a tensor otherwise: torch's sigmoid does."""
    generator = torch.Generator().manual_seed(pairs)
    logits = (3 * torch.randn(6, pairs, generator=generator)).requires_grad_()
    labels, weights = torch.rand(6, pairs, generator=generator), torch.ones(6, pairs)
    expected = bradley_terry(logits, labels, weights)
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    for start, stop in ((0, 1), (5, 6), (1, 3), (2, 5)):
        some = logits[start:stop].detach().requires_grad_()
        mine = bradley_terry(some, labels[start:stop], weights[start:stop])
        assert torch.equal(mine, expected[start:stop])
        assert torch.equal(torch.autograd.grad(mine.sum(), some)[0], gradient[start:stop])
