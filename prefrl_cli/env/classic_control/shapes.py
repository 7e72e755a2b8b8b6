"""Lines, circles and polygons of a picture in the unit square; see `prefrl_cli.core.figures.Shape`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefrl_cli.core.figures import Shape


def line(points: ArrayLike, colour: str = "ink", width: float = 0.01) -> Shape:
    """A line through points `[K, 2]`."""
    return {"kind": "line", "points": _rounded(points), "colour": colour, "width": width}


def polygon(points: ArrayLike, colour: str = "agent") -> Shape:
    """A filled polygon with corners `[K, 2]`."""
    return {"kind": "polygon", "points": _rounded(points), "colour": colour}


def circle(centre: ArrayLike, radius: float, colour: str = "ink") -> Shape:
    """A filled circle."""
    return {"kind": "circle", "centre": _rounded(centre), "radius": radius, "colour": colour}


def box(centre: ArrayLike, width: float, height: float, angle: float = 0.0) -> NDArray[np.float64]:
    """Corners `[4, 2]` of a rectangle that is turned to the left by an angle."""
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned: NDArray[np.float64] = np.asarray(centre) + corners @ turn
    return turned


def _rounded(points: ArrayLike) -> list[float] | Iterable[list[float]]:
    """Four digits, which are less than a pixel: a film is kept as text."""
    found: list[float] = np.asarray(points, dtype=np.float64).round(4).tolist()
    return found
