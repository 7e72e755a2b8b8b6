"""Online Process Reward Learning: step rewards learned from preferences over whole trajectories.

The loop is the tutorial's: play, ask, fit the process reward model, improve the policy. What differs between the
tutorial's version and one that solves the maze are its parts, not this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.algorithm import figures, oprl_evaluation
from prefrl_cli.algorithm.metrics import oprl_metrics
from prefrl_cli.algorithm.oprl_parts import (
    check_measurable,
    check_parts,
    feature_rows,
    smoothed,
    take_answers,
    teacher_state,
    updated_state,
)
from prefrl_cli.algorithm.oprl_snapshots import Snapshots
from prefrl_cli.core.environment import Environment, is_finite
from prefrl_cli.core.figures import Figure, History, Learned
from prefrl_cli.core.layers.exactness import Trained, trained
from prefrl_cli.core.optimizer import Optimizer
from prefrl_cli.core.option_types import CountOrZero, Given, Items
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories, trajectory_fields
from prefrl_cli.env.learned import LearnedReward
from prefrl_cli.env.rollout import play, play_greedily, probabilities
from prefrl_cli.policy.actor_critic import ActorCritic
from prefrl_cli.policy.exploration import Exploration
from prefrl_cli.policy.group_baseline import GroupBaseline
from prefrl_cli.policy.ppo import PPO
from prefrl_cli.policy.replay import Replay
from prefrl_cli.policy.separate_actor_critic import SeparateActorCritic
from prefrl_cli.preference.answers.films import started, started_field
from prefrl_cli.preference.criterion import Farthest, Progress, Return
from prefrl_cli.preference.dataset import PreferenceDataset
from prefrl_cli.preference.loss import Davidson, RaoKupper, SkipTies, SoftTies
from prefrl_cli.preference.person import Person
from prefrl_cli.preference.queries import Disagreement, EarlyQuestions, Entropy, KCenter, UniformTrajectories
from prefrl_cli.preference.recorded import Recorded
from prefrl_cli.preference.teacher import Coin, Teacher
from prefrl_cli.reward_model.constant import ConstantReward, FrozenReward
from prefrl_cli.reward_model.exact import TruePotential
from prefrl_cli.reward_model.explicit import ProcessReward
from prefrl_cli.reward_model.implicit import ImplicitReward
from prefrl_cli.reward_model.quality import Predictions
from prefrl_cli.reward_model.reward_update import RewardUpdate
from prefrl_cli.reward_model.shaping import Shaping, standardised


class OPRL:
    """The whole of one experiment on R seeds; every tensor has that axis in front.

    Args:
        episodes: played by each seed an update.
        replay_capacity: trajectories kept, the newest.
        policy_start: the first update at which the policy is improved.
        greedy_episode_every: one more episode without exploration every so many updates, kept with the others; 0 for
            none.
        evaluation_episodes: fresh episodes for the held-out preferences of an evaluation.

    Raises:
        OptionError: for sizes of parts that do not go together.
    """

    def __init__(
        self,
        *,
        env: Given[Environment],
        streams: Given[Streams],
        policy: Given[ActorCritic | SeparateActorCritic],
        reward_model: Given[ProcessReward | ImplicitReward | ConstantReward | FrozenReward | TruePotential],
        criterion: Given[Return | Progress | Farthest],
        teacher: Given[Teacher | Coin | Person | Recorded],
        queries: Given[UniformTrajectories | EarlyQuestions | Disagreement | Entropy | KCenter],
        reward_update: Given[RewardUpdate],
        shaping: Given[Shaping],
        policy_update: Given[Replay | PPO | GroupBaseline],
        exploration: Given[Exploration],
        policy_optimizer: Given[Optimizer],
        reward_optimizer: Given[Optimizer],
        steps: Given[int],
        episodes: Items = 10,
        replay_capacity: Items = 200,
        policy_start: CountOrZero = 0,
        greedy_episode_every: CountOrZero = 0,
        evaluation_episodes: Items = 16,
        loss: Given[SoftTies | SkipTies | RaoKupper | Davidson | None] = None,
        record: Given[bool] = False,
    ) -> None:
        sizes = (episodes, replay_capacity, evaluation_episodes)
        check_parts(env, reward_model, queries, reward_update, shaping, policy_update, *sizes)
        check_measurable(loss, teacher)
        self.env, self.streams, self.steps = env, streams, steps
        self.policy, self.reward_model = policy, reward_model
        self._criterion, self.teacher, self._queries, self._reward_update = criterion, teacher, queries, reward_update
        self._shaping, self._policy_update, self._exploration = shaping, policy_update, exploration
        self.optimizers = self.policy_optimizer, self.reward_optimizer = policy_optimizer, reward_optimizer
        self.metrics = (*oprl_metrics(env.horizon, getattr(env, "return_range", None)), *policy_update.metrics)
        self._episodes, self._policy_start, self._greedy_episode_every = episodes, policy_start, greedy_episode_every
        self._evaluation_episodes, self._loss = evaluation_episodes, loss or SoftTies()
        self._trajectories = Store(replay_capacity, len(streams.seeds), trajectory_fields(env) | started_field(teacher))
        kept, budget, width = reward_update.dataset_capacity, queries.budget, queries.segment or env.horizon
        back = getattr(teacher, "takes_back", False)
        self.preferences = PreferenceDataset(env, streams, width, kept, budget, record, back)
        self._held_out: Predictions | None = None
        self.step, self._outcomes = 0, oprl_evaluation.Outcomes(env, len(streams.seeds), streams.device)
        self._snapshots = Snapshots(env, len(streams.seeds), width)
        self.examples: dict[str, Tensor] = {}

    def update(self) -> dict[str, Tensor]:
        """Play, ask, fit, improve; the metrics of this update, `[R]` each."""
        step, new = self.step, self._play(self._episodes, self._exploration(self.step), "policy")
        self.reward_model.follow(self.policy)
        with self.streams.idle(self.preferences.has_spent()):
            self._ask(step)
        self._snapshots.add_question(step + 1, self.preferences, self.reward_model)
        episodes = torch.full_like(self._outcomes.env_steps, self._episodes * (step + 1))
        metrics = {"episodes": episodes, **self._outcomes.add(new)}
        fit, count, optimizer = self._reward_update, self.preferences.count, self.reward_optimizer
        if fit.due(step, self.preferences.asked) and fit.updates and len(count):  # empty before the first answer
            first = not optimizer.taken
            metrics["reward_loss"] = fit.fit(self.streams, count, self._reward_loss, optimizer, first=first)
        self._snapshots.add(step + 1, new, self.reward_model)
        if step >= self._policy_start and getattr(self.teacher, "ready", True):
            batch = self._policy_update.batch(new, self._trajectories, self.streams)
            rewards = self._shape(batch)
            metrics |= self._policy_update(self.policy, self.policy_optimizer, batch, *rewards, self.streams)
        if self._greedy_episode_every and step and step % self._greedy_episode_every == 0:
            self._play(1, 0.0, "policy")
        self.step += 1
        return metrics | {"labels_used": self.preferences.used.float()}

    def _play(self, episodes: int, epsilon: float, purpose: str) -> Trajectories:
        played = play(self.env, self.policy, self.streams, purpose, episodes, epsilon)
        if purpose == "policy":  # learned from, hence kept
            self._trajectories.add(played.fields() | started(self.teacher, self.env, self.streams.device))
        return played

    def _ask(self, step: int) -> None:
        """Ask where it is time, and take the answers that are there now."""
        number = self._queries.number(step)
        if number and self.preferences.spent:
            self.preferences.pass_over(number)
        elif number:
            asked = self._queries.draw(number, self._trajectories, self.reward_model, self.preferences, self.streams)
            self.preferences.ask(asked, step)
        take_answers(self.teacher, self.preferences, self._trajectories, self.streams, step)

    def _reward_loss(self, indices: Tensor, mask: Tensor) -> Tensor:
        """The loss `[R, M]` of each member on kept preferences; see `RewardUpdate.fit`."""
        batch = self.preferences.get(indices)
        label = smoothed(batch.label, self._loss, self.teacher, self.preferences)
        weight = mask.float() * batch.weight
        return self._loss(batch.return_differences(self.reward_model), label[:, None], weight[:, None])

    def _shape(self, trajectories: Trajectories) -> tuple[Tensor, Tensor | None]:
        """The environment's rewards with the learned process reward worked in, and step advantages, `[R, B, T]`."""
        with torch.no_grad():
            rewards = self._shaping(trajectories, self.reward_model)
            if not (weight := self._shaping.step_weight):
                return rewards, None
            steps = self.reward_model.step_rewards(trajectories.states, trajectories.actions)
            steps = weight * standardised(steps, trajectories.mask)
            told = not getattr(self.reward_model, "needs_answers", True)
            return rewards, torch.where(self.preferences.has_strict_preference()[:, None, None] | told, steps, 0.0)

    def evaluate(self) -> dict[str, Tensor]:
        """What is known now, `[R]` each; success over the episodes so far."""
        greedy, fresh = play_greedily(self.env, self.policy, self.streams), self._fresh()
        self._held_out = self._predicted(fresh)
        return {
            **self._outcomes.of_greedy(greedy),
            **oprl_evaluation.predicted_answers(self._held_out),
            **oprl_evaluation.reward_quality(self.env, self.reward_model, fresh, self._policy_update.discount),
            "labels_used": self.preferences.used.float(),
            **self._outcomes.so_far(greedy),
        }

    def play(self, episodes: int) -> dict[str, Tensor]:
        """Means `[R]` over fresh episodes of the policy as it is, without exploration."""
        self.streams.restart("evaluation")
        fresh = self._play(episodes, 0.0, "evaluation")
        return {
            "success": self.env.success(fresh).float().mean(-1),
            "return": fresh.returns.mean(-1),
            "steps": fresh.lengths.float().mean(-1),
        }

    def adopt(self, state: dict[str, Any]) -> None:
        """Take the policy and the reward model from a `state()`."""
        self.policy_optimizer.restore(state["policy"])
        self.reward_optimizer.restore(state["reward_model"])
        self.reward_model.restore(state["reference"])

    def _fresh(self) -> Trajectories:
        """Episodes that nothing is learned from, half of them of random actions."""
        self.streams.restart("evaluation")
        number = self._evaluation_episodes + 1
        return Trajectories.join([self._play((number - e) // 2, e, "evaluation") for e in (0, 1)])

    def _predicted(self, fresh: Trajectories) -> Predictions:
        """What the model says of pairs of fresh episodes, or parts of them as they are asked about, and the answers."""
        number, queries = 8 * self._evaluation_episodes, self._queries
        return oprl_evaluation.predictions(fresh, self._criterion, self.reward_model, self.streams, number, queries)

    @torch.no_grad()
    def figures(self, history: History, living: NDArray[np.bool_]) -> dict[str, Figure]:
        """The charts of this experiment, by file name; see `Algorithm.figures`."""
        outcome = figures.outcome(self.metrics)
        seed = figures.median_seed(history, living, outcome)
        greedy, goal_steps = play_greedily(self.env, self.policy, self.streams), self._snapshots.goal_steps(self.step)
        chances = np.zeros((0, 0))
        if is_finite(self.env):
            chances = probabilities(self.env, self.policy, self.streams)[seed].cpu().numpy()
        learned = Learned(
            seed=figures.seed_words(self.streams.seeds[seed], living, outcome),
            success=self._outcomes.success[seed].cpu().numpy(),
            labels=int(self.preferences.used[seed]),
            policy=chances,
            rewards=self._snapshots.rewards(seed, self.step, self.reward_model),
            states=torch.cat([greedy.states[seed, 0, : greedy.lengths[seed, 0]], greedy.last[seed]]).cpu().numpy(),
            questions=self._snapshots.questions(seed),
            returns=self._outcomes.returns[seed].cpu().numpy(),
            reward_of=LearnedReward(self, self.streams.seeds[seed]),
        )
        charts = figures.oprl_figures(history, living, goal_steps, self._held_out, self._episodes, outcome)
        return charts | self.env.figures(learned)

    def networks(self) -> dict[str, Trained]:
        """What is trained, for the check that no seed depends on those beside it."""
        settings = self._episodes, self._policy_update, self._reward_update, self._queries.segment
        policy, reward = feature_rows(self.env, *settings)
        critic = getattr(self.policy, "critic", None)  # where it has a network of its own
        return trained(
            policy=(self.policy, self.policy_optimizer, policy),
            **({} if critic is None else {"value": (critic, self.policy_optimizer, policy)}),
            reward_model=(self.reward_model, self.reward_optimizer, reward),
        )

    def state(self) -> dict[str, Any]:
        """Everything that changes while training."""
        return {
            "step": self.step,
            **self._outcomes.state(),
            "policy": self.policy_optimizer.state(),
            "reward_model": self.reward_optimizer.state(),
            "reference": self.reward_model.state(),
            "trajectories": self._trajectories.state(),
            "preferences": self.preferences.state(),
            "held_out": {} if self._held_out is None else self._held_out._asdict(),
            "snapshots": self._snapshots.state(),
            "streams": self.streams.state(),
            **teacher_state(self.teacher),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes."""
        state = {"snapshots": {}, **updated_state(state)}  # older checkpoints have none
        teacher = state.pop("teacher", None)
        replicas = len(self.streams.seeds)
        pairs = Field((replicas, None), torch.float32)
        held_out = dict.fromkeys(Predictions._fields, pairs) if state.get("held_out") else {}
        checked = {"step": int, "held_out": held_out, **self._outcomes.kinds()}
        check_state({name: checked.get(name, object) for name in self.state().keys() - {"teacher"}}, state)
        self.step = state["step"]
        self._outcomes.restore(state)
        self._held_out = Predictions(**state["held_out"]) if held_out else None
        self.policy_optimizer.restore(state["policy"])
        self.reward_optimizer.restore(state["reward_model"])
        self.reward_model.restore(state["reference"])
        self._trajectories.restore(state["trajectories"])
        self.preferences.restore(state["preferences"])
        if teacher is not None and hasattr(self.teacher, "restore"):  # what was another teacher's is nobody's
            self.teacher.restore(teacher)
        self._snapshots.restore(state["snapshots"], self.step, self.reward_model)
        self.streams.restore(state["streams"])
