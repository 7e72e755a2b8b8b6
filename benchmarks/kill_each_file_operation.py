"""Kill a run, or fill its disk, at each operation on a file up to its second checkpoint, and go on each time.

    python benchmarks/kill_each_file_operation.py [--every 1] [--first 1]

The n-th operation (a folder made, a file opened to be written, bytes written, synced, renamed, removed or cut) is where
the process is killed with SIGKILL, or where the disk is full once, or from there on; bytes are written by half before.
Each life is a forked child of this process, which has imported everything. Afterwards the folder must go on by
`prefrl-train resume=FOLDER`, or be told in one line to begin again and then be taken by the run's own command; and it
must end with the files of a run that was left alone, `checkpoints/last` among them.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kill_and_resume

from prefrl_cli.cli.command import exit_code
from prefrl_cli.cli.train import resume
from prefrl_cli.config.overrides import Typed
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files import write
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.run import runner
from prefrl_cli.run.lifecycle import run_job, run_or_resume

OPTIONS = ["steps=4", "checkpoint.every=2", "num_seeds=2"]
HOW = ("killed", "full once", "full from there on")
_NAMES = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "truncate", "ftruncate")
_NEED_NO_ROOM = ("unlink", "rmdir", "truncate", "ftruncate")
Config = Mapping[str, Any]


class Disk:
    """Counts the operations on files of this process, and does harm at one of them: for a child, not undone.

    Args:
        at: the number of the operation, from 1 on; 0 does no harm.
        how: one of `HOW`.
        reached: told the number of each operation.
    """

    def __init__(self, at: int, how: str, reached: Callable[[int], object] = lambda _: None) -> None:
        self._at, self._how, self._reached, self._count = at, how, reached, 0
        for name in _NAMES:
            setattr(os, name, self._counted(name, getattr(os, name)))
        plain = write.append_to

        def appending(path: Path) -> Any:
            file = plain(path)
            original = file.write
            proxy = _Appending(file)
            proxy.write = self._counted("write", lambda text: (original(text), file.flush()))  # type: ignore[method-assign]
            return proxy

        for module in list(sys.modules.values()):  # who has imported it by its name
            if getattr(module, "append_to", None) is plain:
                setattr(module, "append_to", appending)  # noqa: B010

    def _counted(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*given: Any, **named: Any) -> Any:
            if name == "open" and not given[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return original(*given, **named)
            self._count += 1
            self._reached(self._count)
            full = self._how != "killed" and name not in _NEED_NO_ROOM
            if self._count == self._at or (self._count > self._at > 0 and self._how == HOW[2]):
                if name == "write":
                    original(*given[:-1], given[-1][: len(given[-1]) // 2])
                if full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if self._how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(*given, **named)

        return operation


class _Appending:
    """A text file whose `write` is counted."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> Any:
        return self._file.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Appending:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def in_a_child(work: Callable[[], int]) -> int:
    """Its exit code, or minus the signal that ended it; 70 for anything that it raised."""
    child = os.fork()
    if not child:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            code = work()
        except ConfigError:
            code = 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def prepare() -> None:
    """Draw no charts, which come after the last checkpoint, and write each checkpoint before training goes on."""
    runner.draw = lambda *_: None
    save = Checkpoints.save

    def at_once(self: Checkpoints, *given: Any) -> Path:
        path = save(self, *given)
        self.wait()
        return path

    Checkpoints.save = at_once  # type: ignore[method-assign]


def operations(config: Config, overrides: list[str], folder: Path) -> int:
    """Run undisturbed; how many operations there are until the second checkpoint is whole."""
    counts = folder.with_name("counts")

    def work() -> int:
        handle = os.open(counts, os.O_WRONLY | os.O_CREAT)
        pwrite = os.pwrite
        whole = folder / "checkpoints" / "step_000004.pt"
        Disk(0, "killed", lambda number: None if whole.exists() else pwrite(handle, f"{number}".encode(), 0))
        return exit_code(run_or_resume(config, overrides, folder))

    if in_a_child(work):
        raise RuntimeError(f"{folder}: did not end well")
    return int(counts.read_text())


def disturbed(config: Config, overrides: list[str], folder: Path, at: int, how: str, whole: Path) -> tuple[str, str]:
    """One life that is disturbed and one that is not: how it went on, and what is wrong with its end."""

    def work() -> int:
        Disk(at, how)
        return exit_code(run_job({**config, "output_dir": str(folder)}, overrides))

    code = in_a_child(work)
    if code not in (0, 1, 2, -signal.SIGKILL):
        return "", f"ended with {code}"
    went_on = "resumed"
    try:
        ended = resume(Typed.of([f"resume={folder}", "quiet=true"]))
    except ConfigError as problem:
        if "is finished" in str(problem):
            went_on, ended = "finished all the same", 0
        elif "type its own command again" in str(problem) or "holds no run" in str(problem):
            went_on = "claimed"
            try:
                ended = exit_code(run_job({**config, "output_dir": str(folder)}, overrides))
            except ConfigError as other:
                return went_on, str(other)
        else:
            return went_on, str(problem)
    if ended:
        return went_on, f"the second life ended with {ended}"
    named = (folder / "checkpoints" / "last").read_text()
    wrong = [
        name for name in kill_and_resume.differences(whole, folder) if name not in ("overrides.yaml", "config.yaml")
    ]
    wrong += [] if named == "step_000004.pt\n" else [f"last names {named!r}"]
    return went_on, ", ".join(wrong)


def trial(folder: Path, every: int = 1, first: int = 1, ways: tuple[str, ...] = HOW) -> tuple[Counter[str], list[str]]:
    """How the runs went on, and a line for each that did not end as it should."""
    config, overrides = kill_and_resume.config_of("addition_linear", *OPTIONS)
    whole = folder / "whole"
    number = operations(config, overrides, whole)
    went, wrong = Counter[str](), []
    for at in range(first, number + 1, every):
        for how in ways:
            went_on, problem = disturbed(config, overrides, folder / f"{how}_{at}".replace(" ", "_"), at, how, whole)
            went[f"{how}: {went_on}"] += 1
            if problem:
                wrong.append(f"operation {at} of {number}, {how}: {problem}")
    return went, wrong


def main() -> int:
    """Print what became of it; 0 when every run ended as one that was left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    given = parser.parse_args()
    if given.quick:
        given.every, given.first = 25, 5
    prepare()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        went, wrong = trial(Path(folder), given.every, given.first)
    for line in wrong:
        print(line)
    for name, number in sorted(went.items()):
        print(f"{number:4} {name}")
    print(f"{went.total()} runs, {len(wrong)} not as they should be, {time.perf_counter() - began:.0f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
