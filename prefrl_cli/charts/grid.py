"""The maze as a picture and as an animation; `prefrl_cli.charts.draw.draw` is the way in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from prefrl_cli.charts.figures import MazeMap
from prefrl_cli.files.write import write_whole

_RAMP = ("#f7fbff", "#d6e6f4", "#abd0e6", "#6aaed6", "#3787c0")  # light enough for dark arrows on the deepest
_WALL, _PATH, _INK, _GREY = "#3a3a3a", "#D55E00", "#1c1c1c", "#6b6b6b"
_MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # rows and columns of up, right, down, left
_HEAD, _MARGIN = 60, 12  # pixels above and around the maze of an animation
_MOST_FRAMES = 400
_FEW_CELLS, _MANY_CELLS = 16, 32  # up to the first four arrows a cell, past the second one for every other cell


def maze_sheet(figure: MazeMap) -> Sheet:
    """The maze with heat, greedy path and policy; drawn inside the style of `charts`."""
    sheet = Sheet(figsize=(8.6, 7.8), layout="constrained")
    sheet.suptitle(figure.title, x=0.012, ha="left", fontsize=17, fontweight="bold")
    axes = sheet.add_subplot()
    axes.set_aspect("equal")
    low, high = _heat_range(figure)
    shown = np.where(figure.walls, np.nan, figure.heat)
    colours = LinearSegmentedColormap.from_list("prefrl", _RAMP)
    picture = axes.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest", zorder=0)
    bar = sheet.colorbar(picture, ax=axes, shrink=0.86, pad=0.02, aspect=28)
    bar.set_label(figure.heat_label)
    bar.outline.set_visible(False)
    _draw_grid(axes, figure)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    cells = np.argwhere(figure.walls)[:, None, ::-1] + corners  # [K, 4, 2], x before y
    axes.add_collection(PolyCollection(cells, facecolor=_WALL, edgecolor=_WALL, linewidth=0.8, zorder=0.2))
    _draw_path(axes, figure)
    arrows = _draw_arrows(axes, figure)
    _draw_letters(axes, figure)
    sheet.supxlabel(f"{path_words(figure)} {arrows}", x=0.012, ha="left", fontsize=11, color=_GREY)
    return sheet


def path_words(figure: MazeMap) -> str:
    """How the greedy episode went, in a sentence."""
    steps = len(figure.path) - 1
    reached = tuple(figure.path[-1]) == tuple(figure.goal)
    return f"Line: greedy episode, {f'{steps} steps to the goal' if reached else f'goal not reached in {steps} steps'}."


def _heat_range(figure: MazeMap) -> tuple[float, float]:
    values = figure.heat[~figure.walls & np.isfinite(figure.heat)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    # An untrained, silent model is one colour; the range must not be empty, nor invent a difference from rounding.
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _draw_grid(axes: Axes, figure: MazeMap) -> None:
    size = len(figure.walls)
    edges = np.arange(size + 1) - 0.5
    axes.grid(False)
    if size <= _MANY_CELLS:
        axes.hlines(edges, -0.5, size - 0.5, color="white", linewidth=0.8, zorder=0.1)
        axes.vlines(edges, -0.5, size - 0.5, color="white", linewidth=0.8, zorder=0.1)
    for spine in axes.spines.values():
        spine.set(visible=True, color=_WALL, linewidth=1.5)
    axes.set_xlabel(f"column (of {size})")
    axes.set_ylabel(f"row (of {size})")
    ticks = np.arange(0, size, -(-size // 8))
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.tick_params(length=0)
    axes.set_autoscale_on(False)  # the maze and nothing around it


def _draw_path(axes: Axes, figure: MazeMap) -> None:
    rows, columns = figure.path.T
    reached = tuple(figure.path[-1]) == tuple(figure.goal)
    width = float(np.clip(56 / len(figure.walls), 2.0, 9.0))
    axes.plot(columns, rows, color="white", linewidth=width + 2, solid_capstyle="round", solid_joinstyle="round")
    axes.plot(columns, rows, color=_PATH, linewidth=width, solid_capstyle="round", solid_joinstyle="round")
    if not reached:
        axes.plot(columns[-1:], rows[-1:], "X", color=_PATH, markersize=2 * width, markeredgecolor="white", zorder=4.5)


def _draw_arrows(axes: Axes, figure: MazeMap) -> str:
    """Arrows in each cell that can be left, as many as a maze of this size has room for; what they mean."""
    size = len(figure.walls)
    open_cells = ~figure.walls
    open_cells[figure.goal] = False
    stride = 1 if size <= _MANY_CELLS else -(-size // _MANY_CELLS)
    rows, columns = np.nonzero(open_cells)
    kept = (rows % stride == 0) & (columns % stride == 0)
    rows, columns = rows[kept], columns[kept]
    chances = figure.policy[rows, columns]  # [K, 4]
    if size <= _FEW_CELLS:
        cell, move = np.nonzero(chances >= 0.05)
        first, length, width, words = 0.12, 0.32, 0.05, "Arrows: the policy, the darker the likelier."
    else:
        cell, move = np.arange(len(chances)), chances.argmax(1)
        length = 0.7 * stride
        first, width, words = -length / 2, 0.09 * stride, "Arrows: the likeliest move, the darker the likelier."
    direction = _MOVES[move]
    tails = np.stack([rows, columns], 1)[cell] + first * direction
    shades = np.tile(to_rgba(_INK), (len(cell), 1))
    shades[:, 3] = chances[cell, move]
    axes.quiver(
        tails[:, 1], tails[:, 0], length * direction[:, 1], length * direction[:, 0], color=shades,
        angles="xy", scale_units="xy", scale=1, units="xy", width=width, headwidth=3.8, headlength=4,
        headaxislength=3.6, zorder=4,
    )  # fmt: skip
    return words


def _draw_letters(axes: Axes, figure: MazeMap) -> None:
    points = float(np.clip(190 / len(figure.walls), 9, 22))
    for letter, (row, column) in (("S", figure.start), ("G", figure.goal)):
        axes.text(
            column, row, letter, ha="center", va="center_baseline", fontsize=points, fontweight="bold", color=_INK,
            zorder=5, bbox={"boxstyle": "circle,pad=0.18", "facecolor": "white", "edgecolor": _INK, "linewidth": 1.3},
        )  # fmt: skip


def animate(figure: MazeMap, path: Path) -> None:
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


def _background(figure: MazeMap, cell: int) -> Image.Image:
    """The maze without the walker, as a picture with a palette: shades of heat first, then the other colours."""
    shades = 48
    ramp = LinearSegmentedColormap.from_list("prefrl", _RAMP, N=shades)(np.arange(shades), bytes=True)[:, :3]
    rest = np.array([ImageColor.getrgb(colour) for colour in (_WALL, _INK, _PATH, "#ffffff")])
    wall, white = shades, shades + 3
    low, high = _heat_range(figure)
    share = np.nan_to_num((figure.heat - low) / (high - low)).clip(0, 1)
    index = np.where(np.isfinite(figure.heat), (share * (shades - 1)).round(), white)
    index = np.where(figure.walls, wall, index)
    pixels = np.kron(index, np.ones((cell, cell))).astype(np.uint8)
    if cell >= 12:
        edges = np.zeros(pixels.shape, dtype=bool)
        edges[::cell] = edges[:, ::cell] = True
        pixels = np.where(edges & (pixels != wall), white, pixels).astype(np.uint8)
    pixels = np.pad(pixels, 2, constant_values=wall)
    around = ((_HEAD - 2, _MARGIN - 2), (_MARGIN - 2, _MARGIN - 2))
    picture = Image.fromarray(np.pad(pixels, around, constant_values=white))
    picture.putpalette(np.concatenate([ramp, rest]).astype(np.uint8).tobytes())
    return picture


def _palette_index(picture: Image.Image, colour: str) -> int:
    palette = np.array(picture.getpalette()).reshape(-1, 3)
    return int(np.abs(palette - ImageColor.getrgb(colour)).sum(1).argmin())
