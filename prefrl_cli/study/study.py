"""What a study found, as a table: its rows are ordinary runs, each beside the one that it is compared with."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from prefrl_cli.files.texts import markdown as markdown_text
from prefrl_cli.files.texts import markdown_code
from prefrl_cli.report.configurations import Configuration
from prefrl_cli.report.page import digits
from prefrl_cli.report.results import SOLVED, Comparison, Estimate, compare, table_cell
from prefrl_cli.report.runs import Run, read_run
from prefrl_cli.stats.aggregates import few_seeds, mean
from prefrl_cli.stats.intervals import bootstrap_interval, share_interval

LABELS = "labels_used"
_HEADINGS = {SOLVED: "solved", LABELS: "labels", "success_mean": "success over all episodes"}
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
        metrics: columns of the table, of the final evaluation.
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

    @property
    def headline(self) -> str | None:
        """The metric by which rows are compared."""
        return next((name for name in self.metrics if name not in (SOLVED, LABELS)), None)


@dataclass(frozen=True)
class Result:
    """One row's numbers.

    Attributes:
        row: of the study.
        run: its run directory.
        estimates: of each of the study's metrics that the finished run has: the mean over its seeds with its 95 %
            interval; `solved` with Wilson's.
        comparison: with its baseline by the study's headline, where both are finished.
    """

    row: Row
    run: Run
    estimates: dict[str, Estimate]
    comparison: Comparison | None

    @property
    def finished(self) -> bool:
        """Whether there is anything to show."""
        return self.run.status == "finished"


def measure(study: Study, folder: Path) -> list[Result]:
    """Read the rows' run directories in the study's folder; one for each row, whatever became of it."""
    sides = {row.name: _side(row, folder / row.folder) for row in study.rows}
    found = []
    for row in study.rows:
        side = sides[row.name]
        other = sides.get(row.baseline or "")
        comparison = compare(side, other, study.headline) if other and study.headline else None
        estimates = {name: estimate(name, side.scores[name]) for name in study.metrics if name in side.scores}
        found.append(Result(row, side.runs[0], estimates, comparison))
    return found


def _side(row: Row, folder: Path) -> Configuration:
    run = read_run(folder) if folder.is_dir() else Run(folder, "missing", "not run yet")
    found = Configuration(row.name, run.experiment, run.options, [run], run.seeds, run.scores)
    found.failed = list(run.failed)
    return found


def estimate(metric: str, scores: np.ndarray) -> Estimate:
    """The mean over the seeds that have a value, `[R]`, with its 95 % interval: Wilson's for the share that solved."""
    if metric != SOLVED:
        return Estimate(float(mean(scores)), *bootstrap_interval(scores))
    there = scores[~np.isnan(scores)]
    if not len(there):
        return Estimate(np.nan, np.nan, np.nan)
    return Estimate(float(mean(there)), *share_interval(round(float(there.sum())), len(there)))


def heading(metric: str) -> str:
    """A metric in words."""
    return _HEADINGS.get(metric, metric.replace("_", " "))


def markdown(study: Study, results: Sequence[Result], picture: str | None = None) -> str:
    """The study as Markdown: question, chart, table, commands.

    Args:
        study: what was asked.
        results: of `measure`.
        picture: where its chart lies, as the page is to name it; none leaves it out.
    """
    baselines = list(dict.fromkeys(one.row.baseline for one in results if one.row.baseline))
    names = ["", "seeds", *map(heading, study.metrics)]
    if baselines and study.headline:
        names += [f"against {baselines[0] if len(baselines) == 1 else 'its baseline'}", "P(improvement)"]
    names.append("training")
    lines = [markdown_text(study.question), ""]
    if picture:
        lines += [f"![{markdown_text(study.title)}]({quote(picture)})", ""]
    lines += [_line(names), f"| {' | '.join(['---'] * len(names))} |"]
    lines += [_line(_cells(study, one, several=len(baselines) > 1, width=len(names))) for one in results]
    lines += ["", _notes(study, results), "", "<details><summary>The command of each row</summary>", "", "```text"]
    lines += [f"# {markdown_code(one.row.name)}\n{markdown_code(one.row.command)}" for one in results]
    return "\n".join([*lines, "```", "", "</details>", ""])


def _cells(study: Study, result: Result, *, several: bool, width: int) -> list[str]:
    if not result.finished:
        reason = result.run.reason or "see its train.log"
        short = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
        return [result.row.name, f"{result.run.status}: {short}", *[""] * (width - 2)]
    seeds = f"{len(result.run.seeds)}" + (f", {len(result.run.failed)} failed" if result.run.failed else "")
    cells = [result.row.name, seeds, *(_value(result, name) for name in study.metrics)]
    if width > len(cells) + 1:
        cells += _compared(result.comparison, several)
    return [*cells, f"{digits(result.run.seconds)} s" if result.run.seconds is not None else "–"]


def _value(result: Result, metric: str) -> str:
    found = result.estimates.get(metric)
    if found is None:
        return "–"
    if metric == LABELS:
        return f"{found.value:,.0f}"
    if metric != SOLVED:
        return _interval(found)
    scores = result.run.scores[SOLVED]
    there = scores[~np.isnan(scores)]
    return (
        f"{there.sum():.0f} of {len(there)}, {100 * found.value:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    )


def _compared(comparison: Comparison | None, several: bool) -> list[str]:
    if comparison is None:
        return ["", ""]
    difference = _interval(comparison.difference)
    sign = "" if difference.startswith("−") else "+"
    where = f" on {comparison.second.name}" if several else ""
    paired = ", not paired" if comparison.seeds.endswith("not the same") else ""
    return [f"{sign}{difference}{where}{paired}", _interval(comparison.better)]


def _interval(found: Estimate) -> str:
    if np.isnan(found.low):
        return digits(found.value)
    scale = found.high - found.low
    return f"{digits(found.value, scale)} [{digits(found.low, scale)}, {digits(found.high, scale)}]"


def _notes(study: Study, results: Sequence[Result]) -> str:
    """What brackets and columns mean, and whether all rows ran the same code."""
    finished = [one.run for one in results if one.finished]
    said = ["Brackets: 95 % intervals over the seeds, failed ones included."]
    if any(run.failed for run in finished):
        said = ["Brackets: 95 % intervals over the seeds. A failed seed has no success; other means leave it out."]
    if note := few_seeds(min((len(run.seeds) - len(run.failed) for run in finished), default=0)):
        said.append(note)
    if SOLVED in study.metrics:
        said.append("Solved: success of at least 0.9 over the last tenth of the episodes.")
    if any(one.comparison for one in results):
        said.append(f"Differences are of {heading(study.headline or '')}, paired by seed.")
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
    numbers = [f"{name}{end}" for name in study.metrics for end in ends]
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
    none = Estimate(np.nan, np.nan, np.nan)
    for one in results:
        estimates = [value for name in study.metrics for value in one.estimates.get(name, none)]
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
