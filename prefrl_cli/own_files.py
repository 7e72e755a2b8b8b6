"""Files that we write: whole or not at all, and folders that one process at a time holds."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

LOCK = ".lock"  # held by the process that writes to its folder
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)  # as some network file systems answer


def write_whole(path: Path, content: str | bytes | memoryview, *, sync: bool = True) -> None:
    """Write a file such that a reader, or a kill at any moment, finds the old content or the new.

    Args:
        path: the file; its folder must be there.
        content: text is written in UTF-8, as it is; names of files in it may hold bytes that are no text.
        sync: whether it must outlast a power cut.

    Raises:
        OSError: when it cannot be written; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.part")
    data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # on a full disk its room is needed
        raise


def hold(path: Path) -> int:
    """Keep other processes out for as long as the handle is open, where the system can (not on Windows).

    Args:
        path: the lock's file, made where needed.

    Returns:
        An open handle of the file; close it to let go.

    Raises:
        BlockingIOError: when another process holds it.
        OSError: when the file cannot be opened, or is a link.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass
    except OSError as problem:
        if problem.errno not in _NO_LOCKS:
            os.close(handle)
            raise
    return handle


def is_held(path: Path) -> bool | None:
    """Whether some process holds the file; none where that cannot be told."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (ImportError, OSError):  # Windows; no lock, or none of ours
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go at once, with the handle
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)


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
