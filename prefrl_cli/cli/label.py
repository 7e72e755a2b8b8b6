"""`prefrl-label`: a page on which a person answers the questions of a file, without training."""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.cli.command import Parser, run_command
from prefrl_cli.cli.train import has_screen
from prefrl_cli.core.option_types import ConfigError, Failed, show
from prefrl_cli.files.lock import LOCK, is_held
from prefrl_cli.files.standard_streams import answer
from prefrl_cli.files.texts import shown, typed_path
from prefrl_cli.run.signals import ended_by_signals

if TYPE_CHECKING:
    from prefrl_cli.files.preferences.data import PreferenceData
    from prefrl_cli.label_page.file_questions import FileQuestions
    from prefrl_cli.preference.database import AnswerDatabase

_LOOK, _WRITE = 0.2, 5.0  # seconds from one look at the answers to the next, and from one writing of the file
_TEXT = """Answer questions in the browser, without training.

FILE is a file of preferences (.npz or .jsonl) whose questions have no answer
yet, or a run that a person teaches and that is stopped: its folder, or the
answers.sqlite in it. Answers are saved as they are given; type the command
again to go on where you stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0 when the person is done, 1 where the answers cannot be kept, 2 for a wrong argument, 130 on Ctrl-C.
    """
    parser = Parser(prog="prefrl-label", description=_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", type=typed_path, help="a file of preferences, or a stopped run")
    parser.add_argument("--host", default="127.0.0.1", help="to listen on; any but the default lets other machines in")
    parser.add_argument("--port", type=int, default=0, help="to listen on; default: the one before, or any free one")
    parser.add_argument("--no-open", action="store_true", help="open no browser")

    def given() -> int:
        typed = parser.parse_args(arguments)
        if not 0 <= typed.port < 65536:
            raise ConfigError(f"--port={typed.port}: a number between 0 and 65535 is needed; try --port=8000")
        return _label(typed)

    return run_command(parser.prog, given)


def _label(typed: argparse.Namespace) -> int:
    from prefrl_cli.files.preferences.formats import load
    from prefrl_cli.label_page.file_questions import FileQuestions
    from prefrl_cli.preference.answers.events import opened
    from prefrl_cli.preference.database import ANSWERS

    path: Path = typed.file / ANSWERS if typed.file.is_dir() else typed.file
    if not path.is_file():
        raise ConfigError(f"{show(str(path))}: there is no such file; type a file of preferences or a run's folder")
    of_run = path.name == ANSWERS
    if of_run and is_held(path.parent / LOCK):
        raise ConfigError(f"{show(str(path.parent))}: this run is training now, and has a page of its own")
    kept = path if of_run else path.with_name(f"{path.name}.{ANSWERS}")
    questions = None if of_run else FileQuestions(path, data := load(path), _environment(path, data))
    if questions is not None and not questions.unanswered and not kept.exists():
        raise ConfigError(
            f"{show(str(path))}: each of its questions has an answer; type a file with some that have none"
        )
    try:
        with opened(kept) as database:
            if questions is not None:
                questions.begin(database)
            return _serve(typed, path, database, questions)
    except sqlite3.Error as problem:
        raise Failed(f"{shown(kept)}: cannot be read or written ({problem})") from None
    except OSError as problem:
        raise Failed(f"{shown(path)}: cannot be written ({problem.strerror})") from None


def _environment(path: Path, data: PreferenceData) -> Any:
    """The environment that a file's questions are about.

    Raises:
        ConfigError: where the file does not say, or its states are none of that environment's.
    """
    from prefrl_cli.config.group import make

    options: Mapping[str, Any] = {
        name.removeprefix("env."): value for name, value in data.about.items() if name.startswith("env.")
    }
    choice = options.get("choice")
    if not isinstance(choice, str):
        raise ConfigError(f"{show(str(path))}: does not say which environment draws its films; env.choice is missing")
    env = make(f"env/{choice}", **{name: value for name, value in options.items() if name != "choice"})
    if not hasattr(env, "clip"):
        raise ConfigError(f"{show(str(path))}: is about env={choice}, which draws no films")
    count = getattr(env.observation_space, "n", None)
    shape = () if count is not None else env.observation_space.shape
    if data.last.shape[2:] != shape or (count is not None and max(data.states.max(), data.last.max()) >= count):
        raise ConfigError(f"{show(str(path))}: has states that env={choice} does not have; was another env meant?")
    return env


def _serve(typed: argparse.Namespace, path: Path, database: AnswerDatabase, questions: FileQuestions | None) -> int:
    """Serve the page until the person is done; with `questions`, what is answered goes into their file."""
    from prefrl_cli.label_page.address import ADDRESS_FILE
    from prefrl_cli.label_page.server import serve

    name = ADDRESS_FILE if questions is None else f".{path.name}.{ADDRESS_FILE}"
    database.end_leases()
    server = serve(database, path.parent / name, typed.host, typed.port, "--")
    answer(f"Ctrl-C ends; to answer the questions open\n{server.url}")  # alone, so that it is copied as it is
    if not typed.no_open and has_screen():
        webbrowser.open(server.url)
    ended, written = "", 0.0
    try:
        with ended_by_signals():
            while not database.done:
                if questions is not None:
                    questions.ask()
                    if time.monotonic() > written + _WRITE:
                        questions.write()
                        written = time.monotonic()
                time.sleep(_LOOK)
            ended = "Your answers are saved. You can close this page."
    finally:
        if questions is not None:
            questions.write()
        server.close(ended)
        given, waiting, _ = database.counts()
        answer(f"{given} answers in {shown(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
