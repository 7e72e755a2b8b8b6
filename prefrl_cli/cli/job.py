"""One run of `prefrl-train`, once its options are known: begun, or resumed where its last good checkpoint stands."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli import processor
from prefrl_cli.claims import LOG, STATUS
from prefrl_cli.cli.command import FAILED
from prefrl_cli.cli.record import kept_options, write_record
from prefrl_cli.cli.signals import Interrupted, Signals
from prefrl_cli.cli.take_up import schedule_over, take_up
from prefrl_cli.config import build, build_loggers, check_objective, check_run
from prefrl_cli.options import ConfigError, as_typed, show
from prefrl_cli.own_files import append_to
from prefrl_cli.run_directory import RunDirectory, Status, read_status

if TYPE_CHECKING:
    from prefrl_cli.algorithm import Algorithm
    from prefrl_cli.config import Run
    from prefrl_cli.progress import Console
    from prefrl_cli.run_directory import MetricsLog
    from prefrl_cli.runner import Record

STARTED = ".started"  # in outputs/: the runs in the order of their start, which no clock tells for sure


def run_job(
    config: Mapping[str, Any],
    overrides: Sequence[str],
    folder: Path | None = None,
    claimed: Callable[[Path], object] = lambda _: None,
    until: int | None = None,
) -> int:
    """Check everything, claim a run directory, train.

    Args:
        config: the resolved options, with `experiment`.
        overrides: what was typed.
        folder: where the run goes, with a suffix if it is taken; none follows `output_dir` and the time.
        claimed: told the folder that the run has got.
        until: stop after this step, as if interrupted.

    Returns:
        0, or 1 when training failed.

    Raises:
        ConfigError: for a wrong option; nothing has been written then.
        Interrupted: on SIGTERM or Ctrl-C, once a checkpoint is written and the run is marked.
    """
    run, algorithm, threads = ready(config)
    exact = folder is None and run.output_dir is not None
    named = folder is not None or exact
    if folder is None:
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        folder = Path(run.output_dir) if run.output_dir is not None else Path("outputs", run.experiment, stamp)
    directory = RunDirectory.claim(folder, exact=exact)
    with contextlib.closing(directory):
        claimed(directory.path)
        if not named:
            _note_start(directory.path)
        return train(algorithm, run, directory, config, overrides, threads, until=until)


def run_or_resume(config: Mapping[str, Any], overrides: Sequence[str], folder: Path) -> int:
    """Bring the run of a folder to its end, whatever became of it before: what a job of a sweep does.

    An absent or empty folder begins a run. An interrupted or failed one, or one whose process is gone, goes on from
    its last good checkpoint, or from the beginning where there is none; where its options differ from `config`, the
    differences are printed first, and `config` counts. A finished one is left as it is. The folder is this one
    exactly, never one with a suffix.

    Args:
        config: the resolved options, with `experiment`; `output_dir` has no effect.
        overrides: what was typed.
        folder: the run's own.

    Returns:
        0 when the run is finished, now or before; 1 when training failed (the reason is in `status.json`).

    Raises:
        ConfigError: for a wrong option, or when another process trains in the folder; one line, nothing is written.
        Interrupted: a `KeyboardInterrupt` with `exit_code` 130 or 143, once a checkpoint is written and the run
            is marked.
    """
    if is_done(folder):
        return 0
    if not (folder / STATUS).exists() or not (folder / "config.yaml").exists():
        run, algorithm, threads = ready(config)
        with contextlib.closing(RunDirectory.claim(folder, exact=True)) as directory:
            return train(algorithm, run, directory, config, overrides, threads)
    return resume_run(folder, config, overrides)


def is_done(folder: Path) -> bool:
    """Whether a run is finished and, as far as is known, its charts are drawn."""
    status = read_status(folder)
    return status.get("status") == "finished" and status.get("charts") is not False


def resume_run(
    folder: Path,
    config: Mapping[str, Any],
    overrides: Sequence[str],
    *,
    extend: bool = False,
    until: int | None = None,
) -> int:
    """Go on with a run; see `run_or_resume`, which has the same arguments and results.

    Args:
        folder: holds `status.json`.
        config: the options that count from now on.
        overrides: what was typed for them.
        extend: whether a finished run may go on when `steps` has grown. Of one whose charts could not be drawn
            they are drawn otherwise.
        until: stop after this step, as if interrupted.

    Raises:
        ConfigError: also for a finished run, for options that its checkpoint does not fit, and for another format.
    """
    check_run(config)
    with contextlib.closing(RunDirectory.reopen(folder)) as directory, directory.as_it_was_if_refused():
        status, step = read_status(folder).get("status"), read_status(folder).get("step")
        longer = extend and type(step) is int and config["steps"] > step
        undrawn = status == "finished" and not longer and not is_done(folder) and config["steps"] == step
        if status == "finished" and not longer and not undrawn:
            raise ConfigError(
                f"resume={show(str(folder))}: the run is finished at step {step}; to extend it type a larger steps=N"
            )
        run, algorithm, threads = ready(config)
        paths = directory.checkpoints.newest_first()
        found = take_up(directory, paths, config, run, algorithm)
        said, algorithm, resumed = [f"resuming {folder}", *found.said], found.algorithm, found.resumed
        if undrawn:
            if resumed is None or algorithm.step != step:
                raise ConfigError(f"resume={show(str(folder))}: {said[-1]}; its charts cannot be drawn without it")
            return _draw(algorithm, directory, resumed, run.quiet)
        if resumed is not None:
            said += schedule_over(config, found.state) if extend else []
        else:
            said = [line.replace("; the one before it is used", "") for line in said]
        said.append(f"going on from step {algorithm.step}" if resumed else "no checkpoint to go on from: from step 0")
        return train(
            algorithm,
            run,
            directory,
            config,
            overrides,
            threads,
            resumed=resumed,
            said=said,
            ran=found.ran,
            until=until,
        )


def _draw(algorithm: Algorithm, directory: RunDirectory, trained: tuple[Record, MetricsLog], quiet: bool) -> int:
    """Draw the charts of a finished run."""
    from prefrl_cli import runner
    from prefrl_cli.progress import Console

    console = Console(directory.path / "train.log", quiet=quiet)
    directory.failed_seeds = trained[0].failed
    with trained[1] as log:
        runner.draw_or_tell(algorithm, log, directory, partial(console.line, error=True))
    if not directory.drawn:
        return FAILED
    console.line(f"charts: {directory.charts}")
    return 0


def ready(config: Mapping[str, Any]) -> tuple[Run, Algorithm, int]:
    """The checked options, the algorithm and the number of threads."""
    run = check_run(config)  # before torch is imported: most mistakes are answered at once
    threads = processor.prepare(run)
    algorithm = build(config)
    check_objective(config)
    return run, algorithm, threads


def train(
    algorithm: Algorithm,
    run: Run,
    directory: RunDirectory,
    config: Mapping[str, Any],
    overrides: Sequence[str],
    threads: int,
    *,
    resumed: tuple[Record, MetricsLog] | None = None,
    said: Sequence[str] = (),
    ran: Any = None,
    origin: Path | None = None,
    until: int | None = None,
) -> int:
    """Train in a claimed folder; the exit code.

    Args:
        algorithm: where it begins.
        run: the root options.
        directory: the folder.
        config: all options.
        overrides: what was typed.
        threads: that torch uses.
        resumed: what `take_up` gave; none begins at step 0.
        said: how the run is resumed.
        ran: as `write_record` takes it.
        origin: the run that this one branches from.
        until: stop after this step, as if interrupted.

    Raises:
        Interrupted: on SIGTERM or Ctrl-C.
    """
    from prefrl_cli import runner
    from prefrl_cli.progress import Console, Progress, table

    console = Console(directory.path / LOG, quiet=run.quiet)
    try:
        with Signals() as signals, resumed[1] if resumed else contextlib.nullcontext():
            directory.tidy()
            directory.options = kept_options(config)
            directory.checkpoints.keep = run.checkpoint.keep
            exactness = processor.check(algorithm, run)
            write_record(directory, console, config, overrides, threads, algorithm.step, said, ran, exactness, origin)
            directory.checkpoints.drop_after(algorithm.step)
            progress = Progress(run.steps, console, algorithm.step)
            warn = partial(console.line, error=True)
            trackers = build_loggers(config, run, directory.path, warn, overrides, console.line)
            stopping = lambda: signals.stopping() or algorithm.step == until  # noqa: E731
            summary = runner.train(algorithm, run, directory, progress, resumed, stopping, trackers, warn)
            for line in table(summary, directory.path):
                console.line(line)
        if signals.caught is not None:  # this run is done all the same; what comes after it is not wanted
            raise Interrupted(signals.caught, f"stopped; finished all the same: {directory.path}")
    except runner.TrainingError as problem:
        return _stop(directory, console, algorithm.step, str(problem))
    except runner.Stopped:
        if signals.caught is None:
            _mark(directory, "interrupted", algorithm.step, f"stopped after step {until}")
            return 0
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
    return 0


def _note_start(folder: Path) -> None:
    with contextlib.suppress(OSError), append_to(Path("outputs", STARTED)) as file:
        file.write(f"{folder.relative_to('outputs').as_posix()}\n")


def _cannot_write(directory: RunDirectory, problem: OSError) -> str:
    if not directory.path.is_dir():
        return f"the run directory {directory.path} is gone, so nothing more can be written"
    where = f" ({problem.filename})" if problem.filename else ""
    again = f"prefrl-train resume={as_typed(str(directory.path))}"
    return f"{directory.path}: cannot be written: {problem.strerror or problem}{where}; to go on type {again}"


def _mark(directory: RunDirectory, status: Status, step: int, reason: str) -> None:
    with contextlib.suppress(OSError):  # what stops the run may be that nothing can be written
        directory.write_status(status, step, reason)


def _stop(directory: RunDirectory, console: Console, step: int, reason: str) -> int:
    _mark(directory, "failed", step, reason)
    seen = f"; see {directory.path / 'train.log'}" if directory.path.is_dir() else ""
    console.line(f"prefrl-train: {reason}{seen}", error=True)
    return FAILED
