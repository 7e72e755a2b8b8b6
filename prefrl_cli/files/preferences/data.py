"""Questions with both segments and their answers, as arrays: what a file of preferences holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.core.option_types import show
from prefrl_cli.files.read import UnreadableError

STEPS = ("states", "actions", "rewards")  # of each segment, a value a step
_WHOLE = ("seed", "number", "asked", "answered", "lengths")
_REAL = ("label", "weight", "rewards")


@dataclass(frozen=True)
class PreferenceData:
    """N questions, each about two segments that are padded with zeros to T steps.

    States and actions are whole numbers where they are numbered, and vectors of F or A numbers where they are not.

    Attributes:
        states: before each step, int64 `[N, 2, T]`, or float32 `[N, 2, T, F]`.
        actions: int64 `[N, 2, T]`, or float32 `[N, 2, T, A]`.
        rewards: the true ones, float32 `[N, 2, T]`; NaN where they are not known.
        lengths: steps, int64 `[N, 2]`, from 1 to T.
        last: the state after the last step, as the states, `[N, 2]` or `[N, 2, F]`.
        label: the probability that the FIRST is preferred, float32 `[N]`; NaN where there is no answer.
        weight: how much it counts, float32 `[N]`; 0 is "I cannot tell", or no answer.
        seed: that asked, int64 `[N]`.
        number: of the question among the seed's, int64 `[N]`.
        asked: the update at which it was, int64 `[N]`; -1 where nobody knows.
        answered: the same for the answer; -1 where there is none.
        teacher: who answered, `[N]` texts.
        about: where it comes from, as JSON can hold it: `experiment`, and options of the environment by dotted names.
    """

    states: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    lengths: NDArray[np.int64]
    last: NDArray[Any]
    label: NDArray[np.float32]
    weight: NDArray[np.float32]
    seed: NDArray[np.int64]
    number: NDArray[np.int64]
    asked: NDArray[np.int64]
    answered: NDArray[np.int64]
    teacher: NDArray[np.str_]
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def checked(cls, name: str, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Self:
        """Data of these arrays in the types above; what lies past a segment's end becomes zero.

        Args:
            name: of the file, for what is wrong with it.
            arrays: by name.
            about: where it comes from.

        Raises:
            UnreadableError: where one is missing, too many, or of a type, shape or value that it cannot have.
        """
        names = [one.name for one in fields(cls) if one.name != "about"]
        for one in {*names, *arrays}:
            if one not in arrays or one not in names:
                raise UnreadableError(
                    f"{name} {'has no' if one in names else 'has'} {one[:40]!r}; it has to have {names}"
                )
        found = {one: _converted(name, one, arrays[one]) for one in names}
        shapes = {one: value.shape for one, value in found.items()}
        count = len(found["lengths"]) if found["lengths"].ndim else 0
        width, features = shapes["states"][2:3], shapes["states"][3:]
        for one, wanted in {
            **dict.fromkeys(names, (count,)),
            "states": (count, 2, *width, *features),
            "actions": (count, 2, *width, *shapes["actions"][3:4]),
            "rewards": (count, 2, *width),
            "lengths": (count, 2),
            "last": (count, 2, *features),
        }.items():
            if shapes[one] != wanted or not width or len(features) > 1:
                raise UnreadableError(f"{name}: {one} is {list(shapes[one])} for {list(wanted)}")
        for one, (allowed, words) in _ranges(found, width[0]).items():
            if not allowed.all():
                place = tuple(np.argwhere(~allowed)[0])
                said = f"question {place[0] + 1} has {one} {show(found[one][place])}; {one} has to be {words}"
                raise UnreadableError(f"{name}: {said}")
        return cls(**_without_padding(found), about=dict(about))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "about"}

    def take(self, rows: NDArray[Any]) -> Self:
        """The questions of these numbers, or where a mask `[N]` is true."""
        return replace(self, **{name: value[rows] for name, value in self.arrays().items()})

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Whether a question has an answer that something can be learned from, `[N]`."""
        return ~np.isnan(self.label) & (self.weight > 0)

    def __len__(self) -> int:
        """N."""
        return len(self.lengths)


def stacked(segments: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Segments one after the other, padded with zeros to the longest, and their `lengths`.

    Args:
        segments: each with `states` `[t, ...]`, `actions` `[t, ...]` and `rewards` `[t]`.

    Raises:
        ValueError: where they have steps of different shapes.
    """
    several = list(segments)
    lengths = np.array([len(one["rewards"]) for one in several], dtype=np.int64)
    found: dict[str, NDArray[Any]] = {"lengths": lengths}
    for name in STEPS:
        kinds = np.result_type(*{one[name].dtype for one in several}) if several else np.dtype(np.float32)
        shape = several[0][name].shape[1:] if several else ()
        found[name] = np.zeros((len(several), max(lengths, default=1), *shape), dtype=kinds)
        for row, one in enumerate(several):
            if one[name].shape != (lengths[row], *shape):
                raise ValueError(f"{name} {list(one[name].shape)} for {[int(lengths[row]), *shape]}")
            found[name][row, : lengths[row]] = one[name]
    return found


def _converted(file: str, name: str, value: NDArray[Any]) -> NDArray[Any]:
    if name == "teacher":
        if value.dtype.kind != "U":
            raise UnreadableError(f"{file}: {name} holds {value.dtype} for texts")
        return value
    vectors = value.ndim == (3 if name == "last" else 4) and name in ("states", "actions", "last")
    allowed, kind = ("iuf", np.float32) if vectors or name in _REAL else ("iu", np.int64)
    if value.dtype.kind not in allowed or (value.dtype == np.uint64 and kind is np.int64):
        raise UnreadableError(f"{file}: {name} holds {value.dtype} for {np.dtype(kind)}")
    with np.errstate(over="ignore"):
        return value.astype(kind, copy=False)


def _ranges(found: Mapping[str, NDArray[Any]], width: int) -> dict[str, tuple[NDArray[np.bool_], str]]:
    """Whether values are ones that can be, and which can, in words; a state or action number is one below 2 ** 31."""
    label, weight, lengths = found["label"], found["weight"], found["lengths"]
    allowed = {
        "lengths": ((lengths >= 1) & (lengths <= width), f"between 1 and {width}"),
        "label": (np.isnan(label) | ((label >= 0) & (label <= 1)), "a probability, from 0 to 1, or nothing"),
        "weight": (np.isfinite(weight) & (weight >= 0), "a finite number of at least 0"),
    }
    for name in ("states", "actions", "last"):
        if found[name].dtype == np.int64:
            allowed[name] = ((found[name] >= 0) & (found[name] < 2**31), "numbers from 0 on, below 2147483648")
    return allowed


def _without_padding(found: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same with zeros past the ends, and no wider than the longest segment."""
    width = int(found["lengths"].max(initial=1))
    past = np.arange(width) >= found["lengths"][..., None]
    for name in STEPS:
        value = found[name][:, :, :width]
        mask = past.reshape(*past.shape, *[1] * (value.ndim - past.ndim))
        found[name] = np.where(mask, value.dtype.type(0), value)
    return found
