"""`prefrl-report`: run directories in, one HTML page and one table out; starts without torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prefrl_cli.cli.command import Parser, run_command
from prefrl_cli.core.option_types import ConfigError, Failed
from prefrl_cli.files.texts import shown, typed_path

PAGE, TABLE = "report.html", "report.csv"
_HEAD, _LARGEST = 2000, 1 << 34  # bytes where a report's mark is; of the whole
_MANY = 20  # runs from which on a person may wait some seconds
_TEXT = """Statistics, learning curves and comparisons of runs, on one page that needs no
network.

PATH is a run, a sweep, or a folder of them at any depth. Nothing in it is
changed, and nothing in it is executed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0 when the report was written, 1 when it could not be, 2 for a wrong argument, 130 when interrupted.
    """
    parser = Parser(prog="prefrl-report", description=_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="PATH", type=typed_path, help="a run, a sweep, or a folder of them")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=typed_path,
        default=Path("report"),
        help="where to write; default: ./report",
    )

    def answer() -> int:
        typed = parser.parse_args(arguments)
        return _report(typed.paths, typed.output)

    return run_command(parser.prog, answer)


def _foreign(output: Path) -> str | None:
    """What lies in the place of a report's files and is none of ours, in words; or nothing."""
    from prefrl_cli.files.read import UnreadableError, read

    for name, mark in ((PAGE, b"<title>prefrl report</title>"), (TABLE, b"experiment,configuration,")):
        if not (output / name).exists():
            continue
        try:
            if mark not in read(output, name, _LARGEST)[:_HEAD]:
                return f"a {name} that prefrl-report has not written"
        except UnreadableError as problem:
            return f"what is no report ({problem})"
    return None


def _report(paths: list[Path], output: Path) -> int:
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"{path}: there is no such folder; type a run directory or a folder")
    # Matrices of a report are small: threads would only wait for each other. Before numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from prefrl_cli.files.write import clear_parts, write_whole
    from prefrl_cli.report.page import page
    from prefrl_cli.report.results import results, table
    from prefrl_cli.report.runs import load

    runs = load(paths)
    links = sum(run.status == "linked" for run in runs)
    if links:
        print(f"prefrl-report: links not followed: {links}; type a linked folder's path to include it", file=sys.stderr)
    if len(runs) == links:
        raise Failed(f"no run in {', '.join(map(str, paths))}; a run has a status.json")
    own = [run.path for run in runs if run.status not in ("linked", "missing")]  # a folder that is not there is empty
    inside = [path for path in own if output.resolve().is_relative_to(path.resolve())]
    if inside:
        raise ConfigError(f"--output {output} lies in the run {inside[0]}; type another folder")
    if (foreign := _foreign(output)) is not None:
        raise ConfigError(f"--output {output}: holds {foreign}; type -o DIR")
    if len(runs) > _MANY and sys.stderr.isatty():
        print(f"{len(runs)} runs read; now their statistics and charts", file=sys.stderr)
    found = results(runs)
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in ((PAGE, page(found)), (TABLE, table(found))):
            clear_parts(output, of=name)
            write_whole(output / name, text)
    except OSError as problem:
        raise Failed(f"{output}: cannot be written ({problem.strerror}); type -o DIR") from None
    counts = Counter(run.status for run in runs if run.status != "linked")
    told = ", ".join(f"{counts[status]} {status}" for status in sorted(counts, key=lambda one: one != "finished"))
    number = counts.total()
    print(f"{number} {'run' if number == 1 else 'runs'}" + (f": {told}" if set(counts) != {"finished"} else ""))
    if differing := sum(one.differing for experiment in found.experiments for one in experiment.configurations):
        said = f"{differing} {'run has' if differing == 1 else 'runs have'} other results than earlier ones of the same"
        print(f"prefrl-report: {said} options and seeds; the page begins with them", file=sys.stderr)
    print(f"page:  {shown(output / 'report.html')}\ntable: {shown(output / 'report.csv')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
