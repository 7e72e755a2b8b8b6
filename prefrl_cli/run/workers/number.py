"""How many processes train a run, and the error of one that is gone: what is told without torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefrl_cli.config.options import Run

_LEAST_SEEDS = 8  # of a worker, where the number is left to us: fewer take as long as so many


class WorkerLostError(Exception):
    """A worker has ended without a word; the message is one line."""


def number_of_workers(run: Run) -> int:
    """The processes that train a run: as typed, or as many as the processors and the seeds are worth."""
    if run.workers != "auto":
        return run.workers
    most = run.num_seeds // _LEAST_SEEDS if run.device == "cpu" else 1
    return max(1, min(wished_threads() or available(), most))


def wished_threads() -> int | None:
    """OMP_NUM_THREADS, by which launchers and batch systems share a machine out; none where it says no number."""
    typed = os.environ.get("OMP_NUM_THREADS", "")  # a list of numbers where loops are nested
    return int(typed) if typed.isdecimal() and 0 < int(typed) <= 1024 else None


def available() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
