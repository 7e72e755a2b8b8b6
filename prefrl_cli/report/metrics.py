"""`metrics.csv` as arrays, fast: a report reads a hundred of them, millions of rows, and shows some hundred points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prefrl_cli.report.statistics import with_failures
from prefrl_cli.safe_files import UnreadableError, read

_ROWS = 4_000  # rows of a file that are parsed, beside those with an evaluation; more show nothing
_EVALUATION = "evaluation/"
_MOST_COLUMNS = 500


@dataclass(frozen=True)
class Table:
    """Steps and metrics of a run.

    Attributes:
        steps: `[N]`, increasing; of a long run every second, fourth, ... step and those with an evaluation.
        columns: metric -> `[N, R]`, NaN for an empty cell; from the step on at which a seed failed it has no success,
            and NaN elsewhere.
    """

    steps: np.ndarray
    columns: dict[str, np.ndarray]


def read_metrics(folder: Path, seeds: list[int], ends: Mapping[int, int] | None = None) -> Table:
    """A run's `metrics.csv`.

    Args:
        folder: the run directory.
        seeds: R seeds, in the order in which each step lists them.
        ends: of seeds that failed the step from which on they have no row.

    Raises:
        UnreadableError: for anything but a row a step and seed, a number or nothing in each cell. An unfinished last
            step is left out.
    """
    head, *lines = read(folder, "metrics.csv").split(b"\n")
    names = head.decode("utf-8", "replace").rstrip("\r").split(",")
    if names[:2] != ["step", "seed"] or len(set(names)) != len(names) or len(names) > _MOST_COLUMNS:
        raise UnreadableError("metrics.csv does not begin with step, seed and metrics of different names")
    replicas = len(seeds)
    if ends:
        lines = _filled(lines, seeds, ends, len(names))
    blocks = (len(lines) - 1) // replicas  # the last line has no end: it is empty, or torn
    if not blocks:
        raise UnreadableError("metrics.csv has no complete step")
    stride = 1
    while blocks * replicas > stride * _ROWS:
        stride *= 2  # of two runs with different numbers of seeds the one has all steps of the other
    evaluated = [place for place, name in enumerate(names) if name.startswith(_EVALUATION)]
    chosen = []
    for block in range(blocks):
        cells = lines[block * replicas].split(b",")
        if block % stride == 0 or block == blocks - 1 or any(cells[place : place + 1] > [b""] for place in evaluated):
            chosen.append(block)
    text = b"\n".join(b"\n".join(lines[block * replicas : (block + 1) * replicas]) for block in chosen)
    values = _numbers(text, len(names)).reshape(len(chosen), replicas, len(names))
    steps = values[:, 0, 0]
    if (values[:, :, 0] != steps[:, None]).any() or (values[:, :, 1] != np.array(seeds)).any():
        raise UnreadableError("metrics.csv: a step does not list the seeds of config.yaml once each")
    if (np.diff(steps) <= 0).any():
        raise UnreadableError("metrics.csv: steps do not increase")
    columns = {name: values[:, :, place] for place, name in enumerate(names) if place > 1}
    if ends:
        failed = steps[:, None] >= np.array([ends.get(seed, np.inf) for seed in seeds])
        columns = {name: _counted(name, column, failed) for name, column in columns.items()}
    return Table(steps, columns)


def _counted(name: str, column: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """A column in which failed seeds count, at the steps at which the others were measured."""
    measured = ~np.isnan(column).all(1, keepdims=True)
    return with_failures(name, column, failed & measured)


def _filled(lines: list[bytes], seeds: list[int], ends: Mapping[int, int], columns: int) -> list[bytes]:
    """The lines of a file with an empty row for each that a failed seed has not."""
    full: list[bytes] = []
    place = 0
    while place < len(lines) - 1:
        step = lines[place].partition(b",")[0]
        try:
            number = int(step)
        except ValueError:
            raise UnreadableError("metrics.csv: a step is no whole number") from None
        living = [number < ends.get(seed, number + 1) for seed in seeds]
        if not any(living):
            raise UnreadableError("metrics.csv has rows of seeds that failed before")
        rows = iter(lines[place : place + sum(living)])
        empty = b"," * (columns - 2)
        full += [
            next(rows, b"") if lives else b"%b,%d%b" % (step, seed, empty)
            for seed, lives in zip(seeds, living, strict=True)
        ]
        place += sum(living)
    # The last line has no end; where the last step is torn, its rows are too few to count.
    return [*full[: len(full) - len(seeds)], b""] if place > len(lines) - 1 else [*full, b""]


def _numbers(text: bytes, columns: int) -> np.ndarray:
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
        raise UnreadableError(f"metrics.csv: {str(problem)[:120]}") from None
