"""The parent's side: to whoever trains it, several processes are an algorithm like any other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from prefrl_cli.algorithm.living import Failed, Finite
from prefrl_cli.core.metric import seed_words
from prefrl_cli.run.workers.number import WorkerLostError, number_of_workers
from prefrl_cli.run.workers.seed_axis import cut, joined, sent, shares, widened
from prefrl_cli.run.workers.worker import HEARD_BY_THE_PARENT, Done, Problem, Task, Tested, work

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from numpy.typing import NDArray
    from torch import Tensor

    from prefrl_cli.config.options import Configuration
    from prefrl_cli.core.algorithm import Algorithm
    from prefrl_cli.core.figures import Figure, History
    from prefrl_cli.core.layers.exactness import Trained

_AHEAD = 0.25  # seconds that a worker may be ahead of what is written: it does not wait, and a stop is soon
_MOST_AHEAD = 64  # steps
_PATIENCE = 5.0  # seconds for a worker whose pipe has ended to end too


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection
    name: str


class _Reported:
    """What the workers' optimisers say after a step; each worker clears its own seeds."""

    def __init__(self) -> None:
        self.finite_losses = self.finite_parameters = torch.empty(0)

    def clear(self, replicas: Tensor) -> None:
        """Nothing."""


class Team:
    """Workers that train a run; see `Algorithm`.

    They run ahead of the steps that `update` has given, by a quarter of a second: whoever stops in between has to go
    on until they are `at_rest`.

    Args:
        whole: the algorithm of all seeds, where training begins. It trains nothing, and draws the charts in the end.
        config: of the run.
        prepare: sets up torch in a new process.
        failed: the seeds that have failed already.
        options: of the run, by their dotted names, see `Living`.
        until: the last step that is wanted.
        inherited: closes, in a new process, what it holds only because this one does.

    Raises:
        WorkerLostError: when a worker cannot be started, and from any method when one is gone.
    """

    def __init__(
        self,
        whole: Algorithm,
        config: Configuration,
        prepare: Callable[[], object],
        failed: Failed,
        options: Mapping[str, Any],
        until: int,
        inherited: Callable[[], object],
    ) -> None:
        self.steps, self.step, self.metrics, self.streams = whole.steps, whole.step, whole.metrics, whole.streams
        self.examples, self._reported = whole.examples, _Reported()
        self.optimizers: Any = [self._reported]
        self._whole, self._until = whole, until
        self._granted, self._resting, self._last, self._pace = whole.step, False, time.perf_counter(), 1.0
        self._tested: Tested | None = None
        self._state: Any = None
        self._workers: list[_Worker] = []
        state = whole.state() if whole.step else None
        safe = _can_fork()
        context: Any = multiprocessing.get_context("fork" if safe else "spawn")
        try:
            number = number_of_workers(config.run)
            for place, share in enumerate(shares(len(whole.streams.seeds), number)):
                seeds = whole.streams.seeds[share.start : share.stop]
                mine = {str(seed): failed[str(seed)] for seed in seeds if str(seed) in failed}
                task = Task(
                    config.with_run(seed=seeds[0], num_seeds=len(seeds), workers=1, charts=False),
                    os.getpid(),
                    contextlib.nullcontext if safe else prepare,
                    None if state is None else sent(cut(state, share, len(whole.streams.seeds))),
                    mine,
                    options,
                )
                self._start(
                    context,
                    task,
                    f"worker {place + 1} of {number} ({seed_words(seeds)})",
                    inherited,
                    safe,
                )
        except OSError as problem:
            self.close()
            raise WorkerLostError(f"no worker can be started ({problem.strerror or problem})") from None
        except BaseException:
            self.close()
            raise

    def _start(self, context: Any, task: Task, name: str, inherited: Callable[[], object], safe: bool) -> None:
        here, there = context.Pipe()
        others = [worker.pipe for worker in self._workers] + [here]

        def close_all() -> None:
            for pipe in others:
                pipe.close()
            inherited()

        process = context.Process(target=work, args=(there, task, close_all if safe else _nothing), daemon=True)
        with _unheard():
            process.start()
        there.close()
        self._workers.append(_Worker(process, here, name))

    def update(self) -> dict[str, Tensor]:
        """The metrics of the next step, `[R]` each."""
        self._grant()
        rows: list[Done] = self._answers()
        finite = Finite(*(np.concatenate(some) for some in zip(*(row.finite for row in rows), strict=True)))
        self._reported.finite_losses, self._reported.finite_parameters = map(torch.from_numpy, finite)
        self._tested = _joined([row.tested for row in rows if row.tested is not None])
        self._state = None if rows[0].state is None else joined([row.state for row in rows])
        self.step += 1
        now = time.perf_counter()
        self._pace, self._last = 0.8 * self._pace + 0.2 * (now - self._last), now
        return _tensors(_together([row.metrics for row in rows]))

    def _grant(self) -> None:
        """Let the workers go on, to some steps beyond the next."""
        ahead = int(min(max(_AHEAD / self._pace, 1), _MOST_AHEAD))
        if self.step == self._granted or (not self._resting and self._granted - self.step <= ahead // 2):
            self._granted = min(self.step + (1 if self._resting else ahead), self._until)
            self._tell(self._granted)

    def at_rest(self) -> bool:
        """Whether no worker is ahead any more; from the first call on none goes further than it may already."""
        self._resting = True
        return self.step == self._granted

    def evaluate(self) -> dict[str, Tensor]:
        """What is known now, `[R]` each."""
        if self._tested is None:
            self._tell("evaluate")
            self._tested = _joined(self._answers())
        assert self._tested is not None
        self.examples = _tensors(self._tested.examples)
        return _tensors(self._tested.metrics)

    def state(self) -> dict[str, Any]:
        """Everything that changes while training, see `joined`; the workers are not ahead, or were to give it now."""
        if self._state is None:
            self._tell("state")
            self._state = joined(self._answers())
        state: dict[str, Any] = self._state
        return state

    def figures(self, history: History, living: NDArray[np.bool_]) -> dict[str, Figure]:
        """The charts, which the algorithm of all seeds draws; the workers have come to their end."""
        state = self.state()
        self.close()
        self._whole.restore(widened(state))
        for optimizer in self._whole.optimizers:
            optimizer.clear(torch.from_numpy(~living))
        return self._whole.figures(history, living)

    def networks(self) -> dict[str, Trained]:
        """What is trained, for the check that no seed depends on those beside it."""
        return self._whole.networks()

    def play(self, *_: Any) -> Any:
        """Nothing: workers train only, and so for `adopt` and `restore`; they begin where `whole` stands."""
        raise NotImplementedError

    adopt = restore = play

    def _tell(self, asked: int | str) -> None:
        for worker in self._workers:
            try:
                worker.pipe.send(asked)
            except OSError:
                raise self._lost(worker) from None

    def _answers(self) -> list[Any]:
        """What each worker says next.

        Raises:
            WorkerLostError: when one is gone.
            Exception: that a worker has raised.
        """
        found = []
        for worker in self._workers:
            try:
                answer = worker.pipe.recv()
            except (EOFError, OSError):
                raise self._lost(worker) from None
            if isinstance(answer, Problem):
                answer.raised.add_note(f"in {worker.name}:\n{answer.trace}")
                raise answer.raised
            found.append(answer)
        return found

    def _lost(self, worker: _Worker) -> WorkerLostError:
        worker.process.join(_PATIENCE)
        code = worker.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        cause = " (was the memory too small?)" if code == -signal.SIGKILL else ""
        return WorkerLostError(f"{worker.name} {how} after step {self.step}{cause}")

    def close(self) -> None:
        """End the workers; they have nothing of their own to write."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.pipe.close()
            worker.process.kill()
        for worker in workers:
            worker.process.join()

    def __enter__(self) -> Team:
        """The team itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self.close()


def _together(several: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of all seeds from those of each share."""
    if any(list(one) != list(several[0]) for one in several):
        raise ValueError(f"workers have different metrics: {' and '.join(', '.join(one) for one in several)}")
    return {name: np.concatenate([one[name] for one in several]) for name in several[0]}


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _joined(several: list[Tested]) -> Tested | None:
    if not several:
        return None
    return Tested(_together([one.metrics for one in several]), _together([one.examples for one in several]))


def _can_fork() -> bool:
    """Whether a new process may begin as a copy of this one, which takes milliseconds.

    PyTorch's own data loaders begin so: a copy that uses one thread needs none of this process's. But where there is
    a GPU, its autograd keeps threads for it.
    """
    return sys.platform == "linux" and not torch.cuda.is_available()


def _nothing() -> None:
    """A new process that was not forked inherits nothing."""


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Hold signals back while a process begins, which would take them for its own."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD_BY_THE_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
