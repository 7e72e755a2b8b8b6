"""The rows of a study, each a `prefrl-train` in a process of its own: begun, gone on with, or left as it is."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Typed
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.lock import LOCK, is_held
from prefrl_cli.files.read import UnreadableError, tail
from prefrl_cli.files.texts import quoted
from prefrl_cli.run.directory import STATUS, half_begun, read_status, set_aside
from prefrl_cli.run.provenance import config_changes, config_differences, stored_config
from prefrl_cli.run.signals import Interrupted, Signals
from prefrl_cli.study.study import Row, Study

_LOOK = 0.2  # seconds from one look at the rows to the next
_TRAIN = "import sys; from prefrl_cli.cli.train import main; sys.exit(main())"
_TAIL = 1 << 16  # bytes; a line of metrics.csv has a few hundred


@dataclass
class Job:
    """One row, and how it stands.

    Attributes:
        row: of the study.
        folder: its run directory.
        config: its options.
        state: waiting, running, finished or failed.
        reason: why it failed, in a line.
        child: the process that trains it.
        said: what the process writes to standard error.
        before: the share that was done before this command began.
    """

    row: Row
    folder: Path
    config: Configuration
    state: str = "waiting"
    reason: str = ""
    child: subprocess.Popen[bytes] | None = None
    said: BinaryIO | None = None
    before: float = field(default=0.0)

    @property
    def work(self) -> float:
        """How long it takes, in no unit: moves of the environment."""
        sizes = [self.config.run.num_seeds, self.config.run.steps]
        for group, name in (("env", "horizon"), ("algorithm", "episodes")):
            sizes.append((self.config.options.get(group) or {}).get(name) or 1)
        total = 1.0
        for size in sizes:
            total *= float(size)
        return total

    def share(self) -> float:
        """The part of its steps that is done, by the last whole line of its `metrics.csv`."""
        if self.state in ("finished", "failed"):
            return 1.0
        try:
            step = int(tail(self.folder, "metrics.csv", _TAIL).splitlines()[-2].partition(b",")[0])
            return min(max(step / float(self.config.run.steps), 0.0), 1.0)
        except (UnreadableError, ValueError, OverflowError, IndexError):
            return 0.0


def jobs(study: Study, folder: Path) -> list[Job]:
    """The rows, each with its options composed and every part built once, as `prefrl-train` does before it writes.

    Raises:
        ConfigError: for the first row with a wrong option.
    """
    return [Job(row, folder / row.folder, composed(row)) for row in study.rows]


def composed(row: Row) -> Configuration:
    """The options of a row, checked.

    Raises:
        ConfigError: for a wrong option.
    """
    from prefrl_cli.config.build import build
    from prefrl_cli.config.compose import compose

    try:
        config = compose(Typed.of(row.overrides))
        build(config.with_run(num_seeds=1))
    except ConfigError as problem:
        raise ConfigError(f"row {row.name!r}: {problem}") from None
    return config


def train_rows(several: Sequence[Job], at_once: int, tell: Callable[[str | None], None]) -> None:
    """Bring every row to its end, at most `at_once` at a time; a row that fails leaves the others running.

    Args:
        several: the rows; their `state` and `reason` say in the end what became of them.
        at_once: processes.
        tell: called with a line of news, or none, at each look at the rows.

    Raises:
        Interrupted: on Ctrl-C or SIGTERM, once each running row has written a checkpoint.
    """
    for job in several:
        job.before = job.share()
        if (news := _settle(job)) is not None:
            tell(news)
    with Signals() as signals, _ended(several):
        while any(job.state in ("waiting", "running") for job in several):
            for job in several:
                if job.child is not None and (code := job.child.poll()) is not None:
                    tell(_end(job, code))
            if signals.caught is not None:
                _stop(several, signals.caught)
                raise Interrupted(signals.caught, "stopped; the same command goes on")
            for job in several:
                if job.state == "waiting" and sum(one.state == "running" for one in several) < at_once:
                    if (news := _start(job, ["threads=1"] if at_once > 1 else [])) is not None:
                        tell(news)
            tell(None)
            time.sleep(_LOOK)


def _settle(job: Job) -> str | None:
    """What is to become of a folder that is there already; a line where it is not simply gone on with."""
    status = read_status(job.folder).get("status")
    if not (job.folder / STATUS).exists() or half_begun(job.folder):
        return None
    if is_held(job.folder / LOCK):
        return f"{job.row.name}: another process trains it; it is waited for"
    differences = []
    with contextlib.suppress(ConfigError):
        before = stored_config(job.folder)
        changed = {name: pair for name, pair in config_changes(before, job.config.options).items() if name != "threads"}
        differences = config_differences(changed)
        if not differences and status == "finished":
            job.state = "finished"
            return None
        if not differences and status in ("running", "interrupted"):
            return None
    set_aside(job.folder)
    job.before = 0.0
    why = f"its options have changed ({differences[0]})" if differences else "it had failed"
    return f"{job.row.name}: runs again, {why}; the old run is kept in {job.folder.parent / '.failed'}"


def _start(job: Job, options: list[str]) -> str | None:
    if is_held(job.folder / LOCK):
        return None  # looked at again later
    news = _settle(job)
    if job.state == "finished":
        return None
    begun = (job.folder / STATUS).exists() and not half_begun(job.folder)
    what = [f"resume={job.folder}"] if begun else [*job.row.overrides, f"output_dir={quoted(str(job.folder))}"]
    job.said = tempfile.TemporaryFile()
    job.child = _train([*what, "quiet=true", *options], job.said)
    job.state = "running"
    return news


def _train(arguments: list[str], said: BinaryIO) -> subprocess.Popen[bytes]:
    """`prefrl-train` in a session of its own, so that Ctrl-C reaches it once, from here."""
    return subprocess.Popen(
        [sys.executable, "-c", _TRAIN, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
    )  # fmt: skip


def _end(job: Job, code: int) -> str:
    status = read_status(job.folder)
    job.state = "finished" if code == 0 and status.get("status") == "finished" else "failed"
    if job.state == "failed":
        assert job.said is not None
        job.said.seek(0)
        said = job.said.read().decode(errors="replace").strip().splitlines()
        last = said[-1].removeprefix("prefrl-train: ") if said else ""
        job.reason = str(status.get("reason") or last or f"ended with exit code {code}")
    _forget(job)
    return f"{job.row.name}: {job.state}{f': {job.reason}' if job.reason else ''}"


def _forget(job: Job) -> None:
    if job.said is not None:
        job.said.close()
    job.child = job.said = None


def _stop(several: Sequence[Job], number: int) -> None:
    running = [job for job in several if job.child is not None]
    for job in running:
        assert job.child is not None
        job.child.send_signal(number)
    for job in running:
        assert job.child is not None
        job.child.wait()
        _forget(job)


@contextlib.contextmanager
def _ended(several: Sequence[Job]) -> Iterator[None]:
    """Leave no process behind, whatever ends the block: the second Ctrl-C stops them at once."""
    try:
        yield
    except BaseException:
        _stop(several, signal.SIGTERM)
        raise
