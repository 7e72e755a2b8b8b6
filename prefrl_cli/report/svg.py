"""Line charts as small inline SVG, whose colours follow the page: light or dark, without a picture for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefrl_cli.files.texts import html
from prefrl_cli.stats.intervals import Band

COLOURS = 6  # `s0` to `s5` of the page's stylesheet; further lines take a colour again, dashed
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_WIDTH, _HEIGHT = 440, 268
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 18, 10, 42
_LETTER = 6.4  # the width of a digit at most
_MOST_DOTS = 12


@dataclass(frozen=True)
class Series:
    """One line: `x` `[N]` and its band, in the style of the configuration `number` (from 0)."""

    number: int
    label: str
    x: np.ndarray
    band: Band


def style(number: int) -> str:
    """The attributes that give a line its colour and dashes."""
    dash = _DASHES[number // COLOURS % len(_DASHES)]
    return f'class="s{number % COLOURS}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def chart(title: str, x_label: str, y_label: str, lines: Sequence[Series], unit_range: bool = False) -> str:
    """A figure with its title; `unit_range` fixes the y axis to 0 .. 1. Empty where no value is finite."""
    x_all = np.concatenate([line.x for line in lines]) if lines else np.zeros(0)
    y_all = np.concatenate([part for line in lines for part in line.band]) if lines else np.zeros(0)
    x_all, y_all = x_all[np.isfinite(x_all)], y_all[np.isfinite(y_all)]
    if not len(x_all) or not len(y_all):
        return ""
    x_ticks, x_low, x_high = _axis(x_all.min(), x_all.max(), tight=True)
    y_ticks, y_low, y_high = _axis(0.0, 1.0) if unit_range else _axis(y_all.min(), y_all.max())
    across = (_WIDTH - _LEFT - _RIGHT) / (x_high - x_low)
    upward = (_HEIGHT - _TOP - _BOTTOM) / (y_high - y_low)

    def points(x: np.ndarray, y: np.ndarray) -> list[str]:
        xs, ys = _LEFT + (x - x_low) * across, _HEIGHT - _BOTTOM - (y - y_low) * upward
        return [f"{a:.1f},{b:.1f}" for a, b in zip(xs.tolist(), ys.tolist(), strict=True)]

    parts = []
    for tick in y_ticks:
        y = _HEIGHT - _BOTTOM - (tick - y_low) * upward
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick, y_ticks)}</text>')
    for tick in x_ticks:
        x = _LEFT + (tick - x_low) * across
        words = number(tick, x_ticks)
        anchor = "end" if x + _LETTER * len(words) / 2 > _WIDTH else "middle"
        parts.append(f'<path class="axis" d="M{x:.1f} {_HEIGHT - _BOTTOM}v4"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="{anchor}">{words}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>')
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{html(x_label)}</text>'
    )
    opacity = max(0.06, 0.22 - 0.02 * len(lines))
    for line in lines:
        shown = np.isfinite(line.band.low) & np.isfinite(line.band.high)
        for piece in _pieces(shown):
            outline = points(line.x[piece], line.band.high[piece]) + points(line.x[piece], line.band.low[piece])[::-1]
            area = f'class="s{line.number % COLOURS} band" fill-opacity="{opacity:.2f}"'
            parts.append(f'<polygon {area} points="{" ".join(outline)}"/>')
    for line in lines:
        for piece in _pieces(np.isfinite(line.band.middle)):
            there = points(line.x[piece], line.band.middle[piece])
            parts.append(f'<polyline {style(line.number)} points="{" ".join(there)}"/>')
            if len(there) <= _MOST_DOTS:
                dots = (place.split(",") for place in there)
                parts += [f'<circle class="s{line.number % COLOURS}" cx="{x}" cy="{y}" r="3"/>' for x, y in dots]
    return (
        f"<figure><figcaption><b>{html(title)}</b><br>{html(y_label)}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html(title)}: {html(y_label)} against '
        f'{html(x_label)}">{"".join(parts)}</svg></figure>'
    )


def swatch(number: int) -> str:
    """A configuration's line as it looks in the charts."""
    return f'<svg class="swatch" viewBox="0 0 30 10" aria-hidden="true"><path {style(number)} d="M1 5H29"/></svg>'


def _pieces(there: np.ndarray) -> list[slice]:
    """The stretches of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]])))
    return [slice(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _axis(low: float, high: float, tight: bool = False) -> tuple[list[float], float, float]:
    """Round ticks and the ends of an axis."""
    low, high = float(low), float(high)
    if not high - low > 1e-9 * max(abs(low), abs(high)):  # one value
        margin = abs(low) * 0.5 or 0.5
        low, high = (low - margin, high + margin) if not tight else (low, low + (abs(low) or 1.0))
    rough = (high - low) / 4
    if not np.isfinite(rough) or rough < 1e-300:
        return [low, high], low, high
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= 0.999 * rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [place * step for place in range(first, last + 1)]
    if tight:
        return [tick for tick in ticks if low - 1e-9 * step <= tick <= high + 1e-9 * step], low, high
    return ticks, ticks[0], ticks[-1]


def number(value: float, beside: Sequence[float] = ()) -> str:
    """A tick's value with the digits that tell it from its neighbours."""
    largest = max(map(abs, beside), default=abs(value))
    if largest >= 1e6 or 0 < largest < 1e-3:
        return f"{value:.3g}".replace("-", "−")
    step = min((abs(b - a) for a, b in zip(beside, beside[1:], strict=False)), default=1.0) or 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    decimals += abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6  # steps of 2.5
    return f"{value if abs(value) > 1e-12 else 0.0:,.{decimals}f}".replace("-", "−")
