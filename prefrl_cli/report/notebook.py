"""A run as a notebook shows it: its metrics as arrays, and a card with its results and charts."""

from __future__ import annotations

import base64
import difflib
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.core.metric import seed_words
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.read import UnreadableError, flat, read, read_json
from prefrl_cli.files.texts import html, shown
from prefrl_cli.report.configurations import seed_text
from prefrl_cli.report.metrics import joined, read_metrics
from prefrl_cli.report.runs import Run
from prefrl_cli.run.earlier.results import declared
from prefrl_cli.run.provenance import dotted, stored_config
from prefrl_cli.stats.aggregates import few_seeds
from prefrl_cli.stats.summary import digits

_EVALUATION = "evaluation/"
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_CHART, _MOST_CHARTS = 1 << 21, 1 << 23  # bytes that a card takes of one file and of all; ours have some 60,000


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


class RecordedRun:
    """What a run recorded of itself, as it stood when it was read.

    Attributes:
        path: its folder.
        status: `finished`, `running`, `interrupted` or `failed`.
        reason: why it is not finished, in a line.
        step: updates done.
        experiment: its name.
        seeds: R of them.
        failed_seeds: those that have failed.
    """

    def __init__(self, record: Run) -> None:
        self.path, self.status, self.reason, self.step = record.path, record.status, record.reason, record.step
        self.experiment, self.seeds, self.failed_seeds = record.experiment, record.seeds, sorted(record.ends)
        self._ends = record.ends

    @cached_property
    def options(self) -> dict[str, Any]:
        """Every option by its dotted name, such as `optimizer.lr`, as it was recorded."""
        config = self._read(stored_config)
        flat(config, "config.yaml")  # refuses what is larger than any of ours
        return dict(dotted(config))

    @cached_property
    def metrics(self) -> Metrics:
        """Metrics by name, `[N, R]`; those of evaluations are `evaluation/NAME`, or `.evaluation["NAME"]`.

        From the step on at which a seed failed its success is 0 and its other metrics are NaN.
        """
        table = joined(*self._read(lambda folder: read_metrics(folder, self.seeds, None, self._ends, every_step=True)))
        return Metrics(table.steps, self.seeds, table.columns)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds: each metric before and after, with intervals; empty before the run is finished."""
        return self._read(lambda folder: read_json(folder, "summary.json")) if self.status == "finished" else {}

    @property
    def charts(self) -> dict[str, Path]:
        """The charts, PNG files, by their names."""
        return charts(self.path)

    def _read(self, reader: Callable[[Path], Any]) -> Any:
        try:
            return reader(self.path)
        except UnreadableError as problem:
            raise ConfigError(f"{shown(self.path)}: {shown(problem)}") from None

    def __repr__(self) -> str:
        """The run in a line."""
        number = f"{len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}"
        return f"<run of {shown(self.experiment)}: {number}, {self.status} at step {self.step}, {shown(self.path)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: results with intervals, and charts."""
        try:
            summary = self.summary
        except ConfigError:
            summary = {}
        status = f"{self.status} at step {self.step}"
        return card(self.path, self.experiment, status, self.reason, self.seeds, self.failed_seeds, summary)


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
    first, others = ([row for row in rows if row.first == wanted] for wanted in (True, False))
    if rows and (note := few_seeds(len(seeds) - len(failed))):
        lines.append(html(note))
    body = [f'<div style="margin:.3em 0">{"<br>".join(lines)}</div>']
    if first:
        body.append(_table(first))
    if others:
        title = f"{len(others)}{' more' if first else ''} metrics"
        body.append(f"<details><summary>{title}</summary>{_table(others)}</details>")
    body.append(f'<div style="display:flex;flex-wrap:wrap;gap:.5em">{"".join(_images(path))}</div>')
    body.append(f"<div><code>{html(path)}</code></div>")
    return f"<div>{''.join(body)}</div>"


class _Row(NamedTuple):
    """One metric as texts, and whether it is looked at first: a headline, a verdict on a seed, or what it cost."""

    name: str
    before: str
    after: str
    interval: str
    first: bool


def _rows(summary: Mapping[str, Any]) -> Iterator[_Row]:
    """The metrics of a `summary.json`."""
    found, initial = (declared(summary.get(name)) for name in ("metrics", "initial"))
    for name, (metric, entry) in found.items():
        ends = entry.get("ci95")
        low, high = map(_number, ends) if isinstance(ends, list) and len(ends) == 2 else (math.nan, math.nan)
        width = 0.0 if math.isnan(high - low) else high - low
        was = digits(_number(initial[name][1].get("mean") if name in initial else None), width)
        interval = "" if math.isnan(low) else f"[{digits(low, width)}, {digits(high, width)}]"
        first = metric.headline or metric.role in ("verdict", "cost")
        yield _Row(html(name, 80), was, digits(_number(entry.get("mean")), width), interval, first)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else math.nan


def _table(rows: Sequence[_Row]) -> str:
    right = 'style="text-align:right;font-variant-numeric:tabular-nums"'
    head = "".join(f"<th {right}>{title}</th>" for title in ("before", "after", "95 % interval of the mean"))
    lines = "".join(
        f'<tr><td style="text-align:left">{name}</td>{"".join(f"<td {right}>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells, _ in rows
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
