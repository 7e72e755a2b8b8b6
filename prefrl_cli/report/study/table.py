"""A study's results as a table: Markdown for a page, CSV in full precision."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from prefrl_cli.core.metric import Metric
from prefrl_cli.files.texts import markdown as markdown_text
from prefrl_cli.files.texts import markdown_code
from prefrl_cli.report.results import Comparison, table_cell
from prefrl_cli.report.study.study import Result, Study, columns, headline_among
from prefrl_cli.stats.aggregates import few_seeds
from prefrl_cli.stats.families import chance_text
from prefrl_cli.stats.summary import Estimate, brackets, digits, value_text

_LONGEST_REASON = 120


def markdown(study: Study, results: Sequence[Result], picture: str | None = None) -> str:
    """The study as Markdown: question, chart, table, commands.

    Args:
        study: what was asked.
        results: of `measure`.
        picture: where its chart lies, as the page is to name it; none leaves it out.
    """
    baselines = list(dict.fromkeys(one.row.baseline for one in results if one.row.baseline))
    metrics = columns(study, (one.run for one in results))
    headline, names = headline_among(metrics), ["", "seeds"]
    for metric in metrics:
        names += [metric.words, "median", "worst tenth"] if metric == headline else [metric.words]
    if baselines and headline:
        names += [f"against {baselines[0] if len(baselines) == 1 else 'its baseline'}", "seeds better", "p"]
    names.append("training")
    rows = [_cells(metrics, one, several=len(baselines) > 1, width=len(names)) for one in results]
    shown = {"study": study, "results": results, "picture": picture, "names": names, "rows": rows}
    return _environment().get_template("table.md").render(shown, notes=_notes(metrics, results))


def _environment() -> Environment:
    """The template of this folder, whose texts are escaped for Markdown."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        finalize=lambda value: value if isinstance(value, Markup | StrictUndefined) else markdown_text(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "address": lambda path: Markup(quote(path)),
        "cell": lambda text: Markup(_cell(text)),
        "code": lambda text: Markup(markdown_code(text)),
    }
    return made


def _cells(metrics: Sequence[Metric], result: Result, *, several: bool, width: int) -> list[str]:
    if not result.finished:
        reason = result.run.reason or "see its train.log"
        short = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
        return [result.row.name, f"{result.run.status}: {short}", *[""] * (width - 2)]
    seeds = f"{len(result.run.seeds)}" + (f", {len(result.run.failed)} failed" if result.run.failed else "")
    cells = [result.row.name, seeds]
    for metric in metrics:
        cells += [_value(result, metric), *(_beside(result, metric) if metric == headline_among(metrics) else [])]
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


def _beside(result: Result, metric: Metric) -> list[str]:
    """Median and worst tenth, which say whether a mean comes from a few seeds."""
    found = result.estimates.get(metric.name)
    if found is None:
        return ["–", "–"]
    return [value_text(found.mean._replace(value=value)) for value in (found.median, found.worst_tenth)]


def _compared(comparison: Comparison | None, several: bool) -> list[str]:
    if comparison is None:
        return ["", "", ""]
    difference = _interval(comparison.difference)
    sign = "" if difference.startswith("−") else "+"
    where = f" on {comparison.second.name}" if several else ""
    paired = ", not paired" if comparison.seeds.endswith("not the same") else ""
    better = [f"{100 * part:.0f}" for part in comparison.improved]
    share = "–" if paired else f"{better[0]} % [{better[1]}, {better[2]}]"
    return [f"{sign}{difference}{where}{paired}", share, chance_text(comparison.corrected)]


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
    if headline:
        said.append(f"Median and worst tenth are of {headline.words}.")
    if headline and (pairs := sum(one.comparison is not None for one in results)):
        family = f", corrected for the {pairs} comparisons of this table (Holm)" if pairs > 1 else ""
        said.append(
            f"Differences are of {headline.words}, paired by seed; seeds better: the share that improve, ties half;"
            f" p: of the difference by a randomisation test{family}."
        )
    commits = {one.run.environment.get("commit", "none") for one in results if one.finished}
    if len(commits) > 1 or any(commit.endswith("+changes") for commit in commits):
        said.append(f"Code of these rows: {', '.join(sorted(commits))}.")
    return " ".join(said)


def _cell(text: str) -> str:
    """Escaped; the brackets of an interval make no link, and a table is read in its source too."""
    return re.sub(r"\\\[([^\[\]\\]*)\\\](?!\()", r"[\1]", markdown_text(text))


def table(study: Study, results: Sequence[Result]) -> str:
    """The same as CSV, in full precision: a line a row of the study."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("", "_low", "_high")
    metrics = [metric.name for metric in columns(study, (one.run for one in results))]
    numbers = [f"{name}{end}" for name in metrics for end in (*ends, "_median", "_worst_tenth")]
    compared = [f"{name}{end}" for name in ("difference", "seeds_better", "improvement") for end in ends] + [
        "p",
        "p_holm",
    ]
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
        found = (one.estimates.get(name) for name in metrics)
        estimates = [
            value
            for each in found
            for value in ((*each.mean, each.median, each.worst_tenth) if each and each.seeds else (np.nan,) * 5)
        ]
        pair = [np.nan] * len(compared)
        if two := one.comparison:
            pair = [*two.difference, *two.improved, *two.better, two.chance, two.corrected]
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
