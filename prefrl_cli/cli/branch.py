"""`prefrl-train resume=RUN output_dir=NEW`: a run of its own that begins where a checkpoint of another one stands."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.checkpoints import Checkpoints
from prefrl_cli.cli import job
from prefrl_cli.cli.take_up import schedule_over, take_up
from prefrl_cli.config import check_run
from prefrl_cli.options import ConfigError, as_typed, show
from prefrl_cli.run_directory import RunDirectory


def named_checkpoint(typed: str) -> tuple[Path, Path] | None:
    """The run and its checkpoint, where a path names one, `RUN/checkpoints/step_000050.pt`, there or not."""
    path = Path(typed)
    if path.suffix != ".pt" or path.parent.name != "checkpoints":
        return None
    return path.parent.parent, path


def not_in_place(run: Path, checkpoint: Path) -> ConfigError:
    """The error for going on from a named checkpoint without another folder: later ones would be lost."""
    return ConfigError(
        f"resume={show(str(checkpoint))}: is one checkpoint of a run; to begin a new run from it type output_dir=NEW"
        f" as well, to go on with the run itself type resume={as_typed(str(run))}"
    )


def branch(
    origin: Path, checkpoint: Path | None, new: Path, config: Mapping[str, Any], overrides: Sequence[str]
) -> int:
    """Begin a run in a new folder where a checkpoint of another run stands; nothing in that run's folder changes.

    Args:
        origin: the other run's folder, running, finished or neither.
        checkpoint: one of its checkpoints; none takes the newest good one.
        new: the folder.
        config: the options that count from now on.
        overrides: what was typed for them.

    Returns:
        The exit code of training.

    Raises:
        ConfigError: for a checkpoint that is not there or does not fit, and where no step is left to train.
        Interrupted: as for any run.
    """
    check_run(config)
    there = _checkpoints(origin)
    if checkpoint is not None and checkpoint.name not in [path.name for path in there]:
        steps = ", ".join(path.name for path in reversed(there)) or "none"
        raise ConfigError(f"resume={show(str(checkpoint))}: is not there; {origin} has {steps}")
    run, algorithm, threads = job.ready(config)
    found = take_up(
        RunDirectory(origin), there if checkpoint is None else [checkpoint], config, run, algorithm, rewrite=False
    )
    if found.resumed is None:
        reason = "; ".join(found.said).replace("; the one before it is used", "") or "it has no checkpoint yet"
        raise ConfigError(f"resume={show(str(origin))}: no run can begin from it ({reason})")
    algorithm, step = found.algorithm, found.algorithm.step
    if step >= run.steps:
        earlier = f", or resume={as_typed(str(there[-1]))}" if checkpoint is None and len(there) > 1 else ""
        raise ConfigError(
            f"resume={show(str(checkpoint or origin))}: steps={run.steps} are done there;"
            f" type a larger steps=N as well{earlier}"
        )
    said = [f"a new run from {found.path}", *found.said, *schedule_over(config, found.state)]
    with contextlib.closing(RunDirectory.claim(new, exact=True)) as directory:
        try:
            found.resumed[1].go_on_in(directory.path / "metrics.csv")
            directory.checkpoints.take(found.path)
        except OSError as problem:
            raise ConfigError(f"output_dir={show(str(new))}: cannot be written ({problem.strerror})") from None
        said.append(f"going on from step {step}")
        return job.train(
            algorithm,
            run,
            directory,
            config,
            overrides,
            threads,
            resumed=found.resumed,
            said=said,
            ran=found.ran,
            origin=origin,
        )


def _checkpoints(origin: Path) -> list[Path]:
    """The other run's checkpoints, the newest first; only files of its own are read."""
    for path in (origin / "checkpoints", origin / "metrics.csv"):
        if path.is_symlink() or (path.exists() and path.is_dir() != (path.name == "checkpoints")):
            raise ConfigError(f"{show(str(path))}: is a link, or no plain file; put what it leads to there")
    if not (origin / "metrics.csv").is_file():
        raise ConfigError(f"{show(str(origin))}: holds no metrics.csv, so no run can begin from it")
    return Checkpoints(origin / "checkpoints").newest_first()
