"""Policy updates without a value: an episode is measured against the others of its batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from prefrl_cli.core.optimizer import Optimizer
from prefrl_cli.core.option_types import Fraction, NotNegative, Positive, Repeats
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories, standardise
from prefrl_cli.policy.advantages import approximate_kl, clipped_gain, discounted_returns
from prefrl_cli.policy.policy_update import APPROXIMATE_KL, ENTROPY, POLICY_LOSS, Policy

Baseline = Literal["leave_one_out", "standardised"]


def episode_advantages(returns: Tensor, baseline: Baseline, least_deviation: float) -> Tensor:
    """What each episode is worth beside the others of its batch, `[R, B]`.

    Args:
        returns: `[R, B]`, two episodes at least.
        baseline: `leave_one_out`, the return less the mean of the others' (RLOO, Ahmadian et al. 2024, eq. 7);
            `standardised`, less the mean of all and divided by their standard deviation (GRPO, Shao et al.
            2024, 4.1.2).
        least_deviation: the lowest value of the standard deviation.
    """
    if baseline == "standardised":
        return standardise(returns, torch.ones_like(returns), least_deviation, floor=True)
    others = returns.shape[1] - 1
    return returns - (returns.sum(1, keepdim=True) - returns) / others


class GroupBaseline:
    """RLOO (arXiv 2402.14740) and GRPO (arXiv 2402.03300), the batch just played being the group.

    Every step of an episode has the advantage of the episode's discounted return, to which a step advantage is added
    (the OPRL paper's eq. 9, arXiv 2509.19199). Every step of the batch has the same share of the loss. With one epoch
    the clip does nothing and `leave_one_out` is REINFORCE. Potential shaping with the same discount takes the same
    number from every return from the same start, hence it changes nothing here and is refused.

    Args:
        baseline: what an episode is measured against, see `episode_advantages`.
        epochs: steps on the whole batch.
        clip: how far the probability ratio may move before its gradient ends.
        discount: gamma.
        entropy_weight: of the entropy bonus.
        least_deviation: floor of the standard deviation of `standardised`, in units of `reward_unit`.
        reward_unit: rewards are divided by it first.
    """

    metrics = (POLICY_LOSS, ENTROPY, APPROXIMATE_KL)
    min_episodes = 2
    bootstraps = False  # it has no value
    cancels_potentials = True  # of the one start that all episodes have

    def __init__(
        self,
        baseline: Baseline = "leave_one_out",
        epochs: Repeats = 8,
        clip: Positive = 0.2,
        discount: Fraction = 0.98,
        entropy_weight: NotNegative = 0.02,
        least_deviation: Positive = 0.1,
        reward_unit: Positive = 10.0,
    ) -> None:
        self._baseline, self.epochs, self.clip, self.discount = baseline, epochs, clip, discount
        self._entropy_weight, self._least_deviation, self._unit = entropy_weight, least_deviation, reward_unit

    def batch(self, new: Trajectories, kept: Store, streams: Streams) -> Trajectories:
        """What is learned from: the episodes just played."""
        return new

    def __call__(
        self,
        policy: Policy,
        optimizer: Optimizer,
        batch: Trajectories,
        rewards: Tensor,
        step_advantages: Tensor | None,
        streams: Streams,
    ) -> dict[str, Tensor]:
        """Improve the policy; the `metrics` of it, `[R]` each. Arguments as for `PPO`."""
        with torch.no_grad():
            before = policy(batch.states)[0].log_probability(batch.actions)  # [R, B, T]
            returns = discounted_returns(rewards / self._unit, self.discount)[..., 0].contiguous()
            advantages = episode_advantages(returns, self._baseline, self._least_deviation)[..., None]
            if step_advantages is not None:
                advantages = advantages + step_advantages
            shares = batch.mask / batch.mask.sum((1, 2), keepdim=True)
        total = torch.zeros_like(returns[:, 0])
        for _ in range(self.epochs):
            chosen, _ = policy(batch.states)
            change = chosen.log_probability(batch.actions) - before
            ratio = change.exp()
            each = -clipped_gain(ratio, advantages, self.clip) - self._entropy_weight * (entropy := chosen.entropy())
            loss = _mean(each, shares)
            optimizer.step(loss)
            total += loss.detach()
        last = (_mean(of.detach(), shares) for of in (entropy, approximate_kl(change)))
        return dict(zip((metric.name for metric in self.metrics), (total / self.epochs, *last), strict=True))


def _mean(values: Tensor, shares: Tensor) -> Tensor:
    return (values * shares).flatten(1).sum(-1)
