"""What Hydra, OmegaConf and YAML complain of, and slips of people who know other programs, each in one line of ours."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.config.choices import GROUPS, choice_error, choices
from prefrl_cli.config.options import Run, signature
from prefrl_cli.core.option_types import ConfigError, as_typed, show
from prefrl_cli.files.texts import typed_path

if TYPE_CHECKING:
    import yaml

    from prefrl_cli.config.overrides import Override

_GROUPS = ("experiment", "hparams_search", *GROUPS)
_OF_PYTHON = r"hydra[./](launcher|sweeper)([./]|$)"  # what a sweep takes of Hydra's
_LATEST = ("last", "newest", "recent", "true", "auto")  # what people type for `latest`
_TYPED = "{}: options are typed NAME=VALUE, such as env.size=12; lists as 'optimizer.betas=[0.9,0.99]'"


def one_line(problem: Exception) -> str:
    """What Hydra or OmegaConf complain of, in our words where a person can cause it easily."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(problem, MissingConfigException) and "/" in (problem.missing_cfg_file or ""):
        group, _, name = str(problem.missing_cfg_file).rpartition("/")
        if group.startswith("hydra/") and name.partition("_")[0] in EXTRAS:
            return str(not_installed(f"{group}={name}", name))
        if not group.startswith("hydra/"):  # a choice of ours may lie in a folder
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
    first = re.sub(r", set env var `?HYDRA_FULL_ERROR=1.*", f"; {TRACEBACK}=1 before the command shows where", first)
    if first.startswith("Config group override must be"):
        return "a group takes the name of one of its choices, such as optimizer=adam; to leave one out type ~GROUP"
    if match := re.match(r"Ambiguous value for argument '(.*?)=(.*)'", first):
        return f"{match[1]}={match[2]}: for a sweep put -m before it, for a list type '{match[1]}=[{match[2]}]'"
    if match := re.match(r"Multiple values for ([\w/]+)\. .*'override \1: (.*)'", first):
        return f"+{match[1]}={match[2]}: {match[1]} is there without +; type {match[1]}={match[2]}"
    if isinstance(problem, OmegaConfBaseException) and problem.full_key:
        first = f"{problem.full_key}: {first}"
    if cause is not problem:
        first += f" ({str(cause).strip().partition(chr(10))[0]})"
    return first


_SUFFIXES = (".yaml", ".yml")


def meant(group: str, typed: str, own: Path | None) -> str:
    """The name of a choice: of `oprl_maze`, `oprl_maze.yaml`, `conf/experiment/oprl_maze.yaml` or `./oprl_maze/`.

    Args:
        group: of the choice.
        typed: one choice.
        own: the folder of `--config-dir`.

    Raises:
        ConfigError: for a file that is no choice, saying how to make it one.
    """
    bare = typed.strip().strip("\"'").strip().replace("\\", "/").rstrip("/")
    name = re.sub(r"\.ya?ml$", "", bare.removeprefix("./"))
    known = choices(group)
    if name in known:
        return name
    of_own = Path(own, group, name) if own is not None else None
    if of_own is not None and of_own.with_name(f"{of_own.name}.yaml").is_file():
        return name
    if of_own is not None and of_own.with_name(f"{of_own.name}.yml").is_file():
        raise ConfigError(f"{group}={show(typed)}: {of_own}.yml: files of choices end in .yaml; rename it")
    path = typed_path(typed)
    if not path.is_file() and not bare.endswith(_SUFFIXES):
        path = path.with_name(f"{path.name}.yaml")
    if not path.is_file():
        return name if bare.endswith(_SUFFIXES) or typed != bare else typed
    if path.suffix == ".yml":
        raise ConfigError(f"{group}={show(typed)}: {path}: files of choices end in .yaml; rename it")
    parts = re.sub(r"\.ya?ml$", "", path.resolve().as_posix()).split("/")
    for place in range(len(parts) - 2, 0, -1):  # the folder of the group that is nearest to the file
        if parts[place] == group:
            inside, top = "/".join(parts[place + 1 :]), Path("/".join(parts[:place]))
            if inside in known or (own is not None and own.resolve() == top):
                return inside
            cure = f"type --config-dir {as_typed(str(top))} {group}={as_typed(inside)}"
            raise ConfigError(f"{group}={show(typed)}: is a path, and a choice is a name; {cure}")
    cure = f"put the file into FOLDER/{group}/ and type --config-dir FOLDER {group}={as_typed(parts[-1])}"
    raise ConfigError(f"{group}={show(typed)}: is a path, and a choice is a name; {cure}")


def check_slips(overrides: Sequence[Override], *, several: bool) -> None:
    """Refuse what is often typed for something else, with that.

    Args:
        overrides: what was typed, in this order.
        several: whether it is a sweep.

    Raises:
        ConfigError: with what to type.
    """
    known = {*signature(Run), *_GROUPS, "logger", "resume"}
    texts = [one.text for one in overrides]
    for place, one in enumerate(overrides):
        text = one.text
        if not one.equals and not text.startswith("~"):
            name, behind = text.rstrip(":"), [behind for behind in texts[place + 1 : place + 3] if behind != "="]
            value = behind[0].lstrip("=") if behind else ""
            if name.partition(".")[0] in known and value and "=" not in value:
                raise ConfigError(f"{name}: an option and its value are one word; type {name}={value}")
            if groups := [group for group in _GROUPS if text in choices(group)]:
                cure = " or ".join(f"{group}={text}" for group in groups)
                raise ConfigError(f"{show(text)}: is a choice without its group; type {cure}")
        if one.option == "resume" and one.value.lower() in _LATEST and not Path(one.value).exists():
            raise ConfigError(
                f"{show(text)}: there is no such run; for the newest that is not finished type resume=latest"
            )
        if match := re.fullmatch(r"(\d{1,9})\s*(?:\.{2,3}|-|:)\s*(\d{1,9})", one.value):
            first, last = int(match[1]), int(match[2])
            if one.option in ("seed", "seeds", "num_seeds") and first <= last:
                raise ConfigError(f"{show(text)}: is no seed; {_seeds(first, last, several)}")


def _seeds(first: int, last: int, several: bool) -> str:
    together = f"seed={first} num_seeds={last - first + 1}"
    if not several:
        return f"to train {first} to {last} together type {together}"
    listed = ",".join(map(str, range(first, last + 1))) if last - first < 8 else ""
    return f"type seed={listed or f'range({first},{last + 1})'}, or without -m, together in one process, {together}"


def unknown_flag(message: str, flags: Iterable[str], command: str) -> str:
    """What argparse complains of, with the flag that is near the one that does not exist, or where to look.

    Args:
        message: argparse's own.
        flags: that exist.
        command: whose they are.
    """
    typed = re.match(r"unrecognized arguments: (--?[\w-]+)", message)
    near = difflib.get_close_matches(typed[1], list(flags), n=1, cutoff=0.75) if typed else []
    return f"{message}; did you mean {near[0]}?" if near else f"{message}; see {command} --help"


def check_in_python(text: Any, *, several: bool) -> None:
    """Refuse what only the command takes: flags, Hydra's own options, sweeps and runs that go on.

    Args:
        text: given to a function of the Python API as it would be typed.
        several: whether it is a sweep.

    Raises:
        ConfigError: with the function, or what to type.
    """
    from prefrl_cli.config.overrides import read

    name = read(text).option if isinstance(text, str) else ""
    if not isinstance(text, str) or not name.isprintable():
        raise ConfigError(f"{show(text)}: options are typed NAME=VALUE, such as 'env.size=12'")
    if text.startswith("-"):
        raise ConfigError(f"{show(text)}: is a flag of the command; for many runs there is prefrl_cli.train_sweep")
    if re.match(r"hydra([./@]|$)", name) and not (several and re.match(_OF_PYTHON, name)):
        raise ConfigError(f"{show(text)}: Hydra's own options are for the command; leave it out")
    if name == "resume":
        raise ConfigError(f"{show(text)}: to go on with a run there is prefrl_cli.resume")


def yaml_line(problem: yaml.YAMLError) -> str:
    """Where a file is not YAML, and why."""
    mark = getattr(problem, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark is not None else "a YAML file"
    what = getattr(problem, "problem", None) or " ".join(str(problem).split())
    return f"{where}: not valid YAML ({what}); correct that line"


TRACEBACK = "PREFRL_TRACEBACK"  # the variable that asks for one

_LONGEST = 400  # letters of a reason: some libraries put a whole script into theirs


def cause(problem: BaseException) -> str:
    """What kind of error it is and what it says, in one line; one that says nothing shows its line of code."""
    import traceback

    text = " ".join(str(problem).split())
    if not text and (frames := traceback.extract_tb(problem.__traceback__)):
        text = f"{frames[-1].line} in {os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}"
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    printable = "".join(letter if letter.isprintable() else "?" for letter in shown)
    return f"{type(problem).__name__}: {printable}".removesuffix(": ")


EXTRAS = ("joblib", "submitit", "ray", "optuna")  # of our package, named as what they bring


def found(target: str) -> bool:
    """Whether the package of a plugin and what it needs are installed."""
    package = ".".join(target.split(".")[:2])
    library = next((name for name in EXTRAS if name in package), None)
    try:
        return all(importlib.util.find_spec(name) is not None for name in (package, library) if name)
    except ModuleNotFoundError:
        return False


def not_installed(typed: str, name: str) -> ConfigError:
    """The error for a launcher or sweeper whose package is missing."""
    extra = next((extra for extra in EXTRAS if extra in name), None)
    cure = f"type pip install 'prefrl[{extra}]'" if extra else "install the package that has it"
    return ConfigError(f"{typed}: is not installed; {cure}")


def require(tracker: type) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        ConfigError: with the command that installs it.
    """
    extra = getattr(tracker, "extra", "")
    missing = [name for name in getattr(tracker, "needs", ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"logger={extra}: {missing[0]} is not installed; type pip install 'prefrl[{extra}]'")


# What other programs call it: the name here, or the whole text where it has a value of its own.
_ELSEWHERE = {
    "seeds": "num_seeds", "n_seeds": "num_seeds", "nseeds": "num_seeds", "random_seed": "seed",
    "learning_rate": "optimizer.lr", "epochs": "steps", "iterations": "steps", "num_steps": "steps",
    "max_steps": "steps", "total_steps": "steps", "output": "output_dir", "out": "output_dir", "outdir": "output_dir",
    "exp": "experiment", "config": "experiment", "task": "experiment", "environment": "env", "agent": "policy_update",
    "algo": "algorithm", "load": "resume", "restart": "resume", "gpu": "device=cuda", "cuda": "device=cuda",
    "use_gpu": "device=cuda", "verbose": "quiet=false", "silent": "quiet=true", "num_threads": "threads",
    "num_workers": "workers", "n_jobs": "workers", "processes": "workers",
    "wandb": "logger=wandb", "mlflow": "logger=mlflow", "tensorboard": "logger=tensorboard",
}  # fmt: skip


def slip(name: str, config: Mapping[str, Any]) -> ConfigError | None:
    """The error for a name that is another program's, or an option's without its group; none for any other."""
    value = show(config[name])
    known = _ELSEWHERE.get(name.lower().replace("-", "_"))
    if known is not None:
        cures = [known if "=" in known else f"{known}={value}"]
    else:
        groups = [group for group in GROUPS if isinstance(config.get(group), Mapping) and name in config[group]]
        cures = [f"{group}.{name}={value}" for group in groups]
    if not cures:
        return None
    return ConfigError(f"{name}={value}: there is no such option; type {' or '.join(cures)}")
