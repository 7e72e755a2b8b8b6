"""Charts as plain data: an algorithm says what to show, the report draws it (`prefrl_cli.charts.draw`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Line:
    """One quantity for every seed.

    Attributes:
        x: `[N]`, or `[N, R]` where seeds have their own (`points` only).
        y: `[N, R]`; NaN where there is no value: the neighbours that have one are joined.
        label: for the legend; empty for none.
        style: `band`, median and 10 to 90 % of the seeds; `smooth`, the same of the mean over the `window` values up
            to each point, over a faint median of the raw values; `points`, a dot a value; `dashed`, the median as a
            thin grey dashed reference (a diagonal, a chance level); `line`, all seeds taken together, `y` being `[N,
            1]`; `bars`, the same as pale bars behind the others, one a unit of `x`'s spacing.
        window: rows that `smooth` averages: those up to each point that have a value; 1 smooths nothing.
    """

    x: Array | NDArray[np.integer]
    y: Array
    label: str = ""
    style: Literal["band", "smooth", "points", "dashed", "line", "bars"] = "band"
    window: int = 20


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it.
        x_label: with its unit.
        y_label: with its unit.
        lines: what is drawn.
        y_range: fixed limits, or none.
        marks: x positions of vertical lines, such as the right answer.
        mark_label: what the marks are called in the legend.
        y_scale: `log` leaves out what is not above zero.
        x_range: first and last x, so that panels of one sheet can be compared, or none.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    y_range: tuple[float, float] | None = None
    marks: tuple[float, ...] = ()
    mark_label: str = ""
    y_scale: Literal["linear", "log"] = "linear"
    x_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Curves:
    """A sheet of panels, two a row (one where there is one).

    Attributes:
        title: above the sheet.
        panels: in reading order.
        note: said below the sheet, beside what the lines and bands mean.
    """

    title: str
    panels: tuple[Panel, ...]
    note: str = ""


@dataclass(frozen=True)
class MazeMap:
    """A maze with what was learned in it.

    Attributes:
        title: above the picture.
        walls: `[n, n]`, true for a wall.
        start: row and column.
        goal: row and column.
        path: `[K, 2]`, rows and columns of the greedy path, the start first: K - 1 steps.
        heat: `[n, n]`, the process reward of each cell; NaN where there is none.
        heat_label: what the colours mean.
        policy: `[n, n, 4]`, chance of moving up, right, down, left.
    """

    title: str
    walls: NDArray[np.bool_]
    start: tuple[int, int]
    goal: tuple[int, int]
    path: NDArray[np.integer]
    heat: Array
    heat_label: str
    policy: Array


@dataclass(frozen=True)
class MazeAnimation:
    """The path of a `MazeMap`, a frame a step, written as a GIF."""

    maze: MazeMap


Figure = Curves | MazeMap | MazeAnimation
History = dict[str, Array]
