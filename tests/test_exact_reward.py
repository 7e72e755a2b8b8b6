"""The truth in place of a learned reward: it is what dynamic programming finds, and needs no answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kill_and_resume import config_of

from prefrl_cli.algorithm.oprl import OPRL
from prefrl_cli.config.build import build
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.maze import Maze
from prefrl_cli.env.rollout import rollout
from prefrl_cli.preference.criterion import Progress
from prefrl_cli.reward_model.exact import TruePotential, TrueStepAdvantage

LAYOUTS = [("wall", 0), ("open", 0), ("random", 3), ("random", 4)]


def reachable(maze: Maze) -> np.ndarray:
    """By search from the start, bool `[S]`."""
    found = np.zeros(maze.num_states, dtype=bool)
    found[maze.start] = True
    for _ in range(maze.num_states):
        found[maze.transitions[found]] = True
    return found


def cost_to_go(maze: Maze) -> tuple[np.ndarray, np.ndarray]:
    """Q* `[S, A]` and V* `[S]` by value iteration, where every step until the goal costs 1."""
    values = np.zeros(maze.num_states)
    for _ in range(maze.num_states):
        quality = -1.0 + values[maze.transitions]
        values = quality.max(1)
        values[maze.goal] = 0.0
    return quality, values


@pytest.mark.parametrize(("layout", "seed"), LAYOUTS)
def test_it_is_what_value_iteration_finds(layout: str, seed: int) -> None:
    maze = Maze(6, layout=layout, layout_seed=seed)  # type: ignore[arg-type]
    quality, values = cost_to_go(maze)
    seen = reachable(maze)
    seen[maze.goal] = False  # which nothing is done on
    streams = PhiloxStreams([0, 1])
    steps = TrueStepAdvantage(maze, streams).reward_table()
    assert steps.shape == (2, maze.num_states, 4)
    np.testing.assert_array_equal(steps[1].numpy()[seen], (quality - values[:, None])[seen])
    potential = TruePotential(maze, streams)(torch.arange(maze.num_states).expand(2, -1))
    furthest = -values[reachable(maze)].min()
    np.testing.assert_allclose(potential[1].detach().numpy()[seen], values[seen] / furthest, rtol=1e-6)


def played(maze: Maze, streams: PhiloxStreams) -> Trajectories:
    uniform = torch.full((len(streams.seeds), maze.num_states, 4), 0.25)
    return rollout(maze, uniform, streams.uniform("play", 200, maze.horizon))


def test_the_sum_of_step_advantages_orders_episodes_as_progress_does() -> None:
    maze, streams = Maze(4, horizon=25, layout="open"), PhiloxStreams([5])
    episodes = played(maze, streams)
    reached = maze.success(episodes)
    assert 20 < reached.sum() < 180  # of both kinds
    steps = TrueStepAdvantage(maze, streams).step_rewards(episodes.states, episodes.actions)
    total, score = (steps.detach() * episodes.mask).sum(-1)[0].numpy(), Progress(maze)(episodes)[0].numpy()
    np.testing.assert_array_equal(np.sign(total[:, None] - total), np.sign(score[:, None] - score))


def trained(*options: str) -> OPRL:
    small = [
        "env.size=5",
        "steps=2",
        "algorithm.episodes=4",
        "queries.questions=4",
        "env.horizon=30",
        "num_seeds=1",
        "algorithm.evaluation_episodes=4",
    ]
    config = config_of("oprl_maze", *small, "criterion=progress", "queries.budget=0", *options)[0]
    algorithm = build(config)
    assert isinstance(algorithm, OPRL)
    algorithm.update()
    return algorithm


def test_it_teaches_without_an_answer() -> None:
    exact, learned, plain = (
        trained(*options) for options in (["reward_model=true_step_advantage"], [], ["shaping=none"])
    )
    assert exact.preferences.used.sum() == 0
    first, *others = (
        torch.cat([each.flatten() for each in one.policy.parameters.views]) for one in (exact, learned, plain)
    )
    assert torch.equal(*others) and not torch.equal(first, others[0])  # what is learned says nothing before an answer
    found = exact.evaluate()
    assert found["preference_accuracy"].item() == 1.0 and found["distance_correlation"].item() == pytest.approx(1.0)


def test_a_potential_reaches_the_policy_as_a_potential() -> None:
    exact = trained("shaping=potential", "reward_model=true_potential", "shaping.weight=5")
    episodes = played(exact.env, PhiloxStreams([0]))  # type: ignore[arg-type]
    rewards, steps = exact._shape(episodes)
    _, values = cost_to_go(exact.env)  # type: ignore[arg-type]
    phi = 5 * values / -values[reachable(exact.env)].min()  # type: ignore[arg-type]
    after = torch.cat([episodes.states[..., 1:], episodes.last[..., None]], -1).scatter(
        -1, episodes.lengths[..., None] - 1, episodes.last[..., None]
    )
    expected = episodes.rewards + (0.98 * torch.from_numpy(phi)[after] - torch.from_numpy(phi)[episodes.states])
    last = torch.arange(episodes.rewards.shape[-1]) == episodes.lengths[..., None] - 1
    ends = episodes.rewards - torch.from_numpy(phi)[episodes.states]  # no potential follows an end
    expected = torch.where(last, ends, expected) * episodes.mask
    assert steps is None
    torch.testing.assert_close(rewards, expected.float(), atol=1e-5, rtol=1e-5)
    assert exact.evaluate()["distance_correlation"].item() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["true_step_advantage", "true_potential"])
def test_a_seed_alone_is_that_seed_among_others(kind: str) -> None:
    shaping = "step_advantage" if kind.endswith("advantage") else "potential"
    options = [f"reward_model={kind}", f"shaping={shaping}", "seed=3"]
    alone, among = trained(*options), trained(*options, "num_seeds=5")
    one, several = alone.update(), among.update()
    assert {name: value[0].item() for name, value in several.items()} == pytest.approx(
        {name: value[0].item() for name, value in one.items()}, abs=0, rel=0, nan_ok=True
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["reward_model=true_step_advantage", "shaping=potential"], "true_step_advantage.*rewards steps, not states"),
        (["reward_model=true_potential", "experiment=pendulum"], "true_potential.*tells no distance"),
    ],
)
def test_where_it_cannot_be_had(options: list[str], said: str) -> None:
    experiment = next((one.partition("=")[2] for one in options if one.startswith("experiment=")), "oprl_maze")
    others = [one for one in options if not one.startswith("experiment=")]
    with pytest.raises(ConfigError, match=said):
        build(config_of(experiment, *others)[0])
