"""Folders and files that one process at a time holds, and calls that one thread at a time makes."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ParamSpec, TypeVar

from prefrl_cli.files.write import NOT_FOLLOWED, NOT_WAITED_FOR, check_plain

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")

TRAINING, ASKING = threading.RLock(), threading.RLock()

LOCK = ".lock"  # held by the process that writes to its folder

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # as some file systems answer

_LOCKED = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # by another process; EACCES where flock is made of fcntl


def in_turn(
    turn: AbstractContextManager[object],
) -> Callable[[Callable[_Given, _Returned]], Callable[_Given, _Returned]]:
    """Makes of a function one that a thread calls while no other is within one of the same turn; the others wait.

    What has a single state in a process, as Hydra, torch's number of threads and matplotlib have, is so used by one
    thread while it trains; and random numbers and networks of a run by one that asks what the run has learned.
    """

    def made(call: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
        @functools.wraps(call)
        def alone_in_process(*arguments: _Given.args, **named: _Given.kwargs) -> _Returned:
            with turn:
                return call(*arguments, **named)

        return alone_in_process

    return made


def hold(path: Path, *, wait: bool = False) -> int:
    """Keep other processes out for as long as the handle is open, where the system can (not on Windows).

    Args:
        path: the lock's file, made where needed.
        wait: whether to wait until whoever holds it lets go.

    Returns:
        An open handle of the file; close it to let go.

    Raises:
        BlockingIOError: when another process holds it.
        OSError: when the file cannot be opened, or is a link, a pipe or another file's second name.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | NOT_FOLLOWED | NOT_WAITED_FOR, 0o666)
    try:
        check_plain(handle, path)
        _lock(handle, exclusive=True, wait=wait)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Within it no other process is within it; waits for its turn.

    Raises:
        OSError: as `hold`.
    """
    handle = hold(path, wait=True)
    try:
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool | None:
    """Whether some process holds the file; none where that cannot be told."""
    try:
        handle = os.open(path, os.O_RDONLY | NOT_FOLLOWED | NOT_WAITED_FOR)
    except OSError:  # no lock, or none of ours
        return None
    try:
        return None if not _lock(handle, exclusive=False, wait=False) else False  # let go at once, with the handle
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)


def _lock(handle: int, *, exclusive: bool, wait: bool) -> bool:
    """Lock an open file; whether the system has locks for it.

    Raises:
        BlockingIOError: when another process has it and is not waited for.
        OSError: for anything else.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    how = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    while True:
        try:
            fcntl.flock(handle, how)
        except InterruptedError:
            continue
        except OSError as problem:
            if problem.errno in _NO_LOCKS:
                return False
            if problem.errno in _LOCKED:
                raise BlockingIOError(problem.errno, problem.strerror) from None
            raise
        return True
