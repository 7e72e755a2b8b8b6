"""What OPRL measures beside the return: success, predicted answers, and the learned reward against the true one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.core.environment import Environment, is_finite
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


def success(episodes: Tensor) -> dict[str, Tensor]:
    """Shares `[R]` of successes among all episodes so far `[R, N]` and their last tenth; nothing before the first.

    `solved` is 1 where nine in ten of the last tenth succeed.
    """
    count = episodes.shape[1]
    if not count:
        return {}
    last = episodes[:, -max(1, count // 10) :].mean(1)
    return {"success_last": last, "success_mean": episodes.mean(1), "solved": (last >= 0.9).float()}


def returns(greedy: Trajectories, episodes: Tensor) -> dict[str, Tensor]:
    """Returns `[R]` of a greedy episode, of all episodes so far `[R, N]` and of their last tenth.

    Nothing where returns are not kept.
    """
    count = episodes.shape[1]
    if not count:
        return {}
    last = episodes[:, -max(1, count // 10) :].mean(1)
    return {"return_last": last, "return_mean": episodes.mean(1), "greedy_return": greedy.returns.squeeze(1)}


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
