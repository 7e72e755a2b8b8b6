"""Online Process Reward Learning: step rewards learned from preferences over whole trajectories.

The loop is the tutorial's: play, ask, fit the process reward model, improve the policy. What differs between the
tutorial's version and one that solves the maze are its parts, not this file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from prefrl_cli.advantage import standardise
from prefrl_cli.algorithm import oprl_figures
from prefrl_cli.data import Store, Trajectories, draw_pairs, draw_subsets
from prefrl_cli.env.maze import Maze
from prefrl_cli.env.rollout import rollout
from prefrl_cli.figures import Figure, History
from prefrl_cli.limits import Count, CountOrZero, Fraction, NotNegative
from prefrl_cli.loss import bradley_terry
from prefrl_cli.optimizers import Optimizer
from prefrl_cli.policy import ActorCritic
from prefrl_cli.policy_update import PPO, Replay, Shaped
from prefrl_cli.queries import UniformTrajectories
from prefrl_cli.reward_model import ImplicitReward, ProcessReward
from prefrl_cli.shaping import AdditiveShaping, NoShaping, PotentialShaping, StepAdvantage
from prefrl_cli.streams import Streams
from prefrl_cli.teacher import Progress, Return


class RewardUpdate:
    """When and how the process reward model is fitted.

    Args:
        updates: steps a call.
        batch: preferences a step, drawn without replacement from those kept.
        every: calls every so many updates of the algorithm.
        start: the first update at which it may be.
        minimum: not before this many questions were asked.
        keep: preferences kept, the newest.
    """

    def __init__(
        self,
        updates: CountOrZero = 3,
        batch: Count = 32,
        every: Count = 1,
        start: CountOrZero = 0,
        minimum: Count = 1,
        keep: Count = 500,
    ) -> None:
        self.updates, self.batch, self.every, self.start = updates, batch, every, start
        self.minimum, self.keep = minimum, keep

    def due(self, step: int, asked: int) -> bool:
        """Whether the model is fitted at this update (the first is 0)."""
        return step % self.every == 0 and step >= self.start and asked >= self.minimum


class Exploration:
    """Uniform actions mixed into the policy: epsilon = max(least, start - fall * step).

    Args:
        start: epsilon of the first update.
        fall: how much it falls an update.
        least: where it stays.
    """

    def __init__(self, start: Fraction = 0.0, fall: NotNegative = 0.0, least: Fraction = 0.0) -> None:
        self.start, self.fall, self.least = start, fall, least

    def __call__(self, step: int) -> float:
        """Epsilon at an update."""
        return max(self.least, self.start - self.fall * step)


class OPRL:
    """The whole of one experiment on R seeds; every tensor has that axis in front.

    Args:
        episodes: played by each seed an update.
        memory: trajectories kept, the newest.
        policy_start: the first update at which the policy is improved.
        render_every: one more episode without exploration every so many updates, kept with the others; 0 for none.
        test_episodes: fresh episodes for the held-out preferences of an evaluation.

    Raises:
        ValueError: for sizes of parts that do not go together.
    """

    def __init__(
        self,
        *,
        env: Maze,
        streams: Streams,
        policy: ActorCritic,
        reward_model: ProcessReward | ImplicitReward,
        teacher: Return | Progress,
        queries: UniformTrajectories,
        reward_update: RewardUpdate,
        shaping: NoShaping | AdditiveShaping | PotentialShaping | StepAdvantage,
        policy_update: Replay | PPO,
        exploration: Exploration,
        policy_optimizer: Optimizer,
        reward_optimizer: Optimizer,
        steps: int,
        episodes: Count = 10,
        memory: Count = 200,
        policy_start: CountOrZero = 0,
        render_every: CountOrZero = 0,
        test_episodes: Count = 16,
    ) -> None:
        keep = reward_update.keep
        for name, value, most, limit in (
            ("episodes", episodes, memory, "algorithm.memory"),
            ("queries.questions", queries.questions, keep, "reward_update.keep"),
            ("reward_update.batch", reward_update.batch, keep, "reward_update.keep"),
        ):
            if value > most:
                raise ValueError(f"{name}={value}: more than are kept; try {name}={most} or {limit}={value}")
        if test_episodes < 2 or memory < 2:
            name = "test_episodes" if test_episodes < 2 else "memory"
            raise ValueError(f"{name}=1: a question needs two trajectories; try {name}=16")
        if episodes * (queries.start + 1) < 2:
            raise ValueError(f"queries.start={queries.start}: no two trajectories are kept then; try queries.start=1")
        self.env, self.streams, self.steps = env, streams, steps
        self.policy, self.reward_model = policy, reward_model
        self._teacher, self._queries, self._reward_update = teacher, queries, reward_update
        self._shaping, self._policy_update, self._exploration = shaping, policy_update, exploration
        self.policy_optimizer, self.reward_optimizer = policy_optimizer, reward_optimizer
        self._episodes, self._policy_start, self._render_every = episodes, policy_start, render_every
        self._test_episodes = test_episodes
        self._trajectories = Store(memory)
        self._preferences = Store(keep)
        replicas = len(streams.seeds)
        self._labels_used = torch.zeros(replicas, dtype=torch.int64, device=streams.device)
        self._success = torch.zeros(replicas, 0, device=streams.device)
        self._asked = 0
        self.step = 0
        self.examples: dict[str, Tensor] = {}

    def update(self) -> dict[str, Tensor]:
        """Play, ask, fit, improve; the metrics of this update, `[R]` each."""
        step = self.step
        new = self._play(self._episodes, self._exploration(step), "policy")
        self._remember(new)
        self.reward_model.follow(self.policy)
        if self._queries.due(step):
            self._ask()
        metrics = {"return": new.returns.mean(-1), "success": (new.returns > 0).float().mean(-1)}
        if self._reward_update.due(step, self._asked) and self._reward_update.updates:
            metrics["reward_loss"] = self._fit()
        if step >= self._policy_start:
            metrics["policy_loss"] = self._policy_update(
                self.policy, self.policy_optimizer, new, self._trajectories, self._shape, self.streams
            )
        if self._render_every and step and step % self._render_every == 0:
            self._remember(self._play(1, 0.0, "policy"))
        self._success = torch.cat([self._success, (new.returns > 0).float()], 1)
        metrics["labels_used"] = self._labels_used.float()
        self.step += 1
        return metrics

    def _play(self, episodes: int, epsilon: float, purpose: str) -> Trajectories:
        drawn = self.streams.uniform(purpose, episodes, self.env.horizon)
        return rollout(self.env, self.probabilities(epsilon), drawn)

    def probabilities(self, epsilon: float = 0.0) -> Tensor:
        """The chance of each action in every state, `[R, S, A]`, with a share `epsilon` of uniform actions."""
        return epsilon / self.env.num_actions + (1 - epsilon) * self._log_probabilities().exp()

    @torch.no_grad()
    def _log_probabilities(self) -> Tensor:
        states = torch.arange(self.env.num_states, device=self.streams.device)
        return self.policy(states.expand(len(self.streams.seeds), -1))[0]

    def _remember(self, new: Trajectories) -> None:
        wanted = torch.ones_like(new.lengths, dtype=torch.bool)
        self._trajectories.add({**new.fields(), "score": self._score(new)}, wanted)

    def _score(self, trajectories: Trajectories) -> Tensor:
        distance = torch.from_numpy(self.env.distance).to(trajectories.last.device)
        return self._teacher.score(trajectories.rewards, distance[trajectories.last])

    def _ask(self) -> None:
        """Ask about pairs of kept trajectories; what the teacher does not skip is kept."""
        pairs = self._queries(self.streams, self._trajectories.count)  # [R, Q, 2]
        both = self._trajectories.get(pairs.flatten(1))
        label, weight = self._teacher.label(*both["score"].unflatten(1, (-1, 2)).unbind(-1))
        question = {name: both[name].unflatten(1, (-1, 2)) for name in ("states", "actions", "lengths")}
        self._preferences.add({**question, "label": label}, weight > 0)
        self._labels_used += (weight > 0).sum(1)
        self._asked += self._queries.questions

    def _fit(self) -> Tensor:
        """Fit the process reward model to kept preferences; the mean loss `[R]`, NaN for a seed without any."""
        of = self._reward_update
        places, exists = draw_subsets(
            self.streams, "reward_batch", self._preferences.count, of.updates, of.batch, of.keep
        )
        total = torch.zeros(len(self.streams.seeds), device=self.streams.device)
        for number in range(of.updates):
            batch = self._preferences.get(places[:, number])
            logits = self._margin(batch["states"], batch["actions"], batch["lengths"])
            loss = bradley_terry(logits, batch["label"], exists[:, number].float())
            self.reward_optimizer.step(loss)
            total += loss.detach()
        mean = total / of.updates
        return torch.where(self._preferences.count > 0, mean, torch.nan)

    def _margin(self, states: Tensor, actions: Tensor, lengths: Tensor) -> Tensor:
        """Score of the first less that of the second, `[R, K]`, for states and actions `[R, K, 2, T]`."""
        steps = torch.arange(states.shape[-1], device=states.device)
        sign = torch.tensor([1.0, -1.0], device=states.device)[:, None]
        signed = torch.where(steps < lengths[..., None], sign, 0.0)
        return (self.reward_model.step_rewards(states, actions) * signed).flatten(2).sum(-1)

    def _shape(self, trajectories: Trajectories) -> Shaped:
        """The environment's rewards with the learned process reward worked in."""
        with torch.no_grad():
            rewards = self._shaping(trajectories, self.reward_model)
            if not self._shaping.step_weight:
                return Shaped(rewards)
            mask = trajectories.mask
            steps = self.reward_model.step_rewards(trajectories.states, trajectories.actions)
            steps = standardise(steps.flatten(1), mask.flatten(1), 1e-6, floor=True).view_as(mask)
            informed = (self._preferences.count > 0)[:, None, None]
            return Shaped(rewards, torch.where(informed, self._shaping.step_weight * steps, 0.0))

    def evaluate(self) -> dict[str, Tensor]:
        """What is known now, `[R]` each; success over the episodes so far."""
        greedy = self.greedy_episode()
        reached = (greedy.returns > 0).float().squeeze(1)
        metrics = {
            "greedy_success": reached,
            "greedy_steps": greedy.lengths.float().squeeze(1),
            "label_accuracy": self._label_accuracy(),
            "labels_used": self._labels_used.float(),
        }
        episodes = self._success.shape[1]
        if episodes:
            last = self._success[:, -max(1, episodes // 10) :].mean(1)
            metrics |= {"success_last": last, "success_mean": self._success.mean(1), "solved": (last >= 0.9).float()}
        return metrics

    def greedy_episode(self) -> Trajectories:
        """One episode a seed that takes the most probable action; of equals the first."""
        best = one_hot(self.probabilities().argmax(-1), self.env.num_actions)
        return rollout(self.env, best, torch.zeros(len(best), 1, self.env.horizon))

    def _label_accuracy(self) -> Tensor:
        """Share of preferences over fresh episodes, half of them of random actions, that the model predicts."""
        self.streams.restart("evaluation")
        fresh = Trajectories.join([self._play(self._test_episodes // 2, share, "evaluation") for share in (0.0, 1.0)])
        score = self._score(fresh)
        count = torch.full_like(fresh.lengths[:, 0], fresh.lengths.shape[1])
        pairs = draw_pairs(self.streams, "evaluation", count, 8 * self._test_episodes)  # [R, K, 2]
        rows = torch.arange(len(pairs), device=pairs.device)[:, None, None]
        label, weight = self._teacher.label(*score[rows, pairs].unbind(-1))
        weight = torch.where(label == 0.5, 0.0, weight)
        with torch.no_grad():
            margin = self._margin(*(of[rows, pairs] for of in (fresh.states, fresh.actions, fresh.lengths)))
        right = torch.where(margin == 0, 0.5, ((margin > 0) == (label > 0.5)).float())
        return (right * weight).sum(1) / weight.sum(1)

    def figures(self, history: History) -> dict[str, Figure]:
        """The charts of this experiment, by file name."""
        greedy = self.greedy_episode()
        states = torch.arange(self.env.num_states, device=self.streams.device)
        with torch.no_grad():
            process_reward = self.reward_model(states.expand(len(self.streams.seeds), -1))
        return oprl_figures.figures(
            history,
            episodes=self._episodes,
            goal_reward=self.env.goal_reward,
            seeds=list(self.streams.seeds),
            walls=self.env.walls,
            start=self.env.start,
            goal=self.env.goal,
            process_reward=process_reward.cpu().numpy(),
            policy=self.probabilities().cpu().numpy(),
            visited=greedy.states[:, 0].cpu().numpy(),
            lengths=greedy.lengths[:, 0].cpu().numpy(),
            last=greedy.last[:, 0].cpu().numpy(),
        )

    def finite(self) -> Tensor:
        """Whether every loss so far was a number, `[R]`."""
        return self.policy_optimizer.finite & self.reward_optimizer.finite

    def state(self) -> dict[str, Any]:
        """Everything that changes while training."""
        return {
            "step": self.step,
            "asked": self._asked,
            "labels_used": self._labels_used,
            "success": self._success,
            "policy": self.policy_optimizer.state(),
            "reward_model": self.reward_optimizer.state(),
            "trajectories": self._trajectories.state(),
            "preferences": self._preferences.state(),
            "streams": self.streams.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`."""
        self.step, self._asked = state["step"], state["asked"]
        self._labels_used, self._success = state["labels_used"], state["success"]
        self.policy_optimizer.restore(state["policy"])
        self.reward_optimizer.restore(state["reward_model"])
        self._trajectories.restore(state["trajectories"])
        self._preferences.restore(state["preferences"])
        self.streams.restore(state["streams"])
