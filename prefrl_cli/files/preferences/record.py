"""What a run keeps of its questions, to the last one: a checkpoint has it, and a file is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.files.checkpoint_file import Whole
from prefrl_cli.files.preferences.data import PreferenceData
from prefrl_cli.files.preferences.formats import save

_NUMBERS = {"number": torch.int64, "asked": torch.int32, "answered": torch.int32}
_ANSWERS = {"label": torch.float32, "weight": torch.float32}
_FEWEST = 64  # rows that there is room for; the room is doubled where it is short
_NEVER = 2**62  # a number that no question has


class Record:
    """Every question that R seeds have asked, and its answer where one was taken.

    A question that a seed was asked beside others, when its own budget was spent, is none of its questions: each seed
    has rows of its own, and as many as it has questions.

    Args:
        seeds: R of them.
        fields: of what a question is made of, the shapes without `[R, Q]`; whole numbers are kept as small as they fit.
        device: where tensors live.
    """

    def __init__(self, seeds: Sequence[int], fields: Mapping[str, Field], device: torch.device) -> None:
        self._seeds, self._device = seeds, device
        self._fields = {name: field._replace(dtype=_narrow(field)) for name, field in fields.items()}
        self._fields |= {name: Field((), kind) for name, kind in {**_NUMBERS, **_ANSWERS}.items()}
        self._count = torch.zeros(len(seeds), dtype=torch.int64, device=device)
        self._rows = self._empty(_FEWEST)

    def ask(self, questions: Mapping[str, Tensor], first: int, step: int, wanted: Tensor) -> None:
        """Questions that are asked together.

        Args:
            questions: `[R, Q, ...]` each.
            first: number of the first; later questions have larger ones.
            step: the update at which they are.
            wanted: whether a seed may have another answer, `[R]`.
        """
        size = questions["lengths"].shape[1]
        self._make_room(int(self._count.max()) + size)
        numbers = torch.arange(size, device=self._device)
        seeds = wanted.nonzero()
        rows = self._count[wanted][:, None] + numbers
        new = {name: value[wanted] for name, value in questions.items()}
        new |= {"number": (first + numbers).expand_as(rows), "asked": torch.full_like(rows, step)}
        new |= {"answered": torch.full_like(rows, -1), "label": torch.full_like(rows, torch.nan, dtype=torch.float32)}
        for name, value in new.items():
            self._rows[name][seeds, rows] = value.to(self._rows[name].dtype)
        self._count = self._count + size * wanted

    def answer(self, first: int, given: Tensor, label: Tensor, weight: Tensor, step: int) -> None:
        """Answers to those questions of a batch that `given` marks, `[R, Q]` each."""
        number, there = self._rows["number"], torch.arange(self._rows["number"].shape[1], device=self._device)
        known = torch.where(there < self._count[:, None], number, _NEVER)
        wanted = first + torch.arange(given.shape[1], device=self._device).expand(given.shape)
        rows = torch.searchsorted(known, wanted.contiguous()).clamp(max=known.shape[1] - 1)
        seeds, place = (given & (known.gather(1, rows) == wanted)).nonzero(as_tuple=True)
        rows = rows[seeds, place]
        self._rows["label"][seeds, rows] = label[seeds, place].float()
        self._rows["weight"][seeds, rows] = weight[seeds, place].float()
        self._rows["answered"][seeds, rows] = step

    def data(self, teacher: str, about: Mapping[str, Any]) -> PreferenceData:
        """Everything so far; see `data_of`."""
        return data_of(self.state(), self._seeds, teacher, about)

    def _empty(self, room: int) -> dict[str, Tensor]:
        return {
            name: torch.zeros(
                len(self._seeds), room, *(size or 0 for size in one.shape), dtype=one.dtype, device=self._device
            )
            for name, one in self._fields.items()
        }

    def _make_room(self, rows: int) -> None:
        room = self._rows["number"].shape[1]
        if rows <= room:
            return
        before, self._rows = self._rows, self._empty(max(rows, 2 * room))
        for name, value in before.items():
            self._rows[name][:, :room] = value

    def state(self) -> dict[str, Any]:
        """Everything: `count`, `[R]`, and the rows `[R, N, ...]`, zero past a seed's own."""
        return {
            "count": self._count,
            **{name: value[:, : int(self._count.max())] for name, value in self._rows.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes."""
        seeds = len(self._seeds)
        kinds = {name: one._replace(shape=(seeds, None, *one.shape)) for name, one in self._fields.items()}
        check_state({"count": Field((seeds,), torch.int64), **kinds}, state, "record")
        room = {state[name].shape[1] for name in self._fields}
        if len(room) > 1 or not 0 <= int(state["count"].min()) <= int(state["count"].max()) <= max(room):
            raise ValueError("record has not as many rows as it says")
        self._count, self._rows = state["count"].clone(), self._empty(max(_FEWEST, *room))
        for name in self._fields:
            self._rows[name][:, : max(room)] = state[name]


def data_of(
    state: Mapping[str, Tensor | Whole], seeds: Sequence[int], teacher: str, about: Mapping[str, Any]
) -> PreferenceData:
    """Everything that a record holds, seed by seed in the order of the questions' numbers.

    Args:
        state: of the record, as a checkpoint takes it.
        seeds: R of them.
        teacher: who answered.
        about: see `PreferenceData`.
    """
    rows = {name: torch.from_numpy(one.numbers) if isinstance(one, Whole) else one for name, one in state.items()}
    count = rows.pop("count")
    wanted = torch.arange(rows["number"].shape[1], device=count.device) < count[:, None]
    arrays = {name: _flat(value[wanted].cpu().numpy(), name) for name, value in rows.items()}
    arrays["seed"] = np.repeat(np.array(seeds, dtype=np.int64), count.cpu().numpy())
    arrays["teacher"] = np.where(arrays["answered"] >= 0, teacher, "")
    return PreferenceData.checked("the run's record", arrays, about)


def saving(first: Callable[[], None], checkpoint: Mapping[str, Any], path: Path | None) -> Callable[[], None]:
    """What has to be done before a checkpoint is written; call it in any thread, whatever the run does meanwhile.

    Args:
        first: is done first.
        checkpoint: its content, of a run that keeps its questions.
        path: of the file of everything asked so far; none where none is wanted.
    """
    if path is None:
        return first
    options = checkpoint["options"]
    teacher = options.get("teacher.choice") or options.get("teacher._target_") or ""
    about = {name: value for name, value in options.items() if name.startswith("env.") or name == "experiment"}
    record = checkpoint["algorithm"]["preferences"]["record"]
    data = data_of(record, checkpoint["seeds"], str(teacher), about)

    def then() -> None:
        first()
        save(path, data)

    return then


def _flat(values: NDArray[Any], name: str) -> NDArray[Any]:
    """What is observed of a state, and an action, as one vector."""
    first = {"states": 3, "actions": 3, "last": 2}.get(name, values.ndim)
    return values.reshape(*values.shape[:first], -1) if values.ndim > first else values


def _narrow(field: Field) -> torch.dtype | None:
    if field.dtype != torch.int64 or field.below is None:
        return field.dtype
    return next(kind for kind in (torch.int16, torch.int32, torch.int64) if field.below <= torch.iinfo(kind).max)
