"""Figures as pictures: the only module that decides what a chart looks like, and it never imports torch.

The same figure always gives the same bytes. Matplotlib is used without pyplot, which is slow to import and keeps
global state; a person's own matplotlibrc is set aside while a chart is drawn.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from prefrl_cli.charts.animation import animate
from prefrl_cli.charts.films import animate_films
from prefrl_cli.charts.grid import mazes_sheet
from prefrl_cli.charts.maps import maps_sheet
from prefrl_cli.core.figures import Array, Curves, Figure, Films, Line, Maps, MazeAnimation, Panel, moving_mean
from prefrl_cli.files.write import write_whole
from prefrl_cli.stats.aggregates import quantiles

# Okabe and Ito's, which colour-blind eyes tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, GREY = "#222222", "#6b6b6b"
_MARKERS = ("o", "^", "s", "D", "v", "P")
_LEVELS = (0.5, 0.1, 0.9)
_MOST_ROWS = 2000  # a panel is some 900 pixels wide: more rows cost time and show nothing
_MOST_THIN = 16  # seeds that have a thin line each: more would be a tangle
_MOST_VECTOR_POINTS = 1500  # more would make an SVG slow to open: they are embedded as a picture
_LONGEST_Y_LABEL = 32  # letters that fit beside a panel
_LETTERS_A_ROW = 62  # letters that fit above it
_RC: dict[Any, Any] = {
    "svg.hashsalt": "prefrl",
    "font.size": 12,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 12,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 11,
}


def draw(figure: Figure, path: Path) -> list[Path]:
    """Write a figure.

    Args:
        figure: what to show.
        path: where, without a suffix; the folder exists.

    Returns:
        The files written: a PNG and an SVG, or a GIF for an animation.
    """
    # with_name, since with_suffix would cut a name at its dot.
    named = {suffix: path.with_name(f"{path.name}.{suffix}") for suffix in ("png", "svg", "gif")}
    if isinstance(figure, MazeAnimation):
        animate(figure, named["gif"])
        return [named["gif"]]
    if isinstance(figure, Films):
        animate_films(figure, named["gif"])
        return [named["gif"]]
    with style():
        if isinstance(figure, Curves):
            sheet = curves_sheet(figure)
        else:
            sheet = maps_sheet(figure) if isinstance(figure, Maps) else mazes_sheet(figure)
        write(sheet, named["png"], named["svg"])
    return [named["png"], named["svg"]]


def write(sheet: Sheet, png: Path, svg: Path) -> None:
    """Write a sheet twice; it must have been made, and be written, inside `style`."""
    sheet.set_dpi(150)
    # The canvases' own methods: savefig draws everything once more before each file.
    raster: Any = FigureCanvasAgg(sheet)  # its methods have no types
    raster.draw()
    pixels = np.ascontiguousarray(np.asarray(raster.buffer_rgba())[..., :3])  # nothing is transparent
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", dpi=(150, 150), compress_level=4)
    write_whole(png, content.getbuffer(), sync=False)
    sheet.set_layout_engine("none")  # it was laid out just now
    vector: Any = FigureCanvasSVG(sheet)
    content = io.BytesIO()
    vector.print_svg(content, metadata={"Date": None, "Creator": None})
    write_whole(svg, content.getbuffer(), sync=False)


@contextmanager
def style() -> Iterator[None]:
    """Our look, whatever a person's own matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def curves_sheet(figure: Curves) -> Sheet:
    """The panels with what their lines mean below them, in whatever style is set."""
    pairs = [2] * (len(figure.panels) // 2) + [1] * (len(figure.panels) % 2)
    rows = figure.rows or tuple(pairs)
    width = 8.0 if max(rows) == 1 else 12.8
    height = 4.9 if len(rows) == 1 else 0.9 + 3.15 * len(rows)  # two by two are 16:9
    sheet = Sheet(figsize=(width, height))
    caption = textwrap.fill(_caption(figure), int(13.5 * width))
    low = 0.17 + 0.2 * (1 + caption.count("\n"))
    high = (height - 0.6 - low) / len(rows)  # of a row, in inches
    sheet.text(0.15 / width, 1 - 0.15 / height, figure.title, va="top", fontsize=17, fontweight="bold")
    sheet.text(0.15 / width, (low - 0.07) / height, caption, va="top", fontsize=11, color=GREY)
    panels = iter(figure.panels)
    for row, number in enumerate(rows):
        wide = width / (number if figure.rows else max(rows))  # of panels two by two the last may stand alone
        beside = [(sheet.add_axes((0, 0, 1, 1)), panel) for _, panel in zip(range(number), panels, strict=False)]
        legend = 0.25 * max(_draw_panel(axes, panel) for axes, panel in beside)
        for place, (axes, panel) in enumerate(beside):
            axes.set_title(panel.title, pad=8 + 72 * legend)  # at one height along a row
            left, under = place * wide + 1.0, low + (len(rows) - 1 - row) * high + 0.62
            up = high - 1.04 - legend
            axes.set_position((left / width, under / height, (wide - 1.2) / width, up / height))
    return sheet


def _caption(figure: Curves) -> str:
    """What lines, bands and dots mean, and over how many seeds."""
    lines = [line for panel in figure.panels for line in panel.lines if line.style in ("band", "smooth", "points")]
    seeds = max((line.y.shape[1] for line in lines), default=0)
    styles = {line.style for line in lines}
    if seeds == 1:
        words = ["1 seed."]
    elif styles & {"band", "smooth"}:
        fewer = any(_some_missing(line) for line in lines if line.style != "points")
        whom = f"the seeds (of {seeds}) that have a value" if fewer else f"{seeds} seeds"
        words = [f"Median and 10–90 % band of {whom}{'; thin: each seed' if seeds <= _MOST_THIN else ''}."]
    else:
        words = [f"{seeds} seeds, all shown."] if seeds else []
    if "points" in styles and len(styles) > 1:
        words.append("Dots: every seed.")
    return " ".join([*words, figure.note]).strip()


def _some_missing(line: Line) -> bool:
    """Whether some seeds have a value where others have none."""
    missing = np.isnan(line.y)
    return bool((missing.any(1) & ~missing.all(1)).any())


def _draw_panel(axes: Axes, panel: Panel) -> int:
    """Draw all but the title; the rows that the legend takes."""
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(textwrap.fill(panel.y_label, _LONGEST_Y_LABEL))
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
    if panel.x_scale == "linear" and axes.get_xlim()[1] >= 10_000:  # long numbers: few of them fit
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    if number and not drawn:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.tick_params(labelleft=False)
    return _draw_legend(axes)


def _draw_legend(axes: Axes) -> int:
    """A legend between title and axes, where it hides nothing; the rows that it takes."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return 0
    widths = [len(label) + 5 for label in labels]  # in letters, the handle included
    columns = len(labels) if sum(widths) <= _LETTERS_A_ROW else max(1, _LETTERS_A_ROW // max(widths))
    legend = axes.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(-0.01, 0.985), ncols=columns,
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
    if 1 < values.shape[1] <= _MOST_THIN:
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
