"""`prefrl-study`: a question in, its runs, a table and a chart out."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefrl_cli.cli.command import FAILED, Parser, run_command
from prefrl_cli.config.overrides import option
from prefrl_cli.core.option_types import ConfigError, show, suggest
from prefrl_cli.files.texts import read_text, shown, typed_path
from prefrl_cli.files.write import write_whole

if TYPE_CHECKING:
    from prefrl_cli.config.options import Configuration
    from prefrl_cli.report.study.study import Result, Study
    from prefrl_cli.sweep.directory import Rows

_WIDTH = 80
_TEXT = """Runs that answer one question together, as a table with intervals and a chart.

NAME is a file of conf/study/, a YAML file of your own, or `all`. Each row of a
study is an ordinary run below the output folder. Stopped or killed, the same
command goes on: finished rows are left as they are. Rows are run as the jobs of
a sweep are: hydra/launcher=slurm and its options choose where."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0 when every row finished, 1 when one failed, 2 for a wrong argument or option, 130 on Ctrl-C, 143 on SIGTERM.
    """
    parser = Parser(prog="prefrl-study", description=_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="maze_size, my/study.yaml, all, ...")
    parser.add_argument("--list", action="store_true", help="say which studies there are, and how long each takes")
    parser.add_argument("--quick", action="store_true", help="few seeds and steps: to see that it runs")
    parser.add_argument("--jobs", type=int, metavar="N", help="rows at once on this machine; default: 1")
    parser.add_argument(
        "--output-dir", type=typed_path, metavar="DIR", help="of one study; default: outputs/studies/NAME"
    )
    parser.add_argument(
        "--readme", type=typed_path, metavar="PAGE", help="put tables between this page's markers, charts beside it"
    )
    return run_command(parser.prog, lambda: _studies(parser.parse_args(arguments)))


def _studies(typed: argparse.Namespace) -> int:
    from prefrl_cli.config.choices import choices
    from prefrl_cli.report.study.file import load

    if typed.list:
        for name in choices("study"):
            print(_listed(load(name)))
        return 0
    how, named = _launcher(typed)
    names = choices("study") if "all" in named else list(dict.fromkeys(named))
    if not names:
        raise ConfigError("which study? type prefrl-study NAME, or --list")
    if typed.output_dir and len(names) > 1:
        raise ConfigError("--output-dir: is the folder of one study; leave it out, or type one NAME")
    studies = [load(name, quick=typed.quick) for name in names]
    if typed.readme:
        _check_readme(typed, studies)
    if not typed.quick and (known := [study.minutes for study in studies if study.minutes is not None]):
        more = f" and {len(studies) - len(known)} not measured yet" if len(known) < len(studies) else ""
        print(f"some {sum(known):g} minutes with --jobs 2 on two cores{more}; what is finished already is skipped")
    top = Path("outputs", "studies-quick" if typed.quick else "studies")
    folders = [typed.output_dir or top / study.name for study in studies]
    from prefrl_cli.sweep.directory import Rows

    plans = [Rows(study.name, folder, study.rows) for study, folder in zip(studies, folders, strict=True)]
    for study, rows in zip(studies, plans, strict=True):
        _check_metrics(study, rows.configs)
    return max(_run(study, rows, how, typed.readme) for study, rows in zip(studies, plans, strict=True))


def _check_metrics(study: Study, configs: Sequence[Configuration]) -> None:
    """Refuse a column that no row has, which a person would only see once all have trained.

    Raises:
        ConfigError: naming the metric that is near, or all.
    """
    from prefrl_cli.config.build import metric_names

    for name in study.metrics:
        known = dict.fromkeys(one for config in configs[:1] for one in metric_names(config, name))
        if name not in known and not any(name in metric_names(config, name) for config in configs[1:]):
            raise ConfigError(
                f"{study.name}: metrics={show(name)}: no row has such a metric; {suggest(name, [*known])}"
            )


def _launcher(typed: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The overrides that say how rows are run, and the other words, which are names of studies.

    Raises:
        ConfigError: for both ways to say it at once, and for other options.
    """
    how = [text for text in typed.names if re.fullmatch(r"hydra/launcher|hydra\.launcher\..+", option(text))]
    names = [text for text in typed.names if text not in how]
    if wrong := [text for text in names if "=" in text and not Path(text).exists()]:
        raise ConfigError(f"{show(wrong[0])}: a study sets the options of its rows; type it with prefrl-train instead")
    if how and typed.jobs is not None:
        raise ConfigError(f"--jobs {typed.jobs}: is for this machine, and {how[0]} says where; type one of them")
    if typed.jobs is not None and typed.jobs < 1:
        raise ConfigError(f"--jobs {typed.jobs}: must be 1 or more")
    return how or ["hydra/launcher=processes", f"hydra.launcher.jobs={typed.jobs or 1}"], names


def _listed(study: Study) -> str:
    takes = "not measured" if study.minutes is None else f"{study.minutes:g} min"
    text = f"{len(study.rows)} rows, {takes}. {study.question}"
    return textwrap.fill(text, _WIDTH, initial_indent=f"{study.name:<17} ", subsequent_indent=" " * 18)


def _run(study: Study, rows: Rows, how: Sequence[str], readme: Path | None) -> int:
    """One study to its end; 1 where a row failed."""
    from prefrl_cli.report.study.study import measure
    from prefrl_cli.run.signals import Interrupted
    from prefrl_cli.sweep.progress import Watch, table_of_failures
    from prefrl_cli.sweep.start import run_rows

    folder, began = rows.path, time.monotonic()
    with rows:
        for news in rows.prepare():
            print(shown(news), file=sys.stderr)
        try:
            failures = run_rows(rows, rows.overrides(), how, Watch(rows, study.name)) if rows.left else []
        except KeyboardInterrupt as problem:
            number = getattr(problem, "exit_code", 128 + signal.SIGINT) - 128
            raise Interrupted(number, "stopped; the same command goes on") from None
        if rows.left:
            print(f"{study.name}: {len(rows.left)} rows in {(time.monotonic() - began) / 60:.1f} min", file=sys.stderr)
        names = {row.folder: row.name for row in study.rows}
        if failures:
            print(*table_of_failures([(names[name], why) for name, why in failures]), sep="\n", file=sys.stderr)
        results = measure(study, folder)
        try:
            _write(study, results, folder)
            if readme and not failures:
                _write_readme(readme, study, results, folder)
        except OSError as problem:
            where = shown(problem.filename or folder)
            print(f"prefrl-study: {where}: {problem.strerror or problem}", file=sys.stderr)
            return FAILED
    return FAILED if failures else 0


def _write(study: Study, results: list[Result], folder: Path) -> None:
    from prefrl_cli.report.study.table import markdown, table
    from prefrl_cli.run.directory import RunDirectory

    picture = None
    if any(one.finished for one in results):
        from prefrl_cli.report.study.chart import draw

        picture = draw(study, results, folder / "chart")[0].name
    directory = RunDirectory(folder)
    directory.write_text("table.md", f"# {study.title}\n\n{markdown(study, results, picture)}")
    directory.write_text("table.csv", table(study, results))
    print(f"table: {shown(folder / 'table.md')}" + (f"\nchart: {shown(folder / picture)}" if picture else ""))


def _named(page: str, study: Study) -> bool:
    return f"study {study.name} -->" in page


def _write_readme(page: Path, study: Study, results: list[Result], folder: Path) -> None:
    """The table between the page's markers, and the chart beside the page."""
    from prefrl_cli.report.study.table import markdown, place

    before = read_text(page)
    if not _named(before, study):
        return
    picture = f"study_{study.name}.png"
    write_whole(page.parent / picture, (folder / "chart.png").read_bytes())
    text = place(before, study.name, markdown(study, results, picture))
    write_whole(page, text)
    print(f"page:  {shown(page)}")


def _check_readme(typed: argparse.Namespace, studies: list[Study]) -> None:
    """Refuse what would only be found out after hours."""
    from prefrl_cli.report.study.table import place

    if typed.quick:
        raise ConfigError("--readme: a quick study says nothing; leave --quick out")
    try:
        text = read_text(typed.readme)
        for study in studies:
            if _named(text, study):
                place(text, study.name, "")
            else:
                print(
                    f"{shown(typed.readme)} has no line <!-- study {study.name} -->: it gets no table of {study.name}"
                )
    except ValueError as problem:
        raise ConfigError(f"{typed.readme}: {problem}") from None


if __name__ == "__main__":
    sys.exit(main())
