"""The maze as a picture and as an animation; `prefrl_cli.charts.draw.draw` is the way in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from prefrl_cli.charts.figures import Array, MazeAnimation, MazePanel, Mazes
from prefrl_cli.files.write import write_whole

_RAMP = ("#fff6c8", "#c9e4b5", "#6fc0be", "#3f8fc4", "#2c62ad")  # lighter to darker, so that it reads in grey too
_WALL, _PATH, _INK, _GREY, _FRAME = "#262626", "#D55E00", "#1c1c1c", "#6b6b6b", "#009E73"
_MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # rows and columns of up, right, down, left
_HEAD, _MARGIN = 60, 12  # pixels above and around the maze of an animation
_MOST_FRAMES = 400
_FEW_CELLS, _MANY_CELLS = 16, 20  # up to the first four arrows a cell, past the second cells are drawn in blocks
_LOW, _HIGH = 0.05, 0.995  # quantiles of the rewards that the colours span: rare extremes would hide all the rest
# Corners of a cell's four triangles, x before y, that face up, right, down, left; and of the cell itself.
_ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth"}  # up to 256
_CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
_TRIANGLES = np.stack([np.stack([_CORNERS[i], _CORNERS[(i + 1) % 4], [0.0, 0.0]]) for i in range(4)])


def mazes_sheet(figure: Mazes) -> Sheet:
    """The panels beside each other, with one scale of colours; drawn inside the style of `draw`."""
    columns, small = figure.columns, figure.columns > 2
    rows, side = -(-len(figure.panels) // columns), 3.1 if small else 5.4
    heading = 0.34 + 0.22 * any(panel.words for panel in figure.panels)
    top, bottom = 0.58 + 0.26 * bool(figure.words), 0.2 + 0.22 * (len(figure.note) + 1)
    lefts = [
        0.22 + place * (side + 0.22) + 0.4 * (place // figure.grouped) * (figure.grouped > 1)
        for place in range(columns)
    ]
    width = lefts[-1] + side + (1.4 if figure.reward_label else 0.22)
    height = top + rows * (heading + side) + 0.14 * (rows - 1) + bottom
    sheet = Sheet(figsize=(width, height))

    def box(left: float, up: float, wide: float, high: float) -> tuple[float, float, float, float]:
        return left / width, up / height, wide / width, high / height

    sheet.text(0.22 / width, 1 - 0.14 / height, figure.title, va="top", fontsize=17, fontweight="bold")
    sheet.text(0.22 / width, 1 - 0.52 / height, figure.words, va="top", fontsize=12)
    scale, ends = _scale(figure)
    said = []
    for place, panel in enumerate(figure.panels):
        row, column = divmod(place, columns)
        up = height - top - (row + 1) * (heading + side) - 0.14 * row
        axes = sheet.add_axes(box(lefts[column], up, side, side))
        said.append(_draw_panel(axes, figure, panel, scale, small=small))
    if figure.reward_label:
        room = sheet.add_axes(box(lefts[-1] + side + 0.2, bottom + 0.1 * side, 0.16, 0.8 * side))
        bar = sheet.colorbar(ScalarMappable(scale, _colours()), cax=room, extend=ends)
        bar.set_label(figure.reward_label)
        bar.outline.set_visible(False)
    simplified = " ".join(dict.fromkeys(filter(None, said)))
    note = "\n".join(filter(None, (*figure.note, simplified)))
    sheet.text(0.22 / width, (bottom - 0.12) / height, note, va="top", fontsize=11, color=_GREY, linespacing=1.25)
    return sheet


def _colours() -> LinearSegmentedColormap:
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


def _draw_panel(axes: Axes, figure: Mazes, panel: MazePanel, scale: Normalize, small: bool) -> str:
    """Draw one maze; what is to be said of how it was simplified."""
    size, said = len(figure.walls), ""
    axes.set_aspect("equal")
    axes.grid(False)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(panel.title, fontsize=11 if small else 14, pad=(18 if small else 22) if panel.words else 7)
    axes.text(
        0, 1.015, panel.words, transform=axes.transAxes, fontsize=9.5 if small else 11.5, color=_GREY, va="bottom"
    )
    for spine in axes.spines.values():
        spine.set(visible=True, color=_FRAME if panel.framed else _WALL, linewidth=4.5 if panel.framed else 1.2)
    if panel.rewards is not None:
        said = _draw_rewards(axes, figure, panel.rewards, scale)
    elif size <= _MANY_CELLS:
        edges = np.arange(1, size) - 0.5
        axes.hlines(edges, -0.5, size - 0.5, color="#e3e3e3", linewidth=0.8, zorder=0.1)
        axes.vlines(edges, -0.5, size - 0.5, color="#e3e3e3", linewidth=0.8, zorder=0.1)
    _draw_walls(axes, figure.walls)
    if panel.path is not None:
        _draw_path(axes, figure, panel.path, small)
    if panel.policy is not None:
        said = _draw_arrows(axes, figure, panel.policy)
    _draw_letters(axes, figure, small)
    return said


def _draw_rewards(axes: Axes, figure: Mazes, rewards: Array, scale: Normalize) -> str:
    """Each cell, or block of cells of a large maze, as four triangles or one square in the colours of its rewards."""
    size, said = len(figure.walls), ""
    stride = 1 if size <= _MANY_CELLS else -(-size // _FEW_CELLS)
    if stride > 1:
        rewards, said = _blocks(rewards, stride), f"Rewards: the mean over blocks of {stride} × {stride} cells."
    rows, columns = np.nonzero(np.isfinite(rewards).any(-1))
    centres = np.stack([columns, rows], 1) * stride + (stride - 1) / 2
    shapes = _TRIANGLES if rewards.shape[-1] == len(_TRIANGLES) else _CORNERS[None]
    corners = centres[:, None, None] + stride * shapes  # [K, 4, 3, 2] or [K, 1, 4, 2]
    shades = _colours()(scale(rewards[rows, columns]))  # [K, A, 4]
    cells = PolyCollection(
        list(corners.reshape(-1, *shapes.shape[1:])), facecolors=shades.reshape(-1, 4), edgecolors="white",
        linewidths=0.6 if size <= _FEW_CELLS else 0.3, zorder=0.1,
    )  # fmt: skip
    axes.add_collection(cells, autolim=False)
    return said


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


def _draw_walls(axes: Axes, walls: NDArray[np.bool_]) -> None:
    """A rectangle for each stretch of walls along a row."""
    edges = np.diff(np.pad(walls, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    corners = np.stack([first, rows, end, rows, end, rows + 1, first, rows + 1], 1).reshape(-1, 4, 2) - 0.5
    collection = PolyCollection(list(corners), facecolor=_WALL, edgecolor=_WALL, linewidth=0.8, zorder=0.2)
    axes.add_collection(collection, autolim=False)


def _draw_path(axes: Axes, figure: Mazes, path: NDArray[np.integer], small: bool) -> None:
    rows, columns = path.T
    reached = tuple(path[-1]) == tuple(figure.goal)
    width = float(np.clip(56 / len(figure.walls), 2.0, 7.0)) * (0.6 if small else 1.0)
    axes.plot(columns, rows, color="white", linewidth=width + 2, solid_capstyle="round", solid_joinstyle="round")
    axes.plot(columns, rows, color=_PATH, linewidth=width, solid_capstyle="round", solid_joinstyle="round")
    if not reached:
        size = max(2 * width, 8.0)
        axes.plot(columns[-1:], rows[-1:], "X", color=_PATH, markersize=size, markeredgecolor="white", zorder=4.5)


def _draw_arrows(axes: Axes, figure: Mazes, policy: Array) -> str:
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
    direction = _MOVES[move]
    tails = np.stack([rows, columns], 1)[cell] + first * direction
    shades = np.tile(to_rgba(_INK), (len(cell), 1))
    shades[:, 3] = chances[cell, move]
    axes.quiver(
        tails[:, 1], tails[:, 0], length * direction[:, 1], length * direction[:, 0], color=shades,
        angles="xy", scale_units="xy", scale=1, units="xy", width=width, headwidth=3.8, headlength=4,
        headaxislength=3.6, zorder=4,
    )  # fmt: skip
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    return said


def _draw_letters(axes: Axes, figure: Mazes, small: bool) -> None:
    points = float(np.clip(150 / len(figure.walls), 9, 19)) * (0.6 if small else 1.0)
    for letter, (row, column) in (("S", figure.start), ("G", figure.goal)):
        axes.text(
            column, row, letter, ha="center", va="center_baseline", fontsize=points, fontweight="bold", color=_INK,
            zorder=5, bbox={"boxstyle": "circle,pad=0.18", "facecolor": "white", "edgecolor": _INK, "linewidth": 1.3},
        )  # fmt: skip


def animate(figure: MazeAnimation, path: Path) -> None:
    """Write the greedy episode as a GIF: a frame a step, six a second or as many as 20 seconds need, then a pause.

    A long episode is thinned to 400 frames, each of which says its step.
    """
    cell = int(np.clip(512 // len(figure.walls), 3, 64))
    ground = _background(figure, cell)
    ink, trail, white = (_palette_index(ground, colour) for colour in (_INK, _PATH, "#ffffff"))
    heading = ImageFont.load_default(size=17)
    lettering = ImageFont.load_default(size=max(9, int(cell * 0.5)))
    centres = [_centre(place, cell) for place in figure.path]
    reached = tuple(figure.path[-1]) == tuple(figure.goal)
    last = len(centres) - 1
    frames = []
    for step in np.unique(np.linspace(0, last, min(last + 1, _MOST_FRAMES)).round().astype(int)).tolist():
        frame = ground.copy()
        pen = ImageDraw.Draw(frame)
        if step:
            pen.line(centres[: step + 1], fill=trail, width=max(3, cell // 8), joint="curve")
        for letter, place in (("S", figure.start), ("G", figure.goal)):
            disc = _disc(_centre(place, cell), max(6, cell * 2 // 5))
            pen.ellipse(disc, fill=white, outline=ink, width=1)
            pen.text(_centre(place, cell), letter, fill=ink, font=lettering, anchor="mm")
        pen.ellipse(_disc(centres[step], max(4, cell * 3 // 10)), fill=trail, outline=white, width=1 + (cell > 12))
        words = f"Step {step} of {last}"
        if step == last:
            words += ": goal reached" if reached else ": goal not reached"
        pen.text((_MARGIN, 8), figure.title, fill=ink, font=heading)
        pen.text((_MARGIN, 30), words, fill=ink, font=heading)
        frames.append(frame)
    each = int(np.clip(20_000 / len(frames), 40, 160)) // 10 * 10  # a GIF counts in hundredths of a second
    durations = [each] * (len(frames) - 1) + [2000]
    content = io.BytesIO()
    how: dict[str, Any] = {"save_all": True, "loop": 0, "optimize": False, "disposal": 1}
    frames[0].save(content, "GIF", append_images=frames[1:], duration=durations, **how)
    write_whole(path, content.getbuffer(), sync=False)


def _centre(place: NDArray[np.integer] | tuple[int, int], cell: int) -> tuple[int, int]:
    row, column = place
    return int((column + 0.5) * cell) + _MARGIN, int((row + 0.5) * cell) + _HEAD


def _disc(centre: tuple[int, int], radius: int) -> tuple[int, int, int, int]:
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius


def _background(figure: MazeAnimation, cell: int) -> Image.Image:
    """The maze without the walker, as a picture with a palette."""
    wall, line, white = 0, 1, 4
    palette = [ImageColor.getrgb(colour) for colour in (_WALL, "#e3e3e3", _INK, _PATH, "#ffffff")]
    pixels = np.kron(np.where(figure.walls, wall, white), np.ones((cell, cell))).astype(np.uint8)
    if cell >= 12:
        edges = np.zeros(pixels.shape, dtype=bool)
        edges[::cell] = edges[:, ::cell] = True
        pixels = np.where(edges & (pixels != wall), line, pixels).astype(np.uint8)
    pixels = np.pad(pixels, 2, constant_values=wall)
    around = ((_HEAD - 2, _MARGIN - 2), (_MARGIN - 2, _MARGIN - 2))
    picture = Image.fromarray(np.pad(pixels, around, constant_values=white))
    picture.putpalette(np.array(palette, dtype=np.uint8).tobytes())
    return picture


def _palette_index(picture: Image.Image, colour: str) -> int:
    palette = np.array(picture.getpalette()).reshape(-1, 3)
    return int(np.abs(palette - ImageColor.getrgb(colour)).sum(1).argmin())
