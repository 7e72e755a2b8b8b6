"""A run's folder: claimed by one run only, written so that a kill at any moment leaves it readable."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from prefrl_cli.checkpoints import Checkpoints
from prefrl_cli.claims import LOG, STATUS, in_the_way
from prefrl_cli.options import ConfigError, show
from prefrl_cli.own_files import LOCK, append_to, clear_parts, hold, is_held, write_whole
from prefrl_cli.safe_files import UnreadableError, not_plain, read_json, tail

if TYPE_CHECKING:
    import numpy as np

    from prefrl_cli.figures import History

Status = Literal["running", "finished", "failed", "interrupted"]
EVALUATION = "evaluation/"
_LONGEST_LINE = 1 << 16  # letters of metrics.csv; one of a hundred metrics has some 2,000


class RunDirectory:
    """One run's folder, which one process at a time may write to: make it with `claim` or `reopen`, then `close`.

    Attributes:
        path: the folder.
        charts: where the charts go.
        checkpoints: the checkpoints.
        options: what each checkpoint keeps of the options that it comes from, by their dotted names.
        failed_seeds: the seeds that have failed: as text, with `step` and `reason`.
        drawn: whether the charts show the run as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.charts = path / "charts"
        self.checkpoints = Checkpoints(path / "checkpoints")
        self.options: dict[str, Any] = {}
        self.failed_seeds: Mapping[str, Any] = {}
        self.drawn = False
        self._started = _now()
        self._lock: int | None = None
        self._before: bytes | None = None  # what its lock held

    @classmethod
    def claim(cls, wanted: Path, *, exact: bool) -> RunDirectory:
        """Take a folder that no other run can take as well, making it where needed.

        A folder that was there must be empty, or hold no more than a run that was killed before it had begun.

        Args:
            wanted: the folder.
            exact: whether only this one will do; else a taken one gets a suffix, `_1`, `_2`, ...

        Raises:
            ConfigError: when the folder holds anything else, or cannot be written.
        """
        try:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            for number in range(10_000):
                path = wanted.with_name(f"{wanted.name}_{number}") if number else wanted
                directory = cls(path)
                try:
                    path.mkdir()
                except FileExistsError:
                    if not exact:
                        continue
                    if not path.is_dir():
                        raise
                    if (wrong := in_the_way(path)) is not None:
                        raise ConfigError(wrong) from None
                try:
                    directory._begin()
                except BaseException:
                    directory.close()
                    raise
                return directory
        except OSError as problem:
            reason = problem.strerror or problem
            raise ConfigError(
                f"output_dir={show(str(wanted))}: cannot be written ({reason}); type output_dir=FOLDER"
            ) from None
        raise ConfigError(f"output_dir={wanted}: no free name was found; type output_dir=FOLDER")

    def _begin(self) -> None:
        """Be the one that begins here: who makes the status file, or finds it and holds the lock."""
        self._take_lock()
        if (wrong := in_the_way(self.path)) is not None:  # another process was quicker, and has ended
            raise ConfigError(wrong)
        try:
            os.close(os.open(self.path / STATUS, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            if is_held(self.path / LOCK) is None:  # no locks here: whoever made it may be about to begin
                raise ConfigError(
                    f"output_dir={self.path}: another run begins there, or was killed as it began;"
                    " type another folder, or remove this one"
                ) from None
        clear_parts(self.path)
        (self.path / LOG).unlink(missing_ok=True)
        self.write_status("running", 0)

    @classmethod
    def reopen(cls, path: Path) -> RunDirectory:
        """Take the folder of a run that has begun.

        Raises:
            ConfigError: when another process writes to it, or it cannot be written, or only through a link or a pipe.
        """
        directory = cls(path)
        try:
            if (wrong := not_plain(path, path / "checkpoints", path / "charts")) is not None:
                raise ConfigError(wrong)
            directory._before = (path / LOCK).read_bytes() if (path / LOCK).is_file() else None
            directory._take_lock()
            if os.path.lexists(path / LOG):  # what is written on, and not anew
                append_to(path / LOG).close()
        except OSError as problem:
            directory.close()
            raise ConfigError(f"{show(str(path))}: cannot be written ({problem.strerror or problem})") from None
        directory._started = str(read_status(path).get("started") or directory._started)
        return directory

    @contextlib.contextmanager
    def as_it_was_if_refused(self) -> Iterator[None]:
        """Within it, a `ConfigError` leaves every file of a folder that was reopened as it was found."""
        try:
            yield
        except ConfigError:
            with contextlib.suppress(OSError):
                if self._before is None:
                    (self.path / LOCK).unlink()
                elif self._lock is not None:
                    os.truncate(self._lock, 0)
                    os.pwrite(self._lock, self._before, 0)
            raise

    def tidy(self) -> None:
        """Remove what a kill left half-written."""
        clear_parts(self.path)

    def close(self) -> None:
        """Let another process take the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        try:
            self._lock = hold(self.path / LOCK)
        except BlockingIOError:
            owner = tail(self.path, LOCK, 20).decode(errors="replace").strip()
            named = f"process {owner}" if owner.isdecimal() else "another process"
            raise ConfigError(f"{self.path}: {named} is training in this folder; wait for it, or stop it") from None
        os.truncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())

    def write_status(self, status: Status, step: int, reason: str | None = None) -> None:
        """Say how the run stands; `reason` is one line."""
        ended = None if status == "running" else _now()
        content = {"status": status, "step": step, "reason": reason, "started": self._started, "ended": ended}
        self.write_json(STATUS, content | {"failed_seeds": self.failed_seeds, "charts": self.drawn})

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file whole or not at all; what is not a number becomes null."""
        self.write_text(name, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        write_whole(self.path / name, text)


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
            header = file.readline(_LONGEST_LINE).rstrip("\n").split(",")
            if header[:2] != ["step", "seed"] or not set(names) <= set(header[2:]):
                raise ValueError("metrics.csv has not the columns of the checkpoint")
            for number in range(step + 1):
                log.living = [number < (ends or {}).get(seed, step + 1) for seed in log._seeds]
                rows = []
                for seed, lives in zip(log._seeds, log.living, strict=True):
                    missing = [str(number), seed, *[""] * (len(header) - 2)]
                    rows.append(file.readline(_LONGEST_LINE).rstrip("\n").split(",") if lives else missing)
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


def read_status(path: Path) -> dict[str, Any]:
    """What `status.json` of a run says; empty where there is none that can be read."""
    try:
        return read_json(path, STATUS)
    except UnreadableError:
        return {}


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
