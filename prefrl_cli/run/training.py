"""From a run's checkpoints to its end: take up, train, mark how it ended."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prefrl_cli.config.build import build, build_loggers, check_objective
from prefrl_cli.config.choices import updated_flat
from prefrl_cli.config.options import Configuration
from prefrl_cli.core.option_types import ConfigError, Failed, as_typed, show
from prefrl_cli.files.checkpoints import CheckpointError, Checkpoints, UnfitError
from prefrl_cli.files.read import UnreadableError
from prefrl_cli.files.standard_streams import waiting
from prefrl_cli.logger.logger import Trackers
from prefrl_cli.run import processor
from prefrl_cli.run.directory import LOG, RunDirectory, Status, read_status
from prefrl_cli.run.provenance import kept_options, write_record
from prefrl_cli.run.signals import Interrupted, Signals
from prefrl_cli.run.workers.number import WorkerLostError, number_of_workers

if TYPE_CHECKING:
    from prefrl_cli.algorithm.asking import Page
    from prefrl_cli.core.algorithm import Algorithm
    from prefrl_cli.run.directory import RunDirectory
    from prefrl_cli.run.metrics_csv import MetricsLog
    from prefrl_cli.run.progress import Console
    from prefrl_cli.run.runner import Record


class TakenUp(NamedTuple):
    """An algorithm where a checkpoint left it.

    Attributes:
        algorithm: as just built where there is no good checkpoint.
        resumed: for the runner; none where there is none.
        path: the checkpoint.
        state: of the algorithm, in it.
        ran: the options that the checkpoint says it ran with.
        passed: what is wrong with each newer checkpoint, which was passed over.
    """

    algorithm: Algorithm
    resumed: tuple[Record, MetricsLog] | None = None
    path: Path = Path()
    state: Mapping[str, Any] = {}
    ran: Any = None
    passed: Sequence[str] = ()


def take_up(
    directory: RunDirectory,
    paths: Sequence[Path],
    config: Configuration,
    algorithm: Algorithm,
    *,
    rewrite: bool = True,
) -> TakenUp:
    """Put an algorithm where the first good one of several checkpoints left it.

    Args:
        directory: of the run.
        paths: the checkpoints, the best first.
        config: the options that count from now on.
        algorithm: just built from them.
        rewrite: false leaves `metrics.csv` as it is; see `MetricsLog.read_back`.

    Raises:
        ConfigError: when all are of other options, or the folder cannot be read or written.
    """
    folder, passed, unfit, others_seeds = directory.path, list[str](), None, False
    for path in paths:
        from prefrl_cli.run import runner

        content: dict[str, Any] = {}
        try:
            content = Checkpoints.load(path, config.run.device)
            if content.get("seeds") != list(config.run.seeds):
                passed.append(f"checkpoint {path.name} is of other seeds")
                others_seeds = True
                continue
            if content["step"] > config.run.steps:
                raise ConfigError(
                    f"steps={config.run.steps}: {folder} is at step {content['step']}; try steps={content['step']}"
                )
            resumed = runner.restore(algorithm, config.run, directory, content, rewrite=rewrite)
        except CheckpointError as problem:
            if isinstance(problem, UnfitError) and (others := _changed(content, config.options)):
                raise ConfigError(
                    f"resume={show(str(folder))}: {problem}, with {others}; leave that out, or start a new run"
                ) from None
            unfit = unfit or (problem if isinstance(problem, UnfitError) else None)
            passed.append(str(problem))
            algorithm = build(config)
        except OSError as problem:  # a disk that is full, or a folder where a file should be
            reason = f"{problem.strerror or problem}{f', {problem.filename}' if problem.filename else ''}"
            raise ConfigError(f"{folder}: cannot go on here ({reason})") from None
        else:
            return TakenUp(algorithm, resumed, path, content["algorithm"], content.get("options"), passed)
    if others_seeds:
        raise ConfigError(f"resume={show(str(folder))}: its checkpoint is of other seeds; start a new run for these")
    if unfit is not None:  # from step 0 what it has learned would be lost
        raise ConfigError(
            f"resume={show(str(folder))}: {unfit}; go on with the options and the prefrl that wrote it,"
            " or start a new run"
        )
    return TakenUp(algorithm, passed=passed)


def _changed(content: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The options that differ from those of a checkpoint, as they are typed; empty where none does.

    The number of steps changes nothing that a checkpoint holds.
    """
    before, now = content.get("options"), kept_options(config)
    if not isinstance(before, Mapping):
        return ""
    before = updated_flat(before)
    names = [name for name in now if name != "steps" and (name not in before or before[name] != now[name])]
    return " ".join(f"{name}={show(now[name])}" for name in names[:5]) + " ..." * (len(names) > 5)


def schedule_over(config: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """A line where the learning rate has fallen to zero, so that more steps alone would teach nothing."""
    steps = (config.get("optimizer") or {}).get("decay_steps")
    counts = [float(part["count"]) for part in state.values() if isinstance(part, Mapping) and "count" in part]
    if not steps or not counts or max(counts) < steps:
        return []
    return [
        f"optimizer.decay_steps={steps}: the learning rate reached 0 after so many optimiser steps and stays there;"
        f" to go on learning type optimizer.decay_steps=N as well, larger than {max(counts):.0f}"
    ]


def ready(config: Configuration) -> tuple[Algorithm, int]:
    """The algorithm and the number of threads; torch is imported here."""
    with waiting("loading torch", quiet=config.run.quiet or "torch" in sys.modules):
        threads = processor.prepare(config.run)
        algorithm = build(config)
    check_objective(config)
    return algorithm, threads


def ready_for(config: Configuration, page: Page | None = None) -> tuple[Algorithm, int]:
    """As `ready`; refuses to train what a person is to teach whom no page asks."""
    algorithm, threads = ready(config)
    from prefrl_cli.algorithm.asking import check_asked

    check_asked(algorithm, page)
    teacher = getattr(algorithm, "teacher", None)
    if number_of_workers(config.run) > 1 and getattr(teacher, "takes_back", False):
        raise ConfigError(f"workers={config.run.workers}: a person is asked by one process; type workers=1")
    return algorithm, threads


def take_answers(origin: Path, folder: Path) -> None:
    """Copy what a person answered in another run.

    Raises:
        ConfigError: where it cannot be read.
    """
    from prefrl_cli.algorithm import asking

    try:
        asking.take_answers(origin, folder)
    except UnreadableError as problem:
        raise ConfigError(f"resume={show(str(origin))}: {problem}") from None


def train(
    algorithm: Algorithm,
    directory: RunDirectory,
    config: Configuration,
    overrides: Sequence[str],
    threads: int,
    *,
    resumed: tuple[Record, MetricsLog] | None = None,
    said: Sequence[str] = (),
    ran: Any = None,
    origin: Path | None = None,
    until: int | None = None,
    warned: Callable[[str], object] = lambda _: None,
    page: Page | None = None,
) -> Status:
    """Train in a claimed folder; how it ended: finished, failed, or interrupted where `until` was reached.

    Args:
        algorithm: where it begins.
        directory: the folder.
        config: the options.
        overrides: what was typed.
        threads: that torch uses.
        resumed: what `take_up` gave; none begins at step 0.
        said: how the run is resumed.
        ran: as `write_record` takes it.
        origin: the run that this one branches from.
        until: stop after this step, as if interrupted.
        warned: told what failed beside the run, as the console is.
        page: that asks a person who teaches.

    Raises:
        Interrupted: on SIGTERM or Ctrl-C.
    """
    from prefrl_cli.algorithm.asking import answering
    from prefrl_cli.run import runner
    from prefrl_cli.run.progress import Console, Progress, drawn, table

    run, last = config.run, config.run.steps if until is None else until
    console = Console(directory.path / LOG, quiet=run.quiet, warned=warned)

    def pause() -> None:
        if signals.stopping():
            raise runner.Stopped
        progress.wait()

    try:
        with Signals(quiet=run.quiet) as signals, resumed[1] if resumed else contextlib.nullcontext():
            directory.tidy()
            directory.options = kept_options(config.options)
            directory.checkpoints.keep = run.checkpoint.keep
            exactness = processor.check(algorithm, run)
            number, step = number_of_workers(run), algorithm.step
            write_record(
                directory, console, config.options, overrides, threads, number, step, said, ran, exactness, origin
            )
            directory.checkpoints.drop_after(algorithm.step)
            progress = Progress(run.steps, console, algorithm.step)
            warn = partial(console.line, error=True)
            makers = build_loggers(config, directory.path, overrides, console.line)
            trackers = Trackers(run.seeds, makers, console.warn)
            failed = resumed[0].failed if resumed else {}
            with (
                answering(algorithm, directory.path, page, console.line, pause) as progress.teacher,
                runner.spread(algorithm, config, directory, failed, last) as (algorithm, at_rest),  # noqa: PLW2901
            ):
                stopping = lambda: (signals.stopping() or algorithm.step == until) and at_rest()  # noqa: E731
                summary = runner.train(algorithm, run, directory, progress, resumed, stopping, trackers, warn)
            for line in table(summary, directory.path):
                console.line(line)
            for line in drawn(directory.charts) if directory.drawn else ():
                console.line(line)
        if signals.caught is not None:  # this run is done all the same; what comes after it is not wanted
            raise Interrupted(signals.caught, f"stopped; finished all the same: {directory.path}")
    except (runner.TrainingError, Failed, ConfigError) as problem:
        return _stop(directory, console, algorithm.step, str(problem))
    except WorkerLostError as problem:
        again = f"to go on type prefrl-train resume={as_typed(str(directory.path))}"
        return _stop(directory, console, algorithm.step, f"{problem}; {again}", "interrupted")
    except runner.Stopped:
        if signals.caught is None:
            _mark(directory, "interrupted", algorithm.step, f"stopped after step {until}")
            return "interrupted"
        message = (
            f"interrupted at step {algorithm.step}; to go on type prefrl-train resume={as_typed(str(directory.path))}"
        )
        _mark(directory, "interrupted", algorithm.step, "stopped from outside")
        console.line(message, shown=False)
        raise Interrupted(signals.caught, message) from None
    except KeyboardInterrupt:
        if read_status(directory.path).get("status") == "running":
            _mark(directory, "interrupted", algorithm.step, "stopped from outside, at once")
        raise
    except OSError as problem:
        return _stop(directory, console, algorithm.step, f"step {algorithm.step}: {_cannot_write(directory, problem)}")
    except Exception as problem:  # a fault of the program: its trace belongs in the log, one line on the console
        with contextlib.suppress(OSError):
            for line in traceback.format_exc().rstrip().splitlines():
                console.line(line, shown=False)
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        return _stop(directory, console, algorithm.step, f"step {algorithm.step}: {reason}")
    return "finished"


def _cannot_write(directory: RunDirectory, problem: OSError) -> str:
    if not directory.path.is_dir():
        return f"the run directory {directory.path} is gone, so nothing more can be written"
    where = f" ({problem.filename})" if problem.filename else ""
    again = f"prefrl-train resume={as_typed(str(directory.path))}"
    return f"{directory.path}: cannot be written: {problem.strerror or problem}{where}; to go on type {again}"


def _mark(directory: RunDirectory, status: Status, step: int, reason: str) -> None:
    with contextlib.suppress(OSError):  # what stops the run may be that nothing can be written
        directory.write_status(status, step, reason)


def _stop(directory: RunDirectory, console: Console, step: int, reason: str, status: Status = "failed") -> Status:
    """Mark the run and say why; whatever its status, the command has failed: nobody asked it to stop."""
    _mark(directory, status, step, reason)
    seen = f"; see {directory.path / 'train.log'}" if directory.path.is_dir() else ""
    console.line(f"prefrl-train: {reason}{seen}", error=True)
    return "failed"
