"""Online Process Reward Learning: step rewards learned from preferences over whole trajectories.

The loop is the tutorial's: play, ask, fit the process reward model, improve the policy. What differs between the
tutorial's version and one that solves the maze are its parts, not this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from prefrl_cli.advantage import standardise
from prefrl_cli.algorithm import oprl_figures
from prefrl_cli.data import Store, Trajectories, draw_pairs, draw_subsets
from prefrl_cli.env.maze import Maze
from prefrl_cli.env.rollout import rollout
from prefrl_cli.figures import Figure, History
from prefrl_cli.limits import Count, CountOrZero, Fraction, NotNegative
from prefrl_cli.loss import Davidson, RaoKupper, SkipTies, SoftTies
from prefrl_cli.optimizers import Optimizer
from prefrl_cli.policy import ActorCritic
from prefrl_cli.policy_update import PPO, Replay, Shaped
from prefrl_cli.quality import calibration_error, epic_distance, spearman
from prefrl_cli.queries import Disagreement, Entropy, KCenter, UniformTrajectories, segments
from prefrl_cli.reward_model import ImplicitReward, ProcessReward
from prefrl_cli.shaping import AdditiveShaping, NoShaping, PotentialShaping, StepAdvantage
from prefrl_cli.streams import Streams
from prefrl_cli.teacher import Teacher


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
        teacher: Teacher,
        queries: UniformTrajectories | Disagreement | Entropy | KCenter,
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
        loss: SoftTies | SkipTies | RaoKupper | Davidson | None = None,
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
        if queries.needs_members and reward_model.members < 2:
            raise ValueError("reward_model.members=1: no two disagree; try reward_model.members=3")
        if (queries.segment or 0) > env.horizon:
            raise ValueError(
                f"queries.segment={queries.segment}: an episode has at most {env.horizon} steps;"
                f" try queries.segment={env.horizon}"
            )
        self.env, self.streams, self.steps = env, streams, steps
        self.policy, self.reward_model = policy, reward_model
        self._teacher, self._queries, self._reward_update = teacher, queries, reward_update
        self._shaping, self._policy_update, self._exploration = shaping, policy_update, exploration
        self.policy_optimizer, self.reward_optimizer = policy_optimizer, reward_optimizer
        self._episodes, self._policy_start, self._render_every = episodes, policy_start, render_every
        self._test_episodes, self._loss = test_episodes, loss or SoftTies()
        self._distance = torch.from_numpy(env.distance).to(streams.device)
        self._trajectories = Store(memory)
        self._preferences = Store(keep)
        replicas = len(streams.seeds)
        self._labels_used = torch.zeros(replicas, dtype=torch.int64, device=streams.device)
        self._success = torch.zeros(replicas, 0, device=streams.device)
        self._asked = 0
        self._sign = torch.tensor([[1.0], [-1.0]], device=streams.device)  # of the first and second of a pair
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
        self._trajectories.add({**new.fields(), "score": self._score(new)})

    def _score(self, trajectories: Trajectories) -> Tensor:
        return self._teacher.score(trajectories.rewards, self._distance[trajectories.last])

    def _ask(self) -> None:
        """Ask about pairs of what is kept, within the budget; what the teacher does not skip is kept."""
        self._asked += self._queries.questions  # a seed without budget counts on, whatever the seeds beside it do
        if self._queries.spent(self._labels_used):
            return
        pairs = self._queries(self.streams, self._trajectories.count)  # [R, C, 2]
        found = self._trajectories.get(pairs.flatten(1))
        if self._queries.segment is not None:
            whole = Trajectories.of(found)
            part = segments(whole, *self._queries.cut(self.streams, whole.lengths), self._queries.segment)
            found = {**part.fields(), "score": self._score(part)}
        both = {name: value.unflatten(1, (-1, 2)) for name, value in found.items()}  # [R, C, 2, ...]
        if self._queries.candidates > 1:
            chosen = self._queries.choose(*self._candidates(both))  # [R, Q]
            rows = torch.arange(len(chosen), device=chosen.device)[:, None]
            both = {name: value[rows, chosen] for name, value in both.items()}
        label, weight = self._teacher.answer(self.streams, both["score"], *self._impressions(both))
        answered = self._queries.within(weight > 0, self._labels_used)
        question = {name: both[name] for name in ("states", "actions", "lengths")}
        self._preferences.add({**question, "label": label}, answered)
        self._labels_used += answered.sum(1)

    @torch.no_grad()
    def _candidates(self, both: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What queries choose by: each member's chances `[R, M, C]`, and the steps as numbers `[R, C, 2 T]`."""
        margins = self._margins(both["states"], both["actions"], both["lengths"])
        steps = both["states"] * self.env.num_actions + both["actions"]
        past = torch.arange(steps.shape[-1], device=steps.device) >= both["lengths"][..., None]
        return logsigmoid(margins).exp(), torch.where(past, -1, steps).flatten(2)

    def _impressions(self, both: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What the teacher thinks of trajectories `[R, Q, 2]`, and what is typical of those kept `[R]`."""
        teacher, impressions, typical = self._teacher, both["score"], torch.zeros(len(both["score"]))
        if teacher.gamma < 1:
            last, visited = self._distance[both["last"]], self._distance[both["states"]]
            impressions = teacher.impression(both["rewards"], last, visited, both["lengths"])
        if teacher.skip or teacher.equal:
            count = self._trajectories.count
            places = torch.arange(self._trajectories.capacity, device=count.device).expand(len(count), -1)
            share = (self._queries.segment or self.env.horizon) / self.env.horizon
            typical = teacher.typical(self._trajectories.get(places)["score"], places < count[:, None], share)
        return impressions, typical.to(impressions.device)

    def _fit(self) -> Tensor:
        """Fit the process reward model to kept preferences; the mean loss `[R]`, NaN for a seed without any."""
        of = self._reward_update
        places, exists = draw_subsets(
            self.streams, "reward_batch", self._preferences.count, of.updates, of.batch, of.keep
        )
        total = torch.zeros(len(self.streams.seeds), device=self.streams.device)
        for number in range(of.updates):
            batch = self._preferences.get(places[:, number])
            margins = self._margins(batch["states"], batch["actions"], batch["lengths"])  # [R, M, K]
            loss = self._loss(margins, batch["label"][:, None], exists[:, number, None].float())
            self.reward_optimizer.step(loss.sum(1))  # each member has parameters and a loss of its own
            total += loss.detach().mean(1)
        mean = total / of.updates
        return torch.where(self._preferences.count > 0, mean, torch.nan)

    def _margins(self, states: Tensor, actions: Tensor, lengths: Tensor) -> Tensor:
        """Each member's score of the first less that of the second, `[R, M, K]`, for steps `[R, K, 2, T]`."""
        return self._differences(self.reward_model.member_rewards(states, actions), lengths[:, None])

    def _margin(self, states: Tensor, actions: Tensor, lengths: Tensor) -> Tensor:
        """Score of the first less that of the second, `[R, K]`, for states and actions `[R, K, 2, T]`."""
        return self._differences(self.reward_model.step_rewards(states, actions), lengths)

    def _differences(self, rewards: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(rewards.shape[-1], device=rewards.device)
        signed = torch.where(steps < lengths[..., None], self._sign, 0.0)
        return (rewards * signed).flatten(-2).sum(-1)

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
            **self._held_out(),
            **self._reward_quality(),
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

    def _held_out(self) -> dict[str, Tensor]:
        """How the model predicts preferences over fresh episodes, half of them of random actions, `[R]` each.

        `label_accuracy` is the share of right answers, a tossed coin where both have one score; `calibration_error`
        compares sigmoid of the margin with the answers. The teacher makes no error here, and ties do not count.
        """
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
        predicted, labels, weights = (
            some.double().cpu().numpy() for some in (logsigmoid(margin.double()).exp(), label, weight)
        )
        return {
            "label_accuracy": (right * weight).sum(1) / weight.sum(1),
            "calibration_error": self._metric(calibration_error(predicted, labels, weights)),
        }

    @torch.no_grad()
    def _reward_quality(self) -> dict[str, Tensor]:
        """How near the learned step rewards are to the true reward and to the true distances, `[R]` each.

        `epic_distance` is taken over all cells, actions and next cells, the goal being left with reward 0;
        `distance_correlation` is Spearman's between the reward of a cell and minus its distance to the goal or, where
        the reward depends on the action, between that of a step and how much nearer to the goal it leads.
        """
        env, cells = self.env, np.flatnonzero(self.env.distance >= 0)
        steps = np.stack(np.meshgrid(cells, np.arange(env.num_actions), indexing="ij")).reshape(2, -1)
        states, actions = torch.from_numpy(steps).to(self.streams.device)[:, None].expand(-1, len(self._success), -1)
        learned = self.reward_model.step_rewards(states, actions).double().cpu().numpy()
        learned = learned.reshape(len(learned), len(cells), -1).copy()  # [R, N, A]
        leaves, distance = cells != env.goal, env.distance[cells]
        learned[:, ~leaves] = 0.0
        true = env.goal_reward * (cells == env.goal)[None]
        nothing = np.zeros((1, len(cells)))
        epic = epic_distance((learned, nothing[..., None]), (nothing, true), self._policy_update.discount)
        if isinstance(self.reward_model, ImplicitReward):
            nearer = distance[:, None] - env.distance[env.transitions[cells]]
            ranks = spearman(learned[:, leaves].reshape(len(learned), -1), nearer[None, leaves].reshape(1, -1))
        else:
            ranks = spearman(learned[:, leaves, 0], -distance[None, leaves])
        return {"epic_distance": self._metric(epic), "distance_correlation": self._metric(ranks)}

    def _metric(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).float().to(self.streams.device)

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
            "reference": self.reward_model.state(),
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
        self.reward_model.restore(state["reference"])
        self._trajectories.restore(state["trajectories"])
        self._preferences.restore(state["preferences"])
        self.streams.restore(state["streams"])
