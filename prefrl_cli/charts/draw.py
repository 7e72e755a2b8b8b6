"""Figures as pictures: the only module that decides what a chart looks like, and it never imports torch.

The same figure always gives the same bytes. Matplotlib is used without pyplot, which is slow to import and keeps
global state; a person's own matplotlibrc is set aside while a chart is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Sheet
from PIL import Image

from prefrl_cli.charts.animation import animate
from prefrl_cli.charts.films import animate_films
from prefrl_cli.charts.grid import mazes_sheet
from prefrl_cli.charts.lettering import fitting, fold, inches
from prefrl_cli.charts.maps import maps_sheet
from prefrl_cli.charts.panel import GREY, INK, MOST_THIN, draw_legend, draw_panel, label_y
from prefrl_cli.core.figures import Curves, Figure, Films, Line, Maps, MazeAnimation

_MARGIN = 0.15  # inches around a sheet
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


def draw(figure: Figure) -> dict[str, bytes]:
    """A figure's files by their suffix: a `png` and an `svg`, or a `gif` for an animation."""
    if isinstance(figure, MazeAnimation):
        return {"gif": animate(figure)}
    if isinstance(figure, Films):
        return {"gif": animate_films(figure)}
    with style():
        if isinstance(figure, Curves):
            return files(curves_sheet(figure))
        return files(maps_sheet(figure) if isinstance(figure, Maps) else mazes_sheet(figure))


def files(sheet: Sheet) -> dict[str, bytes]:
    """A sheet as `png` and `svg`; it must have been made, and be drawn, inside `style`."""
    sheet.set_dpi(150)
    # The canvases' own methods: savefig draws everything once more before each file.
    raster: Any = FigureCanvasAgg(sheet)  # its methods have no types
    raster.draw()
    pixels = np.ascontiguousarray(np.asarray(raster.buffer_rgba())[..., :3])  # nothing is transparent
    png, svg = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", dpi=(150, 150), compress_level=4)
    sheet.set_layout_engine("none")  # it was laid out just now
    vector: Any = FigureCanvasSVG(sheet)
    vector.print_svg(svg, metadata={"Date": None, "Creator": None})
    return {"png": png.getvalue(), "svg": svg.getvalue()}


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
    caption = fold(_caption(figure), width - 2 * _MARGIN, inches(11))
    more = 0.2 * caption.count("\n")  # lines make a sheet higher, and no panel lower
    height = more + (4.9 if len(rows) == 1 else 0.9 + 3.15 * len(rows))  # two by two are 16:9
    low = 0.37 + more
    high = (height - 0.6 - low) / len(rows)  # of a row, in inches
    size = fitting(figure.title, width - 2 * _MARGIN, 17, "bold")
    sheet = Sheet(figsize=(width, height))
    sheet.text(_MARGIN / width, 1 - _MARGIN / height, figure.title, va="top", fontsize=size, fontweight="bold")
    sheet.text(_MARGIN / width, (low - 0.07) / height, caption, va="top", fontsize=11, color=GREY)
    panels = iter(figure.panels)
    for row, number in enumerate(rows):
        wide = width / (number if figure.rows else max(rows))  # of panels two by two the last may stand alone
        beside = [(sheet.add_axes((0, 0, 1, 1)), panel) for _, panel in zip(range(number), panels, strict=False)]
        legend, rooms = 0.0, [1.0] * len(beside)  # above the axes of a row, and left of each, in inches
        for axes, panel in beside:
            draw_panel(axes, panel)
        for _ in range(3):  # numbers and labels, and so the legends, depend on how large the axes are
            up = high - 1.04 - legend
            for place, (axes, panel) in enumerate(beside):
                left, under = place * wide + rooms[place], low + (len(rows) - 1 - row) * high + 0.62
                across = wide - rooms[place] - 0.2
                axes.set_position((left / width, under / height, across / width, up / height))
                rooms[place] = max(rooms[place], label_y(axes, panel, up))
            legend = 0.25 * max(
                draw_legend(axes, wide - room - 0.2) for (axes, _), room in zip(beside, rooms, strict=True)
            )
        for room, (axes, panel) in zip(rooms, beside, strict=True):
            axes.set_xlabel(panel.x_label, fontsize=fitting(panel.x_label, wide - room - 0.2, 12))
            size = fitting(panel.title, wide - room - 0.2, 14, "bold")
            axes.set_title(panel.title, pad=8 + 72 * legend, fontsize=size)  # at one height along a row
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
        whom = f"the seeds (of {seeds:,}) that have a value" if fewer else f"{seeds:,} seeds"
        words = [f"Median and 10–90 % band of {whom}{'; thin: each seed' if seeds <= MOST_THIN else ''}."]
    else:
        shown = max((int(np.isfinite(line.y).any(0).sum()) for line in lines if line.y.shape[1] == seeds), default=0)
        has = (
            "all shown"
            if shown == seeds
            else f"of which {f'{shown:,}' if shown else 'none'} {'have' if shown > 1 else 'has'} dots"
        )
        words = [f"{seeds:,} seeds, {has}."] if seeds else []
    if "points" in styles and len(styles) > 1:
        words.append("Dots: every seed.")
    return " ".join([*words, figure.note]).strip()


def _some_missing(line: Line) -> bool:
    """Whether some seeds have a value where others have none."""
    missing = np.isnan(line.y)
    return bool((missing.any(1) & ~missing.all(1)).any())
