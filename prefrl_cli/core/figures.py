"""Charts as plain data: an algorithm says what to show, the report draws it (`prefrl_cli.charts.draw`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
        style: `band`, median and 10 to 90 % of the seeds, and a thin line for each of them where there are at most 16;
            `smooth`, the same of the mean over the `window` values up to each point; `points`, a dot a value;
            `dashed`, the median as a thin grey dashed reference (a diagonal, a chance level); `line`, all seeds taken
            together, `y` being `[N, 1]`; `bars`, the same as pale bars behind the others, one a unit of `x`'s spacing.
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
        x_scale: of what is above zero.
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
    x_scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Curves:
    """A sheet of panels.

    Attributes:
        title: above the sheet.
        panels: in reading order.
        note: said below the sheet, beside what the lines and bands mean.
        rows: panels in each row; empty for two a row, or one where there is one.
    """

    title: str
    panels: tuple[Panel, ...]
    note: str = ""
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class MazePanel:
    """One picture of a maze on a sheet; what is None is not drawn.

    Attributes:
        title: above it.
        words: a line between title and maze.
        path: `[K, 2]`, rows and columns of the cells of an episode, the first cell first: K - 1 steps.
        policy: `[n, n, 4]`, chance of moving up, right, down, left: an arrow a move, the darker the likelier.
        rewards: `[n, n, 4]`, the learned reward of moving up, right, down, left: a cell is four triangles, each in the
            colour of the move that way; `[n, n, 1]` where the move does not matter: a cell is one square.
        framed: whether a coloured frame marks it.
    """

    title: str
    words: str = ""
    path: NDArray[np.integer] | None = None
    policy: Array | None = None
    rewards: Array | None = None
    framed: bool = False


@dataclass(frozen=True)
class Mazes:
    """A sheet of pictures of one maze, whose rewards share one scale of colours.

    Attributes:
        title: above the sheet.
        words: a line below the title.
        walls: `[n, n]`, true for a wall.
        start: row and column.
        goal: row and column.
        panels: in reading order.
        columns: panels a row.
        grouped: how many panels beside each other belong together.
        reward_label: what the colours mean, with the unit.
        note: below the sheet, a line each.
    """

    title: str
    walls: NDArray[np.bool_]
    start: tuple[int, int]
    goal: tuple[int, int]
    panels: tuple[MazePanel, ...]
    columns: int
    words: str = ""
    grouped: int = 1
    reward_label: str = ""
    note: tuple[str, ...] = ()


@dataclass(frozen=True)
class MazeAnimation:
    """An episode in a maze, a frame a step, written as a GIF; the attributes are those of `Mazes` and its panels."""

    title: str
    walls: NDArray[np.bool_]
    start: tuple[int, int]
    goal: tuple[int, int]
    path: NDArray[np.integer]


# What is drawn of a moment, in a square whose lower left corner is (0, 0) and whose upper right one is (1, 1):
# `{"kind": "line", "points": [[x, y], ...], "width": w}`, `{"kind": "polygon", "points": ...}` or
# `{"kind": "circle", "centre": [x, y], "radius": r}`, each with a `colour` by name; see `prefrl_cli.charts.films`.
Shape = Mapping[str, Any]


@dataclass(frozen=True)
class Film:
    """Moving shapes in a square.

    Attributes:
        title: above it.
        frames: what is seen at one moment after the other, what lies behind first.
        framed: whether a coloured frame marks it.
    """

    title: str
    frames: Sequence[Sequence[Shape]]
    framed: bool = False


@dataclass(frozen=True)
class Films:
    """Films that start together, written as one GIF; a shorter one stays on its last frame.

    Attributes:
        title: above them.
        films: in reading order.
        columns: films a row.
        note: below them.
    """

    title: str
    films: tuple[Film, ...]
    columns: int = 1
    note: str = ""


@dataclass(frozen=True)
class MapPanel:
    """A quantity over a plane, in a scale of colours of its own.

    Attributes:
        title: above it.
        values: `[H, W]`, lowest y and lowest x first.
        label: what the colours mean, with the unit.
    """

    title: str
    values: Array
    label: str


@dataclass(frozen=True)
class Maps:
    """Maps of one plane beside each other.

    Attributes:
        title: above them.
        panels: in reading order.
        x_label: with its unit.
        y_label: with its unit.
        x_range: first and last x.
        y_range: first and last y.
        path: `[K, 2]`, x and y of a line on each of them.
        note: below them.
    """

    title: str
    panels: tuple[MapPanel, ...]
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    path: Array
    note: str = ""


@dataclass(frozen=True)
class Question:
    """Two paths that were asked about.

    Attributes:
        update: at which it was asked, counted from 1.
        states: `[2, T]` or, observed, `[2, T, *shape]`, before each step; past a path's end they are not read.
        actions: `[2, T]` or `[2, T, A]`, likewise.
        lengths: `[2]`, steps.
        label: the answer: 1 for the first path, 0 for the second, between them for a tie.
        chance: that the first is preferred, as the reward model said before it learned the answer.
    """

    update: int
    states: NDArray[Any]
    actions: NDArray[Any]
    lengths: NDArray[np.integer]
    label: float
    chance: float


@dataclass(frozen=True)
class Learned:
    """What one seed learned, in the numbers of its environment, which draws it.

    Attributes:
        seed: which seed, in words.
        success: `[N]`, 1 for each of its episodes so far that reached the goal, else 0.
        labels: answers that were learned from.
        policy: `[S, A]`, chance of each action in each state.
        rewards: update -> `[S, A]`, the learned reward of each action in each state then, or `[S, 1]` where the action
            does not matter; in order, the last one is that of now.
        states: `[K]`, of a greedy episode, its last one included.
        questions: some that were asked, in order.
        returns: `[N]`, of each of its episodes so far.
        reward_of: from observations `[K, *shape]`, and actions `[K]` or `[K, A]`, to the learned rewards `[K]`, where
            states are vectors; `policy` and `rewards` are empty then, and `states` what was observed, `[K, *shape]`.
    """

    seed: str
    success: Array
    labels: int
    policy: Array
    rewards: dict[int, Array]
    states: NDArray[Any]
    questions: tuple[Question, ...] = ()
    returns: Array | None = None
    reward_of: Callable[[Array, NDArray[Any]], Array] | None = None


Figure = Curves | Mazes | MazeAnimation | Films | Maps
History = dict[str, Array]


def moving_mean(values: Array, window: int) -> Array:
    """Mean over the rows up to each, of what values there are.

    Args:
        values: `[N, R]`; NaN for no value.
        window: rows; the first ones have fewer before them.

    Returns:
        `[N, R]`; NaN where the row itself has no value, so that nothing is drawn before a metric begins.
    """
    there = ~np.isnan(values)
    filled = np.where(there, values, 0.0)
    total, number = filled.copy(), there.astype(np.float64)
    for back in range(1, min(window, len(values))):
        total[back:] += filled[:-back]
        number[back:] += there[:-back]
    return np.divide(total, number, out=np.full_like(total, np.nan), where=there)
