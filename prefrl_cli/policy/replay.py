"""Policy updates on single kept trajectories, as in the tutorial."""

from __future__ import annotations

import torch
from torch import Tensor

from prefrl_cli.core.optimizer import Optimizer
from prefrl_cli.core.option_types import Fraction, NotNegative, Repeats
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories, draw_places, standardise
from prefrl_cli.policy.advantages import discounted_returns
from prefrl_cli.policy.policy_update import ENTROPY, POLICY_LOSS, VALUE_LOSS, Policy


class Replay:
    """The tutorial's update: each step learns from one random kept trajectory.

    Its returns are standardised within the trajectory, which blows the noise of a failed one up to full size
    (see docs/results.md, "Why the tutorial is slow").

    Args:
        updates: steps a call.
        discount: gamma.
        value_weight: of the squared error of the value.
        entropy_weight: of the entropy bonus.
    """

    metrics = (POLICY_LOSS, ENTROPY, VALUE_LOSS)
    min_episodes = 1
    bootstraps = False  # its values are of standardised returns, in no unit of the reward

    def __init__(
        self,
        updates: Repeats = 2,
        discount: Fraction = 0.98,
        value_weight: NotNegative = 0.5,
        entropy_weight: NotNegative = 0.01,
    ) -> None:
        self.updates, self.discount = updates, discount
        self._value_weight, self._entropy_weight = value_weight, entropy_weight

    def batch(self, new: Trajectories, kept: Store, streams: Streams) -> Trajectories:
        """What is learned from: random kept trajectories, one a step."""
        return Trajectories.of(kept.get(draw_places(streams, "replay", kept.count, self.updates)))

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
        masks = batch.mask
        shares = masks / batch.lengths[..., None]  # a step's share of the mean over its trajectory
        returns = standardise(discounted_returns(rewards, self.discount), masks, 1e-8)  # [R, updates, T]
        total, entropies, errors = torch.zeros(3, len(streams.seeds), device=streams.device)
        for number in range(self.updates):
            states, actions, share, target = (of[:, number] for of in (batch.states, batch.actions, shares, returns))
            chosen, values = policy(states)
            advantages = target - values.detach()
            if step_advantages is not None:
                advantages = advantages + step_advantages[:, number]
            each = (
                self._value_weight * (error := (values - target).square())
                - chosen.log_probability(actions) * advantages
                - self._entropy_weight * (entropy := chosen.entropy())
            )
            loss = (each * share).sum(-1)
            optimizer.step(loss)
            for sum_, of in ((total, loss), (entropies, (entropy * share).sum(-1)), (errors, (error * share).sum(-1))):
                sum_ += of.detach()
        sums = zip((metric.name for metric in self.metrics), (total, entropies, errors), strict=True)
        return {name: sum_ / self.updates for name, sum_ in sums}
