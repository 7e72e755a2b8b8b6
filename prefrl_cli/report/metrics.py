"""Metrics as arrays, fast: a report reads a hundred runs, millions of rows, and shows some hundred points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from prefrl_cli.core.metric import Metric
from prefrl_cli.files.read import UnreadableError, opened, short
from prefrl_cli.run.earlier.results import metric_of
from prefrl_cli.run.metrics_csv import EVALUATION, EVALUATIONS, METRICS, current_names

_ROWS = 4_000  # rows of a file that are parsed, beside those with an evaluation; more show nothing
_MOST_COLUMNS = 500
# What a hostile file may ask for: 64 seeds have 6.4 million rows after 100,000 steps.
_MOST_BYTES = 1 << 31
_MOST_ROWS = 20_000_000
_MOST_STEPS = 1_000_000
_LONGEST_LINE = 1 << 16  # bytes; 500 columns have some 12,000
_AT_ONCE = 1 << 22  # bytes
_CELLS = 4_000_000  # of a step, and of the steps with an evaluation together
_CELLS_AT_ONCE = 200_000
_CELLS_WHOLE = 1 << 27  # 1 GB


@dataclass(frozen=True)
class Table:
    """Steps and metrics of a run, of training or of its evaluations.

    Attributes:
        steps: `[N]`, increasing; of a long run every second, fourth, ... step.
        columns: metric -> `[N, R]`, NaN for an empty cell; from the step on at which a seed failed it has no success,
            and NaN elsewhere.
    """

    steps: np.ndarray
    columns: dict[str, np.ndarray]


def read_metrics(
    folder: Path,
    seeds: list[int],
    declared: Mapping[str, Metric] | None = None,
    ends: Mapping[int, int] | None = None,
    *,
    every_step: bool = False,
) -> tuple[Table, Table]:
    """A run's metrics of training and of its evaluations, read a few million bytes at a time.

    Args:
        folder: the run directory.
        seeds: R seeds, in the order in which each step lists them.
        declared: what the metrics are, for what failed seeds count as.
        ends: of seeds that failed the step from which on they have no row.
        every_step: whether a long run is read whole, up to the size of 64 seeds, 100,000 steps and 20 metrics.

    Raises:
        UnreadableError: for anything but a row a step and seed, a number or nothing in each cell, and for more rows
            than any run has. An unfinished last step is left out.
    """
    declared = declared or {}
    found = _table(folder, METRICS, seeds, declared, ends, every_step)
    tested = {name: column for name, column in found.columns.items() if name.startswith(EVALUATION)}
    if not tested:
        return found, _table(folder, EVALUATIONS, seeds, declared, ends, every_step)
    trained = {name: column for name, column in found.columns.items() if name not in tested}  # as earlier versions have
    there = ~np.isnan(np.stack(list(tested.values()))).all((0, 2))
    columns = {name.removeprefix(EVALUATION): column[there] for name, column in tested.items()}
    after = found.steps > 0
    return (
        Table(found.steps[after], {name: column[after] for name, column in trained.items()}),
        Table(found.steps[there], columns),
    )


def joined(table: Table, evaluations: Table) -> Table:
    """Both in one, at every step that one of them has; metrics of evaluations are called `evaluation/<name>`."""
    steps = np.union1d(table.steps, evaluations.steps)
    columns = {}
    for part, beginning in ((table, ""), (evaluations, EVALUATION)):
        places = np.searchsorted(steps, part.steps)
        for name, column in part.columns.items():
            columns[beginning + name] = np.full((len(steps), column.shape[1]), np.nan)
            columns[beginning + name][places] = column
    return Table(steps, columns)


def _table(
    folder: Path,
    file_name: str,
    seeds: list[int],
    declared: Mapping[str, Metric],
    ends: Mapping[int, int] | None,
    every_step: bool,
) -> Table:
    with opened(folder, file_name, _MOST_BYTES) as file:
        lines = _lines(file)
        header = next(lines, [b""])[0].decode("utf-8", "replace").rstrip("\r").split(",")
        names = list(current_names(dict.fromkeys(header)))
        if names[:2] != ["step", "seed"] or len(names) != len(header) or len(names) > _MOST_COLUMNS:
            raise UnreadableError(f"{file_name} does not begin with step, seed and metrics of different names")
        whole = _filled(lines, seeds, ends, len(names)) if ends else lines
        begins = "" if file_name == EVALUATIONS else EVALUATION
        tested = [place for place, name in enumerate(names) if place > 1 and name.startswith(begins)]
        most = (_CELLS_WHOLE / len(names) if every_step else _ROWS) / len(seeds)
        values = _numbers(_chosen(whole, len(names), tested, len(seeds), most), len(names), len(seeds))
    found = values[:, 0, 0]
    if (values[:, :, 0] != found[:, None]).any() or (values[:, :, 1] != np.array(seeds)).any():
        raise UnreadableError(f"{file_name}: a step does not list the seeds of config.yaml once each")
    if (np.diff(found) <= 0).any():
        raise UnreadableError(f"{file_name}: steps do not increase")
    columns = {name: values[:, :, place] for place, name in enumerate(names) if place > 1}
    if ends:
        failed = found[:, None] >= np.array([ends.get(seed, np.inf) for seed in seeds])
        metrics = {name: metric_of(name.removeprefix(EVALUATION), declared) for name in columns}
        columns = {name: _counted(metrics[name], column, failed) for name, column in columns.items()}
    return Table(found, columns)


def _counted(metric: Metric, column: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """A column in which failed seeds count, at the steps at which the others were measured."""
    measured = ~np.isnan(column).all(1, keepdims=True)
    return metric.counted(column, failed & measured)


def _filled(
    parts: Iterator[list[bytes]], seeds: list[int], ends: Mapping[int, int], columns: int
) -> Iterator[list[bytes]]:
    """The lines with an empty row for each that a failed seed has not; an unfinished last step is left out."""
    left, empty = list[bytes](), b"," * (columns - 2)
    for lines in parts:
        left += lines
        full, place = list[bytes](), 0
        while place < len(left):
            try:
                number = int(left[place].partition(b",")[0])
            except ValueError:
                raise UnreadableError("metrics.csv: a step is no whole number") from None
            living = [number < ends.get(seed, number + 1) for seed in seeds]
            if not any(living):
                raise UnreadableError("metrics.csv has rows of seeds that failed before")
            end = place + sum(living)
            if end > len(left):
                break
            rows = iter(left[place:end])
            for seed, lives in zip(seeds, living, strict=True):
                full.append(next(rows) if lives else b"%d,%d%b" % (number, seed, empty))
            place = end
        left = left[place:]
        yield full


def _lines(file: BinaryIO) -> Iterator[list[bytes]]:
    """The first line, then the others, many at a time; one that has no end is torn and left out."""
    rest = file.readline(_LONGEST_LINE)
    if not rest.endswith(b"\n"):
        return
    yield [rest[:-1]]
    rest, rows = b"", 0
    while part := file.read(_AT_ONCE):
        lines = (rest + part).split(b"\n")
        rest = lines.pop()
        rows += len(lines)
        if len(rest) > _LONGEST_LINE or rows > _MOST_ROWS:
            raise UnreadableError(f"metrics.csv has more than {_MOST_ROWS:,} rows, or a row of {_LONGEST_LINE:,} bytes")
        yield lines


def _chosen(
    parts: Iterator[list[bytes]], columns: int, evaluated: list[int], replicas: int, most: float
) -> list[bytes]:
    """The rows, a text a step, of every second, fourth, ... step, of the last and of those with an evaluation."""
    if replicas * columns > _CELLS:
        raise UnreadableError(f"metrics.csv has more than {_CELLS:,} numbers a step")
    # Of two runs with different numbers of seeds the one has all steps of the other.
    thinned, evaluations = _Thinned(most), _Thinned(_CELLS / columns / replicas)
    last, block, left = list[bytes](), 0, list[bytes]()
    for lines in parts:
        left += lines
        whole = len(left) // replicas * replicas
        if block + whole // replicas > _MOST_STEPS:
            raise UnreadableError(f"metrics.csv has more than {_MOST_STEPS:,} steps")
        for start in range(0, whole, replicas):
            cells = left[start].split(b",")
            if len(cells) != columns:
                raise UnreadableError(f"metrics.csv: {columns} cells are wanted in a row, {len(cells)} were found")
            last = left[start : start + replicas]
            thinned.offer(block, last)
            if not any(cells[2:]):  # of a seed that failed
                cells = next((row.split(b",") for row in last if not row.endswith(b"," * (columns - 2))), cells)
            if any(cells[place : place + 1] > [b""] for place in evaluated):
                evaluations.offer(block, last)
            block += 1
        left = left[whole:]
    if not block:
        raise UnreadableError("metrics.csv has no complete step")
    kept = {**thinned.kept(), **evaluations.kept(), block - 1: last}
    return [b"\n".join(kept[place]) for place in sorted(kept)]


class _Thinned:
    """Steps, every second of them left out as often as they become more than `most`."""

    def __init__(self, most: float) -> None:
        self._most, self._stride, self._seen = most, 1, 0
        self._kept: dict[int, tuple[int, list[bytes]]] = {}

    def offer(self, block: int, rows: list[bytes]) -> None:
        """Take a step with its number, where it is not one that is left out."""
        if self._seen % self._stride == 0:
            self._kept[self._seen] = (block, rows)
        self._seen += 1
        while self._seen > self._stride * self._most:
            self._stride *= 2
            self._kept = {place: one for place, one in self._kept.items() if place % self._stride == 0}

    def kept(self) -> dict[int, list[bytes]]:
        """Numbers and rows of the steps that are left."""
        return dict(self._kept.values())


def _numbers(steps: list[bytes], columns: int, replicas: int) -> np.ndarray:
    """Cells in reading order, `[N, R, columns]`; some hundred thousand are made to numbers at once."""
    at_once = max(1, _CELLS_AT_ONCE // (columns * replicas))
    parts = [_cells(b"\n".join(steps[place : place + at_once]), columns) for place in range(0, len(steps), at_once)]
    return np.concatenate(parts).reshape(len(steps), replicas, columns)


def _cells(text: bytes, columns: int) -> np.ndarray:
    """Cells in reading order; numpy's own readers know no empty cell or take twice as long."""
    text = text.replace(b"\r", b"")
    rows = text.count(b"\n") + 1
    for _ in range(2):  # the first leaves every second of several empty cells
        text = text.replace(b",,", b",nan,")
    cells = text.replace(b",\n", b",nan\n").replace(b"\n", b",").split(b",")
    if cells and not cells[-1]:
        cells[-1] = b"nan"
    if len(cells) != rows * columns:
        raise UnreadableError(f"metrics.csv: {rows} rows of {columns} cells are wanted, {len(cells)} cells were found")
    try:
        return np.array(list(map(float, cells)))
    except ValueError as problem:
        raise UnreadableError(f"metrics.csv: {short(problem)}") from None
