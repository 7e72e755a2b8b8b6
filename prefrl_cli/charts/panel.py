"""One panel of a sheet: its lines, its legend and its axes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from prefrl_cli.charts.lettering import fitting, fold_evenly, inches, widest
from prefrl_cli.core.figures import Array, Line, Panel, moving_mean
from prefrl_cli.stats.aggregates import quantiles

# Okabe and Ito's, which colour-blind eyes tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, GREY = "#222222", "#6b6b6b"
_MARKERS = ("o", "^", "s", "D", "v", "P")
_LEVELS = (0.5, 0.1, 0.9)
_MOST_ROWS = 2000  # a panel is some 900 pixels wide: more rows cost time and show nothing
MOST_THIN = 16  # seeds that have a thin line each: more would be a tangle
_MOST_VECTOR_POINTS = 1500  # more would make an SVG slow to open: they are embedded as a picture


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw all but the title, the labels and the legend."""
    axes.set_yscale(panel.y_scale)
    axes.set_xscale(panel.x_scale)
    number = drawn = 0
    for line in panel.lines:
        if line.style == "dashed":
            _draw_dashed(axes, line)
        elif line.style == "bars":
            _draw_bars(axes, line)
        else:
            style = number % len(COLOURS)
            # A colour a line even where it has no values, so that the same line keeps its colour.
            drawn += _draw_line(axes, line, style, panel.y_scale == "log")
            number += 1
    for place, position in enumerate(panel.marks):
        label = panel.mark_label if place == 0 else ""
        axes.axvline(position, color=INK, linestyle=(0, (1, 1.2)), linewidth=1.6, zorder=2.5, label=label or None)
    if panel.x_scale == "log":
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:,.0f}")
    if panel.x_range is not None:
        margin = 0.02 * (panel.x_range[1] - panel.x_range[0])
        axes.set_xlim(panel.x_range[0] - margin, panel.x_range[1] + margin)
    if panel.x_scale == "linear":
        _number_x(axes, panel)
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    if panel.y_scale == "linear" and np.ptp(axes.get_ylim()) > 10 and np.abs(axes.get_ylim()).max() >= 1000:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    if number and not drawn:
        axes.text(
            0.5,
            0.5,
            "no values",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=GREY,
            backgroundcolor="white",
        )
        axes.tick_params(labelleft=False)


def _number_x(axes: Axes, panel: Panel) -> None:
    """Whole numbers below what is counted, their thousands separated, and few of them where they are long."""
    most = axes.get_xlim()[1]
    if most >= 1000:
        axes.xaxis.set_major_formatter("{x:,.0f}")
    if most >= 10_000:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
    elif all((np.mod(line.x[np.isfinite(line.x)], 1) == 0).all() for line in panel.lines):
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10), integer=True))


def label_y(axes: Axes, panel: Panel, height: float) -> float:
    """Write the y label, in lines that are no longer than the axis.

    Args:
        axes: drawn and in their place.
        panel: what they show.
        height: of the axes, in inches.

    Returns:
        The inches that it and the numbers beside the axis need.
    """
    label = fold_evenly(panel.y_label or panel.title, height + 0.15, inches(12))  # an axis without words says nothing
    axes.set_ylabel(label)
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]
    numbers = axes.yaxis.get_major_formatter().format_ticks(ticks)
    return 0.3 + widest(numbers, inches(12)) + 0.2 * (1 + label.count("\n"))


def draw_legend(axes: Axes, width: float) -> int:
    """A legend between title and axes, so many inches wide, where it hides nothing; the rows that it takes."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return 0
    around = 38 / 72  # inches: a handle, what is between it and its words, and what follows them
    size = min(fitting(label, width - around, 11) for label in labels)
    widths = [inches(size)(label) + around for label in labels]
    columns = len(labels) if sum(widths) <= width else max(1, int(width / max(widths)))
    legend = axes.legend(
        handles, labels, fontsize=size, loc="lower left", bbox_to_anchor=(-0.01, 0.985), ncols=columns,
        borderpad=0.1, borderaxespad=0.2, handlelength=1.6, handletextpad=0.5, columnspacing=1.4,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
        if isinstance(handle, Line2D) and handle.get_linestyle() == "None":
            handle.set_markersize(7)
    return -(-len(labels) // columns)


def _draw_dashed(axes: Axes, line: Line) -> None:
    (median,) = quantiles(line.y, (0.5,))
    there = np.isfinite(median)
    axes.plot(
        _one_x(line)[there], median[there], color=GREY, linestyle=(0, (5, 3)), linewidth=1.4, zorder=2.6,
        label=line.label or None,
    )  # fmt: skip


def _draw_bars(axes: Axes, line: Line) -> None:
    x = _one_x(line)
    axes.bar(x, line.y[:, 0], width=float(x[1] - x[0]), color="#d9d9d9", edgecolor="white", label=line.label or None)


def _draw_line(axes: Axes, line: Line, style: int, positive: bool) -> bool:
    """Draw one line; whether it had a value that can be drawn."""
    values = np.where(line.y > 0, line.y, np.nan) if positive else line.y
    if line.style == "points":
        return _draw_points(axes, line, values, style)
    x, values = _one_x(line), np.asarray(values, dtype=np.float64)
    there = ~np.isnan(values).all(1)
    if line.style == "smooth" and line.window > 1:
        if values.shape[1] == 1:
            _plot(axes, x[there], values[there, 0], color=COLOURS[style], alpha=0.3, linewidth=1.0)
        values = moving_mean(values, line.window)
    return _draw_band(axes, x[there], values[there], style, line.label)


def _draw_band(axes: Axes, x: Array, values: Array, style: int, label: str) -> bool:
    every = max(1, -(-len(x) // _MOST_ROWS))
    x, values = x[::every], values[::every]
    median, low, high = quantiles(values, _LEVELS)
    colour = COLOURS[style]
    if 1 < values.shape[1] <= MOST_THIN:
        there = np.isfinite(values)
        axes.plot(x, np.where(there, values, np.nan), color=colour, linewidth=0.6, alpha=0.35, zorder=1.8)
    if values.shape[1] > 1:
        shown = np.isfinite(low) & np.isfinite(high)
        axes.fill_between(x, low, high, where=shown, color=colour, alpha=0.2, linewidth=0, zorder=1.9)
    marker = _MARKERS[style] if 0 < len(x) <= 12 else ""  # few enough to show where the values are
    _plot(axes, x, median, color=colour, linewidth=2.0, marker=marker, markersize=5, label=label or None)
    return bool(np.isfinite(median).any())


def _plot(axes: Axes, x: Array, y: Array, **style: object) -> None:
    every = max(1, -(-len(x) // _MOST_ROWS))
    axes.plot(x[::every], np.where(np.isfinite(y), y, np.nan)[::every], **style)  # type: ignore[arg-type]


def _draw_points(axes: Axes, line: Line, values: Array, style: int) -> bool:
    x = np.broadcast_to(line.x[:, None] if line.x.ndim == 1 else line.x, values.shape)
    there = np.isfinite(x) & np.isfinite(values)
    number = int(there.sum())
    size = 6 if number < 200 else 4 if number < 2000 else 3
    opacity = float(np.clip(40 / max(number, 1) ** 0.6, 0.12, 0.75))
    axes.plot(
        x[there], values[there], linestyle="", marker=_MARKERS[style], markersize=size, markeredgewidth=0,
        color=COLOURS[style], alpha=opacity, rasterized=number > _MOST_VECTOR_POINTS, label=line.label or None,
    )  # fmt: skip
    return number > 0


def _one_x(line: Line) -> Array:
    if line.x.ndim != 1:
        raise ValueError(f"line {line.label!r}: style {line.style} needs one x for all seeds, not {line.x.shape}")
    return np.asarray(line.x, dtype=np.float64)
