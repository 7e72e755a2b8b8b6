"""Several jobs at once on this machine, in processes of our own: what a launcher of others does with more packages."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from prefrl_cli.core.option_types import Limits
from prefrl_cli.run import processor
from prefrl_cli.run.signals import FINISHING
from prefrl_cli.sweep.job import Ended

DIED = "its process ended without a word (killed, or out of memory?)"


class Processes(Launcher):
    """Runs each job in a process, which takes the next one when it is done.

    Each process gets its share of the processors, unless `threads` is typed or OMP_NUM_THREADS is set.

    Args:
        jobs: at once; none is one for each processor that this process may use.
    """

    def __init__(self, jobs: Annotated[int, Limits(1, 1024)] | None = None) -> None:
        self._jobs = jobs or processor.available()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what a sweep is made of."""
        self._loader, self._task, self._config = hydra_context.config_loader, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch; a job whose process dies leaves the others running.

        Args:
            job_overrides: a list a job.
            initial_job_idx: the number of the first.

        Raises:
            KeyboardInterrupt: once each running job has written a checkpoint.
        """
        requests = []
        for overrides in job_overrides:
            composed: Any = self._loader.load_sweep_config(self._config, list(overrides)).hydra.overrides
            texts = [str(text) for text in (*composed.hydra, *composed.task)]
            requests.append(pickle.dumps((self._task, texts)))
        number = min(self._jobs, len(requests))
        queue = _Queue(requests, _environment(number))
        threads = [threading.Thread(target=queue.serve, daemon=True) for _ in range(number)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as problem:
            queue.stop(getattr(problem, "exit_code", 128 + signal.SIGINT) - 128, threads)
            raise
        returns = []
        for place, overrides in enumerate(job_overrides):
            done = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
            done.return_value = queue.ended[place]
            returns.append(done)
        return returns


def _environment(number: int) -> dict[str, str]:
    """The environment of one of so many processes that run together."""
    share = {"OMP_NUM_THREADS": str(max(1, processor.available() // number))} if number > 1 else {}
    return {**share, **os.environ}


class _Queue:
    """Jobs that processes take one after another.

    Attributes:
        ended: how each of them ended, by its place.

    Args:
        requests: what is sent for each.
        environment: of the processes.
    """

    def __init__(self, requests: Sequence[bytes], environment: Mapping[str, str]) -> None:
        self._left: Iterator[tuple[int, bytes]] = iter(list(enumerate(requests)))
        self._environment = environment
        self._workers: list[_Worker] = []
        self._stopping = False
        self._lock = threading.Lock()
        self.ended: dict[int, Ended] = {}

    def serve(self) -> None:
        """Run jobs until none is left; a process that died is followed by another."""
        worker: _Worker | None = None
        for place, request in self._left:
            with self._lock:  # whoever stops them knows every process
                if self._stopping:
                    break
                if worker is None:
                    worker = _Worker(self._environment)
                    self._workers.append(worker)
            self.ended[place], lives = worker.run(request)
            worker = worker if lives else None
        if worker is not None:
            worker.close()

    def stop(self, number: int, threads: Sequence[threading.Thread]) -> None:
        """Let the running jobs write their checkpoints, and start no other; asked again, they stop at once."""
        with self._lock:
            self._stopping = True
        with contextlib.suppress(OSError):  # standard error may have gone with its terminal
            os.write(2, FINISHING)
        for each in (number, number, signal.SIGKILL):
            for worker in self._workers:
                worker.signal(each)
            with contextlib.suppress(KeyboardInterrupt):
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
                return


# A session of its own: Ctrl-C reaches it once, from here. Not the folder that we are in: anyone's files may lie there.
_WORK = "import sys; sys.path[:] = {}; from prefrl_cli.sweep.processes import work; work()"


class _Worker:
    """A process that runs jobs one after another, and what it says of them on standard error."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _WORK.format(sys.path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=environment, start_new_session=True,
        )  # fmt: skip

    def run(self, request: bytes) -> tuple[Ended, bool]:
        """How a job ended, and whether the process is there for another one."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            code, reason = pickle.load(self._process.stdout)
            return (code, reason), True
        except (EOFError, OSError, pickle.UnpicklingError):
            self.close()
            self._said.seek(0)
            lines = self._said.read().decode(errors="replace").strip().splitlines()
            return (1, lines[-1] if lines and self._process.returncode > 0 else DIED), False

    def signal(self, number: int) -> None:
        """Send it a signal, where it is there still."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def close(self) -> None:
        """Let it end."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        self._process.wait()


def work() -> None:
    """Run the jobs that standard input names, and answer on standard output how each ended."""
    jobs, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a job prints is no answer
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            task, overrides = pickle.load(jobs)
            pickle.dump(task.alone(overrides), answers)
            answers.flush()
