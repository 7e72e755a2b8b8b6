"""Mazes as a sheet of pictures; `prefrl_cli.charts.draw.draw` is the way in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray

from prefrl_cli.charts.lettering import fitting, fold, inches
from prefrl_cli.core.figures import Array, MazePanel, Mazes

_RAMP = ("#fff6c8", "#c9e4b5", "#6fc0be", "#3f8fc4", "#2c62ad")  # lighter to darker, so that it reads in grey too
WALL, PATH, INK, _GREY, _FRAME = "#262626", "#D55E00", "#1c1c1c", "#6b6b6b", "#009E73"
LINE = "#e3e3e3"  # between cells
_MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # rows and columns of up, right, down, left
_FEW_CELLS, _MANY_CELLS = 16, 20  # up to the first four arrows a cell, past the second cells are drawn in blocks
_LOW, _HIGH = 0.05, 0.995  # quantiles of the rewards that the colours span: rare extremes would hide all the rest
# Corners of a cell's four triangles, x before y, that face up, right, down, left; and of the cell itself.
_ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth"}  # up to 256
_CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
_TRIANGLES = np.stack([np.stack([_CORNERS[i], _CORNERS[(i + 1) % 4], [0.0, 0.0]]) for i in range(4)])


class _Place(NamedTuple):
    """Where a maze lies on a sheet, in inches from the lower left corner: its own, and the length of a side."""

    left: float
    low: float
    side: float
    cells: int

    def __call__(self, points: Array | NDArray[np.integer]) -> Array:
        """From columns and rows `[..., 2]` of cells to the sheet."""
        scale = self.side / self.cells
        moved: Array = np.array([self.left, self.low + self.side]) + (points + 0.5) * np.array([scale, -scale])
        return moved


def mazes_sheet(figure: Mazes) -> Sheet:
    """The panels beside each other, with one scale of colours; drawn inside the style of `draw`.

    All of it lies in one pair of axes whose unit is an inch: as many axes as panels take most of the time.
    """
    columns, small, size = figure.columns, figure.columns > 2, len(figure.walls)
    rows, side = -(-len(figure.panels) // columns), 3.1 if small else 5.4
    heading = 0.34 + 0.22 * any(panel.words for panel in figure.panels)
    groups = [place // figure.grouped * (figure.grouped > 1) for place in range(columns)]
    lefts = [0.22 + place * (side + 0.22) + 0.4 * group for place, group in enumerate(groups)]
    width = lefts[-1] + side + (1.6 if figure.reward_label else 0.22)
    notes = [fold(line, width - 0.44, inches(11)) for line in figure.note]
    top, bottom = 0.58 + 0.26 * bool(figure.words), 0.2 + 0.22 * (len("\n".join(notes).split("\n")) + 1)
    height = top + rows * (heading + side) + 0.14 * (rows - 1) + bottom
    places = [
        _Place(left, height - top - (row + 1) * (heading + side) - 0.14 * row, side, size)
        for row in range(rows)
        for left in lefts
    ]
    sheet = Sheet(figsize=(width, height))
    axes = sheet.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    sizes = fitting(figure.title, width - 0.44, 17, "bold"), fitting(figure.words, width - 0.44, 12)
    axes.text(0.22, height - 0.14, figure.title, va="top", fontsize=sizes[0], fontweight="bold")
    axes.text(0.22, height - 0.52, figure.words, va="top", fontsize=sizes[1])
    scale, ends = _scale(figure)
    several = list(zip(places, figure.panels, strict=False))
    for place, panel in several:
        over = place.low + side
        sizes = (
            fitting(panel.title, side, 11 if small else 14, "bold"),
            fitting(panel.words, side, 9.5 if small else 11.5),
        )
        axes.text(place.left, over + 0.07 + 0.2 * bool(panel.words), panel.title, fontsize=sizes[0], weight="bold")
        axes.text(place.left, over + 0.07, panel.words, fontsize=sizes[1], color=_GREY)
    said = [
        _draw_rewards(axes, several, scale, size),
        _draw_walls(axes, several, figure.walls),
        *(_draw_path(axes, figure, place, panel.path, small) for place, panel in several if panel.path is not None),
        *(_draw_arrows(axes, figure, place, panel.policy) for place, panel in several if panel.policy is not None),
        _draw_letters(axes, figure, [place for place, _ in several], small),
    ]
    if figure.reward_label:
        low = (bottom + 0.1 * side) / height
        room = sheet.add_axes(((lefts[-1] + side + 0.2) / width, low, 0.16 / width, 0.8 * side / height))
        bar = sheet.colorbar(ScalarMappable(scale, colours()), cax=room, extend=ends)
        bar.set_label(figure.reward_label)
        bar.outline.set_visible(False)
    left_out = fold(" ".join(dict.fromkeys(filter(None, said))), width - 0.44, inches(11))
    note = "\n".join(filter(None, (*notes, left_out)))
    axes.text(0.22, bottom - 0.12, note, va="top", fontsize=11, color=_GREY, linespacing=1.25)
    return sheet


Panels = Sequence[tuple[_Place, MazePanel]]


def colours() -> LinearSegmentedColormap:
    """From light to dark, so that it reads in grey too."""
    return LinearSegmentedColormap.from_list("prefrl", _RAMP)


def _scale(figure: Mazes) -> tuple[Normalize, str]:
    """The range of all rewards of a sheet, and at which ends some lie outside it."""
    several = [panel.rewards[~figure.walls].ravel() for panel in figure.panels if panel.rewards is not None]
    values = np.concatenate(several) if several else np.zeros(0)
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) < 1e-9:  # a silent model is one colour
        middle = float(values[0]) if len(values) else 0.0
        return Normalize(middle - 0.5, middle + 0.5, clip=True), "neither"
    low, high = np.quantile(values, (_LOW, _HIGH))
    if not high - low > 1e-9:
        low, high = values.min(), values.max()
    below, above = values.min() < low, values.max() > high
    extend = "both" if below and above else "min" if below else "max" if above else "neither"
    return Normalize(float(low), float(high), clip=True), extend


def _draw_rewards(axes: Axes, several: Panels, scale: Normalize, size: int) -> str:
    """Cells, or blocks of cells of a large maze, as four triangles or one square in the colours of their rewards."""
    stride = 1 if size <= _MANY_CELLS else -(-size // _FEW_CELLS)
    corners, shades = [], []
    for place, panel in several:
        if panel.rewards is None:
            continue
        rewards = _blocks(panel.rewards, stride) if stride > 1 else panel.rewards
        rows, columns = np.nonzero(np.isfinite(rewards).any(-1))
        centres = np.stack([columns, rows], 1) * stride + (stride - 1) / 2
        shapes = _TRIANGLES if rewards.shape[-1] == len(_TRIANGLES) else _CORNERS[None]
        inside = np.minimum(centres[:, None, None] + stride * shapes, size - 0.5)  # [K, 4, 3, 2] or [K, 1, 4, 2]
        corners.append(place(inside).reshape(-1, *shapes.shape[1:]))
        shades.append(colours()(scale(rewards[rows, columns])).reshape(-1, 4))
    if corners:
        cells = PolyCollection(
            list(np.concatenate(corners)), facecolors=np.concatenate(shades), edgecolors="white",
            linewidths=0.6 if size <= _FEW_CELLS else 0.3, zorder=0.1,
        )  # fmt: skip
        axes.add_collection(cells, autolim=False)
    return f"Rewards: the mean over blocks of {stride} × {stride} cells." if corners and stride > 1 else ""


def _blocks(rewards: Array, stride: int) -> Array:
    """Means `[m, m, A]` over blocks of cells, of what values there are."""
    size = len(rewards)
    more = -size % stride
    padded = np.pad(rewards, ((0, more), (0, more), (0, 0)), constant_values=np.nan)
    blocks = padded.reshape(len(padded) // stride, stride, -1, stride, rewards.shape[-1])
    there = np.isfinite(blocks)
    total, number = np.where(there, blocks, 0.0).sum((1, 3)), there.sum((1, 3))
    means: Array = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return means


def _draw_walls(axes: Axes, several: Panels, walls: NDArray[np.bool_]) -> str:
    """Frames, the lines between cells where no rewards are, and a rectangle for each stretch of walls along a row."""
    size = len(walls)
    edges = np.diff(np.pad(walls, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    corners = np.stack([first, rows, end, rows, end, rows + 1, first, rows + 1], 1).reshape(-1, 4, 2) - 0.5
    blocks = np.concatenate([place(corners) for place, _ in several])
    filled = PolyCollection(list(blocks), facecolor=WALL, edgecolor=WALL, linewidth=0.8, zorder=0.2)
    frames = PolyCollection(
        [place(size * _CORNERS + (size - 1) / 2) for place, _ in several], facecolor="none",
        edgecolor=[_FRAME if panel.framed else WALL for _, panel in several],
        linewidth=[5.0 if panel.framed else 1.2 for _, panel in several], zorder=0.3,
    )  # fmt: skip
    axes.add_collection(filled, autolim=False)
    axes.add_collection(frames, autolim=False)
    if size <= _MANY_CELLS:
        between = np.arange(1, size) - 0.5
        ends = np.broadcast_to([-0.5, size - 0.5], (size - 1, 2))
        across = np.stack([ends, np.repeat(between[:, None], 2, 1)], -1)
        lines = np.concatenate([across, across[..., ::-1]])
        plain = [place(lines) for place, panel in several if panel.rewards is None]
        grid = LineCollection(list(np.concatenate(plain)) if plain else [], color=LINE, linewidth=0.8, zorder=0.1)
        axes.add_collection(grid, autolim=False)
    return ""


def _draw_path(axes: Axes, figure: Mazes, place: _Place, path: NDArray[np.integer], small: bool) -> str:
    """A line with a cross where it ends short of the goal, and a ring where it begins elsewhere than at the start."""
    reached = tuple(path[-1]) == tuple(figure.goal)
    width = float(np.clip(56 / len(figure.walls), 2.0, 7.0)) * (0.6 if small else 1.0)
    x, y = place(path[:, ::-1]).T
    for colour, wide in (("white", width + 2), (PATH, width)):
        axes.plot(x, y, color=colour, linewidth=wide, solid_capstyle="round", solid_joinstyle="round")
    size = max(2 * width, 8.0)
    if not reached:
        axes.plot(x[-1:], y[-1:], "X", color=PATH, markersize=size, markeredgecolor="white", zorder=4.5)
    if tuple(path[0]) == tuple(figure.start):
        return ""
    axes.plot(x[:1], y[:1], "o", color="white", markersize=0.8 * size, markeredgecolor=PATH, zorder=4.4)
    return "Ring: where a part of an episode begins."


def _draw_arrows(axes: Axes, figure: Mazes, place: _Place, policy: Array) -> str:
    """Arrows in each cell that can be left, as many as a maze of this size has room for; what is left out."""
    size = len(figure.walls)
    open_cells = ~figure.walls
    open_cells[figure.goal] = False
    stride = 1 if size <= 2 * _FEW_CELLS else -(-size // (2 * _FEW_CELLS))
    rows, columns = np.nonzero(open_cells)
    kept = (rows % stride == 0) & (columns % stride == 0)
    rows, columns = rows[kept], columns[kept]
    chances = policy[rows, columns]  # [K, 4]
    if size <= _FEW_CELLS:
        cell, move = np.nonzero(chances >= 0.05)
        first, length, width, said = 0.12, 0.32, 0.05, ""
    else:
        cell, move = np.arange(len(chances)), chances.argmax(1)
        length = 0.7 * stride
        first, width = -length / 2, 0.09 * stride
        said = "Of the moves only the likeliest" + (f", in every {_ORDINALS[stride]} cell." if stride > 1 else ".")
    direction = _MOVES[move][:, ::-1]
    tails = np.stack([columns, rows], 1)[cell] + first * direction
    (x, y), (u, v) = place(tails).T, (place(tails + length * direction) - place(tails)).T
    shades = np.tile(to_rgba(INK), (len(cell), 1))
    shades[:, 3] = chances[cell, move]
    axes.quiver(
        x, y, u, v, color=shades, angles="xy", scale_units="xy", scale=1, units="xy",
        width=width * place.side / size, headwidth=3.8, headlength=4, headaxislength=3.6, zorder=4,
    )  # fmt: skip
    return said


def _draw_letters(axes: Axes, figure: Mazes, places: Sequence[_Place], small: bool) -> str:
    points = float(np.clip(150 / len(figure.walls), 9, 19)) * (0.6 if small else 1.0)
    for letter, (row, column) in (("S", figure.start), ("G", figure.goal)):
        x, y = np.array([place(np.array([column, row])) for place in places]).T
        disc: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": 1.3}
        axes.plot(x, y, "o", markersize=1.7 * points, zorder=5, **disc)
        axes.plot(
            x,
            y,
            linestyle="",
            marker=f"$\\mathbf{{{letter}}}$",
            markersize=0.85 * points,
            color=INK,
            markeredgewidth=0,
            zorder=5.1,
        )
    return ""
