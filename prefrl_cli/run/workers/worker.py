"""What one worker does: it builds the algorithm of its share of the seeds and obeys what comes through a pipe."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from prefrl_cli.algorithm.living import Failed, Finite, Living, Metrics, advance, arrays, due, evaluated
from prefrl_cli.config.build import build
from prefrl_cli.config.options import Configuration
from prefrl_cli.run.workers.seed_axis import joined, sent, widened

if TYPE_CHECKING:
    from prefrl_cli.core.algorithm import Algorithm

# What stops a run is the parent's to hear: a terminal and a batch system tell every process of a group.
HEARD_BY_THE_PARENT = {
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
}
_ENDS_WITH_ITS_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h


class Task(NamedTuple):
    """What a worker is started with.

    Attributes:
        config: of its seeds alone.
        parent: the process that started it.
        prepare: sets up torch, in a process that has not inherited it.
        state: of its seeds where it begins, as `sent`; none begins at step 0.
        failed: those of its seeds that have failed already.
        options: of the run, by their dotted names, see `Living`.
    """

    config: Configuration
    parent: int
    prepare: Callable[[], object]
    state: Mapping[str, Any] | None
    failed: Failed
    options: Mapping[str, Any]


class Tested(NamedTuple):
    """An evaluation: its metrics and its examples `[R, K]`."""

    metrics: Metrics
    examples: Metrics


class Done(NamedTuple):
    """A step that is done.

    Attributes:
        metrics: of the update.
        finite: which seeds' numbers were finite after it.
        tested: the evaluation after it; none where there was none.
        state: after it, as `sent`, where a checkpoint is due; else none.
    """

    metrics: Metrics
    finite: Finite
    tested: Tested | None
    state: Mapping[str, Any] | None


class Problem(NamedTuple):
    """What ended a worker, and where."""

    raised: BaseException
    trace: str


def work(pipe: Connection, task: Task, inherited: Callable[[], object]) -> None:
    """Train what is asked for until the pipe ends.

    A number asks for all steps up to it, each of which is answered with a `Done`; `evaluate` for a `Tested`; `state`
    for the state, as `sent`. A `Problem` may answer anything, and is the last.

    Args:
        pipe: to the parent.
        task: what to do.
        inherited: closes what this process holds only because its parent does.
    """
    for number in HEARD_BY_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD_BY_THE_PARENT)
    _end_with(task.parent)
    gc.freeze()  # what was inherited is the parent's to tidy
    inherited()
    try:
        task.prepare()
        _obey(pipe, task)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has what it wanted, or is gone
    except BaseException as problem:
        with contextlib.suppress(OSError):
            pipe.send(Problem(_as_sent(problem), traceback.format_exc()))


def _obey(pipe: Connection, task: Task) -> None:
    algorithm, run = build(task.config), task.config.run
    if task.state is not None:
        algorithm.restore(widened(joined([task.state])))
    living = Living(run.seeds, dict(task.failed), task.options)
    while True:
        asked = pipe.recv()
        if asked == "evaluate":
            pipe.send(Tested(evaluated(algorithm), _examples(algorithm)))
        elif asked == "state":
            pipe.send(sent(algorithm.state()))
        else:
            while algorithm.step < asked:
                row = advance(algorithm, living, run.evaluation.every)
                tested = Tested(row.tested, _examples(algorithm)) if row.tested else None
                kept = algorithm.step == algorithm.steps or due(algorithm.step, run.checkpoint.every)
                state = sent(algorithm.state()) if kept else None
                pipe.send(Done(row.metrics, row.finite, tested, state))


def _examples(algorithm: Algorithm) -> Metrics:
    return arrays(algorithm.examples)


def _end_with(parent: int) -> None:
    """Die when the parent does, where the system can; elsewhere the pipe's end tells it after this step."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ENDS_WITH_ITS_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it was quicker
        os._exit(1)


def _as_sent(problem: BaseException) -> BaseException:
    """A problem that another process can read; it may hold anything."""
    try:
        pickle.loads(pickle.dumps(problem))
    except Exception:
        return RuntimeError(f"{type(problem).__name__}: {problem}")
    return problem
