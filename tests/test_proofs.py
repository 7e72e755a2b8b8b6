"""What theory promises, checked by dynamic programming on mazes small enough to solve exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prefrl_cli.core.optimizer import Adam
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.maze import Maze
from prefrl_cli.env.rollout import rollout
from prefrl_cli.policy.distributions import Categorical
from prefrl_cli.preference.loss import bradley_terry
from prefrl_cli.reward_model.implicit import ImplicitReward
from prefrl_cli.reward_model.shaping import AdditiveShaping, PotentialShaping

DISCOUNT = 0.98


def one_step(maze: Maze) -> Trajectories:
    """Every step of a maze, as one trajectory of two steps each: the step, and a second one that goes on."""
    states = np.repeat(np.arange(maze.num_states), maze.num_actions)
    actions = np.tile(np.arange(maze.num_actions), maze.num_states)
    following = maze.transitions[states, actions]
    ends = following == maze.goal
    pairs = torch.from_numpy(np.stack([states, following], -1))[None]
    rewards = torch.zeros(pairs.shape)
    rewards[0, :, 0] = torch.from_numpy(np.where(ends, maze.goal_reward, 0.0))
    lengths = torch.from_numpy(np.where(ends, 1, 2))[None]
    return Trajectories(pairs, torch.zeros_like(pairs), rewards, lengths, pairs[..., 1])


def best_actions(maze: Maze, rewards: np.ndarray) -> np.ndarray:
    """By value iteration: which actions are best in each state, bool `[S, A]`, for rewards `[S, A]`."""
    values = np.zeros(maze.num_states)
    for _ in range(4000):
        quality = rewards + DISCOUNT * np.where(maze.transitions == maze.goal, 0.0, values[maze.transitions])
        values = quality.max(1)
    return quality > quality.max(1, keepdims=True) - 1e-6


def shaped_rewards(maze: Maze, shaping: AdditiveShaping | PotentialShaping, learned: torch.Tensor) -> np.ndarray:
    """The shaping's own rewards `[S, A]` of the first of two steps; `learned` is a process reward for each state."""
    shaped = shaping(one_step(maze), lambda states: learned[states])
    return shaped[0, :, 0].double().numpy().reshape(maze.num_states, maze.num_actions)


@pytest.mark.parametrize("seed", range(5))
def test_potential_shaping_leaves_the_best_policy_of_random_mazes_unchanged(seed: int) -> None:
    maze = Maze(6, layout="random", layout_seed=seed)
    learned = torch.rand(maze.num_states, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    reachable = (maze.distance > 0) & ~maze.walls.ravel()
    plain = best_actions(maze, np.where(maze.transitions == maze.goal, maze.goal_reward, 0.0))
    potential = best_actions(maze, shaped_rewards(maze, PotentialShaping(3.0, DISCOUNT), learned))
    additive = best_actions(maze, shaped_rewards(maze, AdditiveShaping(1.0), learned))
    np.testing.assert_array_equal(potential[reachable], plain[reachable])
    # The same process reward, added: staying on a rewarding cell now beats going to the goal.
    assert (additive[reachable] != plain[reachable]).any()


def test_implicit_rewards_go_to_the_soft_advantage() -> None:
    """The log-ratio that fits Bradley-Terry labels of all trajectories is Q* - V* of the soft (KL-regularised) problem.

    A reward of -1 a step; the reference is the uniform policy. Soft dynamic programming gives
    V(s) = beta ln sum_a pi_old(a|s) exp((r + V(s')) / beta) exactly; the log-ratio of the best policy is
    (r + V(s') - V(s)) / beta. The labels are the exact probabilities, so what is left of a difference is the choice of
    pairs and the optimiser. Steps count by how often they are taken. With the hard labels of the lab's teachers, or
    where a horizon cuts episodes short, the scale differs: see docs/concepts.md.
    """
    maze, beta, episodes = Maze(4, horizon=400, layout="open"), 1.0, 2000
    streams = PhiloxStreams([0])
    model = ImplicitReward(maze, streams, hidden=64, beta=beta)
    uniform = torch.full((1, maze.num_states, maze.num_actions), 1 / maze.num_actions)
    model.follow(lambda states: (Categorical(uniform.log()), torch.zeros(1)))

    values = np.zeros(maze.num_states)
    for _ in range(2000):
        quality = -1.0 + np.where(maze.transitions == maze.goal, 0.0, values[maze.transitions])
        values = beta * np.log(np.exp(quality / beta).mean(1))
        values[maze.goal] = 0.0
    advantage = torch.from_numpy(quality - values[:, None])

    played = rollout(maze, uniform, streams.uniform("play", episodes, maze.horizon))
    assert (played.last == maze.goal).all()
    score = -played.lengths.double()
    states, actions, mask = (of[..., : played.lengths.max()] for of in (played.states, played.actions, played.mask))
    optimizer = Adam(model.parameters, 3e-3, decay_steps=1200)
    for _ in range(1200):
        first, second = (streams.uniform("pairs", 128, 2) * episodes).long()[0].T
        steps = [(model.step_rewards(states[:, of], actions[:, of]) * mask[:, of]).sum(-1) for of in (first, second)]
        labels = torch.sigmoid(score[:, first] - score[:, second])
        optimizer.step(bradley_terry(steps[0] - steps[1], labels, torch.ones(labels.shape)))
    every_state = torch.arange(maze.num_states).repeat_interleave(4)[None]
    every_action = torch.arange(4).repeat(maze.num_states)[None]
    learned = model.step_rewards(every_state, every_action).detach().view(-1, 4).double()
    taken = torch.zeros(maze.num_states * 4, dtype=torch.float64)
    taken.index_add_(0, (states * 4 + actions).flatten(), mask.flatten().double())
    share = (taken / taken.sum()).view(-1, 4)
    error = ((learned - advantage).abs() * share).sum()
    assert error < 0.01  # the advantages themselves spread over 1.3
