"""What a person sees of a sweep: a line while it runs, and at its end which jobs failed and why."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Sequence
from types import TracebackType

from prefrl_cli.files.standard_streams import say
from prefrl_cli.files.texts import shown
from prefrl_cli.run.directory import TABLE
from prefrl_cli.sweep.directory import Sweep

_SECONDS_BETWEEN_LOOKS = 0.5
_LONGEST_LIST = 20


class Watch:
    """The line of how many jobs are done, and `sweep.csv`, kept up to date in a thread while a launcher is busy.

    Args:
        sweep: whose folders are read.
        quiet: whether nothing is printed.
    """

    def __init__(self, sweep: Sweep, *, quiet: bool = False) -> None:
        self._sweep, self._quiet = sweep, quiet
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
        text = (
            f"sweep: {counts.get('finished', 0)} done, {counts.get('running', 0)} running,"
            f" {counts.get('failed', 0)} failed of {max(len(self._sweep.jobs), self._sweep.expected)}"
        )
        if text == self._said:
            return
        news = self._terminal or text.partition("running")[2] != self._said.partition("running")[2]
        news |= not text.startswith(self._said.partition(",")[0])
        self._said = text
        try:
            self._sweep.save()
        except OSError:
            pass  # the folder has gone, or the disk is full: the jobs themselves tell
        if self._quiet or not news:
            return
        try:
            print(f"\r{text}\033[K" if self._terminal else text, end="" if self._terminal else "\n", file=self._stream)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True


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
