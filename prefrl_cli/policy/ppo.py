"""Proximal policy optimisation on the seed axis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from prefrl_cli.core.optimizer import Optimizer
from prefrl_cli.core.option_types import Fraction, NotNegative, Positive, Repeats
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories, standardise
from prefrl_cli.policy.advantages import approximate_kl, bootstrapped, clipped_gain, generalised_advantages
from prefrl_cli.policy.policy_update import APPROXIMATE_KL, ENTROPY, POLICY_LOSS, VALUE_LOSS, Policy


class PPO:
    """Proximal policy optimisation (Schulman et al. 2017, eq. 7) on the batch of episodes just played.

    Args:
        epochs: passes over the batch.
        minibatches: parts of the batch, drawn anew for each pass, with a step for each; 1 takes the whole batch.
        clip: how far the probability ratio may move before its gradient ends.
        discount: gamma.
        trace: lambda of the advantage estimation.
        value_weight: of the squared error of the value.
        entropy_weight: of the entropy bonus.
        least_deviation: floor of the standard deviation by which advantages are divided, in units of `reward_unit`.
            Without it, a batch in which no episode succeeded turns the value's noise into a drift of the policy.
        reward_unit: rewards are divided by it first.
    """

    metrics = (POLICY_LOSS, ENTROPY, APPROXIMATE_KL, VALUE_LOSS)
    min_episodes = 1
    bootstraps = True  # whether the value of a state counts in which a time limit cut an episode off

    def __init__(
        self,
        epochs: Repeats = 8,
        minibatches: Repeats = 1,
        clip: Positive = 0.2,
        discount: Fraction = 0.98,
        trace: Fraction = 0.95,
        value_weight: NotNegative = 0.5,
        entropy_weight: NotNegative = 0.02,
        least_deviation: Positive = 0.1,
        reward_unit: Positive = 10.0,
    ) -> None:
        self.epochs, self.minibatches = epochs, minibatches
        self.clip, self.discount, self.trace = clip, discount, trace
        self._value_weight, self._entropy_weight = value_weight, entropy_weight
        self._least_deviation, self._unit = least_deviation, reward_unit

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
        """Improve the policy; the `metrics` of it, `[R]` each.

        Args:
            policy: what is improved.
            optimizer: of its parameters.
            batch: what `batch` gave, `[R, B, T]`.
            rewards: in place of the environment's, `[R, B, T]`.
            step_advantages: added to the standardised advantages, `[R, B, T]`; none adds nothing.
            streams: random numbers.
        """
        with torch.no_grad():
            chosen, values = policy(batch.states)
            before = chosen.log_probability(batch.actions).flatten(1)  # [R, B * T]
            mask = batch.mask
            scaled = bootstrapped(rewards / self._unit, batch, policy, self.discount)
            advantages = generalised_advantages(scaled, values, mask, self.discount, self.trace)
            targets = (advantages + values).flatten(1)
            mask, states, actions = mask.flatten(1), batch.states.flatten(1, 2), batch.actions.flatten(1, 2)
            advantages = standardise(advantages.flatten(1), mask, self._least_deviation, floor=True)
            if step_advantages is not None:
                advantages = advantages + step_advantages.flatten(1)
        total = torch.zeros_like(mask[:, 0])
        last = {metric.name: torch.zeros_like(total) for metric in self.metrics[1:]}
        whole = (states, actions, before, advantages, targets, mask)
        steps = self.epochs * self.minibatches
        for number, (states, actions, before, advantages, targets, share) in enumerate(self._parts(streams, whole)):
            chosen, values = policy(states)
            change = chosen.log_probability(actions) - before
            ratio = change.exp()
            each = (
                self._value_weight * (errors := (values - targets).square())
                - clipped_gain(ratio, advantages, self.clip)
                - self._entropy_weight * (entropy := chosen.entropy())
            )
            loss = (each * share).sum(-1)
            optimizer.step(loss)
            total += loss.detach()
            if number >= steps - self.minibatches:
                for metric, of in zip(self.metrics[1:], (entropy, approximate_kl(change), errors), strict=True):
                    last[metric.name] += (of.detach() * share).sum(-1)
        return {POLICY_LOSS.name: total / steps, **{name: value / self.minibatches for name, value in last.items()}}

    def _parts(self, streams: Streams, batch: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        """What each step learns from: tensors `[R, N, *shape]`, cut into parts of N / minibatches.

        The last of them goes in as the mask and comes out as each step's share of the mean over its part. The steps
        taken are spread evenly over the parts, whatever share of N they are.
        """
        *others, mask = batch
        if self.minibatches == 1:
            yield from itertools.repeat((*others, _shares(mask)), self.epochs)
            return
        first = mask.shape[1] * torch.arange(len(mask), device=mask.device)[:, None]
        flat = [values.flatten(0, 1) for values in batch]
        for _ in range(self.epochs):
            drawn = streams.uniform("minibatches", mask.shape[1]).where(mask > 0, 1.0)
            order = drawn.argsort(dim=1, stable=True) + first  # the steps taken come first
            parts = [order[:, number :: self.minibatches].flatten() for number in range(self.minibatches)]
            index, sizes = torch.cat(parts), [len(part) for part in parts]
            for some in zip(*(values.index_select(0, index).split(sizes) for values in flat), strict=True):
                *part, of_part = (values.unflatten(0, (len(mask), -1)) for values in some)
                yield *part, _shares(of_part)


def _shares(mask: Tensor) -> Tensor:
    return mask / mask.sum(1, keepdim=True).clamp(min=1)
