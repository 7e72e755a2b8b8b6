"""Start a sweep, or go on with one."""

from __future__ import annotations

import math
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
from omegaconf import DictConfig

from prefrl_cli.config import overrides as typed_text
from prefrl_cli.config import trust
from prefrl_cli.config.compose import hydra_main, plain_options, task_overrides
from prefrl_cli.config.messages import cause
from prefrl_cli.core.option_types import ConfigError, Failed, as_typed, show
from prefrl_cli.files.standard_streams import answer, say
from prefrl_cli.files.texts import shown
from prefrl_cli.run import directory, outputs
from prefrl_cli.run.lifecycle import run_or_resume
from prefrl_cli.run.signals import Interrupted, ended_by_signals
from prefrl_cli.sweep import record as sweep_record
from prefrl_cli.sweep.directory import Sweep
from prefrl_cli.sweep.job import run_sweep_job
from prefrl_cli.sweep.launcher import launching
from prefrl_cli.sweep.progress import Watch, table_of_failures

MOST_JOBS = 100_000


def run_sweep(arguments: list[str], typed: Any) -> int:
    """Start a sweep, or go on with the newest of the same overrides that is not finished."""
    _check_number(typed.overrides)
    overrides = typed_text.what(typed.overrides)
    values = dict(text.lstrip("+").split("=", 1) for text in typed.overrides if "=" in text)
    quiet = values.get("quiet", "").lower() == "true"
    before = None
    folder = _typed_folder(values.get("output_dir", ""))
    if folder is None:
        experiment = values.get("experiment", "")
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
    flags = [f"--config-dir={os.path.abspath(typed.config_dir)}"] if typed.config_dir else []
    return _sweep(arguments, Sweep(folder, overrides, flags), quiet=quiet)


def _check_number(overrides: list[str]) -> None:
    """Refuse a sweep of so many jobs that Hydra's list of them would fill the memory; a search draws its own number.

    Raises:
        ConfigError: naming the option with the most values.
    """
    if any(re.match(r"\+{0,2}(hydra/sweeper|hparams_search)=(?!basic$|null$)", text) for text in overrides):
        return
    values: dict[str, int] = {}
    for text, one in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        value = one.value()
        if isinstance(value, RangeSweep):
            step = abs(float(value.step)) or math.inf
            values[text] = math.ceil(min(abs(float(value.stop or 0) - float(value.start or 0)) / step, 1e18))
        elif isinstance(value, ChoiceSweep):
            values[text] = len(value.list)
    if (jobs := math.prod(max(1, number) for number in values.values())) > MOST_JOBS:
        text = max(values, key=lambda text: values[text])
        raise ConfigError(f"{show(text)}: the sweep has {jobs:,} jobs; {MOST_JOBS:,} at most, so type fewer values")


def _typed_folder(text: str) -> Path | None:
    one = OverridesParser.create().parse_override(f"output_dir={text}")
    if one.is_sweep_override() or "${" in text:
        raise ConfigError(f"output_dir={text}: holds the whole sweep, with a folder for each job; type one name")
    return Path(str(one.value())) if one.value() else None


def resume_sweep(folder: Path, overrides: list[str], config_dir: str | None) -> int:
    """Go on with a sweep by its folder.

    Args:
        folder: of the sweep.
        overrides: that were typed.
        config_dir: that was typed.

    Raises:
        ConfigError: for a record that cannot be read, and for other options than how it runs.
    """
    record = sweep_record.read_record(folder)
    if record is None:
        raise ConfigError(f"resume={folder}: {directory.RECORD} cannot be read; type the sweep's own command again")
    file = str(folder / directory.RECORD)
    trust.check_overrides(file, record["overrides"], trust.AGAIN, search=True)
    trust.check_flags_of_record(file, record["flags"], config_dir)
    typed = typed_text.how(overrides)
    trials = [text for text in overrides if typed_text.option(text) == sweep_record.TRIALS]
    if trials:
        record["overrides"] = sorted([*sweep_record.searched(record["overrides"]), trials[-1]])
    others = [text for text in overrides if text not in (*typed, *trials) and typed_text.option(text) != "resume"]
    if others:
        raise ConfigError(f"{others[0]}: a sweep goes on with its own options; leave it out, or start another sweep")
    arguments = ["-m", *record["flags"], *record["overrides"], *typed]  # Hydra takes no flag between overrides
    return _sweep(arguments, Sweep(folder, record["overrides"], record["flags"]), quiet="quiet=true" in typed)


def _sweep(arguments: list[str], sweep: Sweep, *, quiet: bool) -> int:
    """Run what is left of a sweep; its exit code."""
    folder, parent = sweep.path, os.getpid()
    several = sweep.several

    def task(config: DictConfig) -> tuple[int, str | None]:
        overrides = task_overrides()
        place = folder.absolute() / sweep_record.job_name(overrides, with_experiment=several)
        return run_sweep_job(lambda: plain_options(config), overrides, place, run_or_resume, parent)

    def plain(config: DictConfig) -> dict[str, Any]:
        trust.check_allowed(config, arguments)
        return plain_options(config)

    # Hydra writes a file of its own into this folder whatever its options say.
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    try:
        with sweep, ended_by_signals(), Watch(sweep, quiet=quiet), launching(sweep, plain):
            try:
                hydra_main([*arguments, f"hydra.sweep.dir='{quoted}'"], task)
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
        answer(f"sweep: {shown(folder)}")
    return int(sweep.refused or bool(failures))
