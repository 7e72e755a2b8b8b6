"""`prefrl-study`: a question in, its runs, a table and a chart out."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefrl_cli.cli.command import FAILED, Parser, run_command
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.lock import LOCK, hold
from prefrl_cli.files.read import not_plain
from prefrl_cli.files.texts import read_text, shown, typed_path
from prefrl_cli.files.write import clear_parts, write_whole

if TYPE_CHECKING:
    from prefrl_cli.study.jobs import Job
    from prefrl_cli.study.study import Result, Study

_WIDTH = 80
_TEXT = """Runs that answer one question together, as a table with intervals and a chart.

NAME is a file of conf/study/, a YAML file of your own, or `all`. Each row of a
study is an ordinary run below the output folder. Stopped or killed, the same
command goes on: finished rows are left as they are."""


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
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="rows at once, a thread each; default: 1")
    parser.add_argument(
        "--output-dir", type=typed_path, metavar="DIR", help="of one study; default: outputs/studies/NAME"
    )
    parser.add_argument(
        "--readme", type=typed_path, metavar="PAGE", help="put tables between this page's markers, charts beside it"
    )
    return run_command(parser.prog, lambda: _studies(parser.parse_args(arguments)))


def _studies(typed: argparse.Namespace) -> int:
    from prefrl_cli.config.choices import choices
    from prefrl_cli.study.file import load

    if typed.list:
        for name in choices("study"):
            print(_listed(load(name)))
        return 0
    from prefrl_cli.study.jobs import jobs

    names = choices("study") if "all" in typed.names else list(dict.fromkeys(typed.names))
    if not names:
        raise ConfigError("which study? type prefrl-study NAME, or --list")
    if typed.jobs < 1:
        raise ConfigError(f"--jobs {typed.jobs}: must be 1 or more")
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
    plans = [(study, folder, jobs(study, folder)) for study, folder in zip(studies, folders, strict=True)]
    return max(_run(*plan, typed.jobs, typed.readme) for plan in plans)


def _listed(study: Study) -> str:
    takes = "not measured" if study.minutes is None else f"{study.minutes:g} min"
    text = f"{len(study.rows)} rows, {takes}. {study.question}"
    return textwrap.fill(text, _WIDTH, initial_indent=f"{study.name:<17} ", subsequent_indent=" " * 18)


def _run(study: Study, folder: Path, rows: list[Job], at_once: int, readme: Path | None) -> int:
    """One study to its end; 1 where a row failed."""
    from prefrl_cli.study.jobs import train_rows
    from prefrl_cli.study.study import measure

    with _held(folder, study.name):
        line, began = _Line(study, rows), time.monotonic()
        try:
            train_rows(rows, at_once, line.tell)
        finally:
            line.close()
        if ran := sum(job.before < 1.0 for job in rows):
            print(f"{study.name}: {ran} rows in {(time.monotonic() - began) / 60:.1f} min", file=sys.stderr)
        failed = [job for job in rows if job.state != "finished"]
        for job in failed:
            print(f"  {shown(job.row.name)}\n      {shown(job.reason)}", file=sys.stderr)
        results = measure(study, folder)
        try:
            _write(study, results, folder)
            if readme and not failed:
                _write_readme(readme, study, results, folder)
        except OSError as problem:
            where = shown(problem.filename or folder)
            print(f"prefrl-study: {where}: {problem.strerror or problem}", file=sys.stderr)
            return FAILED
    return FAILED if failed else 0


def _write(study: Study, results: list[Result], folder: Path) -> None:
    from prefrl_cli.run.directory import RunDirectory
    from prefrl_cli.study.table import markdown, table

    picture = None
    if any(one.finished for one in results):
        from prefrl_cli.study.chart import draw

        picture = draw(study, results, folder / "chart")[0].name
    directory = RunDirectory(folder)
    directory.write_text("table.md", f"# {study.title}\n\n{markdown(study, results, picture)}")
    directory.write_text("table.csv", table(study, results))
    print(f"table: {shown(folder / 'table.md')}" + (f"\nchart: {shown(folder / picture)}" if picture else ""))


def _named(page: str, study: Study) -> bool:
    return f"study {study.name} -->" in page


def _write_readme(page: Path, study: Study, results: list[Result], folder: Path) -> None:
    """The table between the page's markers, and the chart beside the page."""
    from prefrl_cli.study.table import markdown, place

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
    from prefrl_cli.study.table import place

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


@contextlib.contextmanager
def _held(folder: Path, name: str) -> Iterator[None]:
    """Keep another command from running the same study at the same time."""
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (wrong := not_plain(folder)) is not None:
                raise ConfigError(wrong)
            if (others := sorted(entry.name for entry in folder.iterdir())) and LOCK not in others:
                raise ConfigError(
                    f"--output-dir {show(str(folder))}: is not empty (it holds {show(others[0])}) and no study's;"
                    " type another folder"
                )
            stack.callback(os.close, hold(folder / LOCK))
            clear_parts(folder)
        except BlockingIOError:
            raise ConfigError(f"{name}: is running in another process, in {folder}; wait until it ends") from None
        except OSError as problem:
            reason = problem.strerror or problem
            raise ConfigError(f"{folder}: cannot be written ({reason}); type --output-dir DIR") from None
        yield


def _show(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal has been closed: the rows are stopped, or go on without it
        print(text, end="", file=sys.stderr, flush=True)


class _Line:
    """How a study stands: one line that is written over in a terminal, else a line for each piece of news."""

    def __init__(self, study: Study, rows: list[Job]) -> None:
        self._name, self._rows, self._began = study.name, rows, time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def tell(self, news: str | None) -> None:
        """Show how the rows stand, after the news if there are some."""
        if not self._terminal:
            if news is not None:
                _show(f"{self._counts()}, {shown(news)}\n")
            return
        if news is not None:
            _show(f"\r{shown(news)}\033[K\n")
        running = [f"{job.row.name} {100 * job.share():.0f} %" for job in self._rows if job.state == "running"]
        text = ", ".join([self._counts(), *running])
        cut = text if len(text) < _WIDTH else f"{text[: _WIDTH - 2]}â¦"
        _show(f"\r{shown(cut)}\033[K")
        self._shown = True

    def close(self) -> None:
        """End the line."""
        if self._shown:
            _show("\n")

    def _counts(self) -> str:
        states = [job.state for job in self._rows]
        failed = f", {states.count('failed')} failed" if "failed" in states else ""
        return f"{self._name}: {states.count('finished')} of {len(states)} done{failed}{self._left()}"

    def _left(self) -> str:
        """The time that the rest takes at the speed so far."""
        shares = [(job.work, job.before, job.share()) for job in self._rows]
        done = sum(work * max(now - before, 0.0) for work, before, now in shares)
        left = sum(work * (1.0 - now) for work, _, now in shares)
        if not done or not left:
            return ""
        seconds = (time.monotonic() - self._began) * left / done
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"


if __name__ == "__main__":
    sys.exit(main())
