"""A run as a notebook shows it: its metrics as arrays, and a card with its results and charts."""

from __future__ import annotations

import base64
import difflib
import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.files.read import UnreadableError, read
from prefrl_cli.files.texts import html, shown
from prefrl_cli.report.configurations import seed_text
from prefrl_cli.stats.aggregates import few_seeds, seed_words
from prefrl_cli.stats.summary import digits

_EVALUATION = "evaluation/"
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_CHART, _MOST_CHARTS = 1 << 21, 1 << 23  # bytes that a card takes of one file and of all; ours have some 60,000
_ROWS = 8  # metrics that are shown at once; the others open


class Metrics(Mapping[str, NDArray[np.float64]]):
    """What was measured while a run trained: name -> `[N, R]`, NaN where there is no value.

    Args:
        steps: `[N]`.
        seeds: R of them.
        columns: metric -> `[N, R]`.

    Attributes:
        steps: `[N]`, whole numbers; step 0 is before training.
        seeds: R of them, in the order of the last axis.
    """

    def __init__(self, steps: NDArray[Any], seeds: Sequence[int], columns: Mapping[str, NDArray[Any]]) -> None:
        self.steps: NDArray[np.int64] = steps.astype(np.int64)
        self.seeds = list(seeds)
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """A metric, `[N, R]`.

        Raises:
            KeyError: for another name, with the nearest.
        """
        if name not in self._columns:
            near = difflib.get_close_matches(str(name), self._columns, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(self._columns)}"
            raise KeyError(f"{name}: the run has no such metric; {hint}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._columns)

    def __len__(self) -> int:
        """How many metrics there are."""
        return len(self._columns)

    @property
    def evaluation(self) -> Metrics:
        """The metrics of evaluations alone, under their own names, at the steps at which there was one."""
        found = {name.removeprefix(_EVALUATION): self[name] for name in self if name.startswith(_EVALUATION)}
        there = np.zeros(len(self.steps), dtype=bool)
        for values in found.values():
            there |= ~np.isnan(values).all(1)
        return Metrics(self.steps[there], self.seeds, {name: values[there] for name, values in found.items()})

    def to_pandas(self) -> Any:
        """A table with a row for each step and seed: `step`, `seed`, and a column a metric.

        Raises:
            ImportError: where pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise ImportError("to_pandas: pandas is not installed; type pip install pandas") from None
        number = len(self.seeds)
        columns = {"step": np.repeat(self.steps, number), "seed": np.tile(self.seeds, len(self.steps))}
        return pandas.DataFrame(columns | {name: values.ravel() for name, values in self.items()})

    def __repr__(self) -> str:
        """Names and sizes, in a line."""
        sizes = f"{len(self)} metrics, {len(self.steps)} steps, {len(self.seeds)} seeds"
        return f"<{sizes}: {', '.join(shown(name, 80) for name in self)}>"


def charts(folder: Path) -> dict[str, Path]:
    """The charts in a run's folder by their names, such as `training`; links are left out."""
    inside = folder / "charts"
    if inside.is_symlink() or not inside.is_dir():
        return {}
    return {path.stem: path for path in sorted(inside.glob("*.png")) if path.is_file() and not path.is_symlink()}


def card(
    path: Path,
    experiment: str,
    status: str,
    reason: str,
    seeds: Sequence[int],
    failed: Sequence[int],
    summary: Mapping[str, Any],
) -> str:
    """A run in HTML: what it is, its results with intervals, and its charts. Nothing is loaded from elsewhere.

    Args:
        path: its folder.
        experiment: its name.
        status: how it stands, in a few words.
        reason: why it is not finished; may be empty.
        seeds: R of them.
        failed: those that have failed.
        summary: what `summary.json` holds; empty where there is none.
    """
    lines = [f"<b>{html(experiment)}</b>, {len(seeds)} seeds ({html(seed_text(seeds))}): {html(status)}"]
    if len(seeds) == 1:
        lines[0] = lines[0].replace(f"1 seeds ({html(seed_text(seeds))})", html(seed_text(seeds)))
    if reason:
        lines.append(html(reason))
    if failed:
        lines.append(
            html(f"{len(failed)} of {len(seeds)} seeds failed ({seed_words(list(failed))}); any success counts them")
        )
    rows = list(_rows(summary))
    if rows and (note := few_seeds(len(seeds) - len(failed))):
        lines.append(html(note))
    body = [f'<div style="margin:.3em 0">{"<br>".join(lines)}</div>']
    if rows:
        body.append(_table(rows[:_ROWS]))
    if len(rows) > _ROWS:
        body.append(f"<details><summary>{len(rows) - _ROWS} more metrics</summary>{_table(rows[_ROWS:])}</details>")
    body.append(f'<div style="display:flex;flex-wrap:wrap;gap:.5em">{"".join(_images(path))}</div>')
    body.append(f"<div><code>{html(path)}</code></div>")
    return f"<div>{''.join(body)}</div>"


def _rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Name, mean before and after, and interval of each metric, as text."""
    metrics, initial = (one if isinstance(one := summary.get(name), dict) else {} for name in ("metrics", "initial"))
    for name, found in metrics.items():
        if not isinstance(found, dict):
            continue
        ends = found.get("ci95")
        low, high = map(_number, ends) if isinstance(ends, list) and len(ends) == 2 else (math.nan, math.nan)
        width = 0.0 if math.isnan(high - low) else high - low
        before = initial.get(name)
        was = digits(_number(before.get("mean") if isinstance(before, dict) else None), width)
        interval = "" if math.isnan(low) else f"[{digits(low, width)}, {digits(high, width)}]"
        yield html(name, 80), was, digits(_number(found.get("mean")), width), interval


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else math.nan


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    right = 'style="text-align:right;font-variant-numeric:tabular-nums"'
    head = "".join(f"<th {right}>{title}</th>" for title in ("before", "after", "95 % interval of the mean"))
    lines = "".join(
        f'<tr><td style="text-align:left">{name}</td>{"".join(f"<td {right}>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _images(path: Path) -> Iterator[str]:
    left = _MOST_CHARTS
    for name in charts(path):
        try:
            data = read(path / "charts", f"{name}.png", min(left, _MOST_CHART))
        except UnreadableError:
            continue
        if data.startswith(_PNG):
            left -= len(data)
            source = base64.b64encode(data).decode("ascii")
            yield (
                f'<img alt="{html(name)}" title="{html(name)}" src="data:image/png;base64,{source}"'
                ' style="max-width:min(100%,36em);height:auto">'
            )
