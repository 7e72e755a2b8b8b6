"""Moving shapes as an animation: no display and no game library is needed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from prefrl_cli.charts.lettering import fitting_font, fold
from prefrl_cli.core.figures import Film, Films, Shape

# The names that shapes give their colours; the label page has the same, in light and dark.
COLOURS = {
    "paper": "#ffffff", "box": "#f6f7f9", "soft": "#a3a8af", "wall": "#6b7077", "trail": "#0072B2", "goal": "#009E73",
    "agent": "#D55E00", "ink": "#1c1c1c",
}  # fmt: skip
_FINER = 3  # times as large is drawn what is then scaled down, so that edges are smooth
_WIDTH = 0.008  # of a line that says none
_MARGIN, _LINE = 12, 22  # pixels around films, and of a line of text
_MOST_FRAMES = 250


def animate_films(figure: Films) -> bytes:
    """Films as a GIF, 25 frames a second or fewer for few of them, then a pause.

    Long films are thinned to 250 frames, each of which says its step.
    """
    side = 384 if len(figure.films) == 1 else 232
    rows = -(-len(figure.films) // figure.columns)
    width = _MARGIN + figure.columns * (side + _MARGIN)
    heading, lettering = fitting_font(figure.title, width - 2 * _MARGIN, 17), ImageFont.load_default(size=13)
    note = fold(figure.note, width - 2 * _MARGIN, lettering.getlength)
    lines = note.count("\n") + bool(note)
    high = side + _LINE * any(film.title for film in figure.films) + _MARGIN
    head = 2 * _LINE + _MARGIN
    ground = Image.new("RGB", (width, head + rows * high + _LINE * lines), COLOURS["paper"])
    pen = ImageDraw.Draw(ground)
    pen.text((_MARGIN, 8), figure.title, fill=COLOURS["ink"], font=heading)
    pen.multiline_text((_MARGIN, head + rows * high), note, fill=COLOURS["wall"], font=lettering, spacing=6)
    corners = []
    for place, film in enumerate(figure.films):
        left, top = _MARGIN + place % figure.columns * (side + _MARGIN), head + (place // figure.columns + 1) * high
        corners.append((left, top - side - _MARGIN))
        pen.text((left, top - high), film.title, fill=COLOURS["ink"], font=lettering)
        if film.framed:
            pen.rectangle((left - 4, corners[-1][1] - 4, left + side + 3, corners[-1][1] + side + 3), COLOURS["goal"])
    palette = _palette()
    last = max(len(film.frames) for film in figure.films) - 1
    frames = []
    for step in np.unique(np.linspace(0, last, min(last + 1, _MOST_FRAMES)).round().astype(int)).tolist():
        frame = ground.copy()
        ImageDraw.Draw(frame).text(
            (_MARGIN, 30), f"Step {step} of {last}", fill=COLOURS["ink"], font=heading
        )  # fmt: skip
        for corner, film in zip(corners, figure.films, strict=True):
            frame.paste(picture(_at(film, step), side), corner)
        frames.append(frame.quantize(palette=palette, dither=Image.Dither.NONE))
    each = int(np.clip(6_000 / len(frames), 40, 120)) // 10 * 10  # a GIF counts in hundredths of a second
    content = io.BytesIO()
    how: dict[str, Any] = {"save_all": True, "loop": 0, "optimize": False, "disposal": 1}
    durations = [each] * (len(frames) - 1) + [2000]
    frames[0].save(content, "GIF", append_images=frames[1:], duration=durations, **how)
    return content.getvalue()


def _at(film: Film, step: int) -> Sequence[Shape]:
    return film.frames[min(step, len(film.frames) - 1)]


def picture(shapes: Sequence[Shape], side: int) -> Image.Image:
    """Shapes in a square of so many pixels a side."""
    size = _FINER * side
    image = Image.new("RGB", (size, size), COLOURS["box"])
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        colour = COLOURS[shape["colour"]]
        if shape["kind"] == "circle":
            x, y, radius = size * shape["centre"][0], size * (1 - shape["centre"][1]), size * shape["radius"]
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
            continue
        points = [(size * x, size * (1 - y)) for x, y in shape["points"]]
        if shape["kind"] == "polygon":
            pen.polygon(points, fill=colour)
            continue
        wide = size * shape.get("width", _WIDTH)
        pen.line(points, fill=colour, width=round(wide), joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2), fill=colour)
    return image.reduce(_FINER)


def _palette() -> Image.Image:
    """The colours, and what lies between each and what it is drawn on."""
    colours = [np.array(ImageColor.getrgb(colour)) for colour in COLOURS.values()]
    paper, box = colours[:2]
    mixed = [share * colour + (1 - share) * on for colour in colours[2:] for on in (paper, box) for share in (0.3, 0.6)]
    image = Image.new("P", (1, 1))
    image.putpalette(np.stack([*colours, *mixed]).round().astype(np.uint8).tobytes())
    return image


def text_picture(shapes: Sequence[Shape], columns: int = 48) -> str:
    """Shapes in letters, half as many rows as columns; a letter is the colour that most of its place has."""
    wide, high = 6, 12  # pixels of a letter
    pixels = np.asarray(picture(shapes, wide * columns), dtype=np.int64)
    known = np.array([ImageColor.getrgb(colour) for colour in COLOURS.values()])
    nearest = np.abs(pixels[:, :, None] - known).sum(-1).argmin(-1).reshape(-1, high, columns, wide)
    share = (nearest[..., None] == np.arange(len(known))).mean((1, 3))  # [rows, columns, colours]
    share[..., :2] = 0.08
    letters = np.array(list("  .#=|o@"))  # in the order of COLOURS
    return "".join("".join(row).rstrip() + "\n" for row in letters[share.argmax(-1)])
