"""Experiments built by hand: the tutorial's and the notebook's numbers, stated independently of `conf/`.

The benchmarks and the tests use them; a test holds `conf/experiment` against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from prefrl_cli.algorithm.oprl import OPRL
from prefrl_cli.algorithm.reward_learning import RewardFromPreferences, RewardRegression
from prefrl_cli.config.build import build
from prefrl_cli.config.compose import composed
from prefrl_cli.core.optimizer import SGD, Adam
from prefrl_cli.core.streams import NotebookStreams, PhiloxStreams
from prefrl_cli.env.addition import Addition
from prefrl_cli.env.maze import Maze
from prefrl_cli.policy.action_search import Ascent
from prefrl_cli.policy.actor_critic import ActorCritic
from prefrl_cli.policy.exploration import Exploration
from prefrl_cli.policy.ppo import PPO
from prefrl_cli.policy.replay import Replay
from prefrl_cli.preference.criterion import Closest, Return
from prefrl_cli.preference.queries import NearGreedy, UniformTrajectories
from prefrl_cli.preference.teacher import Teacher
from prefrl_cli.reward_model.addition import LinearReward, RewardNet
from prefrl_cli.reward_model.explicit import ProcessReward
from prefrl_cli.reward_model.reward_update import RewardUpdate
from prefrl_cli.reward_model.shaping import AdditiveShaping, PotentialShaping

NOTEBOOK_TORCH = ("init", "alternatives", "evaluation/alternatives")


def tutorial_maze(
    seeds: Sequence[int], steps: int = 500, env: Maze | None = None, hidden: int = 128, **options: Any
) -> OPRL:
    """The tutorial's agent in its maze; `options` replace parts or options of `OPRL`."""
    streams, env = PhiloxStreams(seeds), env or Maze()
    policy, model = ActorCritic(env, streams, hidden), ProcessReward(env, streams, hidden)
    criterion = options.get("criterion", Return(ties="second"))
    parts = {
        "policy": policy,
        "reward_model": model,
        "policy_optimizer": Adam(policy.parameters, lr=3e-4, clip=1.0),
        "reward_optimizer": Adam(model.parameters, lr=3e-4, clip=1.0),
        "criterion": criterion,
        "teacher": Teacher(criterion),
        "queries": UniformTrajectories(every=2, start=11),
        "reward_update": RewardUpdate(updates=3, batch=32, every=2, start=21, min_questions=32),
        "shaping": AdditiveShaping(0.1),
        "policy_update": Replay(),
        "exploration": Exploration(0.5, 0.001, 0.05),
        "episodes": 1,
        "policy_start": 11,
        "greedy_episode_every": 250,
    }
    return OPRL(env=env, streams=streams, steps=steps, **(parts | options))


def ppo_maze(seeds: Sequence[int], steps: int = 50, env: Maze | None = None, hidden: int = 128, **options: Any) -> OPRL:
    """PPO with potential shaping on batches of 10 episodes; `options` replace parts or options of `OPRL`."""
    streams, env = PhiloxStreams(seeds), env or Maze()
    policy, model = ActorCritic(env, streams, hidden), ProcessReward(env, streams, hidden, zero_head=True)
    criterion = options.get("criterion", Return())
    parts = {
        "policy": policy,
        "reward_model": model,
        "policy_optimizer": Adam(policy.parameters, lr=1e-3, clip=1.0),
        "reward_optimizer": Adam(model.parameters, lr=1e-3, clip=1.0),
        "criterion": criterion,
        "teacher": Teacher(criterion),
        "queries": UniformTrajectories(questions=64),
        "reward_update": RewardUpdate(updates=5, batch=64),
        "shaping": PotentialShaping(),
        "policy_update": PPO(),
        "exploration": Exploration(),
    }
    return OPRL(env=env, streams=streams, steps=steps, **(parts | options))


def notebook_addition(
    seeds: Sequence[int], steps: int = 10, objective: Literal["printed", "right"] = "right"
) -> RewardFromPreferences:
    """The notebook's first part on the seed axis."""
    streams = NotebookStreams(seeds, torch_purposes=("init",))
    model = LinearReward(streams)
    return RewardFromPreferences(
        env=Addition(9, 1.0, 0.1),
        streams=streams,
        reward_model=model,
        policy=Ascent(10.0, 50, 0.1),
        queries=NearGreedy(300.0, 500.0, 0.0),
        criterion=Closest(ties="second"),
        optimizer=SGD(model.parameters, lr=0.15),
        steps=steps,
        batch=20,
        initial_states=7,
        final_states=7,
        mse_divisor=5.0,
        reduction="sum",
        swapped=objective == "printed",
    )


def notebook_mse(seeds: Sequence[int], steps: int = 300) -> RewardRegression:
    """The notebook's second part on the seed axis."""
    streams, env = NotebookStreams(seeds), Addition(19)
    model = RewardNet(env, streams)
    return RewardRegression(
        env=env,
        streams=streams,
        reward_model=model,
        policy=Ascent(20.0, 100, 0.02, accumulate=True),
        queries=NearGreedy(200.0, 100.0, 0.2),
        criterion=Closest(ties="first"),
        optimizer=Adam(model.parameters, lr=1e-2),
        steps=steps,
        initial_states=5,
        final_states=5,
    )


def notebook_prefs(
    seeds: Sequence[int], steps: int = 600, initial: int = 120, final: int = 300
) -> RewardFromPreferences:
    """The notebook's third part on the seed axis."""
    streams, env = NotebookStreams(seeds, torch_purposes=NOTEBOOK_TORCH), Addition(19)
    model = RewardNet(env, streams)
    return RewardFromPreferences(
        env=env,
        streams=streams,
        reward_model=model,
        policy=Ascent(20.0, 100, 0.02, accumulate=True),
        queries=NearGreedy(200.0, 100.0, 0.2),
        criterion=Closest(ties="first"),
        optimizer=Adam(model.parameters, lr=1e-3),
        steps=steps,
        initial_states=initial,
        final_states=final,
    )


def configured(experiment: str, *overrides: str) -> Any:
    """The algorithm of an experiment in `conf/`, as the command builds it.

    Args:
        experiment: its name.
        *overrides: as they are typed, such as `num_seeds=3`.
    """
    return build(composed([f"experiment={experiment}", *overrides]))
