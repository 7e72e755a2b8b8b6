"""Hydra's part of `prefrl-train`: overrides and files in, plain options out; each of its complaints in one line."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prefrl_cli.choices import choice_error, choices, conf_folder
from prefrl_cli.cli.job import run_job
from prefrl_cli.config import build
from prefrl_cli.options import ConfigError, show

_LONGEST_NAME = 200
_NOT_NAMED = ("experiment", "output_dir", "quiet")
_SWEEP_FLAGS = ("-m", "--multirun")
_TYPED = "{}: options are typed NAME=VALUE, such as env.size=12; lists as 'optimizer.betas=[0.9,0.99]'"
_HYDRA_RECORD = "multirun.yaml"


def run_hydra(arguments: list[str]) -> int:
    """Compose the options that were typed and run the job, or with `-m` each job of the sweep.

    Args:
        arguments: what was typed after the command.

    Returns:
        The exit code: the largest of the jobs'.

    Raises:
        ConfigError: for a wrong option.
    """
    typed = _parse(arguments)
    try:
        if not typed.multirun:
            return _call_hydra(arguments, lambda config: run_job(_plain(config), _overrides()))
        folder = _sweep_folder(typed.overrides)
        try:
            # Hydra writes a file of its own into this folder whatever its options say.
            quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
            return _call_hydra([*arguments, f"hydra.sweep.dir='{quoted}'"], lambda config: _sweep_job(config, folder))
        finally:
            _drop_without_runs(folder)
    except (HydraException, OmegaConfBaseException) as problem:
        # An option that does not exist: add it all the same, so that our own check names the nearest that does.
        if match := re.match(r"Could not override '([^'@]+)'", str(problem)):
            added = [f"+{text}" if text.startswith(f"{match[1]}=") else text for text in arguments]
            if added != arguments and not match[1].startswith("hydra"):
                with contextlib.suppress(HydraException, OmegaConfBaseException):
                    _call_hydra([_first_of_sweep(text) for text in added if text not in _SWEEP_FLAGS], _only_check)
        raise ConfigError(_one_line(problem)) from None
    except yaml.YAMLError as problem:
        raise ConfigError(_yaml_line(problem)) from None
    except (OSError, ValueError) as problem:  # files that cannot be read, flags that exclude each other
        raise ConfigError(_one_line(problem)) from None


def _call_hydra(arguments: list[str], job: Callable[[DictConfig], int]) -> int:
    codes, raised = [0], []

    def task(config: DictConfig) -> None:
        try:
            codes.append(job(config))
        except Exception as problem:  # Hydra would print lines of its own
            raised.append(problem)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error itself and ends the process
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(task)()
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
    finally:
        sys.argv = before
    if raised:
        raise raised[0]
    return max(codes)


def _parse(arguments: list[str]) -> Any:
    """The flags, by Hydra's own parser, whose usage message is longer than a line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return get_args_parser().parse_args([text for text in arguments if text != "--version"])
    except SystemExit:
        reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise ConfigError(f"{reason}; see prefrl-train --help") from None


def _plain(config: DictConfig) -> dict[str, Any]:
    """The options as plain mappings, lists and values, the experiment's name among them."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    name = HydraConfig.get().runtime.choices.get("experiment")
    if not name:
        raise ConfigError(f"experiment is not set; type experiment={'|'.join(choices('experiment'))}")
    if "experiment" in plain:
        raise ConfigError(f"experiment={name}: its YAML must begin with the line '# @package _global_'")
    return {"experiment": name, **{str(key): value for key, value in plain.items()}}


def _overrides() -> list[str]:
    return list(HydraConfig.get().overrides.task)


def _only_check(config: DictConfig) -> int:
    build(_plain(config))
    return 0


def _first_of_sweep(text: str) -> str:
    """`a=1` of `a=1,2`."""
    return re.sub(r"^([^=]+=[^,\[{(]*),.*$", r"\1", text)


def _sweep_folder(overrides: list[str]) -> Path:
    """Where a sweep goes: `output_dir` if it was typed, else by experiment and time."""
    typed = dict(text.lstrip("+").split("=", 1) for text in overrides if "=" in text)
    if typed.get("output_dir"):
        return Path(typed["output_dir"])
    experiment = typed.get("experiment", "")
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    one = re.fullmatch(r"[\w./-]+", experiment)
    return Path("outputs", experiment if one else "", "sweeps", stamp)


def _sweep_job(config: DictConfig, folder: Path) -> int:
    """Run one job; a wrong option of it is told and leaves the others running."""
    overrides = _overrides()
    several = "sweeps" in folder.parts and folder.parts[:2] == ("outputs", "sweeps")
    left_out = _NOT_NAMED[1:] if several else _NOT_NAMED
    name = ",".join(sorted(text for text in overrides if text.split("=")[0] not in left_out))
    name = name.replace(os.sep, "+").replace("/", "+") or "default"
    if len(name.encode()) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        name = f"{name.encode()[: _LONGEST_NAME - 13].decode(errors='ignore')}+{digest}"
    try:
        return run_job(_plain(config), overrides, folder / name)
    except ConfigError as problem:
        print(f"prefrl-train: job {name}: {problem}", file=sys.stderr)
        return 2


def _drop_without_runs(folder: Path) -> None:
    """Leave nothing of a sweep none of whose jobs began."""
    if not folder.is_dir() or any(path.name != _HYDRA_RECORD for path in folder.iterdir()):
        return
    (folder / _HYDRA_RECORD).unlink(missing_ok=True)
    for empty in (folder, *folder.parents):
        if empty in (Path(), Path("/")) or empty.is_absolute() and empty != folder:
            break
        try:
            empty.rmdir()
        except OSError:
            break


def _one_line(problem: Exception) -> str:
    """What Hydra or OmegaConf complain of, in our words where a person can cause it easily."""
    if isinstance(problem, MissingConfigException) and "/" in (problem.missing_cfg_file or ""):
        group, _, name = str(problem.missing_cfg_file).partition("/")
        return str(choice_error(group, name, sorted({*choices(group), *(problem.options or ())})))
    if isinstance(problem, OverrideParseException):
        return _TYPED.format(show(problem.override))
    if str(problem).startswith("Could not override ''"):
        return _TYPED.format("=")
    cause = problem
    while isinstance(cause.__cause__, OmegaConfBaseException):
        cause = cause.__cause__
    first = str(problem).strip().partition("\n")[0] or type(problem).__name__
    if first.startswith("Config group override must be"):
        return "a group takes the name of one of its choices, such as optimizer=adam; to leave one out type ~GROUP"
    if match := re.match(r"Ambiguous value for argument '(.*?)=(.*)'", first):
        return f"{match[1]}={match[2]}: for a sweep put -m before it, for a list type '{match[1]}=[{match[2]}]'"
    if isinstance(problem, OmegaConfBaseException) and problem.full_key:
        first = f"{problem.full_key}: {first}"
    if cause is not problem:
        first += f" ({str(cause).strip().partition(chr(10))[0]})"
    return first


def _yaml_line(problem: yaml.YAMLError) -> str:
    mark = getattr(problem, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark is not None else "a YAML file"
    what = getattr(problem, "problem", None) or " ".join(str(problem).split())
    return f"{where}: not valid YAML ({what}); correct that line"
