"""The rows of a study as jobs of a sweep: which folder each has, and which of those that are there run again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from prefrl_cli.config.group import Group
from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Typed, read
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.lock import LOCK, is_held
from prefrl_cli.files.read import not_plain
from prefrl_cli.files.texts import quoted
from prefrl_cli.run.directory import STATUS, half_begun, read_status, set_aside
from prefrl_cli.run.provenance import ABSENT, config_changes, config_differences, stored_config
from prefrl_cli.study.study import Row, Study
from prefrl_cli.sweep.results import Jobs


def composed(row: Row) -> Configuration:
    """The options of a row, with every part built once, as `prefrl-train` does before it writes.

    Raises:
        ConfigError: for a wrong option.
    """
    from prefrl_cli.config.build import build
    from prefrl_cli.config.compose import compose

    try:
        config = compose(Typed.of(row.overrides))
        build(config.with_run(num_seeds=1))
    except ConfigError as problem:
        raise ConfigError(f"row {row.name!r}: {problem}") from None
    return config


def name_of_folder(overrides: Sequence[str]) -> str:
    """The name of a row's folder, which is the last part of its `output_dir`."""
    (place,) = [one.value for one in map(read, overrides) if one.option == "output_dir"]
    return Path(place.strip("'")).name


class Rows(Jobs):
    """A study's folder with a run for each row, held by one process at a time: use it in a `with`.

    Attributes:
        study: whose rows they are.
        left: those that were not finished when the folder was taken.

    Args:
        study: whose rows they are.
        folder: of the study.
        configs: the options of each row.
    """

    def __init__(self, study: Study, folder: Path, configs: Sequence[Configuration]) -> None:
        super().__init__(folder, name_of_folder)
        self.study, self._configs = study, configs
        self.left: list[Row] = []

    def __enter__(self) -> Rows:
        """Take the folder.

        Raises:
            ConfigError: when another process has it, it is someone's, or it cannot be written.
        """
        name, folder = self.study.name, self.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (wrong := not_plain(folder)) is not None:
                raise ConfigError(wrong)
            if (others := sorted(entry.name for entry in folder.iterdir())) and LOCK not in others:
                raise ConfigError(
                    f"--output-dir {show(str(folder))}: is not empty (it holds {show(others[0])}) and no study's;"
                    " type another folder"
                )
            self.hold()
        except BlockingIOError:
            raise ConfigError(f"{name}: is running in another process, in {folder}; wait until it ends") from None
        except OSError as problem:
            reason = problem.strerror or problem
            raise ConfigError(f"{folder}: cannot be written ({reason}); type --output-dir DIR") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write how the rows stand, and let the folder go."""
        self.over = True
        if self.jobs:
            with contextlib.suppress(OSError):
                self.save()
        self.let_go()

    def overrides(self) -> list[list[str]]:
        """Of each row, with its folder."""
        folders = [quoted(str(self.path / row.folder)) for row in self.study.rows]
        return [[*row.overrides, f"output_dir={each}"] for row, each in zip(self.study.rows, folders, strict=True)]

    def prepare(self) -> list[str]:
        """Set aside the runs that are to be made again, and note which rows are left; a line for each piece of news."""
        news = []
        self.left = []
        for row, config in zip(self.study.rows, self._configs, strict=True):
            folder = self.path / row.folder
            if (line := _set_aside(row, folder, config)) is not None:
                news.append(line)
            if read_status(folder).get("status") != "finished":
                self.left.append(row)
        return news


def _set_aside(row: Row, folder: Path, config: Configuration) -> str | None:
    """Make way for a row whose options have changed, or that had failed; a line where it is not simply gone on with."""
    if not (folder / STATUS).exists() or half_begun(folder):
        return None
    if is_held(folder / LOCK):
        return f"{row.name}: another process trains it; it is waited for"
    differences, status = [], read_status(folder).get("status")
    with contextlib.suppress(ConfigError):
        changes = config_changes(stored_config(folder), config.options)
        changes = {
            name: pair for name, pair in changes.items() if name != "threads" and not _is_new(name, pair, config)
        }
        differences = config_differences(changes)
        if not differences and status in ("finished", "running", "interrupted"):
            return None
    set_aside(folder)
    why = f"its options have changed ({differences[0]})" if differences else "it had failed"
    return f"{row.name}: runs again, {why}; the old run is kept in {folder.parent / '.failed'}"


def _is_new(name: str, pair: Sequence[Any], config: Configuration) -> bool:
    """Whether a record is older than an option that stands at its default, which is what the run had without it."""
    group, _, option = name.partition(".")
    if pair[0] != ABSENT or group not in config.choices:
        return False
    allowed = Group(group, config.options[group], config.run.allow_targets).allowed
    return option in allowed and bool(allowed[option].default == pair[1])
