"""Which folders a run may begin in: empty ones, and those where a run was killed before it had begun."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prefrl_cli.options import as_typed, show
from prefrl_cli.own_files import LOCK, is_part
from prefrl_cli.safe_files import UnreadableError, not_plain, read
from prefrl_cli.sweep_record import RECORD

STATUS, LOG = "status.json", "train.log"
_OF_A_STATUS = {"status", "step", "reason", "started", "ended"}


def in_the_way(path: Path) -> str | None:
    """Why no run can begin in a folder that is there: a line, or none.

    Raises:
        OSError: when the folder cannot be listed.
    """
    names = sorted(entry.name for entry in path.iterdir())
    if not names or half_begun(path):
        return None
    shown = f"output_dir={show(str(path))}"
    if RECORD in names:
        return f"{shown}: holds a sweep; type another folder"
    if STATUS in names:
        return f"{shown}: holds a run already; type another folder, or to go on resume={as_typed(str(path))}"
    others = show(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    return f"{shown}: is not empty (it holds {others}); type another folder"


def half_begun(path: Path) -> bool:
    """Whether a folder holds what a run leaves that is killed, or finds the disk full, before its options are there.

    Nothing is lost when a run begins in it again. A folder with any other file, or with a file of one of these names
    that no run has written, is somebody's.

    Raises:
        OSError: when the folder cannot be listed.
    """
    names = {entry.name for entry in path.iterdir()}
    ours = {name for name in names if not is_part(name, STATUS) and not is_part(name, "config.yaml")}
    if not names or ours - {LOCK, LOG, STATUS} or not_plain(path) is not None:
        return False
    if STATUS not in ours and ours - {LOCK}:
        return False
    try:
        if LOCK in ours and not re.fullmatch(rb"\d*\n?", read(path, LOCK, 100)):
            return False
        found = read(path, STATUS, 1 << 16) if STATUS in ours else b""
        said = json.loads(found) if found else dict.fromkeys(_OF_A_STATUS, 0)  # made, and not written yet
    except (UnreadableError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.keys() == _OF_A_STATUS and said["step"] == 0
