"""`prefrl-reproduce RUN_DIR`: run it again from its own record, and compare."""

from __future__ import annotations

import csv
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from prefrl_cli.cli.command import run_command, told
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.texts import shown, typed_path
from prefrl_cli.run.directory import LONGEST_LINE, in_the_way, read_status
from prefrl_cli.run.earlier.results import last_row
from prefrl_cli.run.metrics_csv import EVALUATION, EVALUATIONS, METRICS, current_names, holds_both
from prefrl_cli.run.provenance import (
    ABSENT,
    changes_on_the_way,
    environment_differences,
    stored_config,
    stored_environment,
)

IDENTICAL, DIFFERENT = 0, 1
USAGE = """\
prefrl-reproduce: run a run again from its own record, and compare its metrics.

usage: prefrl-reproduce RUN_DIR [OPTION=VALUE ...]

Prints `identical` (and says when it ran on another processor before), or the
first step, seed and metric that differ, with what differs in the environment.
Exit code 0 when identical, 1 when not (or when the run failed), 2 for a wrong
argument. A run that ended early is repeated and compared as far as it goes.

options:
  output_dir=FOLDER   where the new run goes; else outputs/<experiment>/<time>
  threads=N           processor threads; they change no result
  workers=N           processes that train, or auto; neither do they
  quiet=true          no progress
  allow_targets=[...] packages of your own that the run's config may use
  --version           say which version of prefrl this is

PREFRL_TRACEBACK=1 prefrl-reproduce ... shows where an error comes from.
"""
_OPTIONS = ("output_dir", "threads", "workers", "quiet", "allow_targets")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0 when identical, 1 when not or when the run failed, 2 for a wrong argument, 130 or 143 when interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command("prefrl-reproduce", lambda: _answer(arguments))


def _answer(arguments: list[str]) -> int:
    return IDENTICAL if told(arguments, USAGE) else reproduce(arguments)


def reproduce(arguments: Sequence[str]) -> int:
    """Run and compare; see `main`.

    Raises:
        ConfigError: for a wrong argument; nothing has been written then.
    """
    from prefrl_cli.config.options import change
    from prefrl_cli.config.overrides import option, overrides, read
    from prefrl_cli.run.lifecycle import resume_run, run_job
    from prefrl_cli.run.training import take_answers

    given = [text for text in arguments if is_option(text)]
    folders = [text for text in arguments if not is_option(text)]
    if len(folders) != 1:
        raise ConfigError("which run? type prefrl-reproduce RUN_DIR, or --help")
    old = typed_path(folders[0])
    output = [read(text).value for text in given if option(text) == "output_dir"]
    typed = overrides([text for text in given if option(text) != "output_dir"])
    for name in typed:
        if name not in _OPTIONS:
            raise ConfigError(f"{name}: a run is repeated with its own options; only {', '.join(_OPTIONS)} may change")
    stored = stored_config(old)
    stored.pop("logger", None)  # what is only compared needs no tracker
    config = change(stored, {"output_dir": output[-1] if output else None, **typed})
    metrics = old / "metrics.csv"
    for path in (metrics, old / "evaluation.csv"):  # a link may lead out of a run that someone else made
        may_be_missing = path != metrics and not path.exists()
        if path.is_symlink() or not (path.is_file() or may_be_missing):
            raise ConfigError(f"{show(str(old))}: holds no {path.name} to compare with")
    if output and (new := Path(output[-1])).exists() and (not new.is_dir() or in_the_way(new) is not None):
        raise ConfigError(f"output_dir={show(output[-1])}: is there already; type another folder")
    again, claimed = [f"experiment={config['experiment']}"], list[Path]()

    before = _before(old, config)
    repeated = before is not None
    if before is None:  # a record that does not hold what was changed; as it was extended it can be repeated
        before = [({**config, "steps": end}, end) for end in _ends(old, config.get("steps"))]
    unfinished = read_status(old).get("status") != "finished"
    parts = [*before, (config, last_row(old) or None if unfinished else None)]  # there is nothing to compare later

    with tempfile.TemporaryDirectory() as kept:
        take_answers(old, Path(kept))

        def begun(folder: Path) -> None:
            claimed.append(folder)
            take_answers(Path(kept), folder)

        ended = run_job(parts[0][0], again, claimed=begun, until=parts[0][1], page="nobody")
    for options, until in parts[1:]:  # a run is evaluated where it ends, and then went on
        if ended != "failed":
            ended = resume_run(claimed[0], options, again, extend=True, until=until, page="nobody")
    new = claimed[0]
    if ended == "failed":
        return DIFFERENT
    for step in () if repeated else _changed_on_the_way(old):
        print(f"note: its options were changed at step {shown(step, 20)}; this repeats the last ones from step 0")
    try:
        difference, rows = first_difference(old, new)
    except (OSError, ValueError, csv.Error) as problem:
        raise ConfigError(f"metrics.csv cannot be compared ({problem})") from None
    if difference is None:
        elsewhere = ", on another processor" if _elsewhere(old, new) else ""
        print(f"identical{elsewhere}: {rows} rows of {shown(metrics)} and {shown(new / 'metrics.csv')}")
    else:
        print(f"different: {shown(difference)}")
    for line in environment_differences(stored_environment(old), stored_environment(new)):
        print(f"  {shown(line)}")
    return IDENTICAL if difference is None else DIFFERENT


def _elsewhere(old: Path, new: Path) -> bool:
    """Whether a run says that it ran on a processor of another name."""
    before, now = (stored_environment(folder).get("processor") for folder in (old, new))
    return isinstance(before, str) and before != now


def is_option(text: str) -> bool:
    """Whether it is NAME=VALUE; a job of a sweep lies in a folder that is named so too."""
    from prefrl_cli.config.overrides import option

    return re.match(r"[+~]*[\w.]+=", text) is not None and (
        option(text) == "output_dir" or not typed_path(text).is_dir()
    )


def first_difference(old: Path, new: Path) -> tuple[str | None, int]:
    """The first value in which a run differs from another, in words, and the rows of `metrics.csv` that were compared.

    Args:
        old: a run directory; one that ends early is compared as far as it goes. Of one of an earlier version the
            metrics that it has are compared.
        new: the other.

    Raises:
        OSError: when a file cannot be read.
        ValueError: when one is no table.
    """
    both = holds_both(old / METRICS)
    found, rows = [], 0
    for name in (METRICS, EVALUATIONS):
        told, count = _first_difference(old, new, name, both)
        rows += count if name == METRICS else 0
        if told is not None:
            found.append(told)
    if not found:
        return (None, rows) if rows else (f"{old / METRICS} holds no rows", 0)
    return min(found, key=lambda one: one[0])[1], rows


def _first_difference(old: Path, new: Path, name: str, both: bool) -> tuple[tuple[int, str] | None, int]:
    """The step of the first difference and what it is, and the rows that were compared."""
    count, theirs = 0, _rows(new, name)
    for row in _rows(old, name):
        again = next(theirs, None)
        where, step = f"step {row.get('step')}, seed {row.get('seed')}", _number(row.get("step"))
        if again is None:
            return (step, f"{where}: only {old / name} goes so far"), count
        if None in row:
            return (step, f"{where}: {old / name} has more cells than columns"), count
        for metric in [*row, *(metric for metric in again if metric not in row and not both)]:
            if row.get(metric, "") != again.get(metric, ""):
                told = f"{where}, {metric}: {row.get(metric, '')!r} became {again.get(metric, '')!r}"
                return (step, told), count
        count += 1
    return None, count


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 20 else 0


def _rows(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """The rows of one of the two files, whichever a run has; step and seed first."""
    both = holds_both(folder / METRICS)
    with (folder / (METRICS if both else name)).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(_whole_lines(file), quoting=csv.QUOTE_NONE):
            if not both:
                yield row
                continue
            tested = {one: text for one, text in row.items() if str(one).startswith(EVALUATION)}
            if name == METRICS and row.get("step") != "0":
                yield {one: text for one, text in row.items() if one not in tested}
            elif name == EVALUATIONS and any(tested.values()):
                found = {one.removeprefix(EVALUATION): text for one, text in current_names(tested).items()}
                yield {"step": row.get("step", ""), "seed": row.get("seed", ""), **found}


def _whole_lines(file: TextIO) -> Iterator[str]:
    """The lines but for one that a kill or a full disk has cut short: half a number looks like a number.

    Raises:
        ValueError: for a line that no run writes: an empty one, or a very long one.
    """
    while line := file.readline(LONGEST_LINE):
        if line.strip() == "" or len(line) == LONGEST_LINE:
            raise ValueError("a line is empty" if len(line) < LONGEST_LINE else "a line is very long")
        if line.endswith("\n"):
            yield line


def _before(folder: Path, config: dict[str, Any]) -> list[tuple[dict[str, Any], int]] | None:
    """What ran before a run had its last options: options and the step up to which they counted, in that order.

    None where its record does not say it.
    """
    from prefrl_cli.config.options import change

    found: list[tuple[dict[str, Any], int]] = []
    later = config.get("steps")
    for step, changes in reversed(list(changes_on_the_way(stored_environment(folder)))):
        if not changes:
            continue
        if not all(len(pair) == 2 and ABSENT not in pair for pair in changes.values()):
            return None
        if type(step) is not int or type(later) is not int or not 0 < step <= later:  # it went back on the way
            return None
        config = change(config, {name: was for name, (was, _) in changes.items()})
        found.insert(0, (config, step))
        later = step
    return found


def _ends(folder: Path, steps: Any) -> list[int]:
    """The steps at which a run was finished before it was extended."""
    changed = [(at, changes.get("steps")) for at, changes in changes_on_the_way(stored_environment(folder))]
    found = {at for at, pair in changed if type(at) is int and pair and str(pair[0]) == str(at)}
    return sorted(at for at in found if type(steps) is int and 0 < at < steps)


def _changed_on_the_way(folder: Path) -> list[object]:
    """The steps at which a run was resumed with other options, longer ones left out."""
    changed = changes_on_the_way(stored_environment(folder))
    return list({str(at): at for at, changes in changed if set(changes) - {"steps"}}.values())


if __name__ == "__main__":
    sys.exit(main())
