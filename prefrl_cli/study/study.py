"""What a study found, as a table: its rows are ordinary runs, each beside the one that it is compared with."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from prefrl_cli.core.metric import Metric
from prefrl_cli.files.texts import markdown as markdown_text
from prefrl_cli.files.texts import markdown_code
from prefrl_cli.report.configurations import Configuration
from prefrl_cli.report.results import Comparison, compare, headline_of, table_cell
from prefrl_cli.report.runs import Run, read_run
from prefrl_cli.run.outputs import metric_of
from prefrl_cli.stats.aggregates import few_seeds
from prefrl_cli.stats.summary import NOTHING, Estimate, Summary, brackets, digits, summarise, value_text

_LONGEST_REASON = 120


@dataclass(frozen=True)
class Row:
    """One run of a study.

    Attributes:
        name: what a person calls it.
        folder: its run directory's name in the study's folder.
        overrides: what one types to make it.
        baseline: the name of the row it is compared with, if any.
        x: its place on the x axis of a chart of lines.
        series: the line that it belongs to there.
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
        estimates: of each of the study's metrics that the finished run has: the mean over its seeds with its 95 %
            interval, of a share of seeds with Wilson's.
        comparison: with its baseline by the study's headline, where both are finished.
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
    for row in study.rows:
        side = sides[row.name]
        other = sides.get(row.baseline or "")
        comparison = compare(side, other, headline) if other and headline else None
        estimates = {one.name: summarise(side.scores[one.name], one) for one in metrics if one.name in side.scores}
        found.append(Result(row, side.runs[0], estimates, comparison))
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
        known = run.metrics | known
        present |= dict.fromkeys(run.scores)
    if study.metrics:
        return [metric_of(name, known) for name in study.metrics]
    metrics = [metric_of(name, known) for name in present]
    verdicts, costs = ([metric for metric in metrics if metric.role == role] for role in ("verdict", "cost"))
    results = [metric for metric in metrics if metric.name == headline_of(known, present)]
    return list(dict.fromkeys([*verdicts, *results, *costs]))


def headline_among(metrics: Iterable[Metric]) -> Metric | None:
    """The metric by which rows are compared."""
    return next((metric for metric in metrics if metric.role == "result"), None)


def markdown(study: Study, results: Sequence[Result], picture: str | None = None) -> str:
    """The study as Markdown: question, chart, table, commands.

    Args:
        study: what was asked.
        results: of `measure`.
        picture: where its chart lies, as the page is to name it; none leaves it out.
    """
    baselines = list(dict.fromkeys(one.row.baseline for one in results if one.row.baseline))
    metrics = columns(study, (one.run for one in results))
    names = ["", "seeds", *(metric.words for metric in metrics)]
    if baselines and headline_among(metrics):
        names += [f"against {baselines[0] if len(baselines) == 1 else 'its baseline'}", "P(improvement)"]
    names.append("training")
    lines = [markdown_text(study.question), ""]
    if picture:
        lines += [f"![{markdown_text(study.title)}]({quote(picture)})", ""]
    lines += [_line(names), f"| {' | '.join(['---'] * len(names))} |"]
    lines += [_line(_cells(metrics, one, several=len(baselines) > 1, width=len(names))) for one in results]
    lines += ["", _notes(metrics, results), "", "<details><summary>The command of each row</summary>", "", "```text"]
    lines += [f"# {markdown_code(one.row.name)}\n{markdown_code(one.row.command)}" for one in results]
    return "\n".join([*lines, "```", "", "</details>", ""])


def _cells(metrics: Sequence[Metric], result: Result, *, several: bool, width: int) -> list[str]:
    if not result.finished:
        reason = result.run.reason or "see its train.log"
        short = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
        return [result.row.name, f"{result.run.status}: {short}", *[""] * (width - 2)]
    seeds = f"{len(result.run.seeds)}" + (f", {len(result.run.failed)} failed" if result.run.failed else "")
    cells = [result.row.name, seeds, *(_value(result, metric) for metric in metrics)]
    if width > len(cells) + 1:
        cells += _compared(result.comparison, several)
    return [*cells, f"{digits(result.run.seconds)} s" if result.run.seconds is not None else "–"]


def _value(result: Result, metric: Metric) -> str:
    found = result.estimates.get(metric.name)
    if found is None or not found.seeds:
        return "–"
    if metric.role == "cost":
        return f"{found.mean.value:,.0f}"
    if not metric.binary:
        return _interval(found.mean)
    share, low, high = (100 * part for part in found.mean)
    return f"{np.nansum(found.values):.0f} of {found.seeds}, {share:.0f} % [{low:.0f}, {high:.0f}]"


def _compared(comparison: Comparison | None, several: bool) -> list[str]:
    if comparison is None:
        return ["", ""]
    difference = _interval(comparison.difference)
    sign = "" if difference.startswith("−") else "+"
    where = f" on {comparison.second.name}" if several else ""
    paired = ", not paired" if comparison.seeds.endswith("not the same") else ""
    return [f"{sign}{difference}{where}{paired}", _interval(comparison.better)]


def _interval(found: Estimate) -> str:
    return f"{value_text(found)} {brackets(found)}".strip()


def _notes(metrics: Sequence[Metric], results: Sequence[Result]) -> str:
    """What brackets and columns mean, and whether all rows ran the same code."""
    finished = [one.run for one in results if one.finished]
    said = ["Brackets: 95 % intervals over the seeds, failed ones included."]
    if any(run.failed for run in finished):
        said = ["Brackets: 95 % intervals over the seeds. A failed seed has no success; other means leave it out."]
    if note := few_seeds(min((len(run.seeds) - len(run.failed) for run in finished), default=0)):
        said.append(note)
    said += [metric.note for metric in metrics if metric.role == "verdict" and metric.note]
    headline = headline_among(metrics)
    if headline and any(one.comparison for one in results):
        said.append(f"Differences are of {headline.words}, paired by seed.")
    commits = {one.run.environment.get("commit", "none") for one in results if one.finished}
    if len(commits) > 1 or any(commit.endswith("+changes") for commit in commits):
        said.append(f"Code of these rows: {', '.join(sorted(commits))}.")
    return markdown_text(" ".join(said))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Escaped; the brackets of an interval make no link, and a table is read in its source too."""
    return re.sub(r"\\\[([^\[\]\\]*)\\\](?!\()", r"[\1]", markdown_text(text))


def table(study: Study, results: Sequence[Result]) -> str:
    """The same as CSV, in full precision: a line a row of the study."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("", "_low", "_high")
    metrics = [metric.name for metric in columns(study, (one.run for one in results))]
    numbers = [f"{name}{end}" for name in metrics for end in ends]
    compared = [f"{name}{end}" for name in ("difference", "improvement") for end in ends]
    writer.writerow(
        [
            "row",
            "status",
            "seeds",
            "failed_seeds",
            *numbers,
            "baseline",
            *compared,
            "train_seconds",
            "commit",
            "command",
            "reason",
        ]
    )
    for one in results:
        found = (one.estimates[name].mean if name in one.estimates else NOTHING for name in metrics)
        estimates = [value for estimate in found for value in estimate]
        pair = [*one.comparison.difference, *one.comparison.better] if one.comparison else [np.nan] * 6
        begin = [
            table_cell(one.row.name),
            one.run.status,
            len(one.run.seeds) if one.finished else 0,
            len(one.run.failed),
        ]
        seconds, commit = one.run.seconds, one.run.environment.get("commit", "")
        reason = "" if one.finished else one.run.reason
        end = ["" if seconds is None else seconds, *map(table_cell, (commit, one.row.command, reason))]
        writer.writerow([*begin, *map(_exact, estimates), table_cell(one.row.baseline or ""), *map(_exact, pair), *end])
    return text.getvalue()


def _exact(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def place(text: str, name: str, content: str) -> str:
    """A page with a study's part put between its markers, `<!-- study NAME -->` and `<!-- /study NAME -->`.

    Raises:
        ValueError: when the page has not each marker once, in this order.
    """
    begin, end = f"<!-- study {name} -->", f"<!-- /study {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"needs the lines {begin} and {end}, once each and in this order")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"
