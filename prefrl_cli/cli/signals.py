"""Ctrl-C and SIGTERM: the first lets the step end and a checkpoint be written, the second stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

FINISHING = b"\nstopping after this step; once more stops at once\n"
PATIENCE = 20.0  # seconds that a step has to end after SIGTERM: what sends it kills soon after, and asks only once


class Interrupted(KeyboardInterrupt):
    """A run that was stopped from outside; the message is one line.

    Args:
        number: the signal.
        message: what to tell.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Signals:
    """While it is entered, signals are noted in `caught` instead of stopping the process.

    Attributes:
        caught: the first signal; none so far.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Signals:
        """Listen, where Python lets us: only its main thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and `&` leave it
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
            raise Interrupted(number, "interrupted")
        self.caught = number
        os.write(2, FINISHING)  # print may be in the middle of a line
        if number == signal.SIGTERM and hasattr(signal, "setitimer"):
            self._before.setdefault(signal.SIGALRM, signal.signal(signal.SIGALRM, self._too_long))
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _too_long(self, *_: object) -> None:
        raise Interrupted(signal.SIGTERM, f"interrupted in a step that took longer than {PATIENCE:g} seconds to end")

    def _disarm(self) -> None:
        if getattr(signal, "SIGALRM", None) in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within it, SIGTERM ends the sweep in order: the workers of this process end too."""

    def end(number: int, _: Any) -> None:
        raise Interrupted(number, "interrupted")

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
