"""What a report says, before it has a look: metrics of each configuration, and the comparisons between them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prefrl_cli.core.metric import Metric, Role
from prefrl_cli.files.texts import shown
from prefrl_cli.report.configurations import Configuration, code_differences, configurations, varying
from prefrl_cli.report.runs import Run
from prefrl_cli.run.earlier.results import metric_of
from prefrl_cli.stats.aggregates import mean
from prefrl_cli.stats.families import chance_of_difference, holm
from prefrl_cli.stats.intervals import difference_interval, improvement, share_of_seeds_that_improve
from prefrl_cli.stats.summary import NOTHING, Estimate, Summary, summarise

MOST_IN_PAIRS = 8  # configurations that are compared each with each: 28 pairs


@dataclass(frozen=True)
class Comparison:
    """One metric of two configurations.

    Attributes:
        first: the one that is asked about.
        second: the other.
        seeds: in words.
        better: chance that a seed of the first is better than one of the second; one that failed is the worse.
            Nothing where the metric has no direction.
        improved: share of the shared seeds that are better in the first, ties half; nothing where no seeds are shared,
            or the metric has no direction.
        difference: of the means, first minus second; where a failed seed has no value, of the others.
        chance: p value of that difference.
        same: whether the two do not differ in a single seed, as far as can be seen.
        corrected: the same for a family of comparisons, see `as_family`.
    """

    first: Configuration
    second: Configuration
    seeds: str
    better: Estimate
    improved: Estimate
    difference: Estimate
    chance: float
    same: bool
    corrected: float = math.nan


@dataclass(frozen=True)
class Experiment:
    """All configurations of one experiment.

    Attributes:
        name: of the experiment.
        configurations: at least one.
        options: the options that vary -> a text a configuration.
        declared: what each metric is, of training and of an evaluation.
        metrics: metric -> one a configuration, the headline first.
        headline: the metric that configurations are ordered and compared by first; empty without any.
        comparisons: metric -> pairs, the headline first; without pairs that are the same, and without metrics of which
            no value is better.
        same: metrics in which all pairs are the same.
    """

    name: str
    configurations: list[Configuration]
    options: dict[str, list[str]]
    declared: dict[str, Metric]
    metrics: dict[str, list[Summary]]
    headline: str
    comparisons: dict[str, list[Comparison]]
    same: list[str]

    def of_role(self, role: Role) -> list[str]:
        """The metrics of the evaluation that have a role."""
        return [name for name in self.metrics if self.declared[name].role == role]


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


def _experiment(name: str, several: list[Configuration]) -> Experiment:
    declared: dict[str, Metric] = {}
    for one in reversed(several):  # the first one's word counts
        declared |= one.metrics
    present = dict.fromkeys(metric for configuration in several for metric in configuration.scores)
    declared |= {metric: metric_of(metric, declared) for metric in present}
    headline = headline_of(declared, present)
    names = sorted(present, key=lambda metric: metric != headline)
    for one in several:  # where every seed has failed, success is known all the same
        nothing, failed = np.full(len(one.seeds), np.nan), np.isin(one.seeds, one.failed)
        one.scores = {metric: declared[metric].counted(nothing, failed) for metric in names} | one.scores
    metrics = {metric: [summarise(one.scores[metric], declared[metric]) for one in several] for metric in names}
    pairs = _pairs(several, metrics.get(headline, []))
    compared = [metric for metric in names if declared[metric].sign and declared[metric].role == "result"]
    # Of many configurations only the headline is compared: the rest would be thousands of intervals.
    found = {
        metric: [pair for a, b in pairs if (pair := compare(a, b, declared[metric])) is not None]
        for metric in compared[: 1 if len(several) > MOST_IN_PAIRS else None]
    }
    different = {metric: [one for one in every if not one.same] for metric, every in found.items()}
    comparisons = {metric: as_family(left) for metric, left in different.items() if left}
    same = [metric for metric, every in found.items() if every and metric not in comparisons]
    return Experiment(name, several, varying(several), declared, metrics, headline, comparisons, same)


def headline_of(declared: Mapping[str, Metric], present: Iterable[str]) -> str:
    """The metric by which runs are ordered and compared first, of those that are present; empty without any."""
    there = [metric_of(name, declared) for name in present]
    results = [metric for metric in there if metric.role == "result"] or there
    return next((metric for metric in results if metric.headline), results[0]).name if results else ""


def _pairs(several: list[Configuration], headline: list[Summary]) -> list[tuple[Configuration, Configuration]]:
    """Each with each while they are few, else the best with each; the better one first."""
    values = np.array([-1.0 * (metric.metric.sign or 1) * metric.mean.value for metric in headline])
    order = [several[place] for place in np.argsort(values, kind="stable")]  # NaN comes last
    tops = order if len(order) <= MOST_IN_PAIRS else order[:1]
    return [(first, second) for place, first in enumerate(tops) for second in order[place + 1 :]]


def compare(first: Configuration, second: Configuration, metric: Metric) -> Comparison | None:
    """Two configurations by one metric: on the seeds that both have where these are two or more, else on all."""
    sides = []
    sign = float(metric.sign or 1)
    for one in (first, second):
        scores = one.scores.get(metric.name, np.zeros(0))
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
    better = Estimate(*improvement(sign * left, sign * right, paired)) if metric.sign else NOTHING
    improved = NOTHING
    if metric.sign and paired:
        improved = Estimate(*share_of_seeds_that_improve(sign * left, sign * right))
    same = np.array_equal(left, right) if paired else len(set([*left, *right])) == 1
    fine = [side != -sign * np.inf for side in (left, right)]  # a failed seed has a rank, but no distance from others
    if paired:
        fine = [fine[0] & fine[1]] * 2
    lost = [int((~of).sum()) for of in fine]
    if any(lost):
        words += f"; difference without {lost[0] if paired else sum(lost)} failed"
    left, right = left[fine[0]], right[fine[1]]
    difference = Estimate(float(mean(left) - mean(right)), *difference_interval(left, right, paired, metric.span))
    chance = chance_of_difference(left, right, paired)
    return Comparison(first, second, words, better, improved, difference, chance, same)


def as_family(several: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons that are looked at together, their p values corrected for that."""
    corrected = holm([one.chance for one in several])
    return [replace(one, corrected=chance) for one, chance in zip(several, corrected, strict=True)]


def table(found: Results) -> str:
    """`report.csv`: a row a configuration and metric."""
    options = list(dict.fromkeys(name for experiment in found.experiments for name in experiment.options))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("", "_low", "_high")
    numbers = [f"{name}{end}" for name in ("iqm", "mean") for end in ends] + ["median", "worst_tenth"]
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
                found_numbers = (*metric.iqm, *metric.mean, metric.median, metric.worst_tenth)
                estimates = ["" if np.isnan(value) else repr(value) for value in found_numbers]
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
