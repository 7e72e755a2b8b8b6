"""What a person sees of a run: a progress bar, or plain lines where there is no terminal, and the table at the end."""

from __future__ import annotations

import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from prefrl_cli.core.metric import Metric, by_name, seed_words
from prefrl_cli.files import texts
from prefrl_cli.files.standard_streams import silence
from prefrl_cli.files.write import append_to
from prefrl_cli.stats.aggregates import few_seeds
from prefrl_cli.stats.summary import plain

_LINES = 10
_WIDTH = 80
_MOMENT, _REFRESH = 0.02, 0.5  # seconds


class Console:
    """Prints lines, and keeps them in a log file.

    Args:
        log: the file.
        quiet: whether only the log gets them.
        warned: told each warning too.
    """

    def __init__(self, log: Path, *, quiet: bool, warned: Callable[[str], object] = lambda _: None) -> None:
        self.quiet = quiet
        self._log, self._warned = log, warned

    def warn(self, text: str) -> None:
        """Print a line of what failed beside the run, and log it."""
        self._warned(text)
        self.line(text, error=True)

    def line(self, text: str, *, shown: bool = True, error: bool = False) -> None:
        """Print a line, to standard error if it is one, and log it; `shown` false only logs it.

        What comes of a record, such as the name of an option that differs, is written so that a terminal shows it.
        """
        text = texts.shown(text)
        try:
            with append_to(self._log) as file:
                file.write(text + "\n")
        except OSError:
            if not error:  # that nothing can be written must be told all the same
                raise
        if error or (shown and not self.quiet):
            try:
                print(text, file=sys.stderr if error else sys.stdout, flush=True)
            except OSError:
                self.quiet = True  # the reader has gone, or the disk is full; the run goes on
                silence(sys.stderr if error else sys.stdout)


class Teacher(Protocol):
    """Who answers beside a run, and is shown what comes of it."""

    def status(self) -> str:
        """How that stands, in a few words."""

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Hear what an update reached: the median over the seeds of each metric that is a number."""


class Progress:
    """How far training is.

    Args:
        steps: of the whole run.
        console: where the lines go.
        start: steps done before.

    Attributes:
        teacher: told of each step, and shown beside it; none where a program answers.
    """

    def __init__(self, steps: int, console: Console, start: int = 0) -> None:
        self.teacher: Teacher | None = None
        self._steps, self._console, self._start = steps, console, start
        self._interval = max(1, steps // _LINES)
        self._terminal = not console.quiet and sys.stderr.isatty()
        self._notebook = not console.quiet and in_notebook()
        self._bar: Any = None
        self._started, self._shown, self._text = 0.0, 0.0, ""

    def __enter__(self) -> Progress:
        """Start the clock."""
        self._started = time.perf_counter()
        if self._terminal:
            shown: dict[str, Any] = {"unit": "step", "file": sys.stderr, "dynamic_ncols": True, "smoothing": 0.1}
            self._bar = tqdm(total=self._steps, initial=self._start, **shown)
        elif self._notebook:
            self._bar = _NotebookBar(self._steps, self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the bar where it is."""
        if self._bar is not None:
            self._bar.close()

    def update(self, step: int, metrics: Mapping[str, np.ndarray], declared: Sequence[Metric] = ()) -> None:
        """Show that a step is done, with the median over the seeds of its first headline metric.

        Args:
            step: that is done.
            metrics: of it, `[R]` each.
            declared: what they are; where none is a headline, the first is shown that is a result.
        """
        report = step % self._interval == 0 or step == self._steps
        if self.teacher is not None:
            medians = {name: float(np.median(values)) for name, values in metrics.items()}
            self.teacher.report(step, {name: value for name, value in medians.items() if math.isfinite(value)})
        if self._bar is None and not report:
            return
        watched = self._text = _watched(metrics, declared)
        if self.teacher is not None:
            watched += f", {self.teacher.status()}"
        if self._bar is not None:
            self._bar.set_postfix_str(watched, refresh=False)
            self._bar.update()
        if report:
            elapsed = time.perf_counter() - self._started
            left = elapsed / (step - self._start) * (self._steps - step)
            text = f"step {step}/{self._steps}, {watched}, {clock(elapsed)} so far, {clock(left)} left"
            self._console.line(text, shown=self._bar is None)

    def wait(self) -> None:
        """Let a moment pass that training waits for its teacher."""
        time.sleep(_MOMENT)
        now = time.perf_counter()
        if self.teacher is not None and self._bar is not None and now > self._shown + _REFRESH:
            self._shown = now
            self._bar.set_postfix_str(", ".join(filter(None, [self._text, self.teacher.status()])))


def in_notebook() -> bool:
    """Whether what is shown appears below a cell of Jupyter; IPython in a terminal is a terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class _NotebookBar:
    """A bar below a notebook's cell, drawn anew in its place; its methods are those of tqdm's that we use."""

    def __init__(self, steps: int, start: int) -> None:
        from IPython.display import display  # there wherever there is a notebook

        self._steps, self._start, self._step, self._text = steps, start, start, ""
        self._started = self._drawn = time.perf_counter()
        self._handle = display(self._shown(), raw=True, display_id=True)

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Take what stands behind the bar."""
        self._text = text

    def update(self) -> None:
        """Count a step; the page is told ten times a second at most."""
        self._step += 1
        if time.perf_counter() - self._drawn >= 0.1:
            self._draw()

    def close(self) -> None:
        """Draw the bar as it stays."""
        self._draw()

    def _draw(self) -> None:
        self._drawn = time.perf_counter()
        self._handle.update(self._shown(), raw=True)

    def _shown(self) -> dict[str, str]:
        elapsed = time.perf_counter() - self._started
        done = self._step - self._start
        times = [f"{clock(elapsed)} so far"]
        if 0 < done and self._step < self._steps:
            times.append(f"{clock(elapsed / done * (self._steps - self._step))} left")
        text = ", ".join(filter(None, [f"step {self._step}/{self._steps}", self._text, *times]))
        bar = f'<progress value="{self._step}" max="{self._steps}" style="width:20em"></progress>'
        return {"text/plain": text, "text/html": f"<div>{bar} {texts.html(text)}</div>"}


def table(summary: Mapping[str, Any], folder: Path) -> list[str]:
    """The lines that end a run: each evaluation metric before and after, and where the run is; 80 columns."""
    seeds = summary["seeds"]
    named = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}"
    failed = sorted(int(seed) for seed in summary["failed_seeds"])
    lines = [
        f"{summary['experiment']}: {named}, {summary['steps']} steps in {summary['train_seconds']:.1f} s",
        f"  {'':<22}{'before':>12}{'after':>12}  {'95 % interval of the mean':<26}",
    ]
    lines += metric_lines(summary["initial"], summary["metrics"], ("before", "after"), len(seeds))
    if failed:
        count = f"{len(failed)} of {len(seeds)} seeds failed"
        lines.append(f"  {count}: {seed_words(failed)}; any success counts them, the rest leaves them out"[:_WIDTH])
    lines += footnote(len(seeds) - len(failed))
    if len(seeds) == 1:
        for when, columns in summary["examples"].items():
            lines += _examples(when, columns)
    lines.append(f"run: {folder}")  # never cut: a path is there to be copied
    return lines


def metric_lines(
    first: Mapping[str, Mapping[str, Any]], second: Mapping[str, Mapping[str, Any]], when: Sequence[str], seeds: int
) -> list[str]:
    """The lines of such a table: the means of both times, an interval of the second, and which are over fewer seeds.

    Args:
        first: name -> as a `record` has it, or its `mean` alone; empty where it is not known.
        second: name -> as a `record` has it.
        when: the words for both.
        seeds: R.
    """
    lines, fewer = [], dict[str, list[str]]()  # metrics of which not every seed has a value, by how many have
    for name, found in second.items():
        both = first.get(name, {}), found
        before, after = (one.get("mean") for one in both)
        if before is None and after is None:
            continue  # nobody can measure it here
        low, high = found["ci95"]
        interval = "" if low is None or low != low else f"[{plain(low)}, {plain(high)}]"  # one seed has none
        for word, one in zip(when, both, strict=True):
            if one.get("mean") is not None and (had := one.get("seeds_with_value")):
                fewer.setdefault(f"{word} over {had} of {seeds} seeds", []).append(name)
        lines.append(f"  {name:<22}{plain(before):>12}{plain(after):>12}  {interval}".rstrip()[:_WIDTH])
    return lines + [f"  {said}: {', '.join(names)}"[:_WIDTH] for said, names in fewer.items()]


def footnote(seeds: int) -> list[str]:
    """The line below such a table that is over few seeds; none below another."""
    return [f"  {note}"] if (note := few_seeds(seeds)) else []


def drawn(folder: Path) -> list[str]:
    """The lines that say which charts a run has: the first of them is there to be opened."""
    names = sorted(path.name for path in folder.glob("*.*")) if folder.is_dir() else []
    first = f"charts: {folder}{os.sep}, "
    lines = textwrap.TextWrapper(_WIDTH, first, "  ", break_long_words=False, break_on_hyphens=False)
    return lines.wrap(", ".join(names))


def _examples(when: str, columns: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    """The first items of an evaluation as a table, for the only seed."""
    if not columns:
        return []
    rows = zip(*(of_seed[0] for of_seed in columns.values()), strict=True)
    width = max(map(len, columns)) + 2
    lines = [f"  {when} training, the first items of the evaluation:", "".join(f"{name:>{width}}" for name in columns)]
    return lines + ["".join(f"{value:>{width}.2f}" for value in row) for row in rows]


def _watched(metrics: Mapping[str, np.ndarray], declared: Sequence[Metric]) -> str:
    results = [one for one in by_name(declared, metrics).values() if one.name in metrics and one.role == "result"]
    if not results:
        return ""
    name = next((one for one in results if one.headline), results[0]).name
    values = metrics[name][~np.isnan(metrics[name])]
    return f"{name} {plain(np.median(values) if len(values) else None)}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, such as `1:02:03` or `0:42`."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"
