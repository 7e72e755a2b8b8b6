"""Hydra's part of `prefrl-train`: overrides and files in, plain options out; each of its complaints in one line."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prefrl_cli.config import hydra_compat as hydra_compat  # it makes Hydra read files as we want them read
from prefrl_cli.config import messages, trust
from prefrl_cli.config.build import build
from prefrl_cli.config.choices import choices, conf_folder, named
from prefrl_cli.config.overrides import as_meant
from prefrl_cli.core.option_types import ConfigError


def composed(overrides: list[str]) -> dict[str, Any]:
    """The options of a single run, without running it and before they are checked.

    Raises:
        ConfigError: for an option or a choice that does not exist.
    """
    with one_line_errors(overrides), hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return plain_options(hydra.compose("config", as_meant(overrides), return_hydra_config=True))


@contextlib.contextmanager
def one_line_errors(arguments: list[str]) -> Iterator[None]:
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
                    call_hydra([_first_of_sweep(text) for text in kept], only_check)
        raise ConfigError(messages.one_line(problem)) from None
    except yaml.YAMLError as problem:
        raise ConfigError(messages.yaml_line(problem)) from None
    except (AssertionError, AttributeError):  # OmegaConf's, of a mapping in the place of nothing
        if not any(text.lstrip("+~").startswith("hydra.sweeper.params") for text in arguments):
            raise
        raise ConfigError("hydra.sweeper.params: type the values themselves, such as -m seed=0,1") from None
    except (OSError, ValueError) as problem:  # files that cannot be read, flags that exclude each other
        raise ConfigError(messages.one_line(problem)) from None


def call_hydra(arguments: list[str], job: Callable[[DictConfig], int]) -> int:
    """Compose what was typed and run a job on it; its exit code, or what it raised."""
    codes, raised = [0], []

    def task(config: DictConfig) -> None:
        try:
            trust.check_allowed(config, arguments)
            codes.append(job(config))
        except Exception as problem:  # Hydra would print lines of its own
            raised.append(problem)

    try:
        hydra_main(arguments, task)
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
    if raised:
        raise raised[0]
    return max(codes)


def hydra_main(arguments: list[str], task: Callable[[DictConfig], Any]) -> None:
    """Hydra's own main on these arguments."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error itself and ends the process
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(task)()
    finally:
        sys.argv = before


def plain_options(config: DictConfig) -> dict[str, Any]:
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


def task_overrides() -> list[str]:
    """The overrides of the job that Hydra runs now."""
    texts: Any = HydraConfig.get().overrides.task
    return [str(text) for text in texts]


def only_check(config: DictConfig) -> int:
    """Build what was composed, and no more."""
    build(plain_options(config))
    return 0


def _first_of_sweep(text: str) -> str:
    """`a=1` of `a=1,2`."""
    return re.sub(r"^([^=]+=[^,\[{(]*),.*$", r"\1", text)
