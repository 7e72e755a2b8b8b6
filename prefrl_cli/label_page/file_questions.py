"""The questions of a file of preferences that nobody has answered: put to a person, and answered in the file."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.preferences.data import PreferenceData
from prefrl_cli.files.preferences.formats import save
from prefrl_cli.preference.answers.events import Event, events
from prefrl_cli.preference.database import ANSWERS, AnswerDatabase, Asked, Side
from prefrl_cli.preference.questions import Part, fingerprint

STRONG = 2.0  # how much a strong preference counts; any other counts 1
_AHEAD = 20  # questions that wait: films are made of those alone that are soon asked


class FileQuestions:
    """The questions that have no answer, a few at a time, and what was answered of them.

    A question's number in the database is its row in the file, and its seed 0.

    Args:
        path: of the file.
        data: what it holds.
        env: the environment that its questions are about, which draws their films.

    Attributes:
        unanswered: the rows of the questions that had no answer.
    """

    def __init__(self, path: Path, data: PreferenceData, env: Any) -> None:
        self.path, self._data, self._env = path, data, env
        self._about = fingerprint(env)
        self.unanswered = np.flatnonzero(np.isnan(data.label)).tolist()

    def begin(self, database: AnswerDatabase) -> None:
        """Go on from a database, where answers are kept as they come.

        Raises:
            ConfigError: where the file is not the one whose questions were answered there.
        """
        before = dict(database.rows("SELECT number, hash FROM questions"))
        for row, found in before.items():
            if not 0 <= row < len(self._data) or self._hash(row) != found:
                raise ConfigError(
                    f"{show(str(self.path))}: question {row + 1} is not the one that was answered here; put the file "
                    f"back, or move {self.path.name}.{ANSWERS} away to begin anew"
                )
        self._database, self._rows, self._written = database, [*before], -1
        self._left = [row for row in self.unanswered if row not in before]
        database.execute("DELETE FROM answers WHERE answer = 'done'")  # that was all for that day
        database.note(done=False, labels=len(self._rows) + len(self._left))

    def ask(self) -> None:
        """Let a few questions wait."""
        count = _AHEAD - self._database.counts()[1]
        for row in self._left[: max(0, count)]:
            first, second = self._parts(row)
            side: Side = "left" if secrets.randbits(1) else "right"
            clips = self._env.clip(first.states), self._env.clip(second.states)
            self._database.ask([Asked(0, row, self._hash(row), side, clips)], 0)
            self._rows.append(row)
        self._left = self._left[max(0, count) :]

    def write(self) -> None:
        """Put what was answered into the file, if anything was since the last time.

        Raises:
            OSError: where it cannot be written.
        """
        found = events(self._database)
        if len(found) == self._written:
            return
        stands = {one.number: one for one in found if one.kind not in ("undo", "done") and not one.undone}
        label, weight, teacher = self._data.label.copy(), self._data.weight.copy(), self._data.teacher.tolist()
        for row in self._rows:
            label[row], weight[row], teacher[row] = _label(stands.get(row))
        save(self.path, replace(self._data, label=label, weight=weight, teacher=np.array(teacher)))
        self._written = len(found)

    def _parts(self, row: int) -> list[Part]:
        data, found = self._data, []
        for side in (0, 1):
            steps = int(data.lengths[row, side])
            states = np.concatenate([data.states[row, side, :steps], data.last[row, side][None]])
            values = (states, data.actions[row, side, :steps], data.rewards[row, side, :steps])
            found.append(Part(*values))
        return found

    def _hash(self, row: int) -> str:
        return ":".join(part.hash(self._about) for part in self._parts(row))


def _label(event: Event | None) -> tuple[float, float, str]:
    """Label, weight and teacher that an answer comes to."""
    if event is None:
        return float("nan"), 0.0, ""
    weight = 0.0 if event.kind == "cannot_tell" else STRONG if event.strong else 1.0
    return event.label, weight, event.rater
