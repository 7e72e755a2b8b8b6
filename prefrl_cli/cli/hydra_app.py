"""Hydra's part of `prefrl-train`: overrides and files in, plain options out; each of its complaints in one line."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prefrl_cli import sweep_record
from prefrl_cli.choices import choices, conf_folder, named
from prefrl_cli.cli import hydra_files as hydra_files  # it makes Hydra read files as we want them read
from prefrl_cli.cli import hydra_options, messages, trust
from prefrl_cli.cli.command import INTERRUPTED, Failed, cause
from prefrl_cli.cli.help import help_text
from prefrl_cli.cli.job import run_job, run_or_resume
from prefrl_cli.cli.signals import Interrupted, ended_by_signals
from prefrl_cli.cli.standard_streams import answer, say
from prefrl_cli.cli.sweep_job import run_sweep_job
from prefrl_cli.cli.sweep_launcher import launching
from prefrl_cli.cli.sweep_watch import Watch, table_of_failures
from prefrl_cli.cli.typed import as_meant
from prefrl_cli.config import build
from prefrl_cli.options import ConfigError, as_typed
from prefrl_cli.sweep import Sweep
from prefrl_cli.texts import shown, typed_path


def run_hydra(arguments: list[str]) -> int:
    """Compose the options that were typed and run the job, or with `-m` each job of the sweep.

    Args:
        arguments: what was typed after the command.

    Returns:
        The exit code: the largest of the jobs'.

    Raises:
        ConfigError: for a wrong option.
    """
    messages.check_dashes(arguments)
    typed = _parse(arguments)
    if typed.help:  # as a beginning of it
        print(help_text())
        return 0
    trust.check_flags(typed)
    hydra_options.check_flags(typed)
    arguments = hydra_options.in_order(typed)
    with _one_line_errors(arguments):
        if typed.cfg or typed.info or typed.shell_completion or typed.hydra_help:
            return _call_hydra(arguments, _only_check)
        hydra_options.check_typed(typed.overrides, sweep=typed.multirun)
        if (folder := _sweep_to_resume(typed.overrides)) is not None:
            return _resume_sweep(folder, typed.overrides, typed.config_dir)
        if not typed.multirun:
            return _call_hydra(arguments, lambda config: run_job(_plain(config), _overrides()))
        return _run_sweep(arguments, typed)


def composed(overrides: list[str]) -> dict[str, Any]:
    """The options of a single run, without running it and before they are checked.

    Raises:
        ConfigError: for an option or a choice that does not exist.
    """
    with _one_line_errors(overrides), hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return _plain(hydra.compose("config", as_meant(overrides), return_hydra_config=True))


@contextlib.contextmanager
def _one_line_errors(arguments: list[str]) -> Iterator[None]:
    """Hydra's and OmegaConf's complaints as ours."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as problem:
        # An option that does not exist: add it all the same, so that our own check names the nearest that does.
        if match := re.match(r"Could not override '([^'@]+)'", str(problem)):
            added = [f"+{text}" if text.startswith(f"{match[1]}=") else text for text in arguments]
            if added != arguments and not match[1].startswith("hydra"):
                kept = [text for text in added if not text.startswith("-") or text.startswith("--config-dir=")]
                with contextlib.suppress(HydraException, OmegaConfBaseException):
                    _call_hydra([_first_of_sweep(text) for text in kept], _only_check)
        raise ConfigError(messages.one_line(problem)) from None
    except yaml.YAMLError as problem:
        raise ConfigError(messages.yaml_line(problem)) from None
    except (AssertionError, AttributeError):  # OmegaConf's, of a mapping in the place of nothing
        if not any(text.lstrip("+~").startswith("hydra.sweeper.params") for text in arguments):
            raise
        raise ConfigError("hydra.sweeper.params: type the values themselves, such as -m seed=0,1") from None
    except (OSError, ValueError) as problem:  # files that cannot be read, flags that exclude each other
        raise ConfigError(messages.one_line(problem)) from None


def _call_hydra(arguments: list[str], job: Callable[[DictConfig], int]) -> int:
    codes, raised = [0], []

    def task(config: DictConfig) -> None:
        try:
            trust.check_allowed(config, arguments)
            codes.append(job(config))
        except Exception as problem:  # Hydra would print lines of its own
            raised.append(problem)

    try:
        _hydra_main(arguments, task)
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
    if raised:
        raise raised[0]
    return max(codes)


def _hydra_main(arguments: list[str], task: Callable[[DictConfig], Any]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error itself and ends the process
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(task)()
    finally:
        sys.argv = before


def _parse(arguments: list[str]) -> Any:
    """The flags, by Hydra's own parser, whose usage message is longer than a line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return get_args_parser().parse_intermixed_args(arguments)  # flags and options in any order
    except SystemExit as end:
        if not end.code:
            raise
        reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise ConfigError(f"{reason}; see prefrl-train --help") from None


def _plain(config: DictConfig) -> dict[str, Any]:
    """The options as plain mappings, lists and values, the experiment's name among them."""
    choice = config.get("hydra") or HydraConfig.get()  # a sweep's jobs are looked at before they run
    own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    name = choice.runtime.choices.get("experiment")
    if not name:
        raise ConfigError(f"experiment is not set; type experiment={'|'.join(choices('experiment'))}")
    if "experiment" in plain:
        raise ConfigError(f"experiment={name}: its YAML must begin with the line '# @package _global_'")
    return {"experiment": name, **named({str(key): value for key, value in plain.items()}, choice.runtime.choices)}


def _overrides() -> list[str]:
    texts: Any = HydraConfig.get().overrides.task
    return [str(text) for text in texts]


def _only_check(config: DictConfig) -> int:
    build(_plain(config))
    return 0


def _first_of_sweep(text: str) -> str:
    """`a=1` of `a=1,2`."""
    return re.sub(r"^([^=]+=[^,\[{(]*),.*$", r"\1", text)


def _run_sweep(arguments: list[str], typed: Any) -> int:
    """Start a sweep, or go on with the newest of the same overrides that is not finished."""
    overrides = sweep_record.what(typed.overrides)
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
            folder = sweep_record.unused(parent / time.strftime("%Y-%m-%d_%H-%M-%S"))
        else:
            folder = before[0]
    if before is not None and not quiet:
        old, finished = before
        answer(
            f"sweep: {shown(old)} is finished; this is a new one" if finished else f"sweep: going on with {shown(old)}"
        )
    flags = [f"--config-dir={os.path.abspath(typed.config_dir)}"] if typed.config_dir else []
    return _sweep(arguments, Sweep(folder, overrides, flags), quiet=quiet)


def _typed_folder(text: str) -> Path | None:
    one = OverridesParser.create().parse_override(f"output_dir={text}")
    if one.is_sweep_override() or "${" in text:
        raise ConfigError(f"output_dir={text}: holds the whole sweep, with a folder for each job; type one name")
    return Path(str(one.value())) if one.value() else None


def _sweep_to_resume(overrides: list[str]) -> Path | None:
    typed = [text.partition("=")[2] for text in overrides if sweep_record.option(text) == "resume"]
    return folder if typed and ((folder := typed_path(typed[-1])) / sweep_record.RECORD).is_file() else None


def _resume_sweep(folder: Path, overrides: list[str], config_dir: str | None) -> int:
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
        raise ConfigError(f"resume={folder}: {sweep_record.RECORD} cannot be read; type the sweep's own command again")
    file = str(folder / sweep_record.RECORD)
    trust.check_overrides(file, record["overrides"], trust.AGAIN, search=True)
    trust.check_flags_of_record(file, record["flags"], config_dir)
    typed = sweep_record.how(overrides)
    trials = [text for text in overrides if sweep_record.option(text) == sweep_record.TRIALS]
    if trials:
        record["overrides"] = sorted([*sweep_record.searched(record["overrides"]), trials[-1]])
    others = [text for text in overrides if text not in (*typed, *trials) and sweep_record.option(text) != "resume"]
    if others:
        raise ConfigError(f"{others[0]}: a sweep goes on with its own options; leave it out, or start another sweep")
    arguments = ["-m", *record["flags"], *record["overrides"], *typed]  # Hydra takes no flag between overrides
    return _sweep(arguments, Sweep(folder, record["overrides"], record["flags"]), quiet="quiet=true" in typed)


def _sweep(arguments: list[str], sweep: Sweep, *, quiet: bool) -> int:
    """Run what is left of a sweep; its exit code."""
    folder, parent = sweep.path, os.getpid()
    several = sweep.several

    def task(config: DictConfig) -> tuple[int, str | None]:
        overrides = _overrides()
        place = folder.absolute() / sweep_record.job_name(overrides, with_experiment=several)
        return run_sweep_job(lambda: _plain(config), overrides, place, run_or_resume, parent)

    def plain(config: DictConfig) -> dict[str, Any]:
        trust.check_allowed(config, arguments)
        return _plain(config)

    # Hydra writes a file of its own into this folder whatever its options say.
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    try:
        with sweep, ended_by_signals(), Watch(sweep, quiet=quiet), launching(sweep, plain):
            try:
                _hydra_main([*arguments, f"hydra.sweep.dir='{quoted}'"], task)
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
        number = getattr(problem, "exit_code", INTERRUPTED) - 128
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
