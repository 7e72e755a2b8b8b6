"""`metrics.csv` as arrays, fast: a report reads a hundred of them, millions of rows, and shows some hundred points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prefrl_cli.safe_files import UnreadableError, read

_ROWS = 4_000  # rows of a file that are parsed, beside those with an evaluation; more show nothing
_EVALUATION = "evaluation/"
_MOST_COLUMNS = 500


@dataclass(frozen=True)
class Table:
    """Steps and metrics of a run.

    Attributes:
        steps: `[N]`, increasing; of a long run every second, fourth, ... step and those with an evaluation.
        columns: metric -> `[N, R]`, NaN for an empty cell.
    """

    steps: np.ndarray
    columns: dict[str, np.ndarray]


def read_metrics(folder: Path, seeds: list[int]) -> Table:
    """A run's `metrics.csv`.

    Args:
        folder: the run directory.
        seeds: R seeds, in the order in which each step lists them.

    Raises:
        UnreadableError: for anything but a row a step and seed, a number or nothing in each cell. An unfinished last
            step is left out.
    """
    head, *lines = read(folder, "metrics.csv").split(b"\n")
    names = head.decode("utf-8", "replace").rstrip("\r").split(",")
    if names[:2] != ["step", "seed"] or len(set(names)) != len(names) or len(names) > _MOST_COLUMNS:
        raise UnreadableError("metrics.csv does not begin with step, seed and metrics of different names")
    replicas = len(seeds)
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
    return Table(steps, {name: values[:, :, place] for place, name in enumerate(names) if place > 1})


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
