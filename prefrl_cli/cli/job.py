"""One run of `prefrl-train`, once Hydra has composed its options."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.config import build, check_run
from prefrl_cli.run_directory import RunDirectory

if TYPE_CHECKING:
    from prefrl_cli.algorithm import Algorithm
    from prefrl_cli.config import Run
    from prefrl_cli.progress import Console


def run_job(config: Mapping[str, Any], overrides: Sequence[str], folder: Path | None = None) -> int:
    """Check everything, claim a run directory, train.

    Args:
        config: the resolved options, with `experiment`.
        overrides: what was typed.
        folder: where the run goes, with a suffix if it is taken; none follows `output_dir` and the time.

    Returns:
        0, or 1 when training failed.

    Raises:
        ConfigError: for a wrong option; nothing has been written then.
        KeyboardInterrupt: passed on once the run is marked.
    """
    run = check_run(config)  # before torch is imported: most mistakes are answered at once
    from prefrl_cli import runner

    threads = runner.prepare(run)
    algorithm = build(config)
    exact = folder is None and run.output_dir is not None
    if folder is None:
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        folder = Path(run.output_dir) if run.output_dir is not None else Path("outputs", run.experiment, stamp)
    directory = RunDirectory.claim(folder, exact=exact)
    return _train(algorithm, run, directory, config, overrides, threads)


def _train(
    algorithm: Algorithm,
    run: Run,
    directory: RunDirectory,
    config: Mapping[str, Any],
    overrides: Sequence[str],
    threads: int,
) -> int:
    import yaml

    from prefrl_cli import runner
    from prefrl_cli.environment import environment
    from prefrl_cli.progress import Console, Progress, table

    console = Console(directory.path / "train.log", quiet=run.quiet)
    try:
        directory.write_text("config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        directory.write_text("overrides.yaml", yaml.safe_dump(list(overrides), sort_keys=False))
        directory.write_json("environment.json", environment(threads, run.device))
        summary = runner.train(algorithm, run, directory, Progress(run.steps, console))
    except runner.TrainingError as problem:
        return _stop(directory, console, algorithm.step, str(problem))
    except KeyboardInterrupt:
        directory.write_status("interrupted", algorithm.step, "interrupted from the keyboard")
        console.line(f"interrupted at step {algorithm.step}; run: {directory.path}", shown=False)
        raise
    except Exception as problem:  # a fault of the program: its trace belongs in the log, one line on the console
        console.line(traceback.format_exc().rstrip(), shown=False)
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        return _stop(directory, console, algorithm.step, f"step {algorithm.step}: {reason}")
    directory.write_status("finished", algorithm.step)
    for line in table(summary, directory.path):
        console.line(line)
    return 0


def _stop(directory: RunDirectory, console: Console, step: int, reason: str) -> int:
    directory.write_status("failed", step, reason)
    console.line(f"prefrl-train: {reason}; see {directory.path / 'train.log'}", error=True)
    return 1
