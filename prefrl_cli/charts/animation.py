"""An episode in a maze as an animation."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from prefrl_cli.charts.grid import INK, LINE, PATH, WALL
from prefrl_cli.charts.lettering import fitting_font
from prefrl_cli.core.figures import MazeAnimation

_HEAD, _MARGIN = 60, 12  # pixels above and around the maze
_MOST_FRAMES = 400


def animate(figure: MazeAnimation) -> bytes:
    """The greedy episode as a GIF: a frame a step, six a second or as many as 20 seconds need, then a pause.

    A long episode is thinned to 400 frames, each of which says its step.
    """
    cell = int(np.clip(512 // len(figure.walls), 3, 64))
    ground = _background(figure, cell)
    ink, trail, white = (_palette_index(ground, colour) for colour in (INK, PATH, "#ffffff"))
    lettering = ImageFont.load_default(size=max(9, int(cell * 0.5)))
    centres = [_centre(place, cell) for place in figure.path]
    reached = tuple(figure.path[-1]) == tuple(figure.goal)
    last = len(centres) - 1
    room = ground.width - 2 * _MARGIN
    title = fitting_font(figure.title, room, 17)
    heading = fitting_font(f"Step {last} of {last}: goal not reached", room, 17)
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
        pen.text((_MARGIN, 8), figure.title, fill=ink, font=title)
        pen.text((_MARGIN, 30), words, fill=ink, font=heading)
        frames.append(frame)
    each = int(np.clip(20_000 / len(frames), 40, 160)) // 10 * 10  # a GIF counts in hundredths of a second
    durations = [each] * (len(frames) - 1) + [2000]
    content = io.BytesIO()
    how: dict[str, Any] = {"save_all": True, "loop": 0, "optimize": False, "disposal": 1}
    frames[0].save(content, "GIF", append_images=frames[1:], duration=durations, **how)
    return content.getvalue()


def _centre(place: NDArray[np.integer] | tuple[int, int], cell: int) -> tuple[int, int]:
    row, column = place
    return int((column + 0.5) * cell) + _MARGIN, int((row + 0.5) * cell) + _HEAD


def _disc(centre: tuple[int, int], radius: int) -> tuple[int, int, int, int]:
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius


def _background(figure: MazeAnimation, cell: int) -> Image.Image:
    """The maze without the walker, as a picture with a palette."""
    wall, line, white = 0, 1, 4
    palette = [ImageColor.getrgb(colour) for colour in (WALL, LINE, INK, PATH, "#ffffff")]
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
