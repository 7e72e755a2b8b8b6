"""What a run says of its metrics, and a sweep of its jobs, in files that anybody may have written."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefrl_cli.algorithm.metrics import axis_of_old_runs as axis_of_old_runs
from prefrl_cli.algorithm.metrics import in_order, recorded
from prefrl_cli.core.metric import Metric
from prefrl_cli.core.option_types import show
from prefrl_cli.files.read import UnreadableError, read, tail
from prefrl_cli.run.directory import TABLE
from prefrl_cli.run.metrics_csv import current_names

_MOST_TABLE = 1 << 24  # bytes; 20,000 jobs have some 6 million
_MOST_JOBS = 20_000
_LONGEST_OF_ALL = 255  # bytes, that file systems take


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


def declared(found: Any) -> dict[str, tuple[Metric, Mapping[str, Any]]]:
    """The metrics of a `summary.json`, by the names that they have now: what each is, and what is said of it.

    Args:
        found: such as its `metrics`; what is no mapping of mappings holds nothing.
    """
    entries = {str(name)[:80]: one for name, one in found.items()} if isinstance(found, Mapping) else {}
    given = {name: one for name, one in current_names(entries).items() if isinstance(one, Mapping)}
    names = given if any("direction" in one for one in given.values()) else in_order(given)
    return {name: (recorded(name, given[name]), given[name]) for name in names}


def metric_of(name: str, known: Mapping[str, Metric]) -> Metric:
    """What a metric is: as its record says, or as it was meant by a version whose record does not say it."""
    return known.get(name) or recorded(name, {})


def last_row(folder: Path) -> int:
    """The step of the last whole row of `metrics.csv`; 0 where there is none."""
    try:
        step = b"\n".join(tail(folder, "metrics.csv", 1 << 16).split(b"\n")[-2:-1]).partition(b",")[0]
    except UnreadableError:
        return 0
    return int(step) if re.fullmatch(rb"\d{1,18}", step) else 0
