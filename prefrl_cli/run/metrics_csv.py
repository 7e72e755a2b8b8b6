"""metrics.csv and evaluation.csv: one format, written and read back in one file.

Runs of earlier versions have one file for both: its `evaluation/<name>` columns are of evaluations, and a row of step 0
is of the one before training.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from prefrl_cli.algorithm.metrics import EVALUATION as EVALUATION
from prefrl_cli.algorithm.metrics import current_name
from prefrl_cli.files.write import append_to, write_whole
from prefrl_cli.run.directory import LONGEST_LINE

if TYPE_CHECKING:
    import numpy as np

    from prefrl_cli.core.figures import History

METRICS, EVALUATIONS = "metrics.csv", "evaluation.csv"

Texts = dict[str, list[str]]
Kept = TypeVar("Kept")


def current_names(metrics: Mapping[str, Kept]) -> dict[str, Kept]:
    """The same under the names that metrics have now; see `current_name`."""
    beginnings = {name: EVALUATION if name.startswith(EVALUATION) else "" for name in metrics}
    return {begin + current_name(name.removeprefix(begin)): metrics[name] for name, begin in beginnings.items()}


class _File:
    """One file: a row a step and living seed."""

    def __init__(self, path: Path, seeds: Sequence[str]) -> None:
        self.path, self._seeds = path, seeds
        self.rows: list[tuple[int, Sequence[bool], Texts]] = []
        self.names: list[str] = []
        self._open: TextIO | None = None

    def add(self, step: int, living: Sequence[bool], texts: Texts) -> None:
        self.rows.append((step, living, texts))
        new = [name for name in texts if name not in self.names]
        if new or self._open is None:
            self.names += new
            self.rewrite()
        else:
            self._open.write(self._lines(*self.rows[-1]))
        assert self._open is not None
        self._open.flush()

    def rewrite(self) -> None:
        """Write the file again with more columns; it happens a few times in a run, when a metric first appears."""
        self.close()
        head = ",".join(["step", "seed", *self.names]) + "\n"
        write_whole(self.path, head + "".join(self._lines(*row) for row in self.rows))
        self._open = append_to(self.path)

    def close(self) -> None:
        file, self._open = self._open, None
        if file is not None:
            file.close()

    def handle(self) -> int:
        assert self._open is not None
        return os.dup(self._open.fileno())

    def history(self, steps: Iterable[int]) -> dict[str, np.ndarray]:
        """Every metric at the steps, `[N, R]`; NaN where it has no value."""
        import numpy as np

        empty, found, there = [""] * len(self._seeds), {}, {step: texts for step, _, texts in self.rows}
        steps = list(steps)
        for name in self.names:
            texts = np.array([there.get(step, {}).get(name, empty) for step in steps]).reshape(-1, len(empty))
            found[name] = np.where(texts == "", "nan", texts).astype(np.float64)
        return found

    def _lines(self, step: int, living: Sequence[bool], texts: Texts) -> str:
        empty = [""] * len(self._seeds)
        columns = [self._seeds, *(texts.get(name, empty) for name in self.names)]
        rows = zip(living, zip(*columns, strict=True), strict=True)
        return "".join(f"{step},{','.join(cells)}\n" for lives, cells in rows if lives)


class MetricsLog:
    """`metrics.csv` and `evaluation.csv`: a row a step and living seed, an empty cell where there is no value.

    The first has a row for each update, the second one for each evaluation, before training included. Both are
    written as training goes. Numbers are the shortest text that gives the same number back in its own precision, so
    the history in memory is what a reader of the files gets.

    Args:
        folder: where they lie.
        seeds: R seeds.

    Attributes:
        living: whether each seed has rows from now on, `[R]`.
    """

    def __init__(self, folder: Path, seeds: Sequence[int]) -> None:
        self._seeds = [str(seed) for seed in seeds]
        self.living = [True for _ in seeds]
        self._step = 0
        self._training, self._evaluations = (_File(folder / name, self._seeds) for name in (METRICS, EVALUATIONS))

    def add(self, step: int, metrics: Mapping[str, np.ndarray], evaluation: Mapping[str, np.ndarray]) -> None:
        """Append a step's metrics and those of an evaluation after it, `[R]` each; names may be new.

        Args:
            step: the number of updates done; 0 for the evaluation before training, which has no other metrics.
            metrics: of the update.
            evaluation: empty where there was none.
        """
        self._step = step
        if evaluation:
            self._evaluations.add(step, self.living, self._texts(evaluation))
        if step == 0:
            self._training.rewrite()
        else:
            self._training.add(step, self.living, self._texts(metrics))

    def _texts(self, metrics: Mapping[str, np.ndarray]) -> Texts:
        return {
            name: [
                text if lives and text != "nan" else ""
                for text, lives in zip(value.astype(str), self.living, strict=True)
            ]
            for name, value in metrics.items()
        }

    @classmethod
    def read_back(
        cls,
        folder: Path,
        seeds: Sequence[int],
        step: int,
        names: Sequence[str],
        ends: Mapping[str, int] | None = None,
        *,
        evaluations: int | None = None,
        rewrite: bool = True,
    ) -> MetricsLog:
        """The log as it stood after a step: later rows and columns are taken out of the files.

        Args:
            folder: where they lie.
            seeds: R seeds.
            step: the last to keep.
            names: the metrics known by then, in their order, as `names` has them.
            ends: of the seeds that have failed by then, as text, the step at which.
            evaluations: how many there are by then; none where that is not known.
            rewrite: false leaves the files as they are: `go_on_in` has to be called before more is added.

        Raises:
            ValueError: when a row or a metric up to there is missing or damaged.
        """
        log, ends = cls(folder, seeds), ends or {}
        log._step = step
        trained = [name for name in names if not name.startswith(EVALUATION)]
        tested = [name.removeprefix(EVALUATION) for name in names if name.startswith(EVALUATION)]
        if holds_both(folder / METRICS):  # of step 0 it has the evaluation only, of most other steps it has none
            where = METRICS
            log._read(log._training, where, trained, step, ends, first=0)
            log._read(log._evaluations, where, tested, step, ends, first=0, beginning=EVALUATION)
            log._training.rows = log._training.rows[1:]
            log._evaluations.rows = [row for row in log._evaluations.rows if any(map(any, row[2].values()))]
        else:
            where = EVALUATIONS
            log._read(log._training, METRICS, trained, step, ends, first=1)
            log._read(log._evaluations, where, tested, step, ends)
        there = len(log._evaluations.rows)
        if not there or log._evaluations.rows[0][0] != 0 or (evaluations or there) != there:
            raise ValueError(f"{where} has not all evaluations up to step {step}")
        log.living = log._lives(step, ends)
        if rewrite:
            log._rewrite()
        return log

    def _rewrite(self) -> None:
        """Write both files anew, or leave none open; first the evaluations, which may be taken out of the other."""
        try:
            self._evaluations.rewrite()
            self._training.rewrite()
        except BaseException:
            self.close()
            raise

    def _lives(self, step: int, ends: Mapping[str, int]) -> list[bool]:
        return [step < ends.get(seed, step + 1) for seed in self._seeds]

    def _read(
        self,
        into: _File,
        name: str,
        names: Sequence[str],
        step: int,
        ends: Mapping[str, int],
        *,
        first: int | None = None,
        beginning: str = "",
    ) -> None:
        """Read metrics up to a step: all steps from `first` on, or those that there are.

        `beginning` stands before the names in a file that holds metrics of training too.
        """
        with (into.path.parent / name).open(encoding="utf-8", newline="") as file:
            header = list(current_names(dict.fromkeys(file.readline(LONGEST_LINE).rstrip("\n").split(","))))
            if header[:2] != ["step", "seed"] or not {beginning + one for one in names} <= set(header[2:]):
                raise ValueError(f"{name} has not the columns of the checkpoint")
            line, number = file.readline(LONGEST_LINE), (first or 0) - 1
            while (number := _step_of(line) if first is None else number + 1) <= step:
                living, rows = self._lives(number, ends), []
                for seed, lives in zip(self._seeds, living, strict=True):
                    missing = [str(number), seed, *[""] * (len(header) - 2)]
                    rows.append(line.rstrip("\n").split(",") if lives else missing)
                    line = file.readline(LONGEST_LINE) if lives else line
                heads = [row[:2] for row in rows if len(row) == len(header)]
                if heads != [[str(number), seed] for seed in self._seeds]:
                    raise ValueError(f"{name} has not all rows of step {number}")
                columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
                texts = {one: columns[beginning + one] for one in names}
                [float(text) for cells in texts.values() for text in cells if text]
                into.rows.append((number, living, texts))
        into.names = list(names)

    def go_on_in(self, folder: Path) -> None:
        """Write what was read to another folder, whose files take all that is added."""
        self._evaluations.path, self._training.path = folder / EVALUATIONS, folder / METRICS
        self._rewrite()

    @property
    def names(self) -> list[str]:
        """The metrics so far, in the order of their columns; those of evaluations begin with `evaluation/`."""
        return [*self._training.names, *(EVALUATION + name for name in self._evaluations.names)]

    @property
    def training_names(self) -> list[str]:
        """The columns of `metrics.csv` so far."""
        return list(self._training.names)

    @property
    def evaluations(self) -> int:
        """How many there are so far."""
        return len(self._evaluations.rows)

    def sync(self) -> Callable[[], None]:
        """What makes the rows so far last through a power cut: call it once, in any thread; rows may be added before.

        A file that a new column replaces meanwhile is written as safely as this one.
        """
        handles = [file.handle() for file in (self._evaluations, self._training)]

        def last() -> None:
            try:
                for handle in handles:
                    os.fsync(handle)
            finally:
                for handle in handles:
                    os.close(handle)

        return last

    def history(self) -> History:
        """Every metric as an array; see `Algorithm.figures` for the shapes."""
        tested = self._evaluations.history(range(self._step + 1)).items()
        return self._training.history(range(1, self._step + 1)) | {EVALUATION + name: one for name, one in tested}

    def __enter__(self) -> MetricsLog:
        """The log itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files; what was added can still be read."""
        self.close()

    def close(self) -> None:
        """Close both files, also where one cannot be written to its end; a later `add` would write them anew."""
        try:
            self._training.close()
        finally:
            self._evaluations.close()


def _step_of(line: str) -> int:
    """The step of a row; past every step where it is no row."""
    text = line.partition(",")[0]
    return int(text) if text.isdecimal() and len(text) < 19 else sys.maxsize


def holds_both(path: Path) -> bool:
    """Whether a `metrics.csv` is of an earlier version, which had the evaluations in it."""
    with path.open(encoding="utf-8", newline="") as file:
        names = file.readline(LONGEST_LINE).split(",")
    return any(name.startswith(EVALUATION) for name in names)
