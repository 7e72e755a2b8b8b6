"""How Hydra reads files of a `--config-dir`: as people write them, within bounds, and checked before they count."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from prefrl_cli.choices import conf_folder
from prefrl_cli.cli import trust
from prefrl_cli.options import ConfigError, show
from prefrl_cli.safe_files import UnreadableError, check_yaml
from prefrl_cli.texts import read_text

_load, _load_file = ConfigLoaderImpl._load_single_config, FileConfigSource.load_config


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


def _load_text(self: FileConfigSource, config_path: str) -> ConfigResult:
    """Hydra's reader of one file, by our own reader of people's texts."""
    if ".." in Path(config_path).parts:
        raise ConfigError(f"{show(config_path)}: leads out of its folder; type the name of a file in it")
    path = Path(self.path, self._normalize_file_name(config_path))
    if self.path == str(conf_folder()) or not path.exists():
        return _load_file(self, config_path)
    name = os.path.relpath(path)
    try:
        text = read_text(path)
        check_yaml(text, name)
    except UnreadableError as problem:
        raise ConfigError(str(problem)) from None
    header = ConfigSource._get_header_dict(text)
    return ConfigResult(
        config=OmegaConf.load(_Named(text, name)),
        path=f"{self.scheme()}://{self.path}",
        provider=self.provider,
        header=header,
    )


# For good and in every process that imports our command: a launcher's workers load the files of their jobs themselves.
ConfigLoaderImpl._load_single_config = _load_checked  # type: ignore[method-assign]
FileConfigSource.load_config = _load_text  # type: ignore[method-assign]
