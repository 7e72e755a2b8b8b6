"""The jobs of a sweep beside each other: how each stands, `sweep.csv`, and the table that ends the sweep."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import read
from prefrl_cli.core.metric import Metric
from prefrl_cli.files import read as files_read
from prefrl_cli.files.lock import LOCK, hold, is_held
from prefrl_cli.files.read import UnreadableError
from prefrl_cli.files.texts import shown
from prefrl_cli.files.write import clear_parts, write_whole
from prefrl_cli.run.directory import FAILED_BEFORE, TABLE
from prefrl_cli.run.earlier.results import declared

_COLUMNS = ("job", "overrides", "status", "reason", "seconds")  # of sweep.csv, beside options and metrics
_MOST_ROWS = 20
_WIDEST = 40  # letters of a cell

JobStatus = Literal["waiting", "running", "finished", "failed", "interrupted"]


@dataclass
class Job:
    """One job of a sweep.

    Attributes:
        name: its folder's.
        overrides: that make it.
        reason: why it did not run or did not end, where its folder cannot say so.
        told: whether a person was told the reason.
        config: its options, where it is to run now.
    """

    name: str
    overrides: list[str]
    reason: str | None = None
    told: bool = False
    config: Configuration | None = None


@dataclass
class Standing:
    """How a job stands.

    Attributes:
        status: waiting, running, finished, failed or interrupted.
        reason: why it did not finish, or what failed in it.
        seconds: of training.
        metrics: means over the seeds.
        declared: what each metric is.
        failed: of a finished one, whether some of its seeds have failed.
        headline: the metric that its experiment is looked at by first.
        interval: 95 %, of the mean of that.
    """

    status: JobStatus
    reason: str = ""
    seconds: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    declared: dict[str, Metric] = field(default_factory=dict)
    failed: bool = False
    headline: str = ""
    interval: tuple[float | None, float | None] = (None, None)


def finished(summary: Mapping[str, Any], reason: str | None) -> Standing:
    """How a job stands that has ended well, by its `summary.json`, which may hold anything.

    Args:
        summary: the file.
        reason: what failed beside it.
    """
    found = declared(summary.get("metrics"))
    failed, seeds = summary.get("failed_seeds"), summary.get("seeds")
    lost = f"{len(failed)} of {len(seeds)} seeds failed" if failed and isinstance(seeds, list) else ""
    first = next((name for name, (metric, _) in found.items() if metric.headline), next(iter(found), ""))
    ends = found[first][1].get("ci95") if first else None
    return Standing(
        "finished",
        reason or lost,
        _number(summary.get("train_seconds")),
        {name: _number(given.get("mean")) for name, (_, given) in found.items()},
        {name: metric for name, (metric, _) in found.items()},
        bool(lost),
        first,
        (_number(ends[0]), _number(ends[1])) if isinstance(ends, list) and len(ends) == 2 else (None, None),
    )


class Jobs:
    """Several runs in one folder, whatever process or machine each is in: their own folders say how they stand.

    Attributes:
        path: the folder.
        naming: the name of a job, by its overrides; it goes along to other processes.
        jobs: by name, as they become known.
        refused: whether a job had a wrong option.
        expected: jobs in all, where a search makes them one after another.
        over: whether no job runs any more.
    """

    def __init__(self, path: Path, naming: Callable[[Sequence[str]], str]) -> None:
        self.path, self.naming = path, naming
        self.jobs: dict[str, Job] = {}
        self.refused = self.over = False
        self.expected = 0
        self._finished: dict[str, Standing] = {}
        self._began = 0.0
        self._lock: int | None = None

    def hold(self) -> None:
        """Keep other processes out of the folder.

        Raises:
            BlockingIOError: when another one has it.
            OSError: when it cannot be written.
        """
        self._lock = hold(self.path / LOCK)
        os.utime(self._lock)
        clear_parts(self.path)
        self._began = _changed(self.path / LOCK)  # by the clock of the disk, which the jobs' folders share

    def let_go(self) -> None:
        """Let other processes have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def job(self, overrides: Sequence[str]) -> Job:
        """The job of these overrides, which is not one of the sweep's before it is added."""
        return Job(self.naming(overrides), list(overrides))

    def add(self, *jobs: Job) -> None:
        """Make them the sweep's."""
        self.jobs |= {job.name: job for job in jobs}

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
            self._finished[job.name] = finished(read_json(folder / "summary.json"), job.reason)
            return self._finished[job.name]
        if job.reason is not None:
            return Standing("failed", job.reason)
        if said not in ("running", "failed", "interrupted"):  # none yet, or a file of someone else's
            return Standing("waiting")
        fresh = _changed(folder / "status.json") >= self._began
        if said == "running":
            # Asked at the end only: who asks for a lock may be in the way of a job that takes it.
            killed = not fresh or (self.over and is_held(folder / LOCK) is False)
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
        self.write(TABLE, csv_text(self.rows()))

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

    def write(self, name: str, text: str) -> None:
        """Write a file beside the jobs."""
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


def swept(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """The options in which jobs differ, each with its text in every job; empty where a job has it not."""
    typed = [{one.option: one.value for one in map(read, job.overrides)} for job in jobs]
    names = list(dict.fromkeys(name for options in typed for name in options))
    found = {name: [options.get(name, "") for options in typed] for name in names}
    return {name: texts for name, texts in found.items() if len(set(texts)) > 1}


def csv_text(rows: Sequence[tuple[Job, Standing]]) -> str:
    """What `sweep.csv` holds: a row a job, with a column for each option in which the jobs differ and each metric."""
    names = list(dict.fromkeys(name for _, standing in rows for name in standing.metrics))
    options = {name: texts for name, texts in swept([job for job, _ in rows]).items() if name not in _COLUMNS}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*_COLUMNS[:2], *options, *_COLUMNS[2:], *names])
    for place, (job, one) in enumerate(rows):
        chosen = [texts[place] for texts in options.values()]
        values = [one.metrics.get(name) for name in names]
        table.writerow([job.name, " ".join(job.overrides), *chosen, one.status, one.reason, one.seconds, *values])
    return text.getvalue()


def table(rows: Sequence[tuple[Job, Standing]]) -> list[str]:
    """The lines that end a sweep: each job's values of the options in which the jobs differ, and its first metric."""
    options = swept([job for job, _ in rows])
    names = list(dict.fromkeys(one.headline for _, one in rows if one.headline))
    if not options or not names:
        return []
    cells = [[*options, names[0] if len(names) == 1 else "first metric", "95 % interval"]]
    for place, (_, one) in enumerate(rows):
        found = _words(one.metrics.get(one.headline)) if one.status == "finished" else one.status
        named = f"{one.headline} {found}" if len(names) > 1 and one.headline else found
        low, high = one.interval
        interval = "" if low is None or high is None else f"[{_words(low)}, {_words(high)}]"
        cells.append([*(texts[place] for texts in options.values()), named, interval])
    more = len(rows) - _MOST_ROWS
    cells = [[shown(text)[:_WIDEST] for text in row] for row in cells[: _MOST_ROWS + 1]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return [*lines, f"  and {more} more in {TABLE}"] if more > 0 else lines


def _words(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and abs(value) < 1e300 else None
