"""What a run keeps of its questions, to the last one: a checkpoint has it, and a file is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.preference_files.data import PreferenceData
from prefrl_cli.preference_files.formats import save

_ANSWERS = {"label": torch.float32, "weight": torch.float32, "answered": torch.int32, "wanted": torch.bool}


class Record:
    """Every question that R seeds have asked, and its answer where one was taken.

    A question that a seed was asked beside others, when its own budget was spent, is none of its questions.

    Args:
        replicas: R.
        fields: of what a question is made of, the shapes without `[R, Q]`; whole numbers are kept as small as they fit.
    """

    def __init__(self, replicas: int, fields: Mapping[str, Field]) -> None:
        self._replicas = replicas
        self._fields = {name: field._replace(dtype=_narrow(field)) for name, field in fields.items()}
        self._batches: dict[int, dict[str, Tensor]] = {}  # by the first number of each batch, `[R, Q, ...]` tensors
        self._asked: dict[int, int] = {}

    def ask(self, questions: Mapping[str, Tensor], first: int, step: int, wanted: Tensor) -> None:
        """Questions that are asked together.

        Args:
            questions: `[R, Q, ...]` each.
            first: number of the first.
            step: the update at which they are.
            wanted: whether a seed may have another answer, `[R]`.
        """
        shape = questions["lengths"].shape[:2]
        kept = {name: questions[name].to(field.dtype) for name, field in self._fields.items()}
        empty = {name: torch.zeros(shape, dtype=kind, device=wanted.device) for name, kind in _ANSWERS.items()}
        self._batches[first] = kept | empty | {
            "label": empty["label"] + torch.nan,
            "answered": empty["answered"] - 1,
            "wanted": wanted[:, None].expand(shape).clone(),
        }  # fmt: skip
        self._asked[first] = step

    def answer(self, first: int, given: Tensor, label: Tensor, weight: Tensor, step: int) -> None:
        """Answers to those questions of a batch that `given` marks, `[R, Q]` each."""
        batch = self._batches[first]
        batch["label"] = torch.where(given, label, batch["label"])
        batch["weight"] = torch.where(given, weight, batch["weight"])
        batch["answered"] = batch["answered"].masked_fill(given, step)

    def data(self, seeds: Sequence[int], teacher: str, about: Mapping[str, Any]) -> PreferenceData:
        """Everything so far, seed by seed in the order of the questions' numbers.

        Args:
            seeds: R of them.
            teacher: who answered.
            about: see `PreferenceData`.
        """
        found = {name: value.cpu().numpy() for name, value in self._joined().items()}
        wanted = found.pop("wanted")  # [R, N]
        sizes = [batch["label"].shape[1] for batch in self._batches.values()]
        numbers = [first + np.arange(size) for first, size in zip(self._batches, sizes, strict=True)]
        found["number"] = np.broadcast_to(np.concatenate([*numbers, np.zeros(0, dtype=np.int64)]), wanted.shape)
        found["asked"] = np.broadcast_to(np.repeat([*self._asked.values()], sizes).astype(np.int64), wanted.shape)
        found["seed"] = np.broadcast_to(np.array(seeds)[:, None], wanted.shape)
        arrays = {name: value[wanted] for name, value in found.items()}
        answered = arrays["answered"] >= 0
        arrays["teacher"] = np.where(answered, teacher, "")
        return PreferenceData.checked("the run's record", arrays, about)

    def _joined(self) -> dict[str, Tensor]:
        """All batches side by side, `[R, N, ...]` each."""
        if not self._batches:
            fields = {**self._fields, **{name: Field((), kind) for name, kind in _ANSWERS.items()}}
            sizes = {name: [self._replicas, 0, *(size or 0 for size in one.shape)] for name, one in fields.items()}
            return {name: torch.zeros(size, dtype=fields[name].dtype) for name, size in sizes.items()}
        names = next(iter(self._batches.values()))
        return {name: torch.cat([batch[name] for batch in self._batches.values()], 1) for name in names}

    def state(self) -> dict[str, Any]:
        """Everything, in a few tensors `[R, N, ...]`."""
        sizes = [batch["label"].shape[1] for batch in self._batches.values()]
        return {"first": [*self._asked], "asked": [*self._asked.values()], "sizes": sizes, **self._joined()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes."""
        count = sum(state["sizes"])
        kinds = {name: Field((self._replicas, count), kind) for name, kind in _ANSWERS.items()}
        kinds |= {name: one._replace(shape=(self._replicas, count, *one.shape)) for name, one in self._fields.items()}
        number = [int] * len(state["sizes"])
        check_state({"first": number, "asked": number, "sizes": number, **kinds}, state, "record")
        parts = {name: state[name].split(state["sizes"], 1) for name in kinds} if count else {}
        self._batches = {
            first: {name: values[place].clone() for name, values in parts.items()}
            for place, first in enumerate(state["first"])
        }
        self._asked = dict(zip(state["first"], state["asked"], strict=True))


def writer(record: Record, seeds: Sequence[int], path: Path, options: Mapping[str, Any]) -> Callable[[], None]:
    """What writes a file of everything so far: call it in any thread, whatever the run does meanwhile.

    Args:
        record: of the run.
        seeds: R of them.
        path: of the file.
        options: of the run, by their dotted names.
    """
    teacher = options.get("teacher.choice") or options.get("teacher._target_") or ""
    about = {name: value for name, value in options.items() if name.startswith("env.") or name == "experiment"}
    return partial(save, path, record.data(seeds, str(teacher), about))


def _narrow(field: Field) -> torch.dtype | None:
    if field.dtype != torch.int64 or field.below is None:
        return field.dtype
    return next(kind for kind in (torch.int16, torch.int32, torch.int64) if field.below <= torch.iinfo(kind).max)
