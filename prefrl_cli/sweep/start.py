"""Start a sweep, or go on with one."""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from prefrl_cli.config import overrides as typed_text
from prefrl_cli.config import trust
from prefrl_cli.config.compose import configuration, hydra_main, one_line_errors
from prefrl_cli.config.messages import cause
from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Typed, number_of_values, one_folder
from prefrl_cli.core.option_types import ConfigError, Failed, as_typed, show
from prefrl_cli.files.standard_streams import answer, say
from prefrl_cli.files.texts import quoted, shown
from prefrl_cli.run import directory
from prefrl_cli.run.earlier.going_on import unused
from prefrl_cli.run.signals import Interrupted, ended_by_signals
from prefrl_cli.sweep import record as sweep_record
from prefrl_cli.sweep import results
from prefrl_cli.sweep.directory import Sweep
from prefrl_cli.sweep.job import SweepTask
from prefrl_cli.sweep.launcher import launching
from prefrl_cli.sweep.progress import Watch, table_of_failures
from prefrl_cli.sweep.results import Jobs

MOST_JOBS = 100_000


def sweep_of(typed: Typed) -> Sweep:
    """The sweep that was typed: a new one, or the newest of the same overrides that is not finished."""
    check_number(typed)
    overrides = typed_text.what(typed.overrides)
    quiet = _quiet(typed)
    before = None
    folder = one_folder(typed.value("output_dir") or "")
    if folder is None:
        experiment = typed.value("experiment") or ""
        one = re.fullmatch(r"[\w./-]+", experiment)
        parent = Path("outputs", experiment if one else "", "sweeps")
        before = sweep_record.find(parent, overrides)
        if before is None or before[1]:
            folder = unused(parent / time.strftime("%Y-%m-%d_%H-%M-%S"))
        else:
            folder = before[0]
    if before is not None and not quiet:
        old, finished = before
        answer(
            f"sweep: {shown(old)} is finished; this is a new one" if finished else f"sweep: going on with {shown(old)}"
        )
    own = typed.flags.config_dir
    flags = [f"--config-dir={os.path.abspath(own)}"] if own else []
    return Sweep(folder, overrides, flags)


def _quiet(typed: Typed) -> bool:
    return (typed.value("quiet") or "").lower() == "true"


def check_number(typed: Typed) -> None:
    """Refuse a sweep of so many jobs that Hydra's list of them would fill the memory; a search draws its own number.

    Raises:
        ConfigError: naming the option with the most values.
    """
    if any(typed.value(name) not in (None, "basic", "null") for name in ("hydra/sweeper", "hparams_search")):
        return
    found = {text: number_of_values(text) for text in typed.overrides}
    if (jobs := math.prod(max(1, number) for number in found.values())) > MOST_JOBS:
        text = max(found, key=lambda text: found[text])
        raise ConfigError(f"{show(text)}: the sweep has {jobs:,} jobs; {MOST_JOBS:,} at most, so type fewer values")


def resume_sweep(folder: Path, typed: Typed) -> int:
    """Go on with a sweep by its folder.

    Args:
        folder: of the sweep.
        typed: beside it.

    Raises:
        ConfigError: for a record that cannot be read, and for other options than how it runs.
    """
    record = sweep_record.read_record(folder)
    if record is None:
        raise ConfigError(f"resume={folder}: {directory.RECORD} cannot be read; type the sweep's own command again")
    file = str(folder / directory.RECORD)
    trust.check_overrides(file, record["overrides"], trust.AGAIN, search=True)
    trust.check_flags_of_record(file, record["flags"], typed.flags.config_dir)
    how = typed_text.how(typed.overrides)
    trials = [text for text in typed.overrides if typed_text.option(text) == sweep_record.TRIALS]
    if trials:
        record["overrides"] = sorted([*sweep_record.searched(record["overrides"]), trials[-1]])
    others = [text for text in typed.without("resume") if text not in (*how, *trials)]
    if others:
        raise ConfigError(f"{others[0]}: a sweep goes on with its own options; leave it out, or start another sweep")
    again = Typed.of(["-m", *record["flags"], *record["overrides"], *how])
    return run(again, Sweep(folder, record["overrides"], record["flags"]))


def run_rows(jobs: Jobs, rows: Sequence[Sequence[str]], how: Sequence[str], watch: Watch) -> list[tuple[str, str]]:
    """Bring runs, each of overrides of its own, to their ends, as the jobs of a sweep are.

    Args:
        jobs: whose folder is held.
        rows: the overrides of each.
        how: those that say how they are run, such as `hydra/launcher=slurm`.
        watch: tells how they stand.

    Returns:
        Names and reasons of those that did not finish.

    Raises:
        ConfigError: for a launcher that is not there.
        KeyboardInterrupt: once each running one has written a checkpoint.
    """
    typed = Typed.of(["-m", *how])
    with one_line_errors(typed):
        return _launch(typed, jobs, watch, rows)


def _launch(
    typed: Typed, jobs: Jobs, watch: Watch, rows: Sequence[Sequence[str]] | None = None
) -> list[tuple[str, str]]:
    """Bring the jobs to their ends; names and reasons of those that did not finish."""

    def checked(config: DictConfig) -> Configuration:
        trust.check_allowed(config, typed)
        return configuration(config)

    task = SweepTask(jobs.path.absolute(), jobs.naming, typed.flags, os.getpid())
    # Hydra writes a file of its own into this folder whatever its options say.
    with_folder = typed.with_overrides([*typed.overrides, f"hydra.sweep.dir={quoted(str(jobs.path))}"])
    with ended_by_signals(), watch, launching(jobs, checked, rows):
        try:
            hydra_main(with_folder, task)
        except ValueError as problem:
            # Optuna's sweeper ends by naming the best trial, and there is none where all of them failed.
            if not str(problem).startswith(("Record does not exist", "No trials are completed")):
                raise
        except Exception as problem:
            if isinstance(problem, ConfigError) or not jobs.began():
                raise
            raise Failed(f"the sweep ended early ({cause(problem)}); to go on type the same command again") from problem
        return jobs.failures()


def run(typed: Typed, sweep: Sweep) -> int:
    """Run what is left of a sweep.

    Args:
        typed: what it is, and how it runs.
        sweep: its folder.

    Returns:
        0 where every job finished, 1 where some did not, 2 where none began.

    Raises:
        ConfigError: for a folder of another sweep, and a launcher that is not there.
        Interrupted: on Ctrl-C and its like, once the jobs have written their checkpoints.
    """
    folder, quiet = sweep.path, _quiet(typed)
    try:
        with sweep:
            failures = _launch(typed, sweep, Watch(sweep, quiet=quiet))
    except KeyboardInterrupt as problem:
        if not folder.exists():  # no job had begun
            raise
        number = getattr(problem, "exit_code", 128 + signal.SIGINT) - 128
        again = f"prefrl-train resume={as_typed(str(folder))}"
        said = f"sweep interrupted; to go on type the same command again, or {again}"
        raise Interrupted(number, said) from None
    if not folder.exists():  # no job began: each had a wrong option, and was told, or the launcher could start none
        for reason in sweep.not_told() or ([] if sweep.jobs else ["there is no job to run; type at least one value"]):
            say(f"prefrl-train: {reason}")
        return 2
    if failures:
        for line in table_of_failures(failures):
            say(line)
    if not quiet:
        for line in [*results.table(sweep.rows()), f"sweep: {shown(folder)}"]:
            answer(line)
    return int(sweep.refused or bool(failures))
