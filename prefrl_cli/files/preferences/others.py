"""What other programs publish, as our own data: each says which of two it prefers in its own way.

Ours is the probability that the FIRST is preferred. Contrastive Preference Learning (Hejna et al. 2024) gives that of
the second, or a score to each segment; Preference Transformer (Kim et al. 2023) and Uni-RLHF (Yuan et al. 2024) number
what is preferred, 0 for the first, and -1 for neither; imitation (Gleave et al. 2022) has ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.files.preferences.data import PreferenceData, stacked
from prefrl_cli.files.preferences.episodes import Steps
from prefrl_cli.files.preferences.pickles import Thing, read_pickle
from prefrl_cli.files.read import UnreadableError, read, short

MOST_PICKLED = 1 << 30  # bytes of a file
_MOST_SEGMENT = 100_000


def with_answers(
    name: str, segments: Sequence[Mapping[str, NDArray[Any]]], label: NDArray[Any], teacher: str, about: str
) -> PreferenceData:
    """Data of 2 N segments, two neighbours of which are a question.

    Args:
        name: of the file, for what is wrong with it.
        segments: each with `states`, `actions`, `rewards` and `last`.
        label: the probability that the first is preferred, `[N]`; NaN where there is no answer.
        teacher: who answered.
        about: what made the file.

    Raises:
        UnreadableError: where they do not go together.
    """
    try:
        arrays = {one: value.reshape(-1, 2, *value.shape[1:]) for one, value in stacked(segments).items()}
        last = np.stack([segment["last"] for segment in segments])
        arrays["last"] = last.reshape(-1, 2, *last.shape[1:])
    except (TypeError, ValueError) as problem:
        raise UnreadableError(f"{name} has segments that do not go together ({short(problem)})") from None
    count = len(label)
    answered = ~np.isnan(label)
    arrays |= {
        "label": label,
        "weight": answered.astype(np.float32),
        "teacher": np.where(answered, teacher, ""),
        "number": np.arange(count),
    }
    arrays |= {"seed": np.zeros(count, np.int64), "asked": np.full(count, -1), "answered": np.full(count, -1)}
    return PreferenceData.checked(name, arrays, {"from": about})


def from_cpl(name: str, arrays: Mapping[str, NDArray[Any]], label: str = "label") -> PreferenceData:
    """Data of Contrastive Preference Learning, in its older form of pairs or its newer one of scored segments.

    The older one has `obs_1`, `obs_2` and so on, and the probability that the second is preferred. In the newer one
    each of 2 N segments `obs`, `action`, `reward` has a score; segment i is compared with segment N + i, as its own
    `comparison` does. Neither has the state after a segment: its last observation stands for it.

    Args:
        name: of the file, for what is wrong with it.
        arrays: that it holds.
        label: the array that holds the labels or scores.

    Raises:
        UnreadableError: where an array is missing or of another shape.
    """
    pairs = "action_1" in arrays
    for one in ("obs_1", "obs_2", "action_1", "action_2", label) if pairs else ("obs", "action", label):
        if one not in arrays:
            raise UnreadableError(
                f"{name} has no {one!r}, as Contrastive Preference Learning has; it has {sorted(arrays)[:12]}"
            )
    both = {one: _both(arrays, one, pairs) for one in ("obs", "action", "reward")}
    shape = both["action"][0].shape[:2]
    if "reward_1" not in arrays and "reward" not in arrays:
        both["reward"] = [np.full(shape, np.nan, dtype=np.float32)] * 2
    scores = arrays[label]
    shapes = [value.shape[:2] for values in both.values() for value in values]
    fit = {*shapes} == {shape} and len(shape) == 2 and 0 not in shape and both["reward"][0].ndim == 2
    if not fit or scores.shape != (shape[0] if pairs else len(arrays["action"]),) or scores.dtype.kind not in "biuf":
        raise UnreadableError(
            f"{name} has arrays that do not go together: {[list(one) for one in (*shapes, scores.shape)]}"
        )
    if pairs:
        answers = 1 - scores.astype(np.float32)
    else:
        first, second = _both(arrays, label, pairs)
        unknown = np.isnan(first.astype(np.float32)) | np.isnan(second.astype(np.float32))
        answers = np.select([unknown, first == second], [np.nan, 0.5], first > second).astype(np.float32)
    segments = [
        {
            "states": both["obs"][place][row],
            "actions": both["action"][place][row],
            "rewards": both["reward"][place][row],
            "last": both["obs"][place][row][-1],
        }
        for row in range(shape[0])
        for place in range(2)
    ]
    return with_answers(name, segments, answers, "cpl", "Contrastive Preference Learning")


def _both(arrays: Mapping[str, NDArray[Any]], name: str, pairs: bool) -> list[NDArray[Any]]:
    """One array of the first segments and one of the second; empty where there is none of that name."""
    if pairs:
        return [arrays.get(f"{name}_{place}", np.zeros(0)) for place in (1, 2)]
    whole = arrays.get(name, np.zeros(0))
    half = len(whole) // 2
    return [whole[:half], whole[half : 2 * half]]


def from_imitation(name: str, content: bytes) -> PreferenceData:
    """Data of imitation: a pickle of its `PreferenceDataset`, which is read and never run.

    Raises:
        UnreadableError: where it is none.
    """
    found = read_pickle(name, content)
    state = found.state if isinstance(found, Thing) and found.name.endswith(".PreferenceDataset") else None
    wanted = ("fragments1", "fragments2", "preferences")
    if not isinstance(state, dict) or not set(wanted) <= set(state):
        raise UnreadableError(f"{name} holds no PreferenceDataset of imitation")
    first, second, answers = (state[one] for one in wanted)
    if not isinstance(answers, np.ndarray) or answers.ndim != 1 or answers.dtype.kind != "f" or not len(answers):
        raise UnreadableError(f"{name}: its preferences are no list of numbers")
    if not (isinstance(first, list) and isinstance(second, list) and len(first) == len(second) == len(answers)):
        raise UnreadableError(f"{name} has not two fragments for each preference")
    fragments = [one for pair in zip(first, second, strict=True) for one in pair]
    segments = [_fragment(f"{name}, fragment {row + 1}", fragment) for row, fragment in enumerate(fragments)]
    return with_answers(name, segments, answers, "imitation", "imitation")


def _fragment(name: str, fragment: Any) -> dict[str, NDArray[Any]]:
    state = fragment.state if isinstance(fragment, Thing) else None
    found = [state.get(one) if isinstance(state, dict) else None for one in ("obs", "acts")]
    if not all(isinstance(one, np.ndarray) and one.ndim in (1, 2) for one in found):
        raise UnreadableError(f"{name}: has no observations and actions that are numbers or vectors")
    observations, actions = (np.asarray(one) for one in found)
    rewards = state.get("rews") if isinstance(state, dict) else None
    if not isinstance(rewards, np.ndarray):
        rewards = np.full(len(actions), np.nan, dtype=np.float32)
    if len(observations) != len(actions) + 1 or rewards.shape != (len(actions),) or not len(actions):
        raise UnreadableError(f"{name}: has not one observation more than actions, and a reward for each of these")
    return {"states": observations[:-1], "actions": actions, "rewards": rewards, "last": observations[-1]}


def from_indices(folder: Path, steps: Steps, length: int | None = None) -> PreferenceData:
    """Data of Preference Transformer or Uni-RLHF: where two segments begin among numbered steps, and which is better.

    Args:
        folder: holds three pickles: one whose name has `label` in it, `indices_2...` and the other `indices...`.
        steps: that they number.
        length: of a segment; none takes it from the names, `..._q100` or `..._len_200`.

    Raises:
        UnreadableError: where the folder is another one, or a segment is not among the steps.
    """
    names = sorted(path.name for path in folder.iterdir() if "indices" in path.name or "label" in path.name)
    labels = [one for one in names if "label" in one and "dummy" not in one]
    second = [one for one in names if "label" not in one and one.startswith("indices_2")]
    first = [one for one in names if "label" not in one and one not in second]
    if not len(first) == len(second) == len(labels) == 1:
        raise UnreadableError(
            f"{folder.name} has to hold three files, a label, an indices_2 and one more indices; it has {names[:6]}"
        )
    said = re.search(r"(?:_q|_len_)(\d{1,6})(?:\D|$)", second[0])
    length = length or (int(said[1]) if said else None)
    if length is None or not 1 <= length <= _MOST_SEGMENT:
        raise UnreadableError(f"{folder.name}: its names do not say how long a segment is; type segment=100 or so")
    starts = [_whole(one[0], _pickled(folder, one[0])) for one in (first, second)]
    answers = _labels(labels[0], _pickled(folder, labels[0]))
    if not len(starts[0]) == len(starts[1]) == len(answers) or not len(answers):
        raise UnreadableError(f"{folder.name} has not two segments for each label")
    if min(map(np.min, starts)) < 0 or max(map(np.max, starts)) + length > len(steps.rewards):
        last = max(map(np.max, starts)) + length
        raise UnreadableError(f"{folder.name} numbers steps up to {last}; the data has {len(steps.rewards)}")
    segments = [steps.segment(int(start), length) for pair in zip(*starts, strict=True) for start in pair]
    return with_answers(folder.name, segments, answers, "person", "Preference Transformer or Uni-RLHF")


def _pickled(folder: Path, name: str) -> Any:
    return read_pickle(name, read(folder, name, MOST_PICKLED))


def _whole(name: str, value: Any) -> NDArray[Any]:
    try:
        found = np.array(value)
    except ValueError:
        found = np.zeros(0)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise UnreadableError(f"{name} holds no list of whole numbers")
    return found


def _labels(name: str, value: Any) -> NDArray[Any]:
    """The probability that the first is preferred, of 0, 1 and -1, or of a share for each of both."""
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == 2 and value.dtype.kind in "iuf":
        return value[:, 0].astype(np.float32)
    found = _whole(name, value)
    if not np.isin(found, (-1, 0, 1)).all():
        raise UnreadableError(f"{name} holds other labels than 0, the first, 1, the second, and -1, neither")
    return np.select([found == 0, found == 1], [1.0, 0.0], 0.5).astype(np.float32)


def trl_lines(data: PreferenceData) -> Iterator[dict[str, str]]:
    """What TRL learns from: `prompt`, `chosen`, `rejected`, a segment being its steps in words.

    It has no column for ties, nor for weights: an answer that prefers neither is left out.
    """
    prompt = (
        ", ".join(f"{name.removeprefix('env.')} {value}" for name, value in data.about.items()) or "which is better?"
    )
    for row in np.flatnonzero(data.counts & (data.label != 0.5)).tolist():
        better = int(data.label[row] < 0.5)
        chosen, rejected = (_in_words(data, row, place) for place in (better, 1 - better))
        yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _in_words(data: PreferenceData, row: int, place: int) -> str:
    steps = zip(data.states[row, place], data.actions[row, place], strict=True)
    words = [f"state {_number(state)} action {_number(action)}" for state, action in steps]
    return "; ".join(words[: int(data.lengths[row, place])]) + f"; state {_number(data.last[row, place])}"


def _number(value: Any) -> str:
    return " ".join(f"{one:g}" for one in np.atleast_1d(value))
