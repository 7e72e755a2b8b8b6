"""What a study found: its rows are ordinary runs, each beside the one that it is compared with."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prefrl_cli.core.metric import Metric
from prefrl_cli.report.configurations import Configuration
from prefrl_cli.report.results import Comparison, as_family, compare, headline_of
from prefrl_cli.report.runs import Run, read_run
from prefrl_cli.stats.summary import Summary, summarise


@dataclass(frozen=True)
class Row:
    """One run of a study.

    Attributes:
        name: what a person calls it.
        folder: its run directory's name in the study's folder.
        overrides: what one types to make it.
        baseline: the name of the row it is compared with, if any.
        x: its place on the x axis of a chart of lines; a row that has none is a level across it.
        series: the line that it belongs to there; in a chart of points, rows of one series share a scale.
    """

    name: str
    folder: str
    overrides: tuple[str, ...]
    baseline: str | None = None
    x: float | None = None
    series: str | None = None

    @property
    def command(self) -> str:
        """What one types to run it alone."""
        return shlex.join(["prefrl-train", *self.overrides])


@dataclass(frozen=True)
class Study:
    """Runs that answer one question together.

    Attributes:
        name: of its file in `conf/study/`.
        title: of its chart.
        question: that it asks.
        minutes: it took when it was measured, with two rows at once on two cores; none when not measured yet.
        metrics: columns of the table, of the final evaluation; empty for those that matter, see `columns`.
        chart: `points`, `ladder` or `lines`.
        x_label: of a chart of lines.
        rows: at least one.
    """

    name: str
    title: str
    question: str
    minutes: float | None
    metrics: tuple[str, ...]
    chart: str
    x_label: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Result:
    """One row's numbers.

    Attributes:
        row: of the study.
        run: its run directory.
        estimates: of each of the study's metrics that the finished run has.
        comparison: with its baseline by the study's headline, where both are finished; the p values are corrected for
            all of the study's comparisons.
    """

    row: Row
    run: Run
    estimates: dict[str, Summary]
    comparison: Comparison | None

    @property
    def finished(self) -> bool:
        """Whether there is anything to show."""
        return self.run.status == "finished"


def measure(study: Study, folder: Path) -> list[Result]:
    """Read the rows' run directories in the study's folder; one for each row, whatever became of it."""
    sides = {row.name: _side(row, folder / row.folder) for row in study.rows}
    metrics = columns(study, [side.runs[0] for side in sides.values()])
    headline, found = headline_among(metrics), []
    # Each row's own: its task may be another one, whose metrics have another range.
    known = {name: {one.name: one for one in metrics} | side.runs[0].metrics for name, side in sides.items()}
    pairs = {
        row.name: pair
        for row in study.rows
        if row.baseline in sides
        and headline
        and (pair := compare(sides[row.name], sides[row.baseline], known[row.name][headline.name]))
    }
    pairs = dict(zip(pairs, as_family([*pairs.values()]), strict=True))
    for row in study.rows:
        side, own = sides[row.name], known[row.name]
        names = [one.name for one in metrics if one.name in side.scores]
        estimates = {name: summarise(side.scores[name], own[name]) for name in names}
        found.append(Result(row, side.runs[0], estimates, pairs.get(row.name)))
    return found


def _side(row: Row, folder: Path) -> Configuration:
    run = read_run(folder) if folder.is_dir() else Run(folder, "missing", "not run yet")
    found = Configuration(row.name, run.experiment, run.options, [run], run.seeds, run.scores)
    found.failed = list(run.failed)
    return found


def columns(study: Study, runs: Iterable[Run]) -> list[Metric]:
    """What a study's table shows: what it asks for, else whether a seed got there, the headline, and what it took.

    Args:
        study: what was asked.
        runs: of its rows, which say what their metrics are.
    """
    known: dict[str, Metric] = {}
    present = dict[str, None]()
    for run in runs:
        known = {name: run.metric(name) for name in (*run.metrics, *run.scores, *study.metrics)} | known
        present |= dict.fromkeys(run.scores)
    if study.metrics:
        return [known[name] for name in study.metrics]
    metrics = [known[name] for name in present]
    verdicts, costs = ([metric for metric in metrics if metric.role == role] for role in ("verdict", "cost"))
    results = [metric for metric in metrics if metric.name == headline_of(known, present)]
    return list(dict.fromkeys([*verdicts, *results, *costs]))


def headline_among(metrics: Iterable[Metric]) -> Metric | None:
    """The metric by which rows are compared."""
    return next((metric for metric in metrics if metric.role == "result"), None)
