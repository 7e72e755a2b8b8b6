"""metrics.csv: one format, written and read in one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from prefrl_cli.files.write import append_to, write_whole
from prefrl_cli.run.directory import LONGEST_LINE

if TYPE_CHECKING:
    import numpy as np

    from prefrl_cli.charts.figures import History

EVALUATION = "evaluation/"


class MetricsLog:
    """`metrics.csv`: a row a step and living seed, an empty cell where there is no value, written as training goes.

    Numbers are the shortest text that gives the same number back in its own precision, so the history in memory is
    what a reader of the file gets.

    Args:
        path: the file.
        seeds: R seeds.

    Attributes:
        living: whether each seed has rows from now on, `[R]`.
    """

    def __init__(self, path: Path, seeds: Sequence[int]) -> None:
        self._path, self._seeds = path, [str(seed) for seed in seeds]
        self.living = [True for _ in seeds]
        self._rows: list[tuple[int, list[bool], dict[str, list[str]]]] = []
        self._names: list[str] = []
        self._file: TextIO | None = None

    def add(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Append a step's metrics, `[R]` each; names may be new."""
        texts = {
            name: [
                text if lives and text != "nan" else ""
                for text, lives in zip(value.astype(str), self.living, strict=True)
            ]
            for name, value in metrics.items()
        }
        self._rows.append((step, self.living, texts))
        new = [name for name in texts if name not in self._names]
        if new or self._file is None:
            self._names += new
            self._rewrite()
        else:
            self._file.write(self._lines(*self._rows[-1]))
        assert self._file is not None
        self._file.flush()

    @classmethod
    def read_back(
        cls,
        path: Path,
        seeds: Sequence[int],
        step: int,
        names: Sequence[str],
        ends: Mapping[str, int] | None = None,
        *,
        rewrite: bool = True,
    ) -> MetricsLog:
        """The log as it stood after a step: later rows and columns are taken out of the file.

        Args:
            path: the file.
            seeds: R seeds.
            step: the last to keep.
            names: the metrics known by then, in their order.
            ends: of the seeds that have failed by then, as text, the step at which.
            rewrite: false leaves the file as it is: `go_on_in` has to be called before more is added.

        Raises:
            ValueError: when a row or a metric up to there is missing or damaged.
        """
        log = cls(path, seeds)
        with path.open(encoding="utf-8", newline="") as file:
            header = file.readline(LONGEST_LINE).rstrip("\n").split(",")
            if header[:2] != ["step", "seed"] or not set(names) <= set(header[2:]):
                raise ValueError("metrics.csv has not the columns of the checkpoint")
            for number in range(step + 1):
                log.living = [number < (ends or {}).get(seed, step + 1) for seed in log._seeds]
                rows = []
                for seed, lives in zip(log._seeds, log.living, strict=True):
                    missing = [str(number), seed, *[""] * (len(header) - 2)]
                    rows.append(file.readline(LONGEST_LINE).rstrip("\n").split(",") if lives else missing)
                heads = [row[:2] for row in rows if len(row) == len(header)]
                if heads != [[str(number), seed] for seed in log._seeds]:
                    raise ValueError(f"metrics.csv has not all rows of step {number}")
                columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
                texts = {name: columns[name] for name in names}
                [float(text) for cells in texts.values() for text in cells if text]
                log._rows.append((number, log.living, texts))
        log._names = list(names)
        if rewrite:
            log._rewrite()
        return log

    def go_on_in(self, path: Path) -> None:
        """Write what was read to another file, which takes all that is added."""
        self._path = path
        self._rewrite()

    @property
    def names(self) -> list[str]:
        """The metrics so far, in the order of their columns."""
        return list(self._names)

    def sync(self) -> Callable[[], None]:
        """What makes the rows so far last through a power cut: call it once, in any thread; rows may be added before.

        A file that a new column replaces meanwhile is written as safely as this one.
        """
        assert self._file is not None
        handle = os.dup(self._file.fileno())

        def last() -> None:
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

        return last

    def history(self) -> History:
        """Every metric as an array; see `Algorithm.figures` for the shapes."""
        import numpy as np

        empty = [""] * len(self._seeds)
        history: History = {}
        for name in self._names:
            rows = self._rows if name.startswith(EVALUATION) else self._rows[1:]
            texts = np.array([texts.get(name, empty) for _, _, texts in rows])
            history[name] = np.where(texts == "", "nan", texts).astype(np.float64)
        return history

    def __enter__(self) -> MetricsLog:
        """The log itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; what was added can still be read."""
        self.close()

    def close(self) -> None:
        """Close the file; a later `add` would write it anew."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _rewrite(self) -> None:
        """Write the file again with more columns; it happens a few times in a run, when a metric first appears."""
        self.close()
        head = ",".join(["step", "seed", *self._names]) + "\n"
        write_whole(self._path, head + "".join(self._lines(*row) for row in self._rows))
        self._file = append_to(self._path)

    def _lines(self, step: int, living: Sequence[bool], texts: Mapping[str, list[str]]) -> str:
        empty = [""] * len(self._seeds)
        columns = [self._seeds, *(texts.get(name, empty) for name in self._names)]
        rows = zip(living, zip(*columns, strict=True), strict=True)
        return "".join(f"{step},{','.join(cells)}\n" for lives, cells in rows if lives)
