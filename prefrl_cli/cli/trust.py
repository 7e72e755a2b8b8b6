"""YAML files that someone else may have written: they choose options, and never what is run beside training.

Hydra makes objects, sets environment variables, configures logging and starts launchers from whatever stands under
`hydra`. Our own files, those of Hydra's packages and what a person types may use that; a file of a `--config-dir` may
only describe a search, and may not read the environment. What a `_target_` of a part may be is `prefrl_cli.groups`'
affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

from prefrl_cli.choices import conf_folder
from prefrl_cli.options import ConfigError, show

_FLAGS = {"config_path": "--config-path", "config_name": "--config-name", "experimental_rerun": "--experimental-rerun"}
_OF_A_SEARCH = {"params", "n_trials", "direction", "study_name", "max_failure_rate"}
_NEVER_BY_FILE = ("hydra", "allow_targets")

_load = ConfigLoaderImpl._load_single_config


def _load_checked(self: ConfigLoaderImpl, default: Any, repo: Any) -> Any:
    """Hydra's loader of one file, which places it where its package says; nothing was made of it yet."""
    result = _load(self, default, repo)
    if result.path.startswith("file://") and result.path.removeprefix("file://") != str(conf_folder()):
        _check(f"{default.config_path}.yaml", OmegaConf.to_container(result.config, resolve=False))
    return result


# For good and in every process that imports our command: a launcher's workers load the files of their jobs themselves.
ConfigLoaderImpl._load_single_config = _load_checked  # type: ignore[method-assign]


def _check(file: str, content: Any) -> None:
    """Refuse what a file of someone's may not set.

    Raises:
        ConfigError: naming the file and the option.
    """
    for text in _texts(content):
        if asks_outside(text):
            raise ConfigError(f"{file}: a file may not ask for {show(text)}; type it on the command line instead")
    given = content.get("hydra") if isinstance(content, Mapping) else None
    if given is None:
        return
    search = given.get("sweeper") if isinstance(given, Mapping) else None
    others = [f"hydra.{name}" for name in given if name != "sweeper"] if isinstance(given, Mapping) else ["hydra"]
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
        raise ConfigError(f"{file}: a file may not set {show(others[0])}; type it on the command line instead")


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


def check_flags(typed: Any) -> None:
    """Refuse Hydra's flags that take the whole configuration, or pickled objects, from elsewhere.

    Args:
        typed: the flags as Hydra's parser gives them.

    Raises:
        ConfigError: naming the flag.
    """
    for name, flag in _FLAGS.items():
        if getattr(typed, name, None) is not None:
            raise ConfigError(f"{flag}: is not for prefrl; type --config-dir FOLDER for files of your own")


def check_allowed(config: Any, overrides: Iterable[str]) -> None:
    """Refuse code that a file allows: only a person may, by typing it.

    Args:
        config: the options as they were composed.
        overrides: what was typed.

    Raises:
        ConfigError: for a package that was not typed.
    """
    typed = [text.partition("=")[2] for text in overrides if re.match(r"\+{0,2}allow_targets=", text)]
    known = set(re.findall(r"[\w.]+", " ".join(typed)))
    names = OmegaConf.select(config, "allow_targets")
    for name in names if OmegaConf.is_list(names) else ():
        if str(name) not in known:
            raise ConfigError(
                f"allow_targets=[{show(name)}]: a file cannot allow code to run;"
                " if you trust it, type that on the command line"
            )
