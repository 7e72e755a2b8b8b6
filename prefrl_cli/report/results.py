"""What a report says, before it has a look: metrics of each configuration, and the comparisons between them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from prefrl_cli.files.texts import shown
from prefrl_cli.report.configurations import Configuration, code_differences, configurations, varying
from prefrl_cli.report.runs import Run
from prefrl_cli.stats.aggregates import count, interquartile_mean, mean
from prefrl_cli.stats.intervals import bootstrap_interval, difference_interval, improvement, share_interval

SOLVED = "solved"
# By which configurations are compared first: the first of these that an experiment has.
_HEADLINES = ("success_mean", "success_last", "preference_accuracy", "answer_error", "accuracy", "loss")
_LOWER = {"loss", "mse", "error", "steps", "epic"}
_MOST_IN_PAIRS = 8  # configurations that are compared each with each: 28 pairs


class Estimate(NamedTuple):
    """A number with its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Metric:
    """One metric of one configuration, over the `seeds` that have a value."""

    seeds: int
    iqm: Estimate
    mean: Estimate


@dataclass(frozen=True)
class Comparison:
    """One metric of two configurations.

    Attributes:
        first: the one that is asked about.
        second: the other.
        seeds: in words.
        better: chance that a seed of the first is better than one of the second; one that failed is the worse.
        difference: of the means, first minus second; where a failed seed has no value, of the others.
    """

    first: Configuration
    second: Configuration
    seeds: str
    better: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Experiment:
    """All configurations of one experiment.

    Attributes:
        name: of the experiment.
        configurations: at least one.
        options: the options that vary -> a text a configuration.
        metrics: metric -> one a configuration.
        solved: share of finished seeds that solve it, one a configuration; none where nothing is said of that.
        headline: the metric that configurations are ordered and compared by first; empty without any.
        comparisons: metric -> pairs, the headline first.
    """

    name: str
    configurations: list[Configuration]
    options: dict[str, list[str]]
    metrics: dict[str, list[Metric]]
    solved: list[Estimate] | None
    headline: str
    comparisons: dict[str, list[Comparison]]


@dataclass(frozen=True)
class Results:
    """Everything on the page; see `code_differences` for `marks` and `codes`."""

    runs: list[Run]
    experiments: list[Experiment]
    marks: list[str]
    codes: list[dict[str, str]]


def results(runs: Sequence[Run]) -> Results:
    """Pool the runs and compute all that is said of them."""
    several: dict[str, list[Configuration]] = {}
    for configuration in configurations(runs):
        several.setdefault(configuration.experiment, []).append(configuration)
    marks, codes = code_differences(runs)
    return Results(list(runs), [_experiment(name, several[name]) for name in sorted(several)], marks, codes)


def lower_is_better(metric: str) -> bool:
    """Whether a metric is an error, a loss, a distance to the true reward or a number of steps."""
    return bool(_LOWER & set(metric.split("_")))


def _experiment(name: str, several: list[Configuration]) -> Experiment:
    names = list(dict.fromkeys(metric for configuration in several for metric in configuration.scores))
    headline = next((metric for metric in (*_HEADLINES, *names) if metric in names), "")
    names.sort(key=lambda metric: metric != headline)
    empty = np.zeros(0)
    metrics = {metric: [_metric(one.scores.get(metric, empty)) for one in several] for metric in names}
    solved = [_share(one.scores.get(SOLVED, empty)) for one in several] if SOLVED in names else None
    pairs = _pairs(several, metrics.get(headline, []), lower_is_better(headline))
    # Of many configurations only the headline is compared: the rest would be thousands of intervals.
    compared = [metric for metric in names if metric != SOLVED][: 1 if len(several) > _MOST_IN_PAIRS else None]
    comparisons = {
        metric: found
        for metric in compared
        if (found := [one for a, b in pairs if (one := compare(a, b, metric)) is not None])
    }
    return Experiment(name, several, varying(several), metrics, solved, headline, comparisons)


def _metric(scores: np.ndarray) -> Metric:
    middle = Estimate(float(interquartile_mean(scores)), *bootstrap_interval(scores, interquartile_mean))
    return Metric(int(count(scores)), middle, Estimate(float(mean(scores)), *bootstrap_interval(scores)))


def _share(solved: np.ndarray) -> Estimate:
    there = solved[~np.isnan(solved)]
    number = int((there >= 1).sum())
    if not len(there):
        return Estimate(np.nan, np.nan, np.nan)
    return Estimate(number / len(there), *share_interval(number, len(there)))


def _pairs(
    several: list[Configuration], headline: list[Metric], lower: bool
) -> list[tuple[Configuration, Configuration]]:
    """Each with each while they are few, else the best with each; the better one first."""
    values = np.array([metric.mean.value for metric in headline]) * (1 if lower else -1)
    order = [several[place] for place in np.argsort(values, kind="stable")]  # NaN comes last
    tops = order if len(order) <= _MOST_IN_PAIRS else order[:1]
    return [(first, second) for place, first in enumerate(tops) for second in order[place + 1 :]]


def compare(first: Configuration, second: Configuration, metric: str) -> Comparison | None:
    """Two configurations by one metric: on the seeds that both have where these are two or more, else on all."""
    sides = []
    sign = -1.0 if lower_is_better(metric) else 1.0
    for one in (first, second):
        scores = one.scores.get(metric, np.zeros(0))
        worst = {seed: -sign * np.inf for seed in one.failed}
        there = {seed: value for seed, value in zip(one.seeds, scores, strict=False) if not np.isnan(value)}
        if not there:
            return None
        sides.append(worst | there)
    shared = [seed for seed in sides[0] if seed in sides[1]]
    paired = len(shared) >= 2
    left, right = (np.array([side[seed] for seed in (shared if paired else side)]) for side in sides)
    words = f"{len(left)} and {len(right)}, not the same"
    if paired:
        words = f"{len(shared)} shared"
        if max(map(len, sides)) > len(shared):
            words += f" of {len(sides[0])} and {len(sides[1])}"
    better = Estimate(*improvement(sign * left, sign * right, paired))
    fine = [side != -sign * np.inf for side in (left, right)]  # a failed seed has a rank, but no distance from others
    if paired:
        fine = [fine[0] & fine[1]] * 2
    lost = [int((~of).sum()) for of in fine]
    if any(lost):
        words += f"; difference without {lost[0] if paired else sum(lost)} failed"
    left, right = left[fine[0]], right[fine[1]]
    difference = Estimate(float(mean(left) - mean(right)), *difference_interval(left, right, paired))
    return Comparison(first, second, words, better, difference)


def table(found: Results) -> str:
    """`report.csv`: a row a configuration and metric."""
    options = list(dict.fromkeys(name for experiment in found.experiments for name in experiment.options))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("", "_low", "_high")
    numbers = [f"{name}{end}" for name in ("iqm", "mean") for end in ends]
    writer.writerow(
        ["experiment", "configuration", *map(table_cell, options)]
        + ["metric", "seeds", "failed_seeds", "unfinished_seeds", *numbers]
    )
    for experiment in found.experiments:
        for place, configuration in enumerate(experiment.configurations):
            values = [experiment.options[name][place] if name in experiment.options else "" for name in options]
            begin = [table_cell(experiment.name), configuration.name, *map(table_cell, values)]
            left = [len(configuration.failed), len(configuration.unfinished)]
            if not experiment.metrics or not configuration.seeds:
                writer.writerow([*begin, "", 0, *left, *[""] * len(numbers)])
                continue
            for name, several in experiment.metrics.items():
                metric = several[place]
                estimates = ["" if np.isnan(value) else repr(value) for value in (*metric.iqm, *metric.mean)]
                writer.writerow([*begin, table_cell(name), metric.seeds, *left, *estimates])
    return text.getvalue()


def table_cell(text: str) -> str:
    """A text in one line that a spreadsheet does not take for a formula, nor a terminal for a command."""
    text = shown(text)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} and text != "-" else text
    return text
