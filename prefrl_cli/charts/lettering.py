"""How wide words are on a chart, so that none of them leaves it: by the letters themselves, not by their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from PIL import ImageFont

Measure = Callable[[str], float]

_HINTED = 1.03  # letters that are set on pixels take up to this much more


def inches(points: float, weight: str = "normal") -> Measure:
    """What measures a line of text in inches, for letters of so many points, with room for those set on pixels."""
    return lambda line: _HINTED * points * _width(line, weight) / 72


@lru_cache(4096)
def _width(line: str, weight: str) -> float:
    """In points, of letters of one point."""
    font = FontProperties(size=1, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
    return float(width)


def fold(text: str, width: float, measure: Measure) -> str:
    """Text in lines no wider than this in the units of `measure`; a word that is wider has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and measure(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def fold_evenly(text: str, width: float, measure: Measure) -> str:
    """As `fold`, in as few lines, of about one length."""
    several = [fold(text, width * part / 20, measure) for part in range(20, 8, -1)]
    as_few = [one for one in several if one.count("\n") == several[0].count("\n")]
    return min(as_few, key=lambda one: widest(one.split("\n"), measure))


def widest(lines: Iterable[str], measure: Measure) -> float:
    """The width of the longest line; 0 for none."""
    return max(map(measure, lines), default=0.0)


def fitting(text: str, width: float, points: float, weight: str = "normal") -> float:
    """The size of letters in points, no larger than this, at which a line is no wider than so many inches."""
    return points * min(1.0, width / max(inches(points, weight)(text), 1e-9))


def fitting_font(text: str, width: float, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Letters of an animation, no larger than this, in which a line is no wider than so many pixels."""
    fonts = (ImageFont.load_default(size) for size in range(size, 6, -1))
    return next((font for font in fonts if font.getlength(text) <= width), ImageFont.load_default(6))
