"""Files that someone else may have written: they choose options, and never what is run beside training, or where.

Hydra makes objects, sets environment variables, configures logging and starts launchers from whatever stands under
`hydra`. Our own files, those of Hydra's packages and what a person types may use that. A file of a `--config-dir` may
only describe a search. The rows of a study and the record of a sweep may only choose options and parts. The record of
a run holds values. None of them may allow code, read the environment, or say where something is written or sent. What
a `_target_` of a part may be is the affair of `prefrl_cli.config.group`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.config.overrides import option, read
from prefrl_cli.core.option_types import ConfigError, as_typed, show
from prefrl_cli.files.read import flat

if TYPE_CHECKING:
    from prefrl_cli.config.overrides import Typed

_FLAGS = {"config_path": "--config-path", "config_name": "--config-name", "experimental_rerun": "--experimental-rerun"}
_OF_A_SEARCH = {"params", "n_trials", "direction", "study_name", "max_failure_rate"}
# What of Hydra's a person may type; what lies in the first two is added by that.
_ADDED = ("hydra.job.env_set.", "hydra.callbacks.")
_TYPED = ("hydra.launcher", "hydra.sweeper", "hydra.searchpath", "hydra.job.env_copy")
_NEVER_BY_FILE = ("hydra", "allow_targets", "output_dir")
# A name, nothing that is put in another place of the configuration (@), and of Hydra only what describes a search.
_OVERRIDE = re.compile(r"(\+{0,2}[A-Za-z_][\w./]*=|~[A-Za-z_][\w./]*=?).*", re.DOTALL)
_SEARCH = re.compile(r"hydra/sweeper(/sampler)?=\w+|hydra\.sweeper\.(n_trials|n_jobs|direction)=\w+")
AGAIN = "type the sweep's own command again"
_WHERE = ("output_dir", "resume")
# Where trackers write unless a person types it.
_HERE = {"store": "sqlite:///outputs/mlflow.db", "mode": "offline", "folder": None}
_PLAIN = re.compile(r"\+{0,2}logger(=[\w\[\], ]*|\.\w+\.(per_seed|project)=.*)", re.DOTALL)


def check_overrides(file: str, overrides: Iterable[str], instead: str, *, search: bool = False) -> None:
    """Refuse what an override may not do that a file holds, as the rows of a study and the record of a sweep do.

    Args:
        file: as a person knows it.
        overrides: each as it would be typed.
        instead: what to type.
        search: whether they may describe a search as well.

    Raises:
        ConfigError: naming the file and the override.
    """
    for text in overrides:
        names = re.split(r"[./]", option(text))
        allowed = _OVERRIDE.fullmatch(text) and not {*_NEVER_BY_FILE, "_target_"} & set(names)
        if search and _SEARCH.fullmatch(text):
            allowed = True
        if not allowed or names[0] in _WHERE or "_target_" in text or asks_outside(text) or is_elsewhere(text):
            raise ConfigError(f"{file}: a file may not set {show(text)}; {instead}")


def check_values(file: str, options: Mapping[str, Any]) -> None:
    """Refuse a run's record that holds anything but values: it was resolved when it was written.

    What would be resolved again, such as `${oc.env:NAME}`, is someone else's wish to know something of this machine.

    Args:
        file: as a person knows it.
        options: by their dotted names.

    Raises:
        ConfigError: naming the file and the option.
    """
    for name, value in options.items():
        if "${" in f"{name}{value}":
            raise ConfigError(f"{file}: {show(name)}={show(value)}: a run's record holds values, never ${{...}}")


def check_trackers(folder: Any, config: Mapping[str, Any], typed: Iterable[str]) -> None:
    """Refuse a tracker that would write or send elsewhere because a record says so: only a person may, by typing it.

    Args:
        folder: of the record.
        config: what it holds.
        typed: names of the options that were typed.

    Raises:
        ConfigError: naming the option.
    """
    for name, value in flat(dict(config), "config.yaml").items():
        group, _, option = name.rpartition(".")
        if group.startswith("logger.") and value != _HERE.get(option, value) and name not in typed:
            raise ConfigError(
                f"{folder}: {show(name)}={show(value)}: where a tracker writes is not taken from a record;"
                f" if you trust it, type {show(name)}={show(value)} as well"
            )


def is_elsewhere(override: str) -> bool:
    """Whether an override may make a tracker write or send elsewhere than below `outputs/`."""
    return override.lstrip("+~").startswith("logger") and not _PLAIN.fullmatch(override)


def check_questions(file: str, content: Any) -> None:
    """Refuse a text of a file that asks a resolver.

    Raises:
        ConfigError: naming the file and the text.
    """
    for text in _texts(content):
        if asks_outside(text):
            raise ConfigError(f"{file}: a file may not ask for {show(text)}; type it on the command line instead")


def check_file(file: str, content: Any) -> None:
    """Refuse what a file of a `--config-dir` may not set.

    Raises:
        ConfigError: naming the file and the option.
    """
    check_questions(file, content)
    if isinstance(content, Mapping) and "output_dir" in content:
        raise ConfigError(f"{file}: a file may not set output_dir; type it on the command line instead")
    given = content.get("hydra") if isinstance(content, Mapping) else None
    if given is None:
        return
    search = given.get("sweeper") if isinstance(given, Mapping) else None
    others = [name for name in _leaves(given, "hydra") if not name.startswith("hydra.sweeper")]
    if isinstance(search, Mapping):
        others += [f"hydra.sweeper.{name}" for name in search if name not in _OF_A_SEARCH]
        params = search.get("params")
        if isinstance(params, Mapping):
            others += [str(name) for name in params if re.split(r"\W+", str(name).lstrip("+~"))[0] in _NEVER_BY_FILE]
        elif params is not None:
            others.append("hydra.sweeper.params")
    elif not others:
        others.append("hydra.sweeper")
    if others:
        raise ConfigError(f"{file}: a file may not set {show(others[0])}; {_instead(others[0])}")


def _leaves(given: Any, name: str) -> Iterator[str]:
    """The dotted names of what a file gives an option."""
    if not isinstance(given, Mapping) or not given:
        yield name
        return
    for key, inner in given.items():
        yield from _leaves(inner, f"{name}.{key}")


def _instead(name: str) -> str:
    """What to do about an option that a file may not set."""
    if name.startswith(_ADDED):
        return f"type +{show(name)}=VALUE on the command line instead"
    if name.startswith("hydra") and not name.startswith(_TYPED):
        return "prefrl takes no such option of Hydra's; leave it out"
    return "type it on the command line instead"


def asks_outside(text: str) -> bool:
    """Whether it asks a resolver, such as `${oc.env:NAME}`: what that finds would stand in the run's record."""
    return re.search(r"\$\{.*:", text, re.DOTALL) is not None


def _texts(content: Any) -> Iterator[str]:
    """Every text among nested values."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping | list):
        for value in content.values() if isinstance(content, Mapping) else content:
            yield from _texts(value)


def check_flags(typed: Typed) -> None:
    """Refuse Hydra's flags that take the whole configuration, or pickled objects, from elsewhere.

    Args:
        typed: the flags.

    Raises:
        ConfigError: naming the flag.
    """
    for name, flag in _FLAGS.items():
        if getattr(typed.flags, name) is not None:
            raise ConfigError(f"{flag}: is not for prefrl; type --config-dir FOLDER for files of your own")


def check_flags_of_record(file: str, flags: Iterable[str], typed: str | None) -> None:
    """Refuse a sweep's record that takes files from outside of this folder: only a person may, by typing it.

    Args:
        file: the record, as a person knows it.
        flags: that it holds; only `--config-dir` is known.
        typed: the `--config-dir` that was typed, if one was.

    Raises:
        ConfigError: naming the flag.
    """
    for text in flags:
        folder = read(text).value
        if option(text) != "--config-dir" or not folder:
            raise ConfigError(f"{file}: has {show(text)}; {AGAIN}")
        inside = Path(folder).resolve().is_relative_to(Path.cwd())
        if not inside and (typed is None or Path(typed).resolve() != Path(folder).resolve()):
            raise ConfigError(
                f"{file}: takes files from {show(folder)}; if you trust them,"
                f" type --config-dir {as_typed(folder)} as well"
            )


def check_allowed(config: Any, typed: Typed) -> None:
    """Refuse code that a file allows: only a person may, by typing it.

    Args:
        config: the options as they were composed.
        typed: by the person.

    Raises:
        ConfigError: for a package that was not typed.
    """
    texts = [one.value for one in map(read, typed.overrides) if one.option == "allow_targets"]
    known = set(re.findall(r"[\w.]+", " ".join(texts)))
    from omegaconf import OmegaConf  # a report does without

    names = OmegaConf.select(config, "allow_targets")
    for name in names if OmegaConf.is_list(names) else ():
        if str(name) not in known:
            raise ConfigError(
                f"allow_targets=[{show(name)}]: a file cannot allow code to run;"
                " if you trust it, type that on the command line"
            )
