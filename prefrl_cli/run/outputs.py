"""Names and ages of the runs in outputs/."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from prefrl_cli.config.overrides import MOST_STARTED
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.read import UnreadableError, read
from prefrl_cli.files.write import append_to
from prefrl_cli.run.directory import STATUS, TABLE, read_status
from prefrl_cli.run.provenance import stored_config

STARTED = ".started"  # in outputs/: the runs in the order of their start, which no clock tells for sure


def note_start(folder: Path) -> None:
    """Note that a run was started, for `resume=latest`."""
    with contextlib.suppress(OSError), append_to(Path("outputs", STARTED)) as file:
        file.write(f"{folder.relative_to('outputs').as_posix()}\n")


LATEST = "latest"

_OUTPUTS = Path("outputs")

_SWEEPS = "sweeps"


def latest(experiment: str | None) -> Path:
    """The run under `outputs/` that was started last of those that are not finished, sweeps left out.

    Args:
        experiment: only runs of this one; none takes them all.

    Raises:
        ConfigError: when there is none.
    """
    for folder in _newest_first():
        if read_status(folder).get("status") == "finished":
            continue
        try:
            name = stored_config(folder)["experiment"]
        except ConfigError:
            continue
        if experiment in (None, name):
            return folder
    of = f" of {experiment}" if experiment else ""
    raise ConfigError(f"resume=latest: outputs/ holds no unfinished run{of}; type resume=RUN_DIR")


def _newest_first() -> Iterator[Path]:
    try:
        started = read(_OUTPUTS, STARTED, MOST_STARTED).decode("utf-8", "replace").splitlines()
    except UnreadableError:
        started = []
    for name in reversed(started):
        if not Path(name).is_absolute() and ".." not in Path(name).parts and (_OUTPUTS / name).is_dir():
            yield _OUTPUTS / name
    others = [path.parent for path in _OUTPUTS.rglob(STATUS) if _SWEEPS not in path.parts]
    unlisted = [one for one in others if one.relative_to(_OUTPUTS).as_posix() not in started]
    # By the UTC time in the record: the names of folders have the local one.
    yield from sorted(unlisted, key=lambda one: (str(read_status(one).get("started")), str(one)), reverse=True)


_MOST_TABLE = 1 << 24  # bytes; 20,000 jobs have some 6 million

_MOST_JOBS = 20_000

_LONGEST_OF_ALL = 255  # bytes, that file systems take


def unused(folder: Path) -> Path:
    """The folder, or with a number where it is taken."""
    names = (folder.with_name(f"{folder.name}_{number}") if number else folder for number in range(10_000))
    return next(path for path in names if not path.exists())


def listed(folder: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The jobs that a sweep's `sweep.csv` lists.

    Returns:
        Name -> the row; and a line for each row whose name is none of a folder in this one.

    Raises:
        UnreadableError: when there is no such table, or one that cannot be read or is larger than any of ours.
    """
    text = read(folder, TABLE, _MOST_TABLE).decode("utf-8", "replace")
    jobs: dict[str, dict[str, str]] = {}
    wrong = []
    try:
        # Lines are counted before: of the empty ones the reader itself would say nothing.
        if text.count("\n") > 2 * _MOST_JOBS:
            raise UnreadableError(f"{TABLE} has more than {2 * _MOST_JOBS:,} lines")
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), 1):
            name = row.get("job")
            if name in jobs:
                wrong.append(f"row {number} of {TABLE} has the job {show(name)} again")
            elif name is None or not _is_name(name):
                wrong.append(f"row {number} of {TABLE} has no name of a folder: {show(name)}")
            else:
                jobs[name] = {str(key): str(value or "") for key, value in row.items()}
            if len(jobs) + len(wrong) > _MOST_JOBS:
                raise UnreadableError(f"{TABLE} has more than {_MOST_JOBS:,} jobs")
    except csv.Error as problem:
        raise UnreadableError(f"{TABLE}: {problem}") from None
    return jobs, wrong


def _is_name(text: str) -> bool:
    """Whether a folder may have this name, in the folder that it is written in."""
    if text in ("", ".", "..") or Path(text).name != text or "\0" in text:
        return False
    return len(text.encode("utf-8", "replace")) <= _LONGEST_OF_ALL
