"""What a person sees of a sweep: a line while it runs, and at its end which jobs failed and why."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from prefrl_cli.config.options import Configuration
from prefrl_cli.files.read import UnreadableError, tail
from prefrl_cli.files.standard_streams import say
from prefrl_cli.files.texts import shown
from prefrl_cli.run.directory import TABLE
from prefrl_cli.run.progress import clock
from prefrl_cli.sweep.results import Job, Jobs

_SECONDS_BETWEEN_LOOKS = 0.5
_LONGEST_LIST = 20
_WIDTH = 80
_TAIL = 1 << 16  # bytes; a line of metrics.csv has a few hundred


class Watch:
    """The line of how many jobs are done, and `sweep.csv`, kept up to date in a thread while a launcher is busy.

    Args:
        sweep: whose folders are read.
        name: what the line begins with.
        quiet: whether nothing is printed.
    """

    def __init__(self, sweep: Jobs, name: str = "sweep", *, quiet: bool = False) -> None:
        self._sweep, self._name, self._quiet = sweep, name, quiet
        self._began = time.monotonic()
        self._before: dict[str, float] = {}  # the share of each job that was done before
        self._stream = sys.stderr  # of now: jobs in this process get another
        self._terminal = self._stream.isatty()
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say the last state and end."""
        self._stop.set()
        self._thread.join()
        self._tell()
        if self._terminal and self._said:
            with contextlib.suppress(OSError):  # the terminal has been closed
                print(file=self._stream, flush=True)

    def _look(self) -> None:
        while not self._stop.wait(_SECONDS_BETWEEN_LOOKS):
            self._tell()

    def _tell(self) -> None:
        counts = self._sweep.counts()
        if not counts.keys() - {"waiting", "interrupted"}:
            return
        number = max(len(self._sweep.jobs), self._sweep.expected)
        text = (
            f"{self._name}: {counts.get('finished', 0)} done, {counts.get('running', 0)} running,"
            f" {counts.get('failed', 0)} failed of {number}"
        )
        news = text.partition("running")[2] != self._said.partition("running")[2]
        news |= not text.startswith(self._said.partition(",")[0])
        if text != self._said:
            self._said = text
            try:
                self._sweep.save()
            except OSError:
                pass  # the folder has gone, or the disk is full: the jobs themselves tell
        shares = self._shares()
        if self._quiet or not (news or self._terminal):
            return
        text = ", ".join([text + self._left(shares, number), *(self._running(shares) if self._terminal else [])])
        cut = text if len(text) < _WIDTH or not self._terminal else f"{text[: _WIDTH - 2]}…"
        try:
            print(f"\r{cut}\033[K" if self._terminal else cut, end="" if self._terminal else "\n", file=self._stream)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True

    def _shares(self) -> list[tuple[Job, float]]:
        """The part of each job's steps that is done, of those that are to run now."""
        found = []
        for job, standing in self._sweep.rows():
            if job.config is not None:
                ended = standing.status in ("finished", "failed")
                started = standing.status == "running" or job.name not in self._before
                share = 1.0 if ended else _share(self._sweep, job, job.config) if started else self._before[job.name]
                self._before.setdefault(job.name, share)
                found.append((job, share))
        return found

    def _running(self, shares: Sequence[tuple[Job, float]]) -> list[str]:
        return [f"{shown(job.name)} {100 * share:.0f} %" for job, share in shares if self._before[job.name] < share < 1]

    def _left(self, shares: Sequence[tuple[Job, float]], number: int) -> str:
        """The time that the rest takes at the speed so far."""
        work = [_work(job.config) for job, _ in shares if job.config is not None]
        done = sum(size * (share - self._before[job.name]) for size, (job, share) in zip(work, shares, strict=True))
        left = sum(size * (1.0 - share) for size, (_, share) in zip(work, shares, strict=True))
        if work:  # those that a search has not made yet
            left += (number - len(self._sweep.jobs)) * sum(work) / len(work)
        return f", about {clock((time.monotonic() - self._began) * left / done)} left" if done > 0 and left else ""


def _work(config: Configuration) -> float:
    """How long a run takes, in no unit: moves of the environment."""
    sizes: list[float] = [config.run.num_seeds, config.run.steps]
    for group, name in (("env", "horizon"), ("algorithm", "episodes")):
        sizes.append((config.options.get(group) or {}).get(name) or 1)
    return math.prod(sizes)


def _share(sweep: Jobs, job: Job, config: Configuration) -> float:
    """The part of a run's steps that is done, by the last whole line of its `metrics.csv`."""
    try:
        step = int(tail(sweep.folder(job), "metrics.csv", _TAIL).splitlines()[-2].partition(b",")[0])
        return min(max(step / config.run.steps, 0.0), 1.0)
    except (UnreadableError, ValueError, OverflowError, IndexError):
        return 0.0


def table_of_failures(failures: Sequence[tuple[str, str]]) -> list[str]:
    """The lines that end a sweep with failures."""
    lines = [f"  {shown(name)}\n      {shown(reason)}" for name, reason in failures[:_LONGEST_LIST]]
    if len(failures) > _LONGEST_LIST:
        lines.append(f"  and {len(failures) - _LONGEST_LIST} more in {TABLE}")
    return [f"{len(failures)} failed:", *lines]


def job_words(names: Sequence[str]) -> str:
    """Jobs that something is said of, in few words."""
    return f"job {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def tell(text: str) -> None:
    """Print a line of its own on the console, in the place of the line that is there while the sweep runs."""
    instead = "\r\033[K" if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):  # the reader has gone
        say(f"{instead}prefrl-train: {shown(text)}")
