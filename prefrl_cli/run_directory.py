"""A run's folder: claimed by one run only, written so that a kill at any moment leaves it readable."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from prefrl_cli.options import ConfigError, show

if TYPE_CHECKING:
    import numpy as np

    from prefrl_cli.figures import History

Status = Literal["running", "finished", "failed", "interrupted"]
EVALUATION = "evaluation/"
_KEPT_CHECKPOINTS = 2


class RunDirectory:
    """One run's folder; make it with `claim`.

    Attributes:
        path: the folder.
        charts: where the charts go.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.charts = path / "charts"
        self._checkpoints = path / "checkpoints"
        self._started = _now()

    @classmethod
    def claim(cls, wanted: Path, *, exact: bool) -> RunDirectory:
        """Take a folder that no other run can take as well, making it where needed.

        Args:
            wanted: the folder.
            exact: whether only this one will do; else a taken one gets a suffix, `_1`, `_2`, ...

        Raises:
            ConfigError: when the folder holds a run already, or cannot be written.
        """
        try:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            for number in range(10_000):
                path = wanted.with_name(f"{wanted.name}_{number}") if number else wanted
                try:
                    path.mkdir(exist_ok=exact)
                    # An existing folder was not made by us: who creates the status file first has it.
                    os.close(os.open(path / "status.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
                except FileExistsError:
                    if exact and wanted.is_dir():
                        raise ConfigError(f"output_dir={wanted}: holds a run already; type another folder") from None
                    if exact:
                        raise
                    continue
                directory = cls(path)
                directory.write_status("running", 0)
                return directory
        except OSError as problem:
            reason = problem.strerror or problem
            raise ConfigError(
                f"output_dir={show(str(wanted))}: cannot be written ({reason}); type output_dir=FOLDER"
            ) from None
        raise ConfigError(f"output_dir={wanted}: no free name was found; type output_dir=FOLDER")

    def write_status(self, status: Status, step: int, reason: str | None = None) -> None:
        """Say how the run stands; `reason` is one line."""
        ended = None if status == "running" else _now()
        content = {"status": status, "step": step, "reason": reason, "started": self._started, "ended": ended}
        self.write_json("status.json", content)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file whole or not at all; what is not a number becomes null."""
        self.write_text(name, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        temporary = self.path / f".{name}.part"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.path / name)

    def save_checkpoint(self, step: int, content: Mapping[str, Any]) -> Path:
        """Write a checkpoint that a kill cannot tear, point `last` at it, and keep the one before.

        Args:
            step: updates done.
            content: what `torch.load(weights_only=True)` reads back.
        """
        import torch

        self._checkpoints.mkdir(exist_ok=True)
        final = self._checkpoints / f"step_{step:06d}.pt"
        temporary = final.with_suffix(".part")
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(final)
        (self._checkpoints / "last.part").write_text(f"{final.name}\n", encoding="utf-8")
        (self._checkpoints / "last.part").replace(self._checkpoints / "last")
        _sync_folder(self._checkpoints)
        steps = sorted(self._checkpoints.glob("step_*.pt"), key=lambda path: int(path.stem[len("step_") :]))
        for old in steps[:-_KEPT_CHECKPOINTS]:
            old.unlink()
        return final


class MetricsLog:
    """`metrics.csv`: a row a step and seed, an empty cell where there is no value, written as training goes.

    Numbers are the shortest text that gives the same number back in its own precision, so the history in memory is
    what a reader of the file gets.

    Args:
        path: the file.
        seeds: R seeds.
    """

    def __init__(self, path: Path, seeds: Sequence[int]) -> None:
        self._path, self._seeds = path, [str(seed) for seed in seeds]
        self._rows: list[tuple[int, dict[str, list[str]]]] = []
        self._names: list[str] = []
        self._file: TextIO | None = None

    def add(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Append a step's metrics, `[R]` each; names may be new."""
        texts = {name: ["" if text == "nan" else text for text in value.astype(str)] for name, value in metrics.items()}
        self._rows.append((step, texts))
        new = [name for name in texts if name not in self._names]
        if new or self._file is None:
            self._names += new
            self._rewrite()
        else:
            self._file.write(self._lines(step, texts))
        assert self._file is not None
        self._file.flush()

    def history(self) -> History:
        """Every metric as an array; see `Algorithm.figures` for the shapes."""
        import numpy as np

        empty = [""] * len(self._seeds)
        history: History = {}
        for name in self._names:
            rows = self._rows if name.startswith(EVALUATION) else self._rows[1:]
            texts = np.array([texts.get(name, empty) for _, texts in rows])
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
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rewrite(self) -> None:
        """Write the file again with more columns; it happens a few times in a run, when a metric first appears."""
        self.close()
        temporary = self._path.with_name(f".{self._path.name}.part")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(["step", "seed", *self._names]) + "\n")
            file.writelines(self._lines(*row) for row in self._rows)
        temporary.replace(self._path)
        self._file = self._path.open("a", encoding="utf-8", newline="")

    def _lines(self, step: int, texts: Mapping[str, list[str]]) -> str:
        empty = [""] * len(self._seeds)
        columns = [self._seeds, *(texts.get(name, empty) for name in self._names)]
        return "".join(f"{step},{','.join(cells)}\n" for cells in zip(*columns, strict=True))


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(name): _plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be opened (not on Windows)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
