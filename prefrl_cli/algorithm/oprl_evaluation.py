"""What OPRL measures beside the return: success, predicted answers, and the learned reward against the true one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.core.environment import Environment, is_finite
from prefrl_cli.core.saved_state import Field
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories, draw_pairs
from prefrl_cli.preference.criterion import Criterion
from prefrl_cli.preference.queries import UniformTrajectories
from prefrl_cli.preference.questions import differences, segments
from prefrl_cli.reward_model.quality import Predictions, calibration_error, epic_distance, spearman


class Rewards(Protocol):
    """A learned reward."""

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of steps."""


class Outcomes:
    """What the episodes of N batches came to, those that the policy learned from, in the order of play.

    Args:
        env: says what a success is.
        replicas: R, number of seeds.
        device: of the tensors.

    Attributes:
        success: `[R, N]`; NaN where the environment does not say what a success is.
        returns: `[R, N]`; `[R, 0]` of an environment whose success says it all.
        env_steps: taken in all of them, `[R]`.
    """

    def __init__(self, env: Environment, replicas: int, device: torch.device) -> None:
        self._env = env
        self.success = torch.zeros(replicas, 0, device=device)
        self.returns = torch.zeros(replicas, 0, device=device)
        self.env_steps = torch.zeros(replicas, dtype=torch.float64, device=device)

    def add(self, new: Trajectories) -> dict[str, Tensor]:
        """Add a batch `[R, B]`; the metrics of it, `[R]` each."""
        success = self._env.success(new).float()
        self.success = torch.cat([self.success, success], 1)
        if not is_finite(self._env):
            self.returns = torch.cat([self.returns, new.returns], 1)
        self.env_steps = self.env_steps + new.lengths.sum(-1)
        return {"env_steps": self.env_steps, "return": new.returns.mean(-1), "success": success.mean(-1)}

    def of_greedy(self, greedy: Trajectories) -> dict[str, Tensor]:
        """Of one greedy episode, `[R]` each."""
        success = self._env.success(greedy).float().squeeze(1)
        return {"greedy_success": success, "greedy_steps": greedy.lengths.float().squeeze(1)}

    def so_far(self, greedy: Trajectories) -> dict[str, Tensor]:
        """Means `[R]` of all episodes and of their last tenth; nothing before the first.

        `solved` is 1 where nine in ten of the last tenth succeed. The return of the greedy episode stands beside the
        others.
        """
        found = _means("success", self.success)
        if "success_last" in found:
            last = found["success_last"]
            found["solved"] = torch.where(last.isnan(), last, (last >= 0.9).float())
        if self.returns.shape[1]:
            found |= _means("return", self.returns) | {"greedy_return": greedy.returns.squeeze(1)}
        return found

    def state(self) -> dict[str, Tensor]:
        """All that it holds."""
        returns = {} if is_finite(self._env) else {"returns": self.returns}
        return {"success": self.success, "env_steps": self.env_steps, **returns}

    def kinds(self) -> dict[str, Any]:
        """What a `state()` has to be made of, as `check_state` takes it."""
        episodes = Field((len(self.success), None), torch.float32)
        return {"success": episodes, "env_steps": self.env_steps, "returns": episodes}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state()` that was checked."""
        self.success, self.env_steps = state["success"], state["env_steps"]
        self.returns = state.get("returns", self.returns)


def _means(name: str, episodes: Tensor) -> dict[str, Tensor]:
    count = episodes.shape[1]
    if not count:
        return {}
    return {f"{name}_last": episodes[:, -max(1, count // 10) :].mean(1), f"{name}_mean": episodes.mean(1)}


@torch.no_grad()
def predictions(
    fresh: Trajectories,
    criterion: Criterion,
    reward_model: Rewards,
    streams: Streams,
    number: int,
    queries: UniformTrajectories,
) -> Predictions:
    """What the model says of pairs of fresh episodes, or of parts of them, and the answers that the criterion gives.

    Args:
        fresh: episodes that nothing was learned from.
        criterion: which of two is better; a tie is no preference, whatever a teacher says of ties.
        reward_model: predicts the answers.
        streams: draw the pairs.
        number: of pairs, K.
        queries: say what is asked about: of states that are vectors, parts are compared as they are in training.
    """
    count = torch.full_like(fresh.lengths[:, 0], fresh.lengths.shape[1])
    pairs = draw_pairs(streams, "evaluation", count, number)  # [R, K, 2]
    rows = torch.arange(len(pairs), device=pairs.device)[:, None, None]
    if fresh.states.ndim > 3 and queries.segment is not None:
        picked = Trajectories(**{name: value[rows[..., 0], pairs.flatten(1)] for name, value in fresh.fields().items()})
        cut = queries.cut(streams, picked.lengths, "evaluation/segments")
        fresh = segments(picked, *cut, queries.segment)
        pairs = torch.arange(2 * number, device=pairs.device).view(1, -1, 2).expand_as(pairs)
    first, second = criterion(fresh)[rows, pairs].unbind(-1)
    rewards = reward_model.step_rewards(fresh.states[rows, pairs], fresh.actions[rows, pairs])
    margin = differences(rewards, fresh.lengths[rows, pairs])
    return Predictions(margin, (first > second).float(), (first != second).float())


def predicted_answers(held_out: Predictions) -> dict[str, Tensor]:
    """How the model predicts preferences, `[R]` each; ties do not count.

    `preference_accuracy` is the share of right answers; `calibration_error` compares sigmoid of the margin with the
    answers.
    """
    error = calibration_error(*held_out.arrays())
    return {"preference_accuracy": held_out.accuracy(), "calibration_error": _metric(error, held_out.margins.device)}


@torch.no_grad()
def reward_quality(env: Environment, reward_model: Rewards, fresh: Trajectories, discount: float) -> dict[str, Tensor]:
    """How near the learned step rewards are to the true reward and to the true distances, `[R]` each.

    Where states are numbered and their distance to a goal is told, `epic_distance` is taken over all cells, actions and
    next cells, the goal being left with reward 0; `distance_correlation` is Spearman's between the reward of a cell and
    minus its distance to the goal or, where the reward depends on the action, between that of a step and how much
    nearer to the goal it leads. Where states are vectors, `reward_correlation` is Spearman's between the learned and
    the true reward of the steps of fresh episodes.

    Args:
        env: tells the distance to its goal; of one that does not, nothing is measured.
        reward_model: its rewards.
        fresh: episodes that nothing was learned from.
        discount: of the potentials that count as no difference.
    """
    device = fresh.rewards.device
    if not is_finite(env):
        rewards = reward_model.step_rewards(fresh.states, fresh.actions), fresh.rewards
        learned, true = (each.double().flatten(1).cpu().numpy() for each in rewards)
        taken = (fresh.mask > 0).flatten(1).cpu().numpy()
        each = [spearman(learned[row, there][None], true[row, there][None])[0] for row, there in enumerate(taken)]
        return {"reward_correlation": _metric(np.array(each), device)}
    told = env.diagnostics(torch.arange(env.num_states))
    if "distance" not in told:
        return {}
    from_goal = told["distance"].numpy()
    cells = np.flatnonzero(from_goal >= 0)
    steps = np.stack(np.meshgrid(cells, np.arange(env.num_actions), indexing="ij")).reshape(2, -1)
    states, actions = torch.from_numpy(steps).to(device)[:, None].expand(-1, len(fresh.lengths), -1)
    learned = reward_model.step_rewards(states, actions).double().cpu().numpy()
    learned = learned.reshape(len(learned), len(cells), -1).copy()  # [R, N, A]
    leaves, distance = cells != env.goal, from_goal[cells]
    learned[:, ~leaves] = 0.0
    true = env.goal_reward * (cells == env.goal)[None]
    nothing = np.zeros((1, len(cells)))
    epic = epic_distance((learned, nothing[..., None]), (nothing, true), discount)
    if getattr(reward_model, "rewards_actions", False):
        nearer = distance[:, None] - from_goal[env.transitions[cells]]
        ranks = spearman(learned[:, leaves].reshape(len(learned), -1), nearer[None, leaves].reshape(1, -1))
    else:
        ranks = spearman(learned[:, leaves, 0], -distance[None, leaves])
    return {"epic_distance": _metric(epic, device), "distance_correlation": _metric(ranks, device)}


def _metric(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values).float().to(device)
