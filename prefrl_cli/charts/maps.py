"""Quantities over a plane as a sheet of pictures; `prefrl_cli.charts.draw.draw` is the way in."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure as Sheet

from prefrl_cli.charts.grid import PATH, colours
from prefrl_cli.charts.lettering import fitting, fold, inches
from prefrl_cli.core.figures import Maps

_GREY = "#6b6b6b"


def maps_sheet(figure: Maps) -> Sheet:
    """The panels beside each other, each with its own scale of colours; drawn inside the style of `draw`."""
    number = len(figure.panels)
    wide, high = 6.4, 5.2
    note = fold(figure.note, wide * number - 0.3, inches(11))
    low = 0.85 + 0.2 * (1 + note.count("\n"))
    sheet = Sheet(figsize=(wide * number, high))
    size = fitting(figure.title, wide * number - 0.3, 17, "bold")
    sheet.text(0.15 / (wide * number), 1 - 0.15 / high, figure.title, va="top", fontsize=size, fontweight="bold")
    sheet.text(0.15 / (wide * number), 0.1 / high, note, va="bottom", fontsize=11, color=_GREY)
    for place, panel in enumerate(figure.panels):
        left = (wide * place + 0.95) / (wide * number)
        axes = sheet.add_axes((left, low / high, 3.9 / (wide * number), (high - low - 1.0) / high))
        least, most = float(panel.values.min()), float(panel.values.max())
        if most - least < 1e-9:  # one colour where all is the same
            least, most = least - 0.5, most + 0.5
        image = axes.imshow(
            panel.values, cmap=colours(), vmin=least, vmax=most, origin="lower", aspect="auto",
            extent=(*figure.x_range, *figure.y_range), interpolation="nearest",
        )  # fmt: skip
        for colour, width in (("white", 3.2), (PATH, 1.6)):
            axes.plot(figure.path[:, 0], figure.path[:, 1], color=colour, linewidth=width)
        there = figure.path[np.isfinite(figure.path).all(1)]
        axes.plot(*there[0], "o", color="white", markeredgecolor=PATH, markersize=8)
        axes.plot(*there[-1], "o", color=PATH, markeredgecolor="white", markersize=8)
        axes.set_xlim(figure.x_range)
        axes.set_ylim(figure.y_range)
        axes.grid(visible=False)
        axes.set_title(panel.title)
        axes.set_xlabel(figure.x_label)
        axes.set_ylabel(figure.y_label)
        room = sheet.add_axes(
            (left + 4.05 / (wide * number), low / high, 0.16 / (wide * number), (high - low - 1.0) / high)
        )
        bar = sheet.colorbar(image, cax=room)
        bar.set_label(panel.label)
        bar.outline.set_visible(False)
    return sheet
