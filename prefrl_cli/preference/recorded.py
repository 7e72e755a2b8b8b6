"""What a person did, as a run's database has it: read back, copied, and given to another run as answers."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.core.option_types import Failed
from prefrl_cli.files.read import UnreadableError, read
from prefrl_cli.files.write import write_whole
from prefrl_cli.preference.database import ANSWERS, AnswerDatabase, Kind
from prefrl_cli.preference.questions import Questions

_MOST = 1 << 32  # bytes of a database


class Event(NamedTuple):
    """What a person did, in a run's terms.

    Attributes:
        id: counts up from 1.
        kind: an answer by its side on the screen, `undo`, or `done`.
        seed, number: of the question; -1 for `done`.
        label: the probability that the first of the pair is preferred; 0.5 where the kind says no side.
        strong: whether the answer was given as a strong one.
        repeats: whether the question was one that is asked again.
        rater: who.
        seconds: the time that it took; none where it is not known.
        given: when, in seconds since 1970.
        step: the update that took it up; none so far.
        undone: whether it was taken back, by whatever came later.
    """

    id: int
    kind: Kind
    seed: int
    number: int
    label: float
    strong: bool
    repeats: bool
    rater: str
    seconds: float | None
    given: float
    step: int | None
    undone: bool


_EVENTS = """SELECT a.id, a.answer, ifnull(q.seed, -1), ifnull(q.number, -1), q.first_side, a.strong,
q.repeats IS NOT NULL, a.rater, a.seconds, a.given, s.step, u.id IS NOT NULL FROM answers a
LEFT JOIN questions q ON q.id = a.question LEFT JOIN seen s ON s.answer = a.id LEFT JOIN answers u ON u.undoes = a.id"""


def events(database: AnswerDatabase, which: str = "", *values: Any) -> list[Event]:
    """What a person did, in order: all of it, or what a condition of SQL says."""
    return [
        Event(id_, kind, seed, number, float(kind == side) if kind in ("left", "right") else 0.5, *rest)
        for id_, kind, seed, number, side, *rest in database.rows(f"{_EVENTS} {which} ORDER BY a.id", *values)
    ]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[AnswerDatabase]:
    """A database of questions and answers, until the end of the block.

    Raises:
        Failed: where it is one of something else.
        sqlite3.Error: where it cannot be read or written.
    """
    try:
        database = AnswerDatabase(path)
    except ValueError as problem:
        raise Failed(f"{path}: {problem}") from None
    with contextlib.closing(database):
        yield database


def forget_from(database: AnswerDatabase, step: int) -> int:
    """Let no update from this one on have happened; what was answered since stays, as answers to nobody's questions.

    Returns:
        How many answers that are.
    """
    late = "FROM questions WHERE asked_step >= ? AND number >= 0"
    with database.commit():
        count = database.rows(f"SELECT count(*) {late} AND answer IS NOT NULL", step)[0][0]
        database.execute("UPDATE questions SET number = -id, expired = ? WHERE asked_step >= ?", step, step)
        database.execute("DELETE FROM seen WHERE step >= ?", step)
        database.set("reached", step - 1)
    return int(count)


def copy_answers(origin: Path, folder: Path) -> None:
    """Copy a run's database into another run's folder, as it is now; where there is none, nothing happens.

    Raises:
        UnreadableError: where it is no plain file, or was written while it was copied.
    """
    if not (origin / ANSWERS).exists():
        return
    for name in (ANSWERS, f"{ANSWERS}-wal"):
        if (origin / name).exists() or (origin / name).is_symlink():
            write_whole(folder / name, read(origin, name, _MOST))
    try:
        with opened(folder / ANSWERS) as database:
            sound = database.rows("PRAGMA quick_check") == [("ok",)]
    except (Failed, sqlite3.Error):
        sound = False
    if not sound:
        raise UnreadableError(f"{origin / ANSWERS} is damaged, or is being written; stop its run first")


def fingerprint(env: Any) -> bytes:
    """What tells an environment from others in which the same states and actions mean something else."""
    table = getattr(env, "transitions", None)
    if table is None:
        return f"{type(env).__name__} {env.observation_space} {env.action_space}".encode()
    return hashlib.sha256(np.ascontiguousarray(table, dtype=np.int64).tobytes()).digest()


class Part(NamedTuple):
    """What happened in one of a pair: T steps.

    Attributes:
        states: that it came through, `[T + 1, ...]`.
        actions: `[T, ...]`.
        rewards: `[T]`.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor

    def hash(self, about: bytes) -> str:
        """32 hexadecimal digits of states and actions.

        Args:
            about: the environment's `fingerprint`.
        """
        found = hashlib.sha256(about)
        for values in (self.states, self.actions):
            found.update(str(list(values.shape)).encode() + values.cpu().numpy().tobytes())
        return found.hexdigest()[:32]


def parts(questions: Questions, row: int, place: int) -> list[Part]:
    """What happened in the first and in the second of one seed's question."""
    found = {name: value[row, place] for name, value in questions.tensors().items()}
    return [
        Part(
            torch.cat([found["states"][one, :steps], found["last"][one, None]]),
            found["actions"][one, :steps],
            found["rewards"][one, :steps],
        )
        for one, steps in enumerate(found["lengths"].tolist())
    ]
