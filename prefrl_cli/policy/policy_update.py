"""What a policy update asks of a policy, and the metrics that several updates have."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from prefrl_cli.core.metric import Metric

POLICY_LOSS = Metric("policy_loss", note="Mean over the steps of the optimiser.")
ENTROPY = Metric(
    "entropy", "nats", note="Of the policy where it acts, mean over the last pass; a density's may be below 0."
)
APPROXIMATE_KL = Metric(
    "approximate_kl",
    "nats",
    label="approximate KL divergence",
    low=0.0,
    note="From the policy that acted to the one that learns, mean over the last pass.",
)
VALUE_LOSS = Metric("value_loss", "squared error", "lower", low=0.0, note="Before its weight, mean over the last pass.")


class Distribution(Protocol):
    """Actions in states `[R, ...]`, as a policy chooses them."""

    def log_probability(self, actions: Tensor) -> Tensor:
        """Of the actions `[R, ...]` that were taken: `[R, ...]`."""

    def entropy(self) -> Tensor:
        """In nats, `[R, ...]`."""


class Policy(Protocol):
    """Chooses actions and values states."""

    def __call__(self, states: Tensor) -> tuple[Distribution, Tensor]:
        """The distribution over actions and the values `[R, ...]` of states `[R, ...]`."""
