"""From a run's checkpoints to an algorithm that goes on where the first good one of them left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prefrl_cli.checkpoints import CheckpointError, Checkpoints, UnfitError
from prefrl_cli.cli.record import kept_options
from prefrl_cli.config import build
from prefrl_cli.old_records import updated_flat
from prefrl_cli.options import ConfigError, show

if TYPE_CHECKING:
    from prefrl_cli.algorithm import Algorithm
    from prefrl_cli.config import Run
    from prefrl_cli.run_directory import MetricsLog, RunDirectory
    from prefrl_cli.runner import Record


class TakenUp(NamedTuple):
    """An algorithm where a checkpoint left it.

    Attributes:
        algorithm: as just built where there is no good checkpoint.
        resumed: for the runner; none where there is none.
        path: the checkpoint.
        state: of the algorithm, in it.
        ran: the options that the checkpoint says it ran with.
        said: a line for each checkpoint that cannot be used.
    """

    algorithm: Algorithm
    resumed: tuple[Record, MetricsLog] | None = None
    path: Path = Path()
    state: Mapping[str, Any] = {}
    ran: Any = None
    said: Sequence[str] = ()


def take_up(
    directory: RunDirectory,
    paths: Sequence[Path],
    config: Mapping[str, Any],
    run: Run,
    algorithm: Algorithm,
    *,
    rewrite: bool = True,
) -> TakenUp:
    """Put an algorithm where the first good one of several checkpoints left it.

    Args:
        directory: of the run.
        paths: the checkpoints, the best first.
        config: the options that count from now on.
        run: the root options of them.
        algorithm: just built from them.
        rewrite: false leaves `metrics.csv` as it is; see `MetricsLog.read_back`.

    Raises:
        ConfigError: when all are of other options, or the folder cannot be read or written.
    """
    folder, said, unfit = directory.path, list[str](), None
    for path in paths:
        from prefrl_cli import runner

        content: dict[str, Any] = {}
        try:
            content = Checkpoints.load(path, run.device)
            _check_fit(folder, run, content)
            resumed = runner.restore(algorithm, run, directory, content, rewrite=rewrite)
        except CheckpointError as problem:
            if isinstance(problem, UnfitError) and (others := _changed(content, config)):
                raise ConfigError(
                    f"resume={show(str(folder))}: {problem}, with {others}; leave that out, or start a new run"
                ) from None
            unfit = unfit or (problem if isinstance(problem, UnfitError) else None)
            said.append(f"{problem}; the one before it is used")
            algorithm = build(config)
        except OSError as problem:  # a disk that is full, or a folder where a file should be
            reason = f"{problem.strerror or problem}{f', {problem.filename}' if problem.filename else ''}"
            raise ConfigError(f"{folder}: cannot go on here ({reason})") from None
        else:
            return TakenUp(algorithm, resumed, path, content["algorithm"], content.get("options"), said)
    if unfit is not None:  # from step 0 what it has learned would be lost
        raise ConfigError(
            f"resume={show(str(folder))}: {unfit}; go on with the options and the prefrl that wrote it,"
            " or start a new run"
        )
    return TakenUp(algorithm, said=said)


def _check_fit(folder: Path, run: Run, content: Mapping[str, Any]) -> None:
    """Refuse what no checkpoint of this run can be used for, older ones included."""
    if content.get("seeds") != list(run.seeds):
        raise ConfigError(f"resume={show(str(folder))}: its checkpoint is of other seeds; start a new run for these")
    if content["step"] > run.steps:
        raise ConfigError(f"steps={run.steps}: {folder} is at step {content['step']}; try steps={content['step']}")


def _changed(content: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The options that differ from those of a checkpoint, as they are typed; empty where none does."""
    before, now = content.get("options"), kept_options(config)
    if not isinstance(before, Mapping):
        return ""
    before = updated_flat(before)
    names = [name for name in now if name not in before or before[name] != now[name]]
    return " ".join(f"{name}={show(now[name])}" for name in names[:5]) + " ..." * (len(names) > 5)


def schedule_over(config: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """A line where the learning rate has fallen to zero, so that more steps alone would teach nothing."""
    steps = (config.get("optimizer") or {}).get("steps")
    counts = [float(part["count"]) for part in state.values() if isinstance(part, Mapping) and "count" in part]
    if not steps or not counts or max(counts) < steps:
        return []
    return [
        f"optimizer.steps={steps}: the learning rate reached 0 after so many optimiser steps and stays there;"
        f" to go on learning type optimizer.steps=N as well, larger than {max(counts):.0f}"
    ]
