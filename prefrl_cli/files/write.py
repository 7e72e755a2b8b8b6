"""Files that we write: each way to open one is here, so that no link, pipe or file of others is written through."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from pathlib import Path
from typing import TextIO

NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)

NOT_WAITED_FOR = getattr(os, "O_NONBLOCK", 0)  # for another process to open a pipe's other end

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
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOT_FOLLOWED | getattr(os, "O_BINARY", 0), 0o666)
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
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NOT_FOLLOWED | NOT_WAITED_FOR
    handle = os.open(path, flags, 0o666)
    try:
        check_plain(handle, path)
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


def check_plain(handle: int, path: Path) -> None:
    """Refuse an open file that is no plain one, or that has a second name; OSError names it."""
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "is another file's second name; put a copy in its place", str(path))


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be opened (not on Windows)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
