"""Where the page is: a port and a token, kept with the run so that an open page finds a resumed run again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from prefrl_cli.files.write import NOT_FOLLOWED, NOT_WAITED_FOR

ADDRESS_FILE = "label_page.json"
_MOST = 1000  # bytes of it
_TOKEN = re.compile(r"[0-9a-f]{32}")  # 128 bits


@dataclass(frozen=True)
class Address:
    """What a person's browser needs to come in.

    Attributes:
        port: of the server; 0 for any that is free.
        token: 32 hexadecimal digits, which whoever may answer knows.
    """

    port: int
    token: str

    def url(self, host: str) -> str:
        """The page's address."""
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self.token}"


def new_address(port: int = 0) -> Address:
    """An address whose token nobody can guess."""
    return Address(port, secrets.token_hex(16))


def kept_address(path: Path) -> Address | None:
    """The address that the page had when it was here before.

    None where there is none, or where others could have written or read it: a run directory that was copied from
    somewhere else has a token that somebody else knows.
    """
    try:
        handle = os.open(path, os.O_RDONLY | NOT_FOLLOWED | NOT_WAITED_FOR)
    except OSError:
        return None
    found = os.fstat(handle)
    ours = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    if not (stat.S_ISREG(found.st_mode) and ours):
        os.close(handle)  # a folder cannot even be opened as a file
        return None
    with open(handle, "rb") as file:
        try:
            value = json.loads(file.read(_MOST))
            address = Address(**value)
        except (ValueError, TypeError, RecursionError):
            return None
    if type(address.port) is not int or not 0 < address.port < 65536:
        return None
    good = isinstance(address.token, str) and _TOKEN.fullmatch(address.token)
    return address if good else None


def keep_address(path: Path, address: Address) -> None:
    """Write an address where `kept_address` finds it, for the eyes of this user alone.

    Raises:
        OSError: when it cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOT_FOLLOWED, 0o600)
    with open(handle, "w", encoding="ascii") as file:
        json.dump(asdict(address), file)
