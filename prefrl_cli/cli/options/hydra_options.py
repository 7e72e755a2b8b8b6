"""What of Hydra's own options and flags prefrl obeys; every other one is a line that names our way.

Read without Hydra, for `--help`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from prefrl_cli.config.overrides import Typed, option, read
from prefrl_cli.core.option_types import ConfigError, show

# Where a `hydra` option begins, and what it does here. The first three are for sweeps.
OBEYED = {
    "hydra/launcher": "with -m: what starts the jobs, such as processes or slurm",
    "hydra/sweeper": "with -m: what chooses the jobs, such as optuna",
    "hydra/sweeper/sampler": "with -m: how a search draws its trials",
    "hydra.launcher": "with -m: options of the launcher",
    "hydra.sweeper": "with -m: options of the sweeper",
    "hydra.searchpath": "more folders like that of --config-dir",
    "hydra.job.env_set": "variables that are set while a run trains",
    "hydra.job.env_copy": "variables that go along to the jobs of a sweep",
    "hydra.callbacks": "callbacks of your own",
}
_OF_SWEEPS = ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler", "hydra.launcher", "hydra.sweeper")
_FOLDERS = "prefrl makes its own folders; type output_dir=FOLDER to choose one"
_LOGS = "a run's own log is its train.log; type quiet=true to print errors only"
_INSTEAD = {
    "hydra.run": _FOLDERS,
    "hydra.sweep": _FOLDERS,
    "hydra.output_subdir": _FOLDERS,
    "hydra/output": _FOLDERS,
    "hydra.runtime": _FOLDERS,
    "hydra.job.chdir": _FOLDERS,
    "hydra/job_logging": _LOGS,
    "hydra/hydra_logging": _LOGS,
    "hydra.job_logging": _LOGS,
    "hydra.hydra_logging": _LOGS,
    "hydra.verbose": _LOGS,
    "hydra.mode": "for a sweep type -m, for one run leave it out",
    "hydra.help": "prefrl has a help of its own; type --help",
    "hydra/help": "prefrl has a help of its own; type --help",
    "hydra.overrides": "is what was typed; type the option itself",
}
_NEEDS = {"package": "--package", "resolve": "--resolve"}  # flags that only change what --cfg shows
# What is done whatever the option says.
_ALWAYS = {"hydra.launcher.backend": "loky", "hydra.launcher.prefer": "processes"}
_LEAST_1 = ("hydra.sweeper.max_batch_size", "hydra.launcher.pre_dispatch")
_MOST_WORKERS = 64  # or twice the processors: joblib starts all of them, whatever the number of jobs
COMMANDS = {
    "run": "--run",
    "multirun": "-m",
    "cfg": "--cfg",
    "info": "--info",
    "shell_completion": "--shell-completion",
    "hydra_help": "--hydra-help",
}


def check_flags(typed: Typed) -> None:
    """Refuse flags that exclude each other, or that have no effect, and a folder that is not there.

    Raises:
        ConfigError: naming the flag.
    """
    flags = typed.flags
    if flags.config_dir is not None and not os.path.isdir(flags.config_dir):
        raise ConfigError(f"--config-dir {show(flags.config_dir)}: is no folder; type one that is there")
    chosen = [flag for name, flag in COMMANDS.items() if getattr(flags, name) not in (None, False)]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)}: exclude each other; type one of them")
    for name, flag in _NEEDS.items():
        if getattr(flags, name) not in (None, False) and flags.cfg is None:
            raise ConfigError(f"{flag}: says what --cfg shows; type --cfg job as well, or leave it out")


def check_typed(overrides: Sequence[str], *, sweep: bool) -> None:
    """Refuse an option of Hydra's that would be taken without an effect, or has one that is not ours.

    Args:
        overrides: what was typed.
        sweep: whether `-m` was.

    Raises:
        ConfigError: naming the option and what to type; also where Hydra's option is one of a sweep's values.
    """
    for text in overrides:
        name = option(text)
        if name == "hparams_search" and not sweep and not re.fullmatch(r"[^=]*=\s*null\s*|~.*", text):
            raise ConfigError(f"{show(text)}: a search is a sweep; put -m before it")
        if not re.match(r"hydra([./@]|$)", name):
            continue
        if (beginning := _beginning(name, OBEYED)) is None:
            known = _beginning(name, _INSTEAD)
            reason = _INSTEAD[known] if known else "prefrl takes no such option of Hydra's; leave it out, see --help"
            raise ConfigError(f"{show(text)}: {reason}")
        if beginning in _OF_SWEEPS and not sweep:
            raise ConfigError(f"{show(text)}: is for sweeps; put -m before it, or leave it out")
        _check_value(text, name)


def _beginning(name: str, known: Any) -> str | None:
    """The longest of the known that the option lies in."""
    fitting = [one for one in known if re.match(rf"{re.escape(one)}([.@]|$)", name)]
    return max(fitting, key=len, default=None)


def _check_value(text: str, name: str) -> None:
    """Refuse what would be taken without an effect, or ends in an error that says nothing."""
    value = read(text).value.strip()
    if name.startswith("hydra.sweeper.params.") and "," in value and value[0] not in "{[\"'":
        raise ConfigError(
            f"{show(text)}: type the values themselves, {name.removeprefix('hydra.sweeper.params.')}={value}"
        )
    if name in ("hydra.sweeper", "hydra.launcher") and value in ("", "null", "{}"):
        raise ConfigError(f"{show(text)}: a sweep needs one; leave it out, or type {name.replace('.', '/')}=NAME")
    if name in _ALWAYS and value not in (_ALWAYS[name], "null"):
        raise ConfigError(f"{show(text)}: each job has a process of its own, by joblib's loky; leave it out")
    number = int(value) if re.fullmatch(r"-?\d{1,99}", value) else None
    if name in _LEAST_1 and number is not None and number < 1:
        raise ConfigError(f"{show(text)}: must be a whole number of 1 or more, or null; try {name}=1")
    most = max(_MOST_WORKERS, 2 * (os.cpu_count() or 1))
    if name == "hydra.launcher.n_jobs" and number is not None and number > most:
        raise ConfigError(f"{show(text)}: at most {most} jobs at once here; try {name}=2")
    if name == "hydra.job.env_copy":
        for variable in re.findall(r"[^\[\],\s'\"]+", value):
            if variable not in os.environ:
                raise ConfigError(f"{show(text)}: {show(variable)} is not set; leave it out")
