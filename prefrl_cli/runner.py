"""Train an algorithm and leave a complete run directory: the one loop that every experiment goes through."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from prefrl_cli.checkpoints import CheckpointError, UnfitError
from prefrl_cli.progress import Progress
from prefrl_cli.report.statistics import bootstrap_interval, interquartile_mean
from prefrl_cli.run_directory import EVALUATION, MetricsLog, RunDirectory
from prefrl_cli.safe_files import short
from prefrl_cli.trackers import Trackers

if TYPE_CHECKING:
    from torch import Tensor

    from prefrl_cli.algorithm import Algorithm
    from prefrl_cli.config import Run

_SEEDS_FOR_ALL_THREADS = 16
_DAMAGED = (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError)  # what another's state raises
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


class TrainingError(Exception):
    """Training cannot go on; the message is one line."""


def prepare(run: Run) -> int:
    """Set the number of threads, before the first tensor is made; returns it.

    The option `threads` counts, then OMP_NUM_THREADS, as the launchers and batch systems set it. A small network on
    one seed spends its time in calls, not in arithmetic, so more threads only wait for each other. Results do not
    depend on the number.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    typed = os.environ.get("OMP_NUM_THREADS", "")  # a list of numbers where loops are nested
    wished = int(typed) if typed.isdecimal() and 0 < int(typed) <= 1024 else None
    threads = run.threads or wished or (available if run.num_seeds >= _SEEDS_FOR_ALL_THREADS else 1)
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


class Stopped(Exception):
    """Training was asked to stop; a checkpoint of this step was written."""


@dataclass
class Record:
    """What the end of a run needs of its beginning; part of every checkpoint.

    Attributes:
        initial: the evaluation before training, `[R]` each.
        final: the last evaluation.
        before: the first items of the evaluation before training, see `columns`.
        seconds: of training so far.
    """

    initial: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    before: dict[str, list[list[float]]]
    seconds: float = 0.0


def train(
    algorithm: Algorithm,
    run: Run,
    directory: RunDirectory,
    progress: Progress,
    resumed: tuple[Record, MetricsLog] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    trackers: Trackers | None = None,
) -> dict[str, Any]:
    """Train to the end; the summary, which is also written to `summary.json`.

    Args:
        algorithm: what is trained.
        run: the root options.
        directory: where the files go.
        progress: shows how far it is.
        resumed: what `restore` gave; none begins at step 0.
        stopping: whether to stop after this step.
        trackers: get every step's metrics too.

    Raises:
        TrainingError: when a seed's loss is no longer a number.
        Stopped: when `stopping` said so before the last step.
    """
    record, log = resumed or begin(algorithm, run, directory)
    with log, progress, directory.checkpoints as checkpoints, trackers or Trackers() as trackers:
        if resumed is None:
            trackers.log(0, evaluation(record.initial))
        trackers.open()  # a tracker may take seconds to begin, which are not training's
        started = time.perf_counter() - record.seconds
        while algorithm.step < algorithm.steps:
            metrics = arrays(algorithm.update())
            step, last = algorithm.step, algorithm.step == algorithm.steps
            if last or due(step, run.evaluation.every):
                record.final = arrays(algorithm.evaluate())
                metrics |= evaluation(record.final)
            log.add(step, metrics)
            trackers.log(step, metrics)
            if not bool(algorithm.finite().all()):
                raise TrainingError(not_finite(algorithm, run))
            stop = not last and stopping()
            if last or stop or due(step, run.checkpoint.every):
                record.seconds = time.perf_counter() - started
                save(algorithm, run, directory, record, log)
            progress.update(step, metrics)
            if stop:
                checkpoints.wait()
                raise Stopped
    draw(algorithm, log, directory)
    summary = {
        "experiment": run.experiment,
        "seeds": list(run.seeds),
        "steps": algorithm.step,
        "train_seconds": round(record.seconds, 3),
        "initial": {name: statistics(values) for name, values in record.initial.items()},
        "metrics": {name: statistics(values) for name, values in record.final.items()},
        "examples": {"before": record.before, "after": columns(algorithm)},
    }
    directory.write_json("summary.json", summary)
    return summary


def begin(algorithm: Algorithm, run: Run, directory: RunDirectory) -> tuple[Record, MetricsLog]:
    """Evaluate before training."""
    initial = arrays(algorithm.evaluate())
    log = MetricsLog(directory.path / "metrics.csv", run.seeds)
    log.add(0, evaluation(initial))
    return Record(initial, initial, columns(algorithm)), log


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


def save(algorithm: Algorithm, run: Run, directory: RunDirectory, record: Record, log: MetricsLog) -> None:
    """Write a checkpoint: everything that the rest of the run depends on and `metrics.csv` does not hold."""
    content = {
        "seeds": list(run.seeds),
        "options": directory.options,
        "columns": log.names,
        "initial": {name: torch.from_numpy(values) for name, values in record.initial.items()},
        "final": {name: torch.from_numpy(values) for name, values in record.final.items()},
        "before": record.before,
        "examples": algorithm.examples,
        "seconds": record.seconds,
        "algorithm": algorithm.state(),
    }
    directory.checkpoints.save(algorithm.step, content, log.sync())  # its rows must be there where the checkpoint is


def restore(
    algorithm: Algorithm, run: Run, directory: RunDirectory, content: dict[str, Any], *, rewrite: bool = True
) -> tuple[Record, MetricsLog]:
    """Put an algorithm that was just built, and `metrics.csv`, where a checkpoint left them.

    Args:
        algorithm: just built.
        run: the root options.
        directory: of the run.
        content: of the checkpoint.
        rewrite: false leaves `metrics.csv` as it is; see `MetricsLog.read_back`.

    Raises:
        UnfitError: when the algorithm is another than the one that was saved; it must be built again then.
        CheckpointError: when something else is missing or does not fit; the same.
    """
    step = content["step"]
    try:
        algorithm.restore(content["algorithm"])
    except _DAMAGED as problem:
        raise UnfitError(f"checkpoint of step {step} does not fit ({short(problem)})") from None
    try:
        algorithm.examples = dict(content["examples"])
        initial, final = arrays(content["initial"]), arrays(content["final"])
        record = Record(initial, final, content["before"], float(content["seconds"]))
        path = directory.path / "metrics.csv"
        log = MetricsLog.read_back(path, run.seeds, step, content["columns"], rewrite=rewrite)
    except (*_DAMAGED, FileNotFoundError) as problem:
        raise CheckpointError(f"checkpoint of step {step} does not fit ({short(problem)})") from None
    if algorithm.step != step:
        raise CheckpointError(f"checkpoint of step {step} does not fit (it holds step {algorithm.step})")
    return record, log


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
