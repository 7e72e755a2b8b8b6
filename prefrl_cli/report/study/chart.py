"""The chart of a study: points with intervals, a ladder of steps, or lines over a number."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, NullLocator

from prefrl_cli.charts.draw import files, style
from prefrl_cli.charts.lettering import fitting, fold, inches
from prefrl_cli.charts.panel import COLOURS, GREY, INK
from prefrl_cli.core.metric import Metric
from prefrl_cli.files.write import write_whole
from prefrl_cli.report.study.study import Result, Study, columns, headline_among
from prefrl_cli.stats.summary import NOTHING, digits

_MARKERS = ("o", "s", "^", "D", "v", "X")
_LEVELS = ("--", ":", "-.")
_LONGEST_NAME = 36  # letters of a row's name in a line
_LONGEST_SERIES = 20  # letters of a series' name in a line
_LEAST_SPAN = 0.1  # the shortest range of a metric's axis, so that a small difference looks small
_LOGARITHMIC_FROM = 4.0  # largest x over the smallest
_LABEL = 0.055  # of the axis, from one number below it to the next
_APART = 0.016  # share of the x axis between series at one x, so that their intervals are told apart


def draw(study: Study, results: Sequence[Result], path: Path) -> list[Path]:
    """Write the chart of the finished rows.

    Args:
        study: what was asked.
        results: of `measure`; at least one is finished.
        path: where, without a suffix; the folder exists.

    Returns:
        The files: a PNG and an SVG.
    """
    with style():
        drawn = files(chart_sheet(study, results))
    paths = [path.with_name(f"{path.name}.{suffix}") for suffix in drawn]
    for place, content in zip(paths, drawn.values(), strict=True):
        write_whole(place, content, sync=False)
    return paths


def chart_sheet(study: Study, results: Sequence[Result]) -> Sheet:
    """The chart itself, in whatever style is set; see `draw`."""
    every = columns(study, (one.run for one in results))
    metrics = [*filter(None, [headline_among(every)]), *(one for one in every if one.role == "verdict")]
    shown = [one for one in results if one.finished]
    sheet = _lines(study, shown, metrics) if study.chart == "lines" else _points(study, shown, metrics)
    room = 0.976 * sheet.get_figwidth()
    size = fitting(study.title, room, 16, "bold")
    sheet.suptitle(study.title, x=0.012, ha="left", fontsize=size, fontweight="bold")
    caption = fold(_caption(study, results), room, inches(11))
    sheet.supxlabel(caption, x=0.012, ha="left", fontsize=11, color=GREY)
    return sheet


def _caption(study: Study, results: Sequence[Result]) -> str:
    seeds = sorted({len(one.run.seeds) for one in results if one.finished})
    number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    words = f"Means over {number} seeds a row, with 95 % intervals."
    if study.chart != "lines":
        words += " Hollow: the mean of the worst tenth of them."
    if study.chart == "ladder":
        words += " Each row keeps the changes of those above it."
    left_out = sum(not one.finished for one in results)
    return words + (f" {left_out} of {len(results)} rows did not finish." if left_out else "")


def _points(study: Study, shown: Sequence[Result], metrics: Sequence[Metric]) -> Sheet:
    """A line a row from the top down, a panel a metric; each series has panels, and a scale, of its own."""
    groups = [
        [one for one in shown if one.row.series == name] for name in dict.fromkeys(one.row.series for one in shown)
    ]
    names = [[textwrap.fill(one.row.name, _LONGEST_NAME) for one in group] for group in groups]
    folds = sum(name.count("\n") for some in names for name in some)
    height = 1.25 + 0.5 * len(groups) + 0.46 * len(shown) + 0.12 * folds
    sheet = Sheet(figsize=(10.6, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.02))
    ratios = {"height_ratios": [len(group) for group in groups]}
    panels = sheet.subplots(
        len(groups), max(len(metrics), 1), sharey="row", squeeze=False, gridspec_kw=ratios if len(groups) > 1 else None
    )
    ladder = study.chart == "ladder"
    baselines = {one.row.baseline for one in shown}
    for group, named, beside in zip(groups, names, panels, strict=True):
        rows = np.arange(len(group), dtype=np.float64)
        for axes, metric in zip(beside, metrics, strict=False):
            _draw_metric(axes, group, metric, rows, ladder, set() if ladder else baselines)
            if group is groups[-1]:
                axes.set_xlabel(_heading(metric))
        beside[0].set_yticks(rows, named)
        beside[0].set_ylim(len(group) - 0.45, -0.55)
        for axes in beside:
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_visible(False)
    return sheet


def _draw_metric(
    axes: Axes, shown: Sequence[Result], metric: Metric, rows: np.ndarray, ladder: bool, baselines: set[str | None]
) -> None:
    """Each row's point and interval, its value beside the panel; of a result its worst tenth too."""
    found, worst = _estimates(shown, metric), _worst(shown, metric)
    if ladder:  # the line leads the eye down
        there = ~np.isnan(found[:, 0])
        axes.plot(found[there, 0], rows[there], color="#b9b9b9", linewidth=1.6, zorder=1.5)
    for row, (value, low, high), least, one in zip(rows, found, worst, shown, strict=True):
        colour = GREY if one.row.name in baselines else COLOURS[0]
        axes.plot([low, high], [row, row], color=colour, linewidth=2.2, solid_capstyle="round", zorder=2)
        if not np.isnan(least):
            axes.plot([least], [row], "D", color="white", markersize=6, markeredgecolor=colour, zorder=2.5)
        axes.plot([value], [row], "o", color=colour, markersize=8, markeredgecolor="white", zorder=3)
        words = _share_words(one, metric) if metric.binary else digits(value, high - low)
        axes.annotate(
            words, (1.0, row), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=11, color=INK,
        )  # fmt: skip
    axes.set_xlim(*_span(np.append(found, worst), metric, whole=ladder))


def _heading(metric: Metric) -> str:
    return f"{metric.words}, {metric.unit}" if metric.binary else metric.words


def _share_words(result: Result, metric: Metric) -> str:
    found = result.estimates.get(metric.name)
    return f"{np.nansum(found.values):.0f} of {found.seeds}" if found and found.seeds else "–"


def _estimates(shown: Sequence[Result], metric: Metric) -> np.ndarray:
    """`[N, 3]`: value and both ends of each row; NaN where it has none."""
    found = [one.estimates[metric.name].mean if metric.name in one.estimates else NOTHING for one in shown]
    return np.array(found, dtype=np.float64).reshape(-1, 3)


def _worst(shown: Sequence[Result], metric: Metric) -> np.ndarray:
    """`[N]`: the mean of the worst tenth of each row's seeds, of a result; NaN elsewhere."""
    told = [one.estimates.get(metric.name) if metric.role == "result" else None for one in shown]
    return np.array([np.nan if one is None else one.worst_tenth for one in told])


def _span(found: np.ndarray, metric: Metric, *, whole: bool) -> tuple[float, float]:
    """The ends of a metric's axis: 0 and 1 of a share of seeds, and of any share where they are asked for."""
    if metric.binary or (whole and metric.is_share):
        return -0.03, 1.03
    numbers = found[np.isfinite(found)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 1.0)
    margin = max(0.06 * (high - low), (_LEAST_SPAN - (high - low)) / 2, 0.0) or 0.5
    return low - margin, min(high + margin, 1.03) if metric.is_share and high <= 1.0 else high + margin


def _lines(study: Study, shown: Sequence[Result], metrics: Sequence[Metric]) -> Sheet:
    """A line a series over x, a panel a metric, one legend beside them; a row that has no x is a level."""
    sheet = Sheet(figsize=(12.4, 5.0), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.02))
    panels = sheet.subplots(1, max(len(metrics), 1), squeeze=False)[0]
    placed = [one for one in shown if one.row.x is not None]
    places = sorted({one.row.x for one in placed if one.row.x is not None})
    logarithmic = bool(places) and places[0] > 0 and places[-1] / places[0] >= _LOGARITHMIC_FROM
    series = list(dict.fromkeys(one.row.series or "" for one in placed))
    levels = [one for one in shown if one.row.x is None]
    for axes, metric in zip(panels, metrics, strict=False):
        for number, name in enumerate(series):
            several = sorted(
                (one for one in placed if (one.row.series or "") == name), key=lambda one: one.row.x or 0.0
            )
            moved = _moved(several, placed, places, logarithmic)
            _draw_series(axes, moved, _estimates(several, metric), number, name)
        for dash, one, (value, low, high) in zip(
            itertools.cycle(_LEVELS), levels, _estimates(levels, metric), strict=False
        ):
            axes.axhspan(low, high, color=GREY, alpha=0.12, linewidth=0)
            axes.axhline(value, color=GREY, linestyle=dash, linewidth=1.8, label=one.row.series)
        if logarithmic:
            axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels(_labels(places, logarithmic))
        axes.set_xlabel(study.x_label)
        axes.set_title(_heading(metric), fontsize=12)
        axes.set_ylim(*_span(_estimates(shown, metric), metric, whole=True))
    handles, labels = panels[0].get_legend_handles_labels()
    sheet.legend(handles, [textwrap.fill(label, _LONGEST_SERIES) for label in labels], loc="outside right upper")
    return sheet


def _moved(
    several: Sequence[Result], placed: Sequence[Result], places: Sequence[float], logarithmic: bool
) -> np.ndarray:
    """The x of each row of a series, beside those of other series that have the same."""
    x = np.array([one.row.x for one in several], dtype=np.float64)
    there = [[other for other in placed if other.row.x == one.row.x] for one in several]
    by = np.array([others.index(one) - (len(others) - 1) / 2 for one, others in zip(several, there, strict=True)])
    if logarithmic:
        return np.asarray(x * (places[-1] / places[0]) ** (_APART * by))
    return np.asarray(x + ((places[-1] - places[0]) or 1.0) * _APART * by)


def _labels(places: Sequence[float], logarithmic: bool) -> list[str]:
    """What stands below each place; nothing where it would touch the one before."""
    along = np.log(places) if logarithmic else np.array(places)
    labels, free = [], -np.inf
    for place, where in zip(places, (along - along[0]) / ((along[-1] - along[0]) or 1.0), strict=True):
        labels.append(f"{place:g}" if where >= free else "")
        free = where + _LABEL if labels[-1] else free
    return labels


def _draw_series(axes: Axes, x: np.ndarray, found: np.ndarray, number: int, name: str) -> None:
    value, low, high = found.T
    colour = COLOURS[number % len(COLOURS)]
    dash = "-" if number < len(COLOURS) else "--"
    axes.vlines(x, low, high, color=colour, linewidth=1.8, zorder=2)
    axes.plot(
        x, value, dash, color=colour, marker=_MARKERS[number % len(_MARKERS)], markersize=7,
        markeredgecolor="white", linewidth=2, label=name, zorder=3,
    )  # fmt: skip
