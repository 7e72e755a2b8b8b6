"""Which sweep a folder holds: the overrides that were typed, its record, and the names of its jobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.config.overrides import option, read, renamed, values
from prefrl_cli.files.read import UnreadableError, read_yaml
from prefrl_cli.run.directory import RECORD

_LONGEST_NAME = 200

_NOT_NAMED = ("experiment", "hparams_search", "output_dir", "quiet")

TRIALS = "hydra.sweeper.n_trials"


def job_name(
    overrides: Sequence[str], *, with_experiment: bool = False, earlier: Mapping[str, str] | None = None
) -> str:
    """A job's folder: its overrides in one order, in characters that every file system takes, of bounded length.

    Args:
        overrides: of the job, each `NAME=VALUE`.
        with_experiment: whether the sweep goes over experiments.
        earlier: names that are kept, since an earlier version gave them, by those that they would have today.
    """
    left_out = _NOT_NAMED[1:] if with_experiment else _NOT_NAMED
    text = ",".join(sorted(one for one in overrides if option(one) not in left_out)) or "default"
    name = re.sub(r"[^\w.,=+~\[\]-]", "+", text.replace(", ", ","), flags=re.ASCII).lstrip(".")
    if name != text or len(name) > _LONGEST_NAME:  # another job's overrides may read the same once cut or made safe
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        name = f"{name[: _LONGEST_NAME - 13]}+{digest}"
    return (earlier or {}).get(name, name)


def find(parent: Path, overrides: Sequence[str]) -> tuple[Path, bool] | None:
    """The newest sweep of these overrides, and whether it is finished.

    Args:
        parent: the folder of the sweeps.
        overrides: as a `Sweep` takes them.
    """
    found = []
    for path in parent.glob(f"*/{RECORD}"):
        record = read_record(path.parent)
        if record is not None and searched(record["overrides"]) == searched(overrides):
            done = bool(record.get("finished")) and trials(record["overrides"]) == trials(overrides)
            found.append((_started(record), path.parent.name, path.parent, done))
    return max(found)[2:] if found else None


def _started(record: dict[str, Any]) -> str:
    """When a sweep was begun, in UTC; nothing, which comes first, where its record does not say."""
    text = str(record.get("started"))
    return text if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", text) else ""


def trials(overrides: Sequence[str]) -> int | None:
    """The number of trials that was typed for a search; none where it was not, or is no number."""
    typed = [read(text).value for text in overrides if option(text) == TRIALS]
    return int(typed[-1]) if typed and re.fullmatch(r"\d{1,9}", typed[-1]) else None


def fewer_trials(wanted: int, done: int) -> str:
    """What to say of a search that is to have fewer trials than it has had."""
    return (
        f"{TRIALS}={wanted}: this search has had {done} trials; type {TRIALS}=N with a larger N, or another output_dir"
    )


def searched(overrides: Sequence[str]) -> list[str]:
    """The overrides but for the number of trials: a search that is given more of them is the same."""
    return [text for text in overrides if option(text) != TRIALS]


def goes_on(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a sweep can go on as another: all of its jobs are among the other's, under the same names.

    More trials of a search, or more values of a sweep's options, add jobs.

    Args:
        before: the record of the folder.
        now: the record of what was typed.
    """
    if before.get("flags") != now.get("flags"):
        return False
    one, other = (searched(record.get("overrides", [])) for record in (before, now))
    if one == other:
        return True
    if any(option(text) in ("hydra/sweeper", "hparams_search") for text in (*one, *other)):
        return False  # what a search draws from cannot change
    had, has = values(one), values(other)
    if had is None or has is None or sorted(had) != sorted(has):
        return False
    several = [len(set(found.get("experiment", ()))) > 1 for found in (had, has)]  # it is in the jobs' names then
    return several[0] == several[1] and all(set(found) <= set(has[name]) for name, found in had.items())


def read_record(folder: Path) -> dict[str, Any] | None:
    """A sweep's `sweep.yaml`; none where there is no readable one."""
    try:
        record = read_yaml(folder, RECORD)
    except UnreadableError:
        return None
    texts = isinstance(record, dict) and all(
        isinstance(record.get(name), list) and all(isinstance(one, str) for one in record[name])
        for name in ("overrides", "flags")
    )
    return {**record, "overrides": sorted(map(renamed, record["overrides"]))} if texts else None
