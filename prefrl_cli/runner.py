"""Train an algorithm and leave a complete run directory: the one loop that every experiment goes through."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from prefrl_cli.progress import Progress
from prefrl_cli.report.statistics import bootstrap_interval, interquartile_mean
from prefrl_cli.run_directory import EVALUATION, MetricsLog, RunDirectory

if TYPE_CHECKING:
    from torch import Tensor

    from prefrl_cli.algorithm import Algorithm
    from prefrl_cli.config import Run

CHECKPOINT_FORMAT = 1
_SEEDS_FOR_ALL_THREADS = 16
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


class TrainingError(Exception):
    """Training cannot go on; the message is one line."""


def prepare(run: Run) -> int:
    """Set the number of threads, before the first tensor is made; returns it.

    A small network on one seed spends its time in calls, not in arithmetic, so more threads only wait for each other.
    Results do not depend on the number.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = run.threads or (available if run.num_seeds >= _SEEDS_FOR_ALL_THREADS else 1)
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)  # numbers below 1e-38 are slow, and no experiment needs them
    return threads


def keep_freed_memory() -> None:
    """Ask the C library (glibc) not to give freed memory back: 64 seeds' tensors would cost a page fault a page."""
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):
        allocator.mallopt(_MMAP_THRESHOLD, 1 << 30)
        allocator.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def train(algorithm: Algorithm, run: Run, directory: RunDirectory, progress: Progress) -> dict[str, Any]:
    """Train to the end; the summary, which is also written to `summary.json`.

    Raises:
        TrainingError: when a seed's loss is no longer a number.
    """
    log = MetricsLog(directory.path / "metrics.csv", run.seeds)
    initial, examples = arrays(algorithm.evaluate()), {"before": columns(algorithm)}
    final, saved = initial, 0
    started = time.perf_counter()
    with log, progress:
        log.add(0, evaluation(initial))
        while algorithm.step < algorithm.steps:
            metrics = arrays(algorithm.update())
            step, last = algorithm.step, algorithm.step == algorithm.steps
            if last or due(step, run.evaluation.every):
                final = arrays(algorithm.evaluate())
                metrics |= evaluation(final)
            log.add(step, metrics)
            if not bool(algorithm.finite().all()):
                raise TrainingError(not_finite(algorithm, run))
            if last or due(step, run.checkpoint.every):
                save(algorithm, run, directory)
                saved = step
            progress.update(step, metrics)
    seconds = time.perf_counter() - started
    draw(algorithm, log, directory)
    summary = {
        "experiment": run.experiment,
        "seeds": list(run.seeds),
        "steps": saved,
        "train_seconds": round(seconds, 3),
        "initial": {name: statistics(values) for name, values in initial.items()},
        "metrics": {name: statistics(values) for name, values in final.items()},
        "examples": examples | {"after": columns(algorithm)},
    }
    directory.write_json("summary.json", summary)
    return summary


def arrays(metrics: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Metrics as arrays `[R]`, copied: an algorithm may reuse its tensors."""
    return {name: value.detach().cpu().numpy().copy() for name, value in metrics.items()}


def columns(algorithm: Algorithm) -> dict[str, list[list[float]]]:
    """The first items of the last evaluation: column name -> a list a seed."""
    return {name: values.tolist() for name, values in algorithm.examples.items()}


def evaluation(metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics of an evaluation, under the names that they have in `metrics.csv`."""
    return {f"{EVALUATION}{name}": value for name, value in metrics.items()}


def due(step: int, every: int) -> bool:
    """Whether something happens after this step; 0 is never."""
    return every > 0 and step % every == 0


def save(algorithm: Algorithm, run: Run, directory: RunDirectory) -> None:
    """Write a checkpoint: everything that the rest of the run depends on."""
    content = {"format": CHECKPOINT_FORMAT, "step": algorithm.step, "seeds": list(run.seeds)}
    directory.save_checkpoint(algorithm.step, {**content, "algorithm": algorithm.state()})


def not_finite(algorithm: Algorithm, run: Run) -> str:
    """Which seeds' losses are no longer numbers, in words."""
    lost = [str(seed) for seed, fine in zip(run.seeds, algorithm.finite().tolist(), strict=True) if not fine]
    named = ", ".join(lost[:10]) + (f" and {len(lost) - 10} more" if len(lost) > 10 else "")
    return (
        f"step {algorithm.step}: the loss is not a number any more for seed{'s' * (len(lost) > 1)} {named};"
        " try a smaller optimizer.lr, or optimizer.clip=1.0"
    )


def draw(algorithm: Algorithm, log: MetricsLog, directory: RunDirectory) -> None:
    """Draw the algorithm's charts."""
    from prefrl_cli.report import charts  # matplotlib takes a second to import: not before training

    directory.charts.mkdir(exist_ok=True)
    for name, figure in algorithm.figures(log.history()).items():
        charts.draw(figure, directory.charts / name)


def statistics(values: np.ndarray) -> dict[str, Any]:
    """A metric over the seeds that have it: mean, interquartile mean and the mean's 95 % interval.

    Args:
        values: `[R]`, NaN where a seed has no value.

    Returns:
        `per_seed` with null for those, `mean`, `iqm`, `ci95`; `seeds_with_value` where they are fewer.
    """
    values = values.astype(np.float64)
    present = values[~np.isnan(values)]
    found: dict[str, Any] = {"per_seed": values.tolist(), "mean": None, "iqm": None, "ci95": [None, None]}
    if len(present):
        found["mean"], found["iqm"] = float(present.mean()), float(interquartile_mean(present))
        found["ci95"] = [float(end) for end in bootstrap_interval(present)]
    if len(present) < len(values):
        found["seeds_with_value"] = len(present)
    return found
