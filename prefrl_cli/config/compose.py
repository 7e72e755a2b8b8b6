"""Hydra's part of `prefrl-train`: what was typed and files in, configurations out; its complaints in one line."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from prefrl_cli.config import hydra_compat, messages, trust
from prefrl_cli.config.build import build, check_use
from prefrl_cli.config.choices import GROUPS, choices, conf_folder, named
from prefrl_cli.config.group import Group
from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Override, Typed, read
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.texts import quoted


def compose(typed: Typed) -> Configuration:
    """The configuration of a single run, without running it; what it means to each part is checked by `build`.

    Raises:
        ConfigError: for an option or a choice that does not exist.
    """
    texts = list(typed.overrides)
    if typed.flags.config_dir is not None:
        texts.append(f"hydra.searchpath=[{quoted(f'file://{os.path.abspath(typed.flags.config_dir)}')}]")
    with one_line_errors(typed), hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("config", texts, return_hydra_config=True)
        trust.check_allowed(config, typed)
        return configuration(config)


def composed(overrides: list[str]) -> dict[str, Any]:
    """The options of a single run as plain mappings; see `compose`."""
    return dict(compose(Typed.of(overrides)).options)


@contextlib.contextmanager
def one_line_errors(typed: Typed) -> Iterator[None]:
    """Hydra's and OmegaConf's complaints as ours."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as problem:
        _check_with_unknown(typed, problem)
        raise ConfigError(messages.one_line(problem)) from None
    except yaml.YAMLError as problem:
        raise ConfigError(messages.yaml_line(problem)) from None
    except (AssertionError, AttributeError):  # OmegaConf's, of a mapping in the place of nothing
        if not any(one.option.startswith("hydra.sweeper.params") for one in _read(typed)):
            raise
        raise ConfigError("hydra.sweeper.params: type the values themselves, such as -m seed=0,1") from None
    except (OSError, ValueError) as problem:  # files that cannot be read, flags that exclude each other
        raise ConfigError(messages.one_line(problem)) from None


def _check_with_unknown(typed: Typed, problem: Exception) -> None:
    """Add the options that do not exist all the same, so that our own check names the nearest that does.

    Raises:
        ConfigError: of that check.
    """
    while match := re.match(r"Could not override '([^'@]+)'", str(problem)):
        added = [f"+{one.text}" if one.text == f"{match[1]}={one.value}" else one.text for one in _read(typed)]
        if added == list(typed.overrides) or match[1].startswith("hydra"):
            return
        typed = typed.with_overrides([_first_of_sweep(text) for text in added])
        try:
            call_hydra(typed, lambda config, _: only_check(config), once=True)
        except (HydraException, OmegaConfBaseException) as another:
            problem = another
        else:
            return


def _read(typed: Typed) -> Iterator[Override]:
    return map(read, typed.overrides)


def call_hydra(typed: Typed, job: Callable[[Configuration, list[str]], int], *, once: bool = False) -> int:
    """Compose what was typed and run a job on it.

    Args:
        typed: options and flags.
        job: given the configuration and the overrides.
        once: whether it is one run whatever the flags say, of which only `--config-dir` counts.

    Returns:
        The job's exit code.

    Raises:
        Exception: what the job raised.
    """
    codes, raised = [0], []

    def task(config: DictConfig) -> None:
        try:
            trust.check_allowed(config, typed)
            codes.append(job(configuration(config), task_overrides()))
        except Exception as problem:  # Hydra would print lines of its own
            raised.append(problem)

    try:
        hydra_main(typed, task, once=once)
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
    if raised:
        raise raised[0]
    return max(codes)


def hydra_main(typed: Typed, task: Callable[[DictConfig], Any], *, once: bool = False) -> None:
    """Hydra's own main on what was typed."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error itself and ends the process
    hydra_compat.main(typed.flags, typed.overrides, task, once=once)


def configuration(config: DictConfig) -> Configuration:
    """What Hydra composed, as plain mappings, lists and values, with the names of the choices and the experiment's.

    Raises:
        ConfigError: where no experiment is chosen, and for a root option that is not allowed.
    """
    choice = config.get("hydra") or HydraConfig.get()  # a sweep's jobs are looked at before they run
    own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    try:
        plain: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except InterpolationKeyError as problem:
        _check_followed(own, choice.runtime.choices, problem)
        raise
    name = choice.runtime.choices.get("experiment")
    if not name:
        raise ConfigError(f"experiment is not set; type experiment={'|'.join(choices('experiment'))}")
    if "experiment" in plain:
        raise ConfigError(f"experiment={name}: its YAML must begin with the line '# @package _global_'")
    options = named({str(key): value for key, value in plain.items()}, choice.runtime.choices)
    _drop_leftovers(options, [read(str(text)) for text in choice.overrides.task])
    return Configuration.of({"experiment": name, **options})


def _check_followed(config: DictConfig, chosen: Any, problem: InterpolationKeyError) -> None:
    """Where an option follows one of a group that is not there, say which of the two groups is out of place.

    Raises:
        ConfigError: with what to leave out, or to type.
    """
    plain: Any = OmegaConf.to_container(config, resolve=False)
    check_use(named({str(name): value for name, value in plain.items()}, chosen))
    followed = re.match(r"Interpolation key '((\w+)\.[\w.]+)' not found", str(problem))
    if followed and followed[2] in GROUPS and not plain.get(followed[2]):
        raise ConfigError(
            f"{followed[2]} is not set and {problem.full_key} follows {followed[1]};"
            f" type {followed[2]}={'|'.join(choices(followed[2]))}"
        )


def _drop_leftovers(options: dict[str, Any], typed: list[Override]) -> None:
    """Where another part was typed than the experiment's, drop what the experiment says about its own part alone."""
    names = {one.option for one in typed}
    for group in names.intersection(GROUPS):
        node = options.get(group)
        if isinstance(node, dict) and "choice" in node:
            allowed = Group(group, node, ()).allowed
            options[group] = {
                name: value
                for name, value in node.items()
                if name == "choice" or name in allowed or f"{group}.{name}" in names
            }


def task_overrides() -> list[str]:
    """The overrides of the job that Hydra runs now."""
    texts: Any = HydraConfig.get().overrides.task
    return [str(text) for text in texts]


def only_check(config: Configuration) -> int:
    """Build what was composed, and no more."""
    build(config)
    return 0


def _first_of_sweep(text: str) -> str:
    """`a=1` of `a=1,2`."""
    return re.sub(r"^([^=]+=[^,\[{(]*),.*$", r"\1", text)
