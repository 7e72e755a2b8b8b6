"""Files that we write: each way to open one is here, so that no link, pipe or file of others is written through."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

LOCK = ".lock"  # held by the process that writes to its folder
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # as some file systems answer
_LOCKED = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # by another process; EACCES where flock is made of fcntl
_NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)
_NOT_WAITED_FOR = getattr(os, "O_NONBLOCK", 0)  # for somebody to read from a pipe
_PART = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part", re.DOTALL)
_OLD = 3600.0  # seconds after which a temporary file is nobody's


def write_whole(path: Path, content: str | bytes | memoryview, *, sync: bool = True) -> None:
    """Write a file such that a reader, or a kill at any moment, finds the old content or the new.

    The temporary file has a name of its own and is made, never found: two writers do not meet in it, and what lies in
    the folder is not written through. A link in the file's place is replaced, not followed.

    Args:
        path: the file; its folder must be there.
        content: text is written in UTF-8, as it is; names of files in it may hold bytes that are no text.
        sync: whether it must outlast a power cut.

    Raises:
        OSError: when it cannot be written; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    handle = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_FOLLOWED | getattr(os, "O_BINARY", 0), 0o666
    )
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # on a full disk its room is needed
        raise


def append_to(path: Path) -> TextIO:
    """Open a text file, made where needed, to write at its end, as it is: lines end as they are given.

    Raises:
        OSError: when it cannot be opened, or is a link, a pipe or another file's second name.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NOT_FOLLOWED | _NOT_WAITED_FOR
    handle = os.open(path, flags, 0o666)
    try:
        _check_plain(handle, path)
        return open(handle, "a", encoding="utf-8", errors="backslashreplace", newline="")
    except BaseException:
        os.close(handle)
        raise


def make_folder(path: Path) -> None:
    """Make a folder where there is none.

    Raises:
        OSError: when it cannot be made, or is a link to one.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "is no folder, or a link to one", str(path))


def is_part(name: str, of: str) -> bool:
    """Whether a name is that of a temporary file of `write_whole` for the file `of`."""
    found = _PART.fullmatch(name)
    return found is not None and found[1] == of


def clear_parts(folder: Path, *, of: str | None = None) -> None:
    """Remove what a killed process has left of `write_whole`.

    Args:
        folder: held by this process; else name `of`.
        of: the file whose leftovers alone are removed, once they are so old that nobody writes to them any more.
    """
    for path in folder.glob(".*.part"):
        if of is not None and not is_part(path.name, of):
            continue
        with contextlib.suppress(FileNotFoundError):
            if of is None or time.time() - path.lstat().st_mtime > _OLD:
                path.unlink()


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
    handle = os.open(path, os.O_RDWR | os.O_CREAT | _NOT_FOLLOWED | _NOT_WAITED_FOR, 0o666)
    try:
        _check_plain(handle, path)
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
        handle = os.open(path, os.O_RDONLY | _NOT_FOLLOWED | _NOT_WAITED_FOR)
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


def _check_plain(handle: int, path: Path) -> None:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "is another file's second name; put a copy in its place", str(path))


def silence(stream: TextIO) -> None:
    """Send what a stream still holds, and all that comes, nowhere: else Python complains of it when it ends."""
    with contextlib.suppress(OSError, ValueError):  # a stream that is no file
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), stream.fileno())
