"""Which charts an experiment's section of the report has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefrl_cli.core.metric import Metric
from prefrl_cli.report.configurations import Configuration, Curve
from prefrl_cli.report.results import Experiment
from prefrl_cli.report.svg import Series, chart
from prefrl_cli.stats.aggregates import mean
from prefrl_cli.stats.intervals import Band, mean_band, performance_profile

_POINTS = 125  # a chart is some 500 pixels wide
_LONGER = 3.0  # a run that is so much longer than the next one is shown as far as that one goes, with a note


def main_charts(experiment: Experiment) -> list[str]:
    """The headline of training over its axis and against what it costs, and performance profiles."""
    watched = _watched(experiment)
    charts = [_curves(experiment, watched, f"{_capital(watched.words)} while training")] if watched else []
    if watched:
        names = _names(experiment)
        costs = [experiment.declared[name] for name in names if experiment.declared[name].role == "cost"]
        charts += [_against(experiment, watched, cost) for cost in costs]
    unit = experiment.declared[experiment.headline].unit if experiment.headline else ""
    alike = [name for name in experiment.of_role("result") if unit and experiment.declared[name].unit == unit]
    charts += [_profile(experiment, experiment.declared[name]) for name in alike or [experiment.headline] if name]
    return [picture for picture in charts if picture]


def evaluation_charts(experiment: Experiment) -> list[str]:
    """A learning curve for each evaluation metric that was measured more than once."""
    names = _names(experiment, evaluations=True)
    return [picture for name in names if (picture := _curves(experiment, experiment.declared[name], evaluations=True))]


def training_charts(experiment: Experiment) -> list[str]:
    """A curve for each other metric."""
    watched = _watched(experiment)
    others = [experiment.declared[name] for name in _names(experiment)]
    shown = [metric for metric in others if metric != watched and metric.role != "axis"]
    return [picture for metric in shown if (picture := _curves(experiment, metric))]


def _watched(experiment: Experiment) -> Metric | None:
    """The headline of training."""
    return next((one for name in _names(experiment) if (one := experiment.declared[name]).headline), None)


def _names(experiment: Experiment, *, evaluations: bool = False) -> list[str]:
    several = experiment.configurations
    return list(dict.fromkeys(name for one in several for name in one.curve_names(evaluations=evaluations)))


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _axis(several: Sequence[Configuration]) -> str | None:
    """What all configurations' curves can be drawn over, by its name; none for steps."""
    axes = {one.axis for one in several if one.curve_names()}
    return axes.pop() if len(axes) == 1 else None


def _curves(experiment: Experiment, metric: Metric, title: str = "", *, evaluations: bool = False) -> str:
    several = experiment.configurations
    axis, lines = _axis(several), []
    for place, configuration in enumerate(several):
        curve = configuration.curve(metric.name, evaluations=evaluations)
        if curve is not None:
            thin = thinned(curve)
            x = configuration.along(axis, thin.steps)
            lines.append(Series(place, configuration.name, x, mean_band(thin.values, metric.ends)))
    if max((len(line.x) for line in lines), default=0) < 2:
        return ""  # a single point is in the table
    y_label = metric.unit or "mean over seeds"
    y_label += ", lower is better" * (metric.sign < 0)
    x_label = experiment.declared[axis].words if axis is not None else "step"
    lines, note = _cut(lines)
    return chart(title or _capital(metric.words), x_label, y_label + note, lines, metric.is_share)


def _cut(lines: list[Series]) -> tuple[list[Series], str]:
    """The lines as far as the second longest goes where one is much longer, and what is said of that."""
    ends = sorted(float(np.max(line.x)) for line in lines)
    if len(ends) < 2 or ends[-2] <= 0 or ends[-1] <= _LONGER * ends[-2]:
        return lines, ""
    long = next(line for line in lines if np.max(line.x) == ends[-1])
    kept = []
    for line in lines:
        there = line.x <= ends[-2]
        band = Band(*(part[there] for part in line.band))
        kept.append(Series(line.number, line.label, line.x[there], band))
    return kept, f"; {long.label} goes on to about {float(f'{ends[-1]:.2g}'):,.0f}"


def _against(experiment: Experiment, metric: Metric, cost: Metric) -> str:
    """Both means over all seeds at each step, so that no seed that stops asking drops out of the line."""
    lines = []
    for place, configuration in enumerate(experiment.configurations):
        gained, paid = configuration.curve(metric.name), configuration.curve(cost.name)
        if gained is None or paid is None or not np.array_equal(gained.steps, paid.steps):
            continue
        x = np.asarray(mean(thinned(paid).values))
        if x[-1] > 0:  # a configuration that takes none has no place here
            lines.append(Series(place, configuration.name, x, mean_band(thinned(gained).values, metric.ends)))
    lines, note = _cut(lines)
    title = f"{_capital(metric.words)} against {cost.words}"
    return chart(title, f"{cost.words} by a seed, mean", metric.unit + note, lines, metric.is_share)


def _profile(experiment: Experiment, metric: Metric) -> str:
    several, lower = experiment.configurations, metric.sign < 0
    present = []
    for place, one in enumerate(several):
        scores = one.scores.get(metric.name, np.zeros(0))
        missing = np.isnan(scores) & np.isin(one.seeds, one.failed)  # a failed seed reaches no score
        present.append((place, scores[np.isfinite(scores)], np.full(missing.sum(), np.inf if lower else -np.inf)))
    every = np.concatenate([scores for _, scores, _ in present])
    if not len(every) or metric.binary:
        return ""
    low, high = (0.0, 1.0) if metric.is_share else (float(every.min()), float(every.max()))
    if not high > low:
        return ""
    taus = np.linspace(low, high, 101)
    lines = [
        Series(place, several[place].name, taus, performance_profile(np.append(scores, worst), taus, lower))
        for place, scores, worst in present
        if len(scores)
    ]
    sign, words = "≤" if lower else "≥", metric.words
    return chart(f"Performance profile: {words}", f"τ ({words})", f"share of seeds with {words} {sign} τ", lines, True)


def thinned(curve: Curve) -> Curve:
    """At most some hundred points, each the mean over as many rows as the others and over the values there are."""
    rows = len(curve.steps)
    every = -(-rows // _POINTS)
    if every == 1:
        return curve
    starts = np.arange(0, rows, every)
    there = ~np.isnan(curve.values)
    number = np.add.reduceat(there.astype(np.float64), starts)
    total = np.add.reduceat(np.where(there, curve.values, 0.0), starts)
    values = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    steps = np.add.reduceat(curve.steps, starts) / np.diff(np.append(starts, rows))
    return Curve(steps, values)
