"""Episodes and steps that others recorded, as sources of segments: Minari's and D4RL's files, and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.preferences.formats import MOST, read_npz
from prefrl_cli.files.read import UnreadableError, opened, read, short

_MOST_FILE = 1 << 36  # bytes of an HDF5 file, of which only what is wanted is read
HDF5 = (".hdf5", ".h5")
_NAMES = ("observations", "actions", "rewards")


@dataclass(frozen=True)
class Steps:
    """N steps, one after the other.

    Attributes:
        states: before each, `[N]` or `[N, F]`.
        actions: `[N]` or `[N, A]`.
        rewards: `[N]`.
        following: the state after each, `[N]` or `[N, F]`.
    """

    states: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[Any]
    following: NDArray[Any]

    def segment(self, start: int, length: int) -> dict[str, NDArray[Any]]:
        """Steps `start` to `start + length - 1`, all of which must be there."""
        inside = slice(start, start + length)
        found = {"states": self.states[inside], "actions": self.actions[inside], "rewards": self.rewards[inside]}
        return found | {"last": self.following[start + length - 1]}


def read_steps(path: Path) -> Steps:
    """The steps of a D4RL data set, numbered as its `qlearning_dataset` numbers them.

    The last step is left out, since the state after it is not known, and so is each on which a time limit fell. An
    `.npz` with `observations`, `actions`, `rewards` and, where there were limits, `timeouts` is taken the same way.

    Raises:
        UnreadableError: where it is no such file.
        ConfigError: where h5py is not installed.
    """
    wanted = [*_NAMES, "timeouts"]
    if path.suffix in HDF5:
        with _hdf5(path) as file:
            found = {one: _array(f"{path.name}: {one}", file, one) for one in wanted if one in file}
    else:
        found = {
            one: value
            for one, value in read_npz(path.name, read(path.parent, path.name, MOST)).items()
            if one in wanted
        }
    for one in _NAMES:
        if one not in found or found[one].shape[:1] != found["observations"].shape[:1]:
            raise UnreadableError(f"{path.name} has no {one}, or not as many as observations")
    observations = found["observations"]
    timeouts = found.get("timeouts", np.zeros(len(observations), dtype=bool))
    if timeouts.shape != observations.shape[:1] or len(observations) < 2:
        raise UnreadableError(f"{path.name} has no timeouts for each observation, or fewer than two of these")
    kept = np.flatnonzero(~timeouts[:-1].astype(bool))
    return Steps(observations[kept], found["actions"][kept], found["rewards"][kept], observations[kept + 1])


def read_episodes(path: Path) -> list[Steps]:
    """The episodes of a Minari data set, `main_data.hdf5`.

    Raises:
        UnreadableError: where it is no such file, or has observations or actions of several parts.
        ConfigError: where h5py is not installed.
    """
    episodes = []
    with _hdf5(path) as file:
        names = [one for one in file if str(one).startswith("episode_")]
        if not names:
            raise UnreadableError(f"{path.name} has no episode_0, as a data set of Minari has")
        for name in sorted(names, key=lambda one: int(one[8:]) if one[8:].isdecimal() else 0):
            where, group = f"{path.name}: {name}", _inside(f"{path.name}: {name}", file, name)
            observations, actions, rewards = (_array(f"{where}/{one}", group, one) for one in _NAMES)
            if len(observations) != len(actions) + 1 or rewards.shape != actions.shape[:1]:
                raise UnreadableError(f"{where} has not one observation more than actions and rewards")
            episodes.append(Steps(observations[:-1], actions, rewards, observations[1:]))
    return episodes


def draw_segments(episodes: Sequence[Steps], questions: int, length: int, seed: int) -> list[dict[str, NDArray[Any]]]:
    """Two segments for each question, drawn evenly among all that lie within an episode.

    Args:
        episodes: at least one of which must have so many steps.
        questions: how many.
        length: steps of a segment.
        seed: of the random numbers.

    Returns:
        Twice as many segments, two neighbours of which are a question.

    Raises:
        UnreadableError: where no episode is so long.
    """
    places = np.array([max(0, len(one.rewards) - length + 1) for one in episodes])
    if not places.sum():
        longest = max(len(one.rewards) for one in episodes)
        raise UnreadableError(f"no episode has {length} steps, the longest {longest}; type segment={longest} or less")
    drawn = np.random.default_rng(seed).integers(places.sum(), size=2 * questions)
    ends = places.cumsum()
    found = np.searchsorted(ends, drawn, side="right")
    return [
        episodes[episode].segment(int(place - (ends[episode] - places[episode])), length)
        for episode, place in zip(found, drawn, strict=True)
    ]


def _hdf5(path: Path) -> Any:
    """An HDF5 file, open for reading."""
    try:
        import h5py
    except ImportError:
        raise ConfigError(f"{path}: h5py is not installed; type pip install 'prefrl[hdf5]'") from None
    with opened(path.parent, path.name, _MOST_FILE):  # a plain file, and no link
        pass
    try:
        return h5py.File(path, "r")
    except OSError as problem:
        raise UnreadableError(f"{path.name} is no HDF5 file ({short(problem)})") from None


def _inside(name: str, group: Any, key: str) -> Any:
    """What lies in a group itself; a link to elsewhere is not followed."""
    import h5py

    if key not in group or not isinstance(group.get(key, getlink=True), h5py.HardLink):
        raise UnreadableError(f"{name} is missing, or a link")
    return group[key]


def _array(name: str, group: Any, key: str) -> NDArray[Any]:
    import h5py

    found = _inside(name, group, key)
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "biuf" or found.ndim not in (1, 2):
        raise UnreadableError(f"{name} is no list of numbers or vectors")
    if found.is_virtual or found.external or found.nbytes > MOST:
        raise UnreadableError(f"{name} lies in other files, or has more than {MOST:,} bytes")
    try:
        return np.asarray(found[()])
    except OSError as problem:
        raise UnreadableError(f"{name} cannot be read ({short(problem)})") from None
