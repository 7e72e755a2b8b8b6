"""A run's folder: claimed by one run only, written so that a kill at any moment leaves it readable."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from prefrl_cli.config.choices import target, updated_flat
from prefrl_cli.core.option_types import ConfigError, as_typed, show
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.files.lock import LOCK, hold, is_held
from prefrl_cli.files.read import UnreadableError, flat, not_plain, read, read_json, read_yaml, tail
from prefrl_cli.files.write import append_to, clear_parts, is_part, make_folder, write_whole
from prefrl_cli.run.signals import Interrupted

STATUS, LOG = "status.json", "train.log"

_OF_A_STATUS = {"status", "step", "reason", "started", "ended"}
_ADDED = {"failed_seeds", "charts"}  # not in older records


def in_the_way(path: Path) -> str | None:
    """Why no run can begin in a folder that is there: a line, or none.

    Raises:
        OSError: when the folder cannot be listed.
    """
    names = sorted(entry.name for entry in path.iterdir())
    if not names or half_begun(path):
        return None
    shown = f"output_dir={show(str(path))}"
    if RECORD in names:
        return f"{shown}: holds a sweep; type another folder"
    if STATUS in names:
        return f"{shown}: holds a run already; type another folder, or to go on resume={as_typed(str(path))}"
    others = show(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    return f"{shown}: is not empty (it holds {others}); type another folder"


def half_begun(path: Path) -> bool:
    """Whether a folder holds what a run leaves that is killed, or finds the disk full, before its options are there.

    Nothing is lost when a run begins in it again. A folder with any other file, or with a file of one of these names
    that no run has written, is somebody's.

    Raises:
        OSError: when the folder cannot be listed.
    """
    names = {entry.name for entry in path.iterdir()}
    ours = {name for name in names if not is_part(name, STATUS) and not is_part(name, "config.yaml")}
    if not names or ours - {LOCK, LOG, STATUS} or not_plain(path) is not None:
        return False
    if STATUS not in ours and ours - {LOCK}:
        return False
    try:
        if LOCK in ours and not re.fullmatch(rb"\d*\n?", read(path, LOCK, 100)):
            return False
        found = read(path, STATUS, 1 << 16) if STATUS in ours else b""
        said = json.loads(found) if found else dict.fromkeys(_OF_A_STATUS, 0)  # made, and not written yet
    except (UnreadableError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.keys() - _ADDED == _OF_A_STATUS and said["step"] == 0


Status = Literal["running", "finished", "failed", "interrupted"]
LONGEST_LINE = 1 << 16  # letters of metrics.csv; one of a hundred metrics has some 2,000


class RunDirectory:
    """One run's folder, which one process at a time may write to: make it with `claim` or `reopen`, then `close`.

    Attributes:
        path: the folder.
        charts: where the charts go.
        checkpoints: the checkpoints.
        options: what each checkpoint keeps of the options that it comes from, by their dotted names.
        failed_seeds: the seeds that have failed: as text, with `step` and `reason`.
        drawn: whether the charts show the run as it is; none where it is to have none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.charts = path / "charts"
        self.checkpoints = Checkpoints(path / "checkpoints")
        self.options: dict[str, Any] = {}
        self.failed_seeds: Mapping[str, Any] = {}
        self.drawn: bool | None = False
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
            others = problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS)  # who may read it can begin from it
            cure = "; to begin a run of its own from it type output_dir=NEW as well" if others else ""
            reason = problem.strerror or problem
            raise ConfigError(f"{show(str(path))}: cannot be written ({reason}){cure}") from None
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

    def __enter__(self) -> RunDirectory:
        """The folder, taken."""
        return self

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        """Let another process take it; who stopped the run at once is told how to go on with it."""
        self.close()
        if isinstance(problem, Interrupted) and re.fullmatch("interrupted( in .*)?", str(problem)):
            message = f"{problem}; to go on type prefrl-train resume={as_typed(str(self.path))}"
            raise Interrupted(problem.exit_code - 128, message) from None

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


FAILED_BEFORE = ".failed"


def set_aside(folder: Path) -> None:
    """Move a failed run out of the way of the next try; nothing of it is lost."""
    kept = folder.parent / FAILED_BEFORE
    make_folder(kept)
    number = 1
    while (kept / f"{folder.name}.{number}").exists():
        number += 1
    folder.rename(kept / f"{folder.name}.{number}")


RECORD = "sweep.yaml"
TABLE = "sweep.csv"


def recorded_options(folder: Path) -> dict[str, Any]:
    """The options of a run by their dotted names, lists as text, as a report compares them.

    Raises:
        UnreadableError: when they cannot be read, or are more than any of ours.
    """
    return updated_flat(flat(read_yaml(folder, "config.yaml"), "config.yaml"))


def as_class(name: str, value: Any) -> tuple[str, str]:
    """An option and its value, a choice by its class: two choices of one class differ in their other options alone.

    Args:
        name: of the option, dotted.
        value: that it has.
    """
    group, _, last = name.rpartition(".")
    found = target(group.partition(".")[0], str(value)) if last == "choice" else ""
    return (f"{group}._target_", repr(found)) if found else (name, repr(value))
