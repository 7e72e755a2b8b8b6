"""Train an algorithm and leave a complete run directory: the one loop that every experiment goes through."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from prefrl_cli.algorithm.living import Failed, Living, Metrics, advance, arrays, due, ends, evaluated, evaluation
from prefrl_cli.charts.backend import ready
from prefrl_cli.core.metric import Metric, by_name
from prefrl_cli.core.option_types import as_typed
from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.files.checkpoints import CheckpointError, UnfitError
from prefrl_cli.files.preferences.record import saving
from prefrl_cli.files.read import short
from prefrl_cli.files.standard_streams import hushed, waiting
from prefrl_cli.files.write import make_folder, write_whole
from prefrl_cli.logger.logger import Trackers
from prefrl_cli.run import processor
from prefrl_cli.run.directory import RunDirectory
from prefrl_cli.run.metrics_csv import MetricsLog, current_names
from prefrl_cli.run.progress import Progress
from prefrl_cli.run.workers.number import number_of_workers
from prefrl_cli.stats import summary as over_seeds

if TYPE_CHECKING:
    from prefrl_cli.config.options import Configuration, Run
    from prefrl_cli.core.algorithm import Algorithm

_DAMAGED = (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError)  # what another's state raises


class TrainingError(Exception):
    """Training cannot go on; the message is one line."""


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
        failed: the seeds that have failed, see `Living`.
    """

    initial: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    before: dict[str, list[list[float]]]
    seconds: float = 0.0
    failed: Failed = field(default_factory=dict)


def train(
    algorithm: Algorithm,
    run: Run,
    directory: RunDirectory,
    progress: Progress,
    resumed: tuple[Record, MetricsLog] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    trackers: Trackers | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train to the end; the summary, which is also written to `summary.json`.

    A seed that fails (see `Living`) is told and has no row from that step on; the others go on as they would alone.
    The run is finished once its summary is written: neither a tracker nor a chart can change that any more.

    Args:
        algorithm: what is trained.
        run: the root options.
        directory: where the files go.
        progress: shows how far it is.
        resumed: what `restore` gave; none begins at step 0.
        stopping: whether to stop after this step.
        trackers: get every step's metrics too.
        tell: told in one line of seeds that fail, and of charts that cannot be drawn.

    Raises:
        TrainingError: when every seed has failed.
        Stopped: when `stopping` said so before the last step.
    """
    record, log = resumed or begin(algorithm, run, directory)
    living, directory.failed_seeds = Living(run.seeds, record.failed, directory.options), record.failed
    with log, progress, directory.checkpoints as checkpoints, trackers or Trackers() as trackers:
        if resumed is None:
            trackers.log(0, evaluation(record.initial))
        trackers.open()  # a tracker may take seconds to begin, which are not training's
        started = time.perf_counter() - record.seconds
        while algorithm.step < algorithm.steps:
            metrics, log.living, tested, said, _ = advance(algorithm, living, run.evaluation.every)
            step, last = algorithm.step, algorithm.step == algorithm.steps
            record.final = living.only(tested) if tested else record.final
            if not living.mask.any():
                raise TrainingError("; ".join(said))
            for line in said:
                tell(f"{line}; {living.mask.sum()} of {len(run.seeds)} seeds go on")
            log.add(step, metrics, tested)
            counted = living.counted(metrics, algorithm.metrics)
            every = counted | evaluation(living.counted(tested, algorithm.metrics))
            trackers.log(step, living.only(metrics | evaluation(tested)), every)
            stop = not last and stopping()
            if last or stop or due(step, run.checkpoint.every):
                record.seconds = time.perf_counter() - started
                save(algorithm, run, directory, record, log)
            progress.update(step, counted, algorithm.metrics)
            if stop:
                checkpoints.wait()
                raise Stopped
        checkpoints.wait()
        summary = summarise(algorithm, run, record, log.training_names)
        answers: dict[str, Any] = getattr(getattr(algorithm, "teacher", None), "summary", dict)()
        summary |= {"answers": answers} if answers else {}
        directory.write_json("summary.json", summary)
        directory.drawn = False if run.charts else None
        directory.write_status("finished", algorithm.step)
    if run.charts:
        draw_or_tell(algorithm, log, directory, living, tell)
    return summary


def summarise(algorithm: Algorithm, run: Run, record: Record, trained: Sequence[str] = ()) -> dict[str, Any]:
    """What `summary.json` holds; `trained` are the columns of `metrics.csv`."""
    failed = [str(seed) in record.failed for seed in run.seeds]
    known = by_name(algorithm.metrics, {**record.initial, **record.final, **dict.fromkeys(trained)})
    living = {name: zip(rows, failed, strict=True) for name, rows in columns(algorithm).items()}
    after = {name: [None if gone else row for row, gone in pairs] for name, pairs in living.items()}
    return {
        "experiment": run.experiment,
        "seeds": list(run.seeds),
        "failed_seeds": record.failed,
        "steps": algorithm.step,
        "train_seconds": round(record.seconds, 3),
        "initial": records(record.initial, known),
        "metrics": records(record.final, known, np.array(failed)),
        "training_metrics": {name: known[name].declaration() for name in trained},
        "examples": {"before": record.before, "after": after},
    }


def records(metrics: Metrics, known: Mapping[str, Metric], failed: np.ndarray | None = None) -> dict[str, Any]:
    """Each metric as a JSON file holds it; see `prefrl_cli.stats.summary.record`."""
    return {name: over_seeds.record(values, known[name], failed) for name, values in metrics.items()}


def begin(algorithm: Algorithm, run: Run, directory: RunDirectory) -> tuple[Record, MetricsLog]:
    """Evaluate before training."""
    initial = evaluated(algorithm)
    log = MetricsLog(directory.path, run.seeds)
    try:
        log.add(0, {}, initial)
    except BaseException:
        log.close()
        raise
    return Record(initial, initial, columns(algorithm)), log


def columns(algorithm: Algorithm) -> dict[str, list[list[float]]]:
    """The first items of the last evaluation: column name -> a list a seed."""
    return {name: values.tolist() for name, values in algorithm.examples.items()}


def save(algorithm: Algorithm, run: Run, directory: RunDirectory, record: Record, log: MetricsLog) -> None:
    """Write a checkpoint: everything that the rest of the run depends on and the files of metrics do not hold."""
    content = {
        "seeds": list(run.seeds),
        "options": directory.options,
        "columns": log.names,
        "evaluations": log.evaluations,
        "initial": {name: torch.from_numpy(values) for name, values in record.initial.items()},
        "final": {name: torch.from_numpy(values) for name, values in record.final.items()},
        "before": record.before,
        "examples": algorithm.examples,
        "seconds": record.seconds,
        "failed": record.failed,
        "algorithm": algorithm.state(),
    }
    kept = run.preferences.save and directory.path / run.preferences.save
    before = saving(log.sync(), content, kept or None)  # rows and questions must be there where the checkpoint is
    directory.checkpoints.save(algorithm.step, content, before)


def restore(
    algorithm: Algorithm, run: Run, directory: RunDirectory, content: dict[str, Any], *, rewrite: bool = True
) -> tuple[Record, MetricsLog]:
    """Put an algorithm that was just built, and the files of metrics, where a checkpoint left them.

    Args:
        algorithm: just built.
        run: the root options.
        directory: of the run.
        content: of the checkpoint.
        rewrite: false leaves the files as they are; see `MetricsLog.read_back`.

    Raises:
        UnfitError: when the algorithm is another than the one that was saved; it must be built again then.
        CheckpointError: when something else is missing or does not fit; the same.
    """
    step = content["step"]
    try:
        algorithm.restore(content["algorithm"])
    except _DAMAGED as problem:
        raise UnfitError(f"checkpoint of step {step} does not fit ({short(problem)})") from None
    if algorithm.step != step:
        raise CheckpointError(f"checkpoint of step {step} does not fit (it holds step {algorithm.step})")
    try:
        check_state(record_of(content, len(run.seeds)), content, "checkpoint")
        algorithm.examples = dict(content["examples"])
        initial, final = (current_names(arrays(content[name])) for name in ("initial", "final"))
        failed = {seed: dict(one) for seed, one in content.get("failed", {}).items()}  # older checkpoints have none
        if run.steps > step:
            failed = {seed: one for seed, one in failed.items() if not one.get("evaluated")}
        record = Record(initial, final, content["before"], float(content["seconds"]), failed)
        names = list(current_names(dict.fromkeys(content["columns"])))
        number = content.get("evaluations")  # older checkpoints have none
        log = MetricsLog.read_back(
            directory.path, run.seeds, step, names, ends(failed), evaluations=number, rewrite=rewrite
        )
    except (*_DAMAGED, FileNotFoundError) as problem:
        raise CheckpointError(f"checkpoint of step {step} does not fit ({short(problem)})") from None
    return record, log


def draw_or_tell(
    algorithm: Algorithm, log: MetricsLog, directory: RunDirectory, living: Living, tell: Callable[[str], None]
) -> None:
    """Draw the charts of a finished run and note that they are there; what goes wrong is one line."""
    living.clear(algorithm)
    log.living = living.mask.tolist()
    try:
        with np.errstate(all="ignore"), waiting("drawing charts"):
            draw(algorithm, log, directory)
        directory.drawn = True
        directory.write_status("finished", algorithm.step)
    except (Exception, SystemExit) as problem:  # whatever drawing raises: a full disk, a font, someone else's package
        reason = short(problem) if isinstance(problem, OSError) else f"{type(problem).__name__}: {short(problem)}"
        again = f"prefrl-train resume={as_typed(str(directory.path))}"
        tell(f"the run is finished, but its charts could not be drawn ({reason}); to draw them type {again}")


def record_of(content: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """What a checkpoint must hold beside the algorithm's state, see `check_state`."""
    expected: dict[str, Any] = dict.fromkeys(content, object)
    each = Field((replicas,))
    for name, kind in (("initial", each), ("final", each), ("examples", Field((replicas, None)))):
        expected[name] = dict.fromkeys(content[name], kind)
    expected["before"] = {name: [object] * replicas for name in content["before"]}
    return expected


def draw(algorithm: Algorithm, log: MetricsLog, directory: RunDirectory) -> None:
    """Draw the algorithm's charts; nothing that draws prints anything."""
    with hushed(), ready():
        from prefrl_cli.charts import draw  # matplotlib takes a second to import: not before training

        make_folder(directory.charts)
        for name, figure in algorithm.figures(log.history(), np.array(log.living)).items():
            for suffix, content in draw.draw(figure).items():
                write_whole(directory.charts / f"{name}.{suffix}", content, sync=False)


@contextlib.contextmanager
def spread(
    algorithm: Algorithm, config: Configuration, directory: RunDirectory, failed: Failed, until: int
) -> Iterator[tuple[Algorithm, Callable[[], bool]]]:
    """The algorithm, or workers that train its seeds from where it stands, until the end of the block.

    Args:
        algorithm: of all seeds.
        config: of the run.
        directory: of the run.
        failed: the seeds that have failed already.
        until: the last step that is wanted.

    Returns:
        What trains; and whether it is where it says, so that it can be stopped.
    """
    if number_of_workers(config.run) == 1:
        yield algorithm, lambda: True
        return
    from prefrl_cli.run.workers.team import Team

    again = partial(processor.prepare, config.run)
    with Team(algorithm, config, again, failed, directory.options, until, directory.close) as team:
        yield team, team.at_rest
