"""A run and the page that asks a person for it: whoever starts a run hands the page in."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from prefrl_cli.core.option_types import ConfigError, OptionError
from prefrl_cli.preference.answers.events import copy_answers
from prefrl_cli.preference.database import ANSWERS
from prefrl_cli.preference.person import GUESSED, Person
from prefrl_cli.preference.recorded import Recorded

# Shows a run's questions, and gives the address. "nobody" sees a run that only repeats what was answered before: it has
# no page, and waits for nobody.
Page = Callable[[Path, Person], AbstractContextManager[str]] | Literal["nobody"]


def check_asked(algorithm: object, page: Page | None) -> None:
    """Refuse to train what a person is to teach whom no page asks, or whose page cannot be served where that was typed.

    Raises:
        ConfigError: naming what to type instead.
    """
    person = getattr(algorithm, "teacher", None)
    if not isinstance(person, Person):
        return
    if page is None:
        raise ConfigError(
            "teacher=human: a person answers one run at a time, begun by prefrl-train without -m; for several take"
            f" what was answered, teacher=recorded teacher.file=RUN_DIR/{ANSWERS}"
        )
    if page != "nobody" and person.port:
        try:
            family, kind, _, _, place = socket.getaddrinfo(person.host, person.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
                other.bind(place)
                other.listen()
        except OSError as problem:
            reason = f"cannot be had on {person.host} ({problem.strerror})"
            raise ConfigError(str(OptionError("teacher.port", person.port, reason, 0))) from None


@contextlib.contextmanager
def answering(
    algorithm: object, folder: Path, page: Page | None, tell: Callable[[str], None], pause: Callable[[], None]
) -> Iterator[Person | None]:
    """Within it, the person who teaches an algorithm is asked; of one that is taught by a program nothing is done.

    Args:
        algorithm: with its `teacher` and its `preferences`.
        folder: of the run.
        page: that shows the questions.
        tell: given what a person at the terminal has to know, in a line each.
        pause: see `Person.attached`.

    Raises:
        Failed: as `Person.attached`.
    """
    person = getattr(algorithm, "teacher", None)
    if not isinstance(person, Person) or page is None:
        yield None
        if isinstance(person, Recorded):
            tell(person.told())
        return
    budget = algorithm.preferences.budget  # type: ignore[attr-defined]  # whoever has a teacher has these
    with (
        person.attached(folder / ANSWERS, budget, tell, None if page == "nobody" else pause) as database,
        contextlib.nullcontext("") if page == "nobody" else page(folder, person) as address,
    ):
        better = [one for one in getattr(algorithm, "metrics", ()) if one.direction == "higher"]
        better.sort(key=lambda one: not one.headline)  # what a person watches, the most telling first
        shown = [{"name": one.name, "words": one.words, "unit": one.unit} for one in better]
        database.note(metrics=[*shown, GUESSED])
        if address:
            tell(f"to answer the questions open {address}")
        yield person


def take_answers(origin: Path, folder: Path) -> None:
    """Copy what a person answered in another run, if anything.

    Raises:
        UnreadableError: where it cannot be read.
    """
    if os.path.lexists(origin / ANSWERS):
        copy_answers(origin / ANSWERS, folder / ANSWERS)
