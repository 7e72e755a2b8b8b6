"""The answers of a file: questions, answers and weights as tensors, which never change while a model is fitted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.environment import Box, Discrete, Environment, is_finite
from prefrl_cli.core.option_types import OptionError, show
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.files.preferences.data import PreferenceData
from prefrl_cli.files.preferences.formats import EXAMPLE, load
from prefrl_cli.preference.questions import Pairs

_NO_MATTER = ("env.observation", "env.horizon", "env.time_limit", "env.goal_reward")  # states mean the same


class FrozenAnswers:
    """N answers about an environment, those that count in a file.

    Args:
        path: of the file; none for the example that comes with prefrl.
        env: that the questions have to be about.
        options: of this environment, by their dotted names.
        device: of the tensors.

    Attributes:
        path: of the file.
        content: stands for what is learned from, whatever the file's format and name.

    Raises:
        OptionError: where the questions are about another environment, or none has an answer.
        ConfigError: where the file cannot be read.
    """

    def __init__(self, path: str | None, env: Environment, options: Mapping[str, Any], device: torch.device) -> None:
        place = EXAMPLE if path is None else Path(path)
        data = load(place, "preferences.file")
        data = data.take(data.counts)
        self.path, self.content = str(place), _content(data)
        _check_fit(self.path, data, env, options)
        self._tensors = {name: torch.from_numpy(value).to(device) for name, value in _learned_from(data).items()}
        if isinstance(env.observation_space, Box) and not is_finite(env):
            self._tensors["states"] = self._tensors["states"].unflatten(-1, env.observation_space.shape)

    def __len__(self) -> int:
        """N."""
        return len(self._tensors["label"])

    @property
    def width(self) -> int:
        """T, the steps of the longest segment."""
        return self._tensors["rewards"].shape[-1]

    @property
    def returns(self) -> Tensor:
        """The true returns of both segments, `[N, 2]`; NaN where the file does not have them."""
        return self._tensors["rewards"].sum(-1)

    def pairs(self, rows: Tensor) -> tuple[Pairs, Tensor, Tensor]:
        """The questions of rows `[R, B]`, and labels and weights `[R, B]`."""
        found = {name: value[rows] for name, value in self._tensors.items() if name != "rewards"}
        label, weight = found.pop("label"), found.pop("weight")
        return Pairs(**found), label, weight

    def segments(self, rows: Tensor) -> Trajectories:
        """Both segments of rows `[R, B]` as trajectories `[R, 2 B, T]`; `last` is the state before the last step."""
        names = ("states", "actions", "rewards", "lengths")
        steps = {name: self._tensors[name][rows].flatten(1, 2) for name in names}
        return Trajectories(**steps, last=steps["states"][:, :, -1])


def _learned_from(data: PreferenceData) -> dict[str, NDArray[Any]]:
    """The arrays that are learned from or tested on."""
    return {name: getattr(data, name) for name in ("states", "actions", "rewards", "lengths", "label", "weight")}


def _content(data: PreferenceData) -> str:
    """A number that stands for what is learned from, whatever the file's format and name."""
    digest = hashlib.sha256()
    for name, value in _learned_from(data).items():
        digest.update(f"{name} {value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _check_fit(path: str, data: PreferenceData, env: Environment, options: Mapping[str, Any]) -> None:
    """Refuse questions about another environment, as far as a file tells it.

    Args:
        path: of the file.
        data: that it holds.
        env: that the model is of.
        options: of this environment, by their dotted names.

    Raises:
        OptionError: naming what is wrong.
    """
    for name, value in data.about.items() if options.get("env.choice") != "recorded" else ():
        if name in options and name not in _NO_MATTER and options[name] != value:
            typed = "env" if name == "env.choice" else name
            reason = f"{show(path)} has questions about another environment"
            raise OptionError(typed, options[name], reason, value)
    if not len(data):
        raise OptionError("preferences.file", path, "has no answer to learn from")
    spaces = {"states": env.observation_space, "actions": env.action_space}
    if is_finite(env):
        spaces["states"] = Discrete(env.num_states)
    for what, space in spaces.items():
        values: NDArray[Any] = getattr(data, what)
        if isinstance(space, Box):
            wanted, found = math.prod(space.shape), values.shape[3] if values.ndim > 3 else 1
            if values.ndim < 4 or wanted != found:
                reason = f"its {what} are {_kind(values)}, and those of env vectors of {wanted}"
                raise OptionError("preferences.file", path, reason, {"env": "recorded"})
            if not np.isfinite(values).all():
                raise OptionError("preferences.file", path, f"its {what} are not all finite numbers")
        elif values.ndim > 3 or values.max() >= space.n:
            reason = f"its {what} are {_kind(values)}, and those of env numbers up to {space.n - 1}"
            raise OptionError("preferences.file", path, reason, {"env": "recorded"})


def _kind(values: NDArray[Any]) -> str:
    return f"vectors of {values.shape[3]}" if values.ndim > 3 else f"numbers up to {values.max()}"
