"""Which charts an experiment's section of the report has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefrl_cli.charts.svg import Series, chart
from prefrl_cli.report.configurations import Configuration, Curve
from prefrl_cli.report.results import SOLVED, Experiment, lower_is_better
from prefrl_cli.stats.aggregates import mean
from prefrl_cli.stats.intervals import mean_band, performance_profile

EVALUATION = "evaluation/"
_POINTS = 125  # a chart is some 500 pixels wide
_PROFILED = ("success_mean", "success_last")
_SHARES = ("success", "accuracy", "solved")  # names of metrics between 0 and 1


def main_charts(experiment: Experiment) -> list[str]:
    """Success against episodes and against labels, and performance profiles."""
    several = experiment.configurations
    against_episodes = _curves(several, "success", "Success while training")
    profiled = [name for name in _PROFILED if name in experiment.metrics] or [experiment.headline]
    profiles = [_profile(several, name) for name in profiled if name]
    return [picture for picture in (against_episodes, _against_labels(several), *profiles) if picture]


def evaluation_charts(experiment: Experiment) -> list[str]:
    """A learning curve for each evaluation metric that was measured more than once."""
    names = _names(experiment.configurations)
    pictures = [_curves(experiment.configurations, name) for name in names if name.startswith(EVALUATION)]
    return [picture for picture in pictures if picture]


def training_charts(experiment: Experiment) -> list[str]:
    """A curve for each other metric."""
    names = [name for name in _names(experiment.configurations) if not name.startswith(EVALUATION)]
    return [picture for name in names if name != "success" and (picture := _curves(experiment.configurations, name))]


def _names(several: Sequence[Configuration]) -> list[str]:
    return list(dict.fromkeys(name for configuration in several for name in configuration.curve_names()))


def _curves(several: Sequence[Configuration], name: str, title: str = "") -> str:
    counted = all(configuration.episodes for configuration in several)
    lines = []
    for place, configuration in enumerate(several):
        curve = configuration.curve(name)
        if curve is not None:
            thin = thinned(curve)
            x = thin.steps * (configuration.episodes or 1 if counted else 1)
            lines.append(Series(place, configuration.name, x, mean_band(thin.values)))
    if max((len(line.x) for line in lines), default=0) < 2:
        return ""  # a single point is in the table
    metric = name.removeprefix(EVALUATION)
    y_label = "share of episodes" if metric == "success" else "mean over seeds"
    y_label += ", lower is better" * lower_is_better(metric)
    title = title or metric.replace("_", " ").capitalize()
    return chart(title, "episode" if counted else "step", y_label, lines, _is_share(metric))


def _against_labels(several: Sequence[Configuration]) -> str:
    """Both means over all seeds at each step, so that no seed that stops asking drops out of the line."""
    lines = []
    for place, configuration in enumerate(several):
        success, labels = configuration.curve("success"), configuration.curve("labels_used")
        if success is None or labels is None or not np.array_equal(success.steps, labels.steps):
            continue
        x = np.asarray(mean(thinned(labels).values))
        if x[-1] > 0:  # a configuration that asks nothing has no place here
            lines.append(Series(place, configuration.name, x, mean_band(thinned(success).values)))
    return chart("Success against labels", "labels used a seed, mean", "share of episodes", lines, True)


def _profile(several: Sequence[Configuration], metric: str) -> str:
    lower = lower_is_better(metric)
    present = []
    for place, one in enumerate(several):
        scores = one.scores.get(metric, np.zeros(0))
        missing = np.isnan(scores) & np.isin(one.seeds, one.failed)  # a failed seed reaches no score
        present.append((place, scores[np.isfinite(scores)], np.full(missing.sum(), np.inf if lower else -np.inf)))
    every = np.concatenate([scores for _, scores, _ in present])
    if not len(every) or metric == SOLVED:
        return ""
    low, high = (0.0, 1.0) if _is_share(metric) else (float(every.min()), float(every.max()))
    if not high > low:
        return ""
    taus = np.linspace(low, high, 101)
    lines = [
        Series(place, several[place].name, taus, performance_profile(np.append(scores, worst), taus, lower))
        for place, scores, worst in present
        if len(scores)
    ]
    sign, words = "≤" if lower else "≥", metric.replace("_", " ")
    return chart(f"Performance profile: {words}", f"τ ({words})", f"share of seeds with {words} {sign} τ", lines, True)


def _is_share(metric: str) -> bool:
    return bool(set(_SHARES) & set(metric.split("_")))


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
