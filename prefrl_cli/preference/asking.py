"""A run and the page that asks a person for it: whoever starts a run hands the page in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.preference.database import ANSWERS
from prefrl_cli.preference.person import Person
from prefrl_cli.preference.recorded import Recorded

Page = Callable[[Path, Person], AbstractContextManager[str]]  # shows a run's questions; gives the address


def nobody(folder: Path, person: Person) -> AbstractContextManager[str]:
    """The page of a run that only repeats what was answered before: nobody sees it, and it waits for nobody."""
    return contextlib.nullcontext("")


def check_asked(algorithm: object, page: Page | None) -> None:
    """Refuse to train what a person is to teach whom no page asks.

    Raises:
        ConfigError: naming what to type instead.
    """
    if page is None and isinstance(getattr(algorithm, "teacher", None), Person):
        raise ConfigError(
            "teacher=human: a person answers one run at a time, begun by prefrl-train without -m; for several take"
            f" what was answered, teacher=recorded teacher.file=RUN_DIR/{ANSWERS}"
        )


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
        person.attached(folder / ANSWERS, budget, tell, None if page is nobody else pause) as database,
        page(folder, person) as address,
    ):
        better = [one for one in getattr(algorithm, "metrics", ()) if one.direction == "higher"]
        better.sort(key=lambda one: not one.headline)  # what a person watches, the most telling first
        database.note(metrics=[{"name": one.name, "words": one.words, "unit": one.unit} for one in better])
        if address:
            tell(f"to answer the questions open {address}")
        yield person
