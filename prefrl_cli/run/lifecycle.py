"""One run from its options to its end: begin it, go on with it, or branch a new one from its checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.config.options import Configuration
from prefrl_cli.core.option_types import ConfigError, as_typed, show
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.run import training
from prefrl_cli.run.directory import STATUS, RunDirectory, Status, read_status
from prefrl_cli.run.earlier.going_on import GoingOn, note_start
from prefrl_cli.run.training import ready_for, schedule_over, take_up, train

if TYPE_CHECKING:
    from prefrl_cli.algorithm.asking import Page
    from prefrl_cli.config.options import Run
    from prefrl_cli.core.algorithm import Algorithm
    from prefrl_cli.run.metrics_csv import MetricsLog
    from prefrl_cli.run.runner import Record


def branch(
    origin: Path,
    checkpoint: Path | None,
    new: Path,
    config: Configuration | Mapping[str, Any],
    overrides: Sequence[str],
    page: Page | None = None,
) -> Status:
    """Begin a run in a new folder where a checkpoint of another run stands; nothing in that run's folder changes.

    Args:
        origin: the other run's folder, running, finished or neither.
        checkpoint: one of its checkpoints; none takes the newest good one.
        new: the folder.
        config: the options that count from now on.
        overrides: what was typed for them.
        page: that asks a person who teaches.

    Returns:
        How training ended.

    Raises:
        ConfigError: for a checkpoint that is not there or does not fit, and where no step is left to train.
        Interrupted: as for any run.
    """
    config = Configuration.of(config)
    there = _checkpoints(origin)
    if checkpoint is not None and checkpoint.name not in [path.name for path in there]:
        steps = ", ".join(path.name for path in reversed(there)) or "none"
        raise ConfigError(f"resume={show(str(checkpoint))}: is not there; {origin} has {steps}")
    run = config.run
    algorithm, threads = training.ready_for(config, page)
    found = take_up(
        RunDirectory(origin), there if checkpoint is None else [checkpoint], config, algorithm, rewrite=False
    )
    if found.resumed is None:
        reason = "; ".join(found.passed) or "it has no checkpoint yet"
        raise ConfigError(f"resume={show(str(origin))}: no run can begin from it ({reason})")
    algorithm, step = found.algorithm, found.algorithm.step
    if step >= run.steps:
        earlier = f", or resume={as_typed(str(there[-1]))}" if checkpoint is None and len(there) > 1 else ""
        raise ConfigError(
            f"resume={show(str(checkpoint or origin))}: steps={run.steps} are done there;"
            f" type a larger steps=N as well{earlier}"
        )
    passed = [f"{problem}; the one before it is used" for problem in found.passed]
    said = [f"a new run from {found.path}", *passed, *schedule_over(config.options, found.state)]
    with RunDirectory.claim(new, exact=True) as directory:
        try:
            found.resumed[1].go_on_in(directory.path)
            directory.checkpoints.take(found.path)
            training.take_answers(origin, directory.path)
        except OSError as problem:
            raise ConfigError(f"output_dir={show(str(new))}: cannot be written ({problem.strerror})") from None
        said.append(f"going on from step {step}")
        return training.train(
            algorithm,
            directory,
            config,
            overrides,
            threads,
            resumed=found.resumed,
            said=said,
            ran=found.ran,
            origin=origin,
            page=page,
        )


def _checkpoints(origin: Path) -> list[Path]:
    """The other run's checkpoints, the newest first; only files of its own are read."""
    for path in (origin / "checkpoints", origin / "metrics.csv", origin / "evaluation.csv"):
        if path.is_symlink() or (path.exists() and path.is_dir() != (path.name == "checkpoints")):
            raise ConfigError(f"{show(str(path))}: is a link, or no plain file; put what it leads to there")
    if not (origin / "metrics.csv").is_file():
        raise ConfigError(f"{show(str(origin))}: holds no metrics.csv, so no run can begin from it")
    return Checkpoints(origin / "checkpoints").newest_first()


def run_job(
    config: Configuration | Mapping[str, Any],
    overrides: Sequence[str],
    folder: Path | None = None,
    claimed: Callable[[Path], object] = lambda _: None,
    until: int | None = None,
    page: Page | None = None,
) -> Status:
    """Check everything, claim a run directory, train.

    Args:
        config: the options, with `experiment`.
        overrides: what was typed.
        folder: where the run goes, with a suffix if it is taken; none follows `output_dir` and the time.
        claimed: told the folder that the run has got.
        until: stop after this step, as if interrupted.
        page: that asks a person who teaches.

    Returns:
        How it ended: finished or failed, or interrupted where `until` was reached.

    Raises:
        ConfigError: for a wrong option; nothing has been written then.
        Interrupted: on SIGTERM or Ctrl-C, once a checkpoint is written and the run is marked.
    """
    config = Configuration.of(config)
    run = config.run
    algorithm, threads = ready_for(config, page)
    exact = folder is None and run.output_dir is not None
    named = folder is not None or exact
    if folder is None:
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        folder = Path(run.output_dir) if run.output_dir is not None else Path("outputs", run.experiment, stamp)
    directory = RunDirectory.claim(folder, exact=exact)
    with directory:
        claimed(directory.path)
        if not named:
            note_start(directory.path)
        return train(algorithm, directory, config, overrides, threads, until=until, page=page)


def run_or_resume(
    config: Configuration | Mapping[str, Any],
    overrides: Sequence[str],
    folder: Path,
    warned: Callable[[str], object] = lambda _: None,
) -> Status:
    """Bring the run of a folder to its end, whatever became of it before: what a job of a sweep does.

    An absent or empty folder begins a run. An interrupted or failed one, or one whose process is gone, goes on from
    its last good checkpoint, or from the beginning where there is none; where its options differ from `config`, the
    differences are printed first, and `config` counts. A finished one is left as it is. The folder is this one
    exactly, never one with a suffix.

    Args:
        config: the options, with `experiment`; `output_dir` has no effect.
        overrides: what was typed.
        folder: the run's own.
        warned: told what failed beside the run, in a line each, as the console is.

    Returns:
        Finished, now or before; or failed (the reason is in `status.json`).

    Raises:
        ConfigError: for a wrong option, or when another process trains in the folder; one line, nothing is written.
        Interrupted: a `KeyboardInterrupt` with `exit_code` 130 or 143, once a checkpoint is written and the run
            is marked.
    """
    if is_done(folder):
        return "finished"
    if not (folder / STATUS).exists() or not (folder / "config.yaml").exists():
        config = Configuration.of(config)
        algorithm, threads = ready_for(config)
        with RunDirectory.claim(folder, exact=True) as directory:
            return train(algorithm, directory, config, overrides, threads, warned=warned)
    return resume_run(folder, config, overrides, warned=warned)


def is_done(folder: Path) -> bool:
    """Whether a run is finished and, as far as is known, its charts are drawn."""
    status = read_status(folder)
    return status.get("status") == "finished" and status.get("charts") is not False


def _has_no_charts(folder: Path) -> bool:
    """Whether a finished run says that it has none; a status of an earlier version says nothing."""
    return read_status(folder).get("charts", True) is not True


def resume_run(
    folder: Path,
    config: Configuration | Mapping[str, Any],
    overrides: Sequence[str],
    *,
    extend: bool = False,
    until: int | None = None,
    warned: Callable[[str], object] = lambda _: None,
    page: Page | None = None,
) -> Status:
    """Go on with a run; see `run_or_resume`, which has the same arguments and results.

    Args:
        folder: holds `status.json`.
        config: the options that count from now on.
        overrides: what was typed for them.
        extend: whether a finished run may go on when `steps` has grown. Of one whose charts could not be drawn
            they are drawn otherwise.
        until: stop after this step, as if interrupted.
        warned: as there.
        page: that asks a person who teaches.

    Raises:
        ConfigError: also for a finished run, for options that its checkpoint does not fit, and for another format.
    """
    config = Configuration.of(config)
    with RunDirectory.reopen(folder) as directory, directory.as_it_was_if_refused():
        status, step = read_status(folder).get("status"), read_status(folder).get("step")
        longer = extend and type(step) is int and config.run.steps > step
        undrawn = status == "finished" and not longer and config.run.charts and _has_no_charts(folder)
        undrawn = undrawn and config.run.steps == step
        if status == "finished" and not longer and not undrawn:
            if len(overrides) > 1 and type(step) is int:  # what would be refused with more steps as well is told first
                more = config.with_run(steps=max(config.run.steps, step))
                take_up(directory, directory.checkpoints.newest_first(), more, ready_for(more, page)[0], rewrite=False)
            raise ConfigError(
                f"resume={show(str(folder))}: the run is finished at step {step}; to extend it type a larger steps=N"
            )
        algorithm, threads = ready_for(config, page)
        paths = directory.checkpoints.newest_first()
        found = take_up(directory, paths, config, algorithm)
        said, algorithm, resumed = [f"resuming {folder}"], found.algorithm, found.resumed
        said += [f"{problem}; the one before it is used" if resumed else problem for problem in found.passed]
        if undrawn:
            if resumed is None or algorithm.step != step:
                raise ConfigError(f"resume={show(str(folder))}: {said[-1]}; its charts cannot be drawn without it")
            return _draw(algorithm, directory, resumed, config.run)
        if resumed is not None:
            said += schedule_over(config.options, found.state) if extend else []
        said.append(f"going on from step {algorithm.step}" if resumed else "no checkpoint to go on from: from step 0")
        return train(
            algorithm,
            directory,
            config,
            overrides,
            threads,
            resumed=resumed,
            said=said,
            ran=found.ran,
            until=until,
            warned=warned,
            page=page,
        )


def go_on(found: GoingOn, page: Page | None = None) -> Status:
    """Do what was typed beside a run: go on with it, or begin one of its own where a checkpoint of it stands."""
    if found.new is not None:
        return branch(found.folder, found.checkpoint, found.new, found.config, found.overrides, page)
    return resume_run(found.folder, found.config, found.overrides, extend=found.longer, page=page)


def _draw(algorithm: Algorithm, directory: RunDirectory, trained: tuple[Record, MetricsLog], run: Run) -> Status:
    """Draw the charts of a finished run."""
    from prefrl_cli.algorithm.living import Living
    from prefrl_cli.run import runner
    from prefrl_cli.run.progress import Console, drawn

    directory.tidy()
    console = Console(directory.path / "train.log", quiet=run.quiet)
    directory.failed_seeds = trained[0].failed
    living = Living(run.seeds, trained[0].failed, {})
    with trained[1] as log:
        runner.draw_or_tell(algorithm, log, directory, living, partial(console.line, error=True))
    if not directory.drawn:
        return "failed"
    for line in drawn(directory.charts):
        console.line(line)
    return "finished"
