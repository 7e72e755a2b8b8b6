"""A person answers: beside a run that trains, or alone with a file of questions or a run that is stopped."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.core.option_types import ConfigError, Failed, show
from prefrl_cli.files.lock import LOCK, is_held
from prefrl_cli.files.preferences.data import PreferenceData
from prefrl_cli.files.preferences.formats import load
from prefrl_cli.files.standard_streams import answer
from prefrl_cli.files.texts import shown
from prefrl_cli.label_page.address import ADDRESS_FILE
from prefrl_cli.label_page.file_questions import FileQuestions
from prefrl_cli.label_page.server import serve
from prefrl_cli.preference.answers.events import opened
from prefrl_cli.preference.database import ANSWERS, AnswerDatabase

if TYPE_CHECKING:
    from prefrl_cli.preference.person import Person

_LOOK, _WRITE = 0.2, 5.0  # seconds from one look at the answers to the next, and from one writing of the file


@contextlib.contextmanager
def label_page(folder: Path, person: Person) -> Iterator[str]:
    """Serve the page on which a person answers the questions of a run, and open it; its address.

    Args:
        folder: of the run.
        person: whose options say where, and whether a browser is opened.

    Raises:
        ConfigError: where the page cannot be served.
    """
    with contextlib.closing(AnswerDatabase(folder / ANSWERS)) as database:
        server = serve(database, folder / ADDRESS_FILE, person.host, person.port)
        ended = ""
        try:
            if person.open and has_screen():
                webbrowser.open(server.url)
            yield server.url
            ended = "Training has finished."
        finally:
            server.close(ended)


def has_screen() -> bool:
    """Whether a browser has a screen to open on, and a person sits before it."""
    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return screen and sys.stdout.isatty()


def answer_alone(
    place: Path, environment: Callable[[Path, PreferenceData], Any], host: str, port: int, *, browser: bool
) -> None:
    """Serve the page until the person is done; what is answered of a file goes into it.

    Args:
        place: a file of preferences, or a stopped run: its folder, or the answers in it.
        environment: the one that a file's questions are about, which draws their films.
        host: to listen on.
        port: to listen on; 0 for the one before, or any that is free.
        browser: whether one is opened.

    Raises:
        ConfigError: where there is no such file, or the run is training.
        Failed: where answers cannot be kept.
    """
    path = place / ANSWERS if place.is_dir() else place
    if not path.is_file():
        raise ConfigError(f"{show(str(path))}: there is no such file; type a file of preferences or a run's folder")
    of_run = path.name == ANSWERS
    if of_run and is_held(path.parent / LOCK):
        raise ConfigError(f"{show(str(path.parent))}: this run is training now, and has a page of its own")
    kept = path if of_run else path.with_name(f"{path.name}.{ANSWERS}")
    questions = None if of_run else FileQuestions(path, data := load(path), environment(path, data))
    if questions is not None and not questions.unanswered and not kept.exists():
        raise ConfigError(
            f"{show(str(path))}: each of its questions has an answer; type a file with some that have none"
        )
    name = ADDRESS_FILE if questions is None else f".{path.name}.{ADDRESS_FILE}"
    try:
        with opened(kept) as database:
            if questions is not None:
                questions.begin(database)
            database.end_leases()
            server = serve(database, path.parent / name, host, port, "--")
            answer(f"Ctrl-C ends; to answer the questions open\n{server.url}")  # alone, so that it is copied as it is
            if browser and has_screen():
                webbrowser.open(server.url)
            ended = ""
            try:
                _wait(database, questions)
                ended = "Your answers are saved. You can close this page."
            finally:
                if questions is not None:
                    questions.write()
                server.close(ended)
                answer(f"{database.counts()[0]} answers in {shown(path)}")
    except sqlite3.Error as problem:
        raise Failed(f"{shown(kept)}: cannot be read or written ({problem})") from None
    except OSError as problem:
        raise Failed(f"{shown(path)}: cannot be written ({problem.strerror})") from None


def _wait(database: AnswerDatabase, questions: FileQuestions | None) -> None:
    """Ask, and write what was answered, until the person is done."""
    written = 0.0
    while not database.done:
        if questions is not None:
            questions.ask()
            if time.monotonic() > written + _WRITE:
                questions.write()
                written = time.monotonic()
        time.sleep(_LOOK)
