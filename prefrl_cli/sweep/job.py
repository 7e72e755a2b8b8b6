"""One job of a sweep, in whatever process or machine a launcher runs it."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from prefrl_cli.config.compose import configuration, hydra_main, task_overrides
from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Typed, option
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.lock import LOCK, is_held
from prefrl_cli.files.write import write_whole
from prefrl_cli.run.directory import set_aside
from prefrl_cli.run.lifecycle import run_or_resume
from prefrl_cli.sweep.results import read_json

_LOOK = 0.5  # seconds from one look at the sweep's process to the next
_LONGEST_WAIT = 60.0  # seconds for a process that a killed sweep left behind to write its checkpoint

Run = Callable[[Configuration, Sequence[str], Path, Callable[[str], object]], str]
Ended = tuple[int, str | None]  # the exit code, and the reason where the job's folder does not tell it
_FOR_SWEEPS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep", "hydra.mode")


@dataclass(frozen=True)
class SweepTask:
    """What a launcher calls for each job, in whatever process or machine: it travels there.

    Attributes:
        folder: of the sweep, absolute.
        naming: the name of a job's folder in it, by the overrides.
        flags: that were typed.
        parent: the process of the sweep.
    """

    folder: Path
    naming: Callable[[Sequence[str]], str]
    flags: argparse.Namespace
    parent: int

    def __call__(self, config: DictConfig) -> Ended:
        """Run the job that Hydra has composed; see `run_sweep_job`."""
        overrides = task_overrides()
        place = self.folder / self.naming(overrides)
        return run_sweep_job(lambda: configuration(config), overrides, place, run_or_resume, self.parent)

    def alone(self, overrides: Sequence[str]) -> Ended:
        """Compose and run one job in a process in which nothing was composed before.

        Args:
            overrides: of the job, Hydra's own among them.
        """
        ended: list[Ended] = []
        flags = argparse.Namespace(**{**vars(self.flags), "multirun": False})
        own = [text for text in overrides if not option(text).startswith(_FOR_SWEEPS)]
        hydra_main(Typed(flags, tuple(own)), lambda config: ended.append(self(config)))
        return ended[0]


def run_sweep_job(
    compose: Callable[[], Configuration], overrides: Sequence[str], folder: Path, run: Run, parent: int
) -> Ended:
    """Start, resume, repeat or skip one job, in whatever process a launcher runs it; it never raises an `Exception`.

    Args:
        compose: gives the options.
        overrides: of the job.
        folder: its run directory, absolute.
        run: starts or resumes a run in a folder, and says how it ended.
        parent: the process of the sweep.

    Returns:
        The exit code, and the reason where the folder does not tell it; of a finished job, what failed beside it.

    Raises:
        KeyboardInterrupt: in the process of the sweep, to end it.
    """
    said, warnings = io.StringIO(), list[str]()
    try:
        _wait_for(folder)
        status = read_json(folder / "status.json").get("status")
        if status == "finished":
            return 0, None
        if status == "failed":
            set_aside(folder)
        # A sweep has a line of its own; what a job says is in its train.log.
        with _ending_with(parent), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            ended = run(compose(), overrides, folder, warnings.append)
    except ConfigError as problem:
        return 2, str(problem)
    except KeyboardInterrupt:
        if os.getpid() == parent:
            raise
        return 1, None
    except Exception as problem:
        with contextlib.suppress(OSError):  # a name that is too long, or a full disk: the line below says it
            write_whole(folder.parent / f"{folder.name}.error.log", traceback.format_exc(), sync=False)
        return 1, " ".join(f"{type(problem).__name__}: {problem}".split())
    if ended == "finished":
        return 0, next(iter(warnings), None)
    if not read_json(folder / "status.json").get("reason"):
        return 1, (said.getvalue().strip().splitlines() or ["see its train.log"])[-1]
    return 1, None


@contextlib.contextmanager
def _ending_with(parent: int) -> Iterator[None]:
    """End this process when the sweep that started it is killed: a run writes its checkpoint first.

    Elsewhere, on another machine or below a process of a launcher's own, the sweep is not this process's parent, and
    whoever started it looks after it.
    """
    if os.getppid() != parent:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if os.getppid() != parent:
            os._exit(1)  # a worker would wait for the next job for ever


def _wait_for(folder: Path) -> None:
    """Let a process that a killed sweep left behind stop, which takes it until its step ends."""
    until = time.monotonic() + _LONGEST_WAIT
    while is_held(folder / LOCK) and time.monotonic() < until:
        time.sleep(_LOOK)
