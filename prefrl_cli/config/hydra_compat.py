"""Hydra's private parts that we use: its main on flags that are parsed already, and how it reads files.

Files of a `--config-dir` are read as people write them, within bounds, and checked before they count; those of `conf/`
once. And how it is used inside someone else's process.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.version import VersionBase
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prefrl_cli.config import trust
from prefrl_cli.config.choices import conf_folder, content
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.read import UnreadableError, check_yaml, short
from prefrl_cli.files.texts import read_text

_load, _begin = ConfigLoaderImpl._load_single_config, ConfigRepository.initialize_sources

_defaults = ConfigRepository._create_defaults_list


class _Named(io.StringIO):
    """A file's text; YAML's complaints begin with its name."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


def _load_checked(self: ConfigLoaderImpl, default: Any, repo: Any) -> Any:
    """Hydra's loader of one file, which places it where its package says; nothing was made of it yet."""
    result = _load(self, default, repo)
    if result.path.startswith("file://") and result.path.removeprefix("file://") != str(conf_folder()):
        trust.check_file(f"{default.config_path}.yaml", OmegaConf.to_container(result.config, resolve=False))
    return result


def _begin_with_ours(self: ConfigRepository, search_path: Any) -> None:
    """Hydra's list of folders, of which those of files are read by our own reader of people's texts."""
    _begin(self, search_path)
    for source in self.sources:
        if source.provider.startswith("hydra.searchpath") and not source.available():
            place = f"{source.scheme()}://{source.path}"
            raise ConfigError(f"hydra.searchpath: {show(place)} is not there; type a folder that is, or leave it out")
        if source.scheme() == "file":
            source.load_config = functools.partial(_load_text, source, source.load_config)  # type: ignore[method-assign]


def _load_text(source: ConfigSource, load: Callable[[str], ConfigResult], config_path: str) -> ConfigResult:
    if ".." in Path(config_path).parts:
        raise ConfigError(f"{show(config_path)}: leads out of its folder; type the name of a file in it")
    path = Path(source.path, source._normalize_file_name(config_path))
    if not path.exists():
        return load(config_path)
    if source.path == str(conf_folder()):
        text = content(path)
        return _result(source, text, OmegaConf.load(io.StringIO(text)))
    name = os.path.relpath(path)
    try:
        text = read_text(path)
        with contextlib.suppress(yaml.YAMLError):  # the reader below names the line
            check_yaml(text, name)
        return _result(source, text, OmegaConf.load(_Named(text, name)))
    except (ConfigError, yaml.YAMLError, OmegaConfBaseException, HydraException):
        raise
    except Exception as problem:  # a YAML tag's constructor may raise anything
        raise ConfigError(
            str(problem) if isinstance(problem, UnreadableError) else f"{name}: {short(problem)}"
        ) from None


def _result(source: ConfigSource, text: str, config: Any) -> ConfigResult:
    header = ConfigSource._get_header_dict(text)
    return ConfigResult(config=config, path=f"file://{source.path}", provider=source.provider, header=header)


def _defaults_in_words(self: ConfigRepository, config_path: str, defaults: Any) -> Any:
    """Hydra's reader of a file's list `defaults`, which has no words for a line that is none."""
    if OmegaConf.is_config(defaults):
        trust.check_questions(f"{config_path}.yaml", OmegaConf.to_container(defaults, resolve=False))
    try:
        return _defaults(self, config_path, defaults)
    except (AssertionError, AttributeError, TypeError):
        raise ConfigError(f"{config_path}.yaml: defaults: each line must be '- GROUP: CHOICE' or '- _self_'") from None


def main(
    flags: argparse.Namespace, overrides: Sequence[str], task: Callable[[Any], Any], *, once: bool = False
) -> None:
    """Hydra's main as `@hydra.main` would call it, had it parsed the flags itself.

    Args:
        flags: under Hydra's names.
        overrides: what was typed beside them.
        task: called with each configuration.
        once: whether it is one run whatever the flags say, of which only `--config-dir` counts.
    """
    given = argparse.Namespace(**{**vars(flags), "overrides": [] if flags.hydra_help else list(overrides)})
    if once:
        given.multirun = given.resolve = given.shell_completion = given.hydra_help = False
        given.cfg = given.info = given.package = None
    version.setbase("1.3")
    _run_hydra(given, get_args_parser(), task, config_path=str(conf_folder()), config_name="config")


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Within it Hydra is as if it had not been used; afterwards what a notebook or script had made of it is there."""
    ours = (GlobalHydra, HydraConfig, VersionBase)
    before: dict[type, Any] = {one: Singleton._instances.pop(one) for one in ours if one in Singleton._instances}
    variable = os.environ.get("HYDRA_FULL_ERROR")
    try:
        yield
    finally:
        for one in ours:
            Singleton._instances.pop(one, None)
        Singleton._instances.update(before)
        os.environ.pop("HYDRA_FULL_ERROR", None)
        if variable is not None:
            os.environ["HYDRA_FULL_ERROR"] = variable


# For good and in every process that imports our command: a launcher's workers load the files of their jobs themselves.
ConfigLoaderImpl._load_single_config = _load_checked  # type: ignore[method-assign]
ConfigRepository._create_defaults_list = _defaults_in_words  # type: ignore[method-assign]
ConfigRepository.initialize_sources = _begin_with_ours  # type: ignore[method-assign, assignment]
