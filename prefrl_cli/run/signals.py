"""Ctrl-C and SIGTERM: the first lets the step end and a checkpoint be written, the second stops at once.

So do a closed terminal's SIGHUP, and the signals by which Slurm, Grid Engine and others warn of the end of a job's
time: SIGUSR1, SIGUSR2, SIGXCPU. What is ignored as we start, as nohup leaves SIGHUP, stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
_BY_HAND = (signal.SIGINT, signal.SIGTERM)  # of the others, a launcher's own handler knows better what to do
FINISHING = b"\nstopping after this step; once more stops at once\n"
# Seconds that a step has to end after SIGTERM and its like: whoever sends one kills soon after, and asks only once.
PATIENCE = 20.0


class Interrupted(KeyboardInterrupt):
    """A run that was stopped from outside; the message is one line.

    Args:
        number: the signal.
        message: what to tell.

    Attributes:
        exit_code: 128 and the signal's number: 130 for Ctrl-C, 143 for SIGTERM, 129 for a closed terminal.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Signals:
    """While it is entered, signals are noted in `caught` instead of stopping the process.

    Args:
        quiet: whether the first signal is not answered with a line.

    Attributes:
        caught: the first signal; none so far.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.caught: int | None = None
        self._quiet = quiet
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Signals:
        """Listen, where Python lets us: only its main thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                if _is_free(number):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the signals as they were."""
        self._disarm()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopping(self) -> bool:
        """Whether to stop, asked when a step has ended: no hurry from here on."""
        self._disarm()
        return self.caught is not None

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.caught is not None:
            if number == signal.SIGINT or {number, self.caught} <= set(_BY_HAND):
                raise Interrupted(number, "interrupted")
            return  # a closed terminal's comes from the shell and from the system, a batch system's more than once
        self.caught = number
        if not self._quiet:
            with contextlib.suppress(OSError):  # standard error may be full, or gone with its terminal
                os.write(2, FINISHING)  # print may be in the middle of a line
        if number != signal.SIGINT and hasattr(signal, "setitimer"):
            self._before.setdefault(signal.SIGALRM, signal.signal(signal.SIGALRM, self._too_long))
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _too_long(self, *_: object) -> None:
        number = self.caught or signal.SIGTERM
        raise Interrupted(number, f"interrupted in a step that took longer than {PATIENCE:g} seconds to end")

    def _disarm(self) -> None:
        if getattr(signal, "SIGALRM", None) in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it, each such signal ends the sweep in order: the workers of this process end too."""
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING[1:]:  # Ctrl-C does so anyway
                if _is_free(number):
                    before[number] = signal.signal(number, _end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    for other in _STOPPING:
        if other not in _BY_HAND and signal.getsignal(other) is _end:
            signal.signal(other, signal.SIG_IGN)  # they come more than once, and what ends here is not to be torn
    raise Interrupted(number, "interrupted")


def _is_free(number: int) -> bool:
    """Whether a signal is ours to take: not where it is ignored, or where another part of the process waits for it."""
    handler = signal.getsignal(number)
    if number in _BY_HAND:
        return handler is not signal.SIG_IGN  # as nohup and `&` leave it
    return handler is signal.SIG_DFL or handler is _end
