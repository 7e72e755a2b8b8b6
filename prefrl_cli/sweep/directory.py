"""The folder of a sweep, or of a study's rows: which jobs there are, and which of those that are there run again.

The jobs' own folders say how they stand, whatever process or machine ran them; a sweep that is typed again reads them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import yaml

from prefrl_cli.config.group import Group
from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Typed, cut, option, read, renamed
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files import read as files_read
from prefrl_cli.files.lock import LOCK, is_held
from prefrl_cli.files.read import UnreadableError
from prefrl_cli.files.texts import quoted
from prefrl_cli.files.write import append_to, clear_parts, is_part
from prefrl_cli.run.directory import RECORD, STATUS, TABLE, half_begun, read_status, set_aside
from prefrl_cli.run.earlier.results import listed
from prefrl_cli.run.provenance import ABSENT, config_changes, config_differences, stored_config
from prefrl_cli.sweep.record import fewer_trials, goes_on, job_name, read_record, trials
from prefrl_cli.sweep.results import Job, Jobs

_IN_PLACE = ("multirun.yaml", "study.db")


class Sweep(Jobs):
    """A sweep's folder, held by one process at a time: use it in a `with`.

    Attributes:
        several: whether it goes over experiments.
        earlier: names of jobs by those that today's version would give them, where an earlier one began the sweep.

    Args:
        path: the folder.
        overrides: what was typed, as a list that two equal sweeps have in common.
        flags: other arguments that it needs, such as `--config-dir`.
    """

    def __init__(self, path: Path, overrides: Sequence[str], flags: Sequence[str] = ()) -> None:
        self.several = any(option(one) == "experiment" and "," in one for one in overrides)
        self.earlier: dict[str, str] = {}
        super().__init__(path, partial(job_name, with_experiment=self.several, earlier=self.earlier))
        self._record: dict[str, Any] = {"overrides": list(overrides), "flags": list(flags), "finished": False}
        self._before: dict[str, Any] | None = None

    def __enter__(self) -> Sweep:
        """Take the folder.

        Raises:
            ConfigError: when another process has it, it holds another sweep, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if (wrong := files_read.not_plain(self.path)) is not None:
                raise ConfigError(wrong)
            if (self.path / "status.json").exists():
                raise ConfigError(f"output_dir={self.path}: holds a run; type another folder")
            self._check_ours()
            self.hold()
            for name in _IN_PLACE:  # Hydra and Optuna write into what is there
                if os.path.lexists(self.path / name):
                    append_to(self.path / name).close()
            self._remember()
            before = read_record(self.path)
            if before is not None and not goes_on(before, self._record):
                raise ConfigError(
                    f"{self.path}: holds another sweep; type another output_dir, or its own options and more values"
                )
            self._check_trials()
            self._before = before
            # Which sweep is the newest: the local time in a folder's name goes back when summer time ends.
            self._record["started"] = (before or {}).get("started") or datetime.now(UTC).isoformat()
            self.write(RECORD, yaml.safe_dump(self._record, sort_keys=False))
        except ConfigError:
            self.let_go()
            raise
        except BlockingIOError:
            raise ConfigError(f"{self.path}: this sweep is running in another process; wait until it ends") from None
        except OSError as problem:
            self.let_go()
            raise ConfigError(f"{self.path}: cannot be written ({problem.strerror}); type output_dir=FOLDER") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write how the jobs stand, and let the folder go; a sweep none of whose jobs began leaves nothing."""
        self.over = True
        if kind is ConfigError and self._before is not None:  # what was typed cannot be done: it is as it was
            self.write(RECORD, yaml.safe_dump(self._before, sort_keys=False))
        elif self._nothing_began():
            self._clear()
        elif self.path.is_dir():
            self.save()
            standings = [self.standing(job).status for job in self.jobs.values()]
            self._record["finished"] = kind is None and all(status == "finished" for status in standings)
            self.write(RECORD, yaml.safe_dump(self._record, sort_keys=False))
        self.let_go()

    def _check_ours(self) -> None:
        """Refuse a folder of someone's: one with files and no record of a sweep, which is written first.

        Raises:
            ConfigError: naming a file.
        """
        names = sorted(entry.name for entry in self.path.iterdir())
        others = [name for name in names if name != LOCK and not is_part(name, RECORD)]
        if others and RECORD not in names:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise ConfigError(
                f"output_dir={show(str(self.path))}: is not empty (it holds {show(others[0])}{more});"
                " type another folder"
            )

    def _remember(self) -> None:
        """The jobs of the last time: a search does not name all of them again."""
        try:
            jobs, _ = listed(self.path)
        except UnreadableError:
            return
        for name, row in jobs.items():
            overrides = [renamed(text) for text in cut(row.get("overrides", ""))]
            self.jobs[name] = Job(name, overrides)
            if (today := self.naming(overrides)) != name:
                self.earlier[today] = name

    def _check_trials(self) -> None:
        """Refuse a search of fewer trials than it has had."""
        wanted = trials(self._record["overrides"])
        done = [job for job in self.jobs.values() if self.standing(job).status == "finished"]
        if wanted is not None and wanted < len(done):
            raise ConfigError(fewer_trials(wanted, len(done)))

    def _nothing_began(self) -> bool:
        return not self.began() and not (self.path / "study.db").exists()

    def _clear(self) -> None:
        clear_parts(self.path)
        for name in ("multirun.yaml", TABLE, RECORD, LOCK):  # without its record the folder would be anybody's
            (self.path / name).unlink(missing_ok=True)
        for empty in (self.path, *self.path.parents):
            if empty in (Path(), Path("/")) or (empty.is_absolute() and empty != self.path):
                break
            try:
                empty.rmdir()
            except OSError:
                break


class Row(Protocol):
    """A run of a study: what a person calls it, its run directory's name, and what one types to make it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def folder(self) -> str: ...  # noqa: D102
    @property
    def overrides(self) -> Sequence[str]: ...  # noqa: D102


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


def _name_of_folder(overrides: Sequence[str]) -> str:
    """The name of a row's folder, which is the last part of its `output_dir`."""
    (place,) = [one.value for one in map(read, overrides) if one.option == "output_dir"]
    return Path(place.strip("'")).name


class Rows(Jobs):
    """A study's folder with a run for each row, held by one process at a time: use it in a `with`.

    Attributes:
        configs: the options of each row.
        left: the rows that were not finished when the folder was taken.

    Args:
        name: of the study.
        path: its folder.
        rows: its rows.
    """

    def __init__(self, name: str, path: Path, rows: Sequence[Row]) -> None:
        super().__init__(path, _name_of_folder)
        self._name, self._rows = name, [(row, composed(row)) for row in rows]
        self.configs = [config for _, config in self._rows]
        self.left: list[Row] = []

    def __enter__(self) -> Rows:
        """Take the folder.

        Raises:
            ConfigError: when another process has it, it is someone's, or it cannot be written.
        """
        name, folder = self._name, self.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (wrong := files_read.not_plain(folder)) is not None:
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
        return [[*row.overrides, f"output_dir={quoted(str(self.path / row.folder))}"] for row, _ in self._rows]

    def prepare(self) -> list[str]:
        """Set aside the runs that are to be made again, and note which rows are left; a line for each piece of news."""
        news = []
        self.left = []
        for row, config in self._rows:
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
