"""Start a sweep, or go on with one."""

from __future__ import annotations

import math
import os
import re
import signal
import time
from pathlib import Path

from omegaconf import DictConfig

from prefrl_cli.config import overrides as typed_text
from prefrl_cli.config import trust
from prefrl_cli.config.compose import configuration, hydra_main, task_overrides
from prefrl_cli.config.messages import cause
from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Typed, number_of_values, one_folder
from prefrl_cli.core.option_types import ConfigError, Failed, as_typed, show
from prefrl_cli.files.standard_streams import answer, say
from prefrl_cli.files.texts import quoted, shown
from prefrl_cli.run import directory, outputs
from prefrl_cli.run.lifecycle import run_or_resume
from prefrl_cli.run.signals import Interrupted, ended_by_signals
from prefrl_cli.sweep import record as sweep_record
from prefrl_cli.sweep import results
from prefrl_cli.sweep.directory import Sweep
from prefrl_cli.sweep.job import run_sweep_job
from prefrl_cli.sweep.launcher import launching
from prefrl_cli.sweep.progress import Watch, table_of_failures

MOST_JOBS = 100_000


def run_sweep(typed: Typed) -> int:
    """Start a sweep, or go on with the newest of the same overrides that is not finished."""
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
            folder = outputs.unused(parent / time.strftime("%Y-%m-%d_%H-%M-%S"))
        else:
            folder = before[0]
    if before is not None and not quiet:
        old, finished = before
        answer(
            f"sweep: {shown(old)} is finished; this is a new one" if finished else f"sweep: going on with {shown(old)}"
        )
    own = typed.flags.config_dir
    flags = [f"--config-dir={os.path.abspath(own)}"] if own else []
    return _sweep(typed, Sweep(folder, overrides, flags), quiet=quiet)


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
    return _sweep(again, Sweep(folder, record["overrides"], record["flags"]), quiet=_quiet(again))


def _sweep(typed: Typed, sweep: Sweep, *, quiet: bool) -> int:
    """Run what is left of a sweep; its exit code."""
    folder, parent = sweep.path, os.getpid()
    several, earlier = sweep.several, sweep.earlier

    def task(config: DictConfig) -> tuple[int, str | None]:
        overrides = task_overrides()
        name = sweep_record.job_name(overrides, with_experiment=several)
        place = folder.absolute() / earlier.get(name, name)
        return run_sweep_job(lambda: configuration(config), overrides, place, run_or_resume, parent)

    def checked(config: DictConfig) -> Configuration:
        trust.check_allowed(config, typed)
        return configuration(config)

    # Hydra writes a file of its own into this folder whatever its options say.
    with_folder = typed.with_overrides([*typed.overrides, f"hydra.sweep.dir={quoted(str(folder))}"])
    try:
        with sweep, ended_by_signals(), Watch(sweep, quiet=quiet), launching(sweep, checked):
            try:
                hydra_main(with_folder, task)
            except ValueError as problem:
                # Optuna's sweeper ends by naming the best trial, and there is none where all of them failed.
                if not str(problem).startswith(("Record does not exist", "No trials are completed")):
                    raise
            except Exception as problem:
                if isinstance(problem, ConfigError) or not sweep.began():
                    raise
                raise Failed(
                    f"the sweep ended early ({cause(problem)}); to go on type the same command again"
                ) from problem
            failures = sweep.failures()
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
