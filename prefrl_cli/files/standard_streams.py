"""Standard input, output and error as a command can use them: there, and never a reason to end."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}  # in the order of their numbers: 0, 1, 2


def make_whole() -> None:
    """Put nothing (`/dev/null`) in the place of each stream that a shell has closed, as `2>&-` does.

    Else the next file that is opened, such as a run's metrics, has the stream's number, and what a library prints goes
    into it.
    """
    for number, (name, mode) in enumerate(_MODES.items()):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            os.set_inheritable(number, True)  # workers have it too
        if getattr(sys, name) is None:
            stream = os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a folder's name may hold what a console cannot show
    if type(sys.stderr) is io.TextIOWrapper:
        raw = open(sys.stderr.fileno(), "wb", closefd=False)  # its own: the stream before closes its own when it goes
        sys.stderr = _Lenient(raw, encoding=sys.stderr.encoding, errors="backslashreplace", line_buffering=True)


class _Lenient(io.TextIOWrapper):
    """Standard error that never fails: where it is full, or its reader has gone, texts are lost in silence."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            silence(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            silence(self)


def say(text: str, end: str = "\n") -> None:
    """Print to standard error, at once."""
    print(text, end=end, file=sys.stderr, flush=True)


def answer(text: str, end: str = "\n") -> None:
    """Print to standard output; where that is not possible, go on all the same."""
    try:
        print(text, end=end, flush=True)
    except (OSError, ValueError):
        silence(sys.stdout)


def flushed() -> str | None:
    """Write out what standard output still holds; why it could not be shown, none where its reader has left."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as problem:
        silence(sys.stdout)
        return problem.strerror or str(problem)
    except ValueError:
        pass
    return None


@contextlib.contextmanager
def waiting(for_what: str, *, quiet: bool = False) -> Iterator[None]:
    """Within it a terminal says what a person waits for; a file is told nothing."""
    stream = sys.stderr
    there = not quiet and stream is not None and stream.isatty()

    def put(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # whoever read along has left
            if there:
                print(text, end="", file=stream, flush=True)

    put(f"{for_what} ...")
    try:
        yield
    finally:
        put("\r\033[K")


def silence(stream: TextIO) -> None:
    """Send what a stream still holds, and all that comes, nowhere: else Python complains of it when it ends."""
    with contextlib.suppress(OSError, ValueError):  # a stream that is no file
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), stream.fileno())


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Within it, nothing reaches the terminal and nothing is read from it, whoever tries: Python, C or a child."""
    with open(os.devnull, "r+b", buffering=0) as null, contextlib.ExitStack() as stack:
        for number, stream in ((0, None), (1, sys.stdout), (2, sys.stderr)):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or no file
                if stream is not None:
                    stream.flush()
                kept = os.dup(number)
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, number)
                os.dup2(null.fileno(), number)
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield
