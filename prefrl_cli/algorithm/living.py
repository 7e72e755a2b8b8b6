"""Which seeds still train: one whose numbers are no longer finite stops alone, and the others never notice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from prefrl_cli.algorithm.metrics import EVALUATION
from prefrl_cli.core.metric import Metric, by_name, seed_words

if TYPE_CHECKING:
    from torch import Tensor

    from prefrl_cli.core.algorithm import Algorithm

Metrics = dict[str, np.ndarray]  # `[R]` each
# A seed as text -> its `step`, the `reason`, and `evaluated` where only the evaluation after that step has shown it, as
# JSON files have them.
Failed = dict[str, dict[str, Any]]


def ends(failed: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The step from which on each failed seed has no row: its training was sound where only an evaluation failed."""
    return {seed: int(one["step"]) + bool(one.get("evaluated")) for seed, one in failed.items()}


class Learner(Protocol):
    """What of an optimiser tells which seeds have failed."""

    @property
    def finite_losses(self) -> Tensor:
        """Whether every loss so far was finite, `[R]`."""

    @property
    def finite_parameters(self) -> Tensor:
        """Whether every parameter is finite, `[R]`."""

    def clear(self, replicas: Tensor) -> None:
        """Set what some replicas, bool `[R]`, have learned to zero."""


class Finite(NamedTuple):
    """Which seeds' losses and parameters are finite, bool `[R]` each."""

    losses: np.ndarray
    parameters: np.ndarray

    @classmethod
    def of(cls, optimizers: Sequence[Learner]) -> Finite:
        """Of everything that is learned."""
        found = [(one.finite_losses.cpu().numpy(), one.finite_parameters.cpu().numpy()) for one in optimizers]
        return cls(*(np.logical_and.reduce(some) for some in zip(*found, strict=True)))


class Living:
    """The seeds of a run that have not failed.

    A seed has failed when after a step a loss or a parameter of it is not finite, or a metric is infinite. NaN alone
    is no failure: a metric may have no value, such as a loss before any answer. An evaluation counts where training
    ends: before, it changes nothing that training depends on. A run that goes on from there goes on with that seed.

    Args:
        seeds: R seeds.
        failed: those that have failed already; it is added to.
        options: of the run, by their dotted names; a failure is told with those that may mend it.
    """

    def __init__(self, seeds: Sequence[int], failed: Failed, options: Mapping[str, Any]) -> None:
        self._seeds, self.failed = list(seeds), failed
        named = [name for name in ("optimizer.lr", "policy.rate") if name in options] or ["optimizer.lr"]
        self._cure = f"try a smaller {' or '.join(named)}"
        if options.get("optimizer.clip") is None:
            self._cure += ", or optimizer.clip=1.0"

    @property
    def mask(self) -> np.ndarray:
        """Whether each seed lives, bool `[R]`."""
        return np.array([str(seed) not in self.failed for seed in self._seeds], dtype=bool)

    def look(self, algorithm: Algorithm, finite: Finite, step: int, metrics: Mapping[str, np.ndarray]) -> list[str]:
        """Find the seeds that have failed now, and keep what all failed ones have learned at zero.

        Args:
            algorithm: was just updated.
            finite: what its optimisers say of this step.
            step: that it is at.
            metrics: of that step, `[R]` each.

        Returns:
            A line for each reason, that names the seeds.
        """
        said = self._fail(step, _reasons(finite, metrics))
        self.clear(algorithm)
        return said

    def look_at_the_end(self, step: int, evaluation: Mapping[str, np.ndarray]) -> list[str]:
        """Find the seeds that the last evaluation `[R]` shows to have failed; a line for each reason."""
        return self._fail(step, _infinite(evaluation), evaluated=True)

    def _fail(self, step: int, reasons: Iterable[tuple[str, np.ndarray]], **more: Any) -> list[str]:
        said = []
        for reason, lost in reasons:
            now = [seed for seed, gone in zip(self._seeds, lost & self.mask, strict=True) if gone]
            if now:
                self.failed |= {str(seed): {"step": step, "reason": reason, **more} for seed in now}
                said.append(f"step {step}: {reason} for {seed_words(now)}; {self._cure}")
        return said

    def clear(self, algorithm: Algorithm) -> None:
        """Set what the failed seeds have learned to zero.

        NaN would be harmless to the others' numbers, but not to what goes over all seeds, such as a chart's range.
        """
        if self.failed:
            failed = torch.from_numpy(~self.mask)
            for optimizer in algorithm.optimizers:
                optimizer.clear(failed)

    def only(self, metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The metrics `[R]`, NaN for a failed seed."""
        return (
            {name: np.where(self.mask, values, np.nan) for name, values in metrics.items()}
            if self.failed
            else {**metrics}
        )

    def counted(self, metrics: Mapping[str, np.ndarray], declared: Iterable[Metric]) -> dict[str, np.ndarray]:
        """The metrics `[R]` for what is said of all seeds: a failed one counts as its metric says, or is NaN."""
        if not self.failed:
            return {**metrics}
        known, failed = by_name(declared, metrics), ~self.mask
        return {name: known[name].counted(values, failed) for name, values in metrics.items()}


def _reasons(finite: Finite, metrics: Mapping[str, np.ndarray]) -> Iterable[tuple[str, np.ndarray]]:
    """Why a seed may have failed, and whether each has, bool `[R]`; the first that holds is told."""
    yield "the loss is not a number any more", ~finite.losses
    yield "the parameters are not numbers any more", ~finite.parameters
    yield from _infinite(metrics)


def _infinite(metrics: Mapping[str, np.ndarray]) -> Iterable[tuple[str, np.ndarray]]:
    for name, values in metrics.items():
        yield f"{name} is infinite", np.isinf(values)


class Row(NamedTuple):
    """What a step of training gives.

    Attributes:
        metrics: of the update.
        living: whether a seed has such a row, for each.
        tested: of the evaluation after it; empty where there was none.
        said: a line for each reason for which seeds have failed.
        finite: which seeds' numbers were finite after the update.
    """

    metrics: Metrics
    living: list[bool]
    tested: Metrics
    said: list[str]
    finite: Finite


def advance(algorithm: Algorithm, living: Living, every: int) -> Row:
    """Train by a step, find the seeds that fail in it, and evaluate where it is time and at the end.

    Args:
        algorithm: is not at its end.
        living: its seeds.
        every: steps from one evaluation to the next; 0 is never.
    """
    with np.errstate(all="ignore"):  # what is no number any more is told in words
        metrics = arrays(algorithm.update())
    step, last, finite = algorithm.step, algorithm.step == algorithm.steps, Finite.of(algorithm.optimizers)
    said, tested = living.look(algorithm, finite, step, metrics), Metrics()
    lived = living.mask.tolist()
    if last or due(step, every):
        tested = evaluated(algorithm)
        said += living.look_at_the_end(step, evaluation(tested)) if last else []
    return Row(metrics, lived, tested, said, finite)


def evaluated(algorithm: Algorithm) -> Metrics:
    """An evaluation's metrics; NumPy does not warn of what is no number."""
    with np.errstate(all="ignore"):
        return arrays(algorithm.evaluate())


def arrays(metrics: Mapping[str, Tensor]) -> Metrics:
    """Metrics as arrays `[R]`, copied: an algorithm may reuse its tensors."""
    return {name: value.detach().cpu().numpy().copy() for name, value in metrics.items()}


def evaluation(metrics: Mapping[str, np.ndarray]) -> Metrics:
    """The metrics of an evaluation, told from those of training by their names."""
    return {f"{EVALUATION}{name}": value for name, value in metrics.items()}


def due(step: int, every: int) -> bool:
    """Whether something happens after this step; 0 is never."""
    return every > 0 and step % every == 0
