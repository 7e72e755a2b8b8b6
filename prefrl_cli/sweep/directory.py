"""A sweep's folder: which jobs there are, how each stands, and what a person is told of them.

The jobs' own folders say how they stand, whatever process or machine ran them; a sweep that is typed again reads them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from prefrl_cli.config.overrides import cut, option, renamed
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files import read as files_read
from prefrl_cli.files.lock import LOCK, hold, is_held
from prefrl_cli.files.read import UnreadableError
from prefrl_cli.files.write import append_to, clear_parts, is_part, write_whole
from prefrl_cli.run.directory import FAILED_BEFORE, RECORD, TABLE
from prefrl_cli.run.outputs import listed
from prefrl_cli.sweep import results
from prefrl_cli.sweep.record import fewer_trials, goes_on, job_name, read_record, trials
from prefrl_cli.sweep.results import Job, Standing

_IN_PLACE = ("multirun.yaml", "study.db")


class Sweep:
    """A sweep's folder, held by one process at a time: use it in a `with`.

    Attributes:
        path: the folder.
        several: whether it goes over experiments.
        jobs: by name, as they become known.
        refused: whether a job had a wrong option.
        expected: jobs in all, where a search makes them one after another.
        earlier: names of jobs by those that today's version would give them, where an earlier one began the sweep.

    Args:
        path: the folder.
        overrides: what was typed, as a list that two equal sweeps have in common.
        flags: other arguments that it needs, such as `--config-dir`.
    """

    def __init__(self, path: Path, overrides: Sequence[str], flags: Sequence[str] = ()) -> None:
        self.path = path
        self.jobs: dict[str, Job] = {}
        self.refused = False
        self.expected = 0
        self.earlier: dict[str, str] = {}
        self._finished: dict[str, Standing] = {}
        self.several = any(option(one) == "experiment" and "," in one for one in overrides)
        self._record: dict[str, Any] = {"overrides": list(overrides), "flags": list(flags), "finished": False}
        self._before: dict[str, Any] | None = None
        self._began = 0.0
        self._over = False
        self._lock: int | None = None

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
            self._lock = hold(self.path / LOCK)
            os.utime(self._lock)
            clear_parts(self.path)
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
            self._began = _changed(self.path / LOCK)  # by the clock of the disk, which the jobs' folders share
            self._write(RECORD, yaml.safe_dump(self._record, sort_keys=False))
        except ConfigError:
            self._let_go()
            raise
        except BlockingIOError:
            raise ConfigError(f"{self.path}: this sweep is running in another process; wait until it ends") from None
        except OSError as problem:
            self._let_go()
            raise ConfigError(f"{self.path}: cannot be written ({problem.strerror}); type output_dir=FOLDER") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write how the jobs stand, and let the folder go; a sweep none of whose jobs began leaves nothing."""
        self._over = True
        if kind is ConfigError and self._before is not None:  # what was typed cannot be done: it is as it was
            self._write(RECORD, yaml.safe_dump(self._before, sort_keys=False))
        elif self._nothing_began():
            self._clear()
        elif self.path.is_dir():
            self.save()
            standings = [self.standing(job).status for job in self.jobs.values()]
            self._record["finished"] = kind is None and all(status == "finished" for status in standings)
            self._write(RECORD, yaml.safe_dump(self._record, sort_keys=False))
        self._let_go()

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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

    def add(self, overrides: Sequence[str]) -> Job:
        """The job of these overrides."""
        name = job_name(overrides, with_experiment=self.several)
        name = self.earlier.get(name, name)
        self.jobs[name] = Job(name, list(overrides))
        return self.jobs[name]

    def folder(self, job: Job) -> Path:
        """The job's run directory, whether it is there or not."""
        return (self.path / job.name).absolute()

    def standing(self, job: Job) -> Standing:
        """How a job stands, by its folder; one that a killed process left as running is interrupted."""
        if job.name in self._finished:
            return self._finished[job.name]
        folder = self.folder(job)
        status = read_json(folder / "status.json")
        said = status.get("status")
        if said == "finished":
            self._finished[job.name] = results.finished(read_json(folder / "summary.json"), job.reason)
            return self._finished[job.name]
        if job.reason is not None:
            return Standing("failed", job.reason)
        if said not in ("running", "failed", "interrupted"):  # none yet, or a file of someone else's
            return Standing("waiting")
        fresh = _changed(folder / "status.json") >= self._began
        if said == "running":
            # Asked at the end only: who asks for a lock may be in the way of a job that takes it.
            killed = not fresh or (self._over and is_held(folder / LOCK) is False)
            return Standing("interrupted" if killed else "running")
        if said == "failed" and not fresh:
            return Standing("waiting")  # it runs again
        return Standing(said, str(status.get("reason") or ""))

    def counts(self) -> dict[str, int]:
        """How many jobs have each status."""
        found: dict[str, int] = {}
        for job in list(self.jobs.values()):  # another thread may add to it
            status = self.standing(job).status
            found[status] = found.get(status, 0) + 1
        return found

    def rows(self) -> list[tuple[Job, Standing]]:
        """The jobs that are known and how each stands."""
        return [(job, self.standing(job)) for job in list(self.jobs.values())]  # another thread may add to it

    def save(self) -> None:
        """Write `sweep.csv`, whole or not at all."""
        self._write(TABLE, results.csv_text(self.rows()))

    def failures(self) -> list[tuple[str, str]]:
        """Names and reasons of the jobs that did not finish."""
        standings = [(job.name, self.standing(job)) for job in self.jobs.values()]
        return [
            (name, one.reason or f"{one.status}: see its train.log")
            for name, one in standings
            if one.status != "finished"
        ]

    def not_told(self) -> list[str]:
        """The reasons why jobs did not run that nobody was told yet, each once."""
        return list(dict.fromkeys(job.reason for job in self.jobs.values() if job.reason and not job.told))

    def began(self) -> bool:
        """Whether any job has left something here, now or before."""
        return any((self.path / name).exists() for name in (*self.jobs, FAILED_BEFORE))

    def _remember(self) -> None:
        """The jobs of the last time: a search does not name all of them again."""
        try:
            jobs, _ = listed(self.path)
        except UnreadableError:
            return
        for name, row in jobs.items():
            overrides = [renamed(text) for text in cut(row.get("overrides", ""))]
            self.jobs[name] = Job(name, overrides)
            if (today := job_name(overrides, with_experiment=self.several)) != name:
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

    def _write(self, name: str, text: str) -> None:
        write_whole(self.path / name, text, sync=False)


def read_json(path: Path) -> dict[str, Any]:
    """A file's object; empty where there is none that can be read."""
    try:
        return files_read.read_json(path.parent, path.name)
    except UnreadableError:
        return {}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
