"""Films of what is asked: drawn from the states, or of the episode that is played once more from its actions."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.option_types import Failed, OptionError
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.saved_state import Field
from prefrl_cli.preference.questions import Part

STARTED = "started"  # what an episode was begun with, among what is kept of it
_SILENT = ("PYGAME_HIDE_SUPPORT_PROMPT", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER")  # no word, window or sound
_SIDE, _COLOURS, _FRAMES = 320, 64, 100  # the most of a film: pixels, colours of a picture, pictures


class Films:
    """Makes what a person looks at, see `Asked.clips`.

    An environment either draws states, by `clip(states)`, or draws only itself: then the episode that was asked about
    is played once more, by `played_again(start, actions)`, so that nothing is drawn that nobody looks at.

    Args:
        env: one of these.

    Raises:
        OptionError: where it is neither, or cannot draw here.
    """

    def __init__(self, env: Any) -> None:
        self._env, self.replays = env, not hasattr(env, "clip")
        if not self.replays:
            return
        reason = "it draws no pictures"
        if hasattr(env, "played_again"):
            for name in _SILENT:
                os.environ.setdefault(name, "dummy")
            try:
                _encoded(next(env.played_again(0, np.zeros(0)))())
                return
            except Exception as problem:  # whatever an environment of somebody else's, or its graphics, raises
                reason = f"{reason} here ({' '.join(str(problem).split())[:160] or type(problem).__name__})"
        raise OptionError("teacher", "human", f"a person has to see what env draws, and {reason}", "oracle")

    def of_part(self, part: Part, row: int, kept: Store) -> Mapping[str, Any]:
        """The film of a part of an episode of one seed that is still kept."""
        if not self.replays:
            return self._drawn(torch.from_numpy(part.states))
        return self._again(*episode_of(part, row, kept))

    def of_newest(self, kept: Store) -> Mapping[str, Any]:
        """The film of the first seed's newest episode."""
        newest = kept.get((kept.count - 1).clamp(min=0)[:, None])
        steps = int(newest["lengths"][0, 0])
        if self.replays:
            return self._again(int(newest[STARTED][0, 0]), newest["actions"][0, 0, :steps].cpu().numpy(), 0)
        return self._drawn(torch.cat([newest["states"][0, 0, :steps], newest["last"][0, :1]]))

    def _drawn(self, states: Tensor) -> Mapping[str, Any]:
        made: Mapping[str, Any] = self._env.clip(states)
        return made

    def _again(self, start: int, actions: NDArray[Any], first: int) -> dict[str, Any]:
        """The pictures of an episode from a step on; of a long one not all."""
        count = len(actions) + 1 - first
        wanted = {*np.linspace(first, len(actions), min(count, _FRAMES)).round().astype(int).tolist()}
        frames, draw = [], None
        drawing: Iterator[Callable[[], Any]] = self._env.played_again(start, actions)
        for step, draw in enumerate(drawing):
            if step in wanted:
                frames.append(_encoded(draw()))
        if not frames and draw is not None:  # it had come to its end before
            frames.append(_encoded(draw()))
        return {"kind": "images", "frames": frames}


def started_field(teacher: Any) -> dict[str, Field]:
    """What `started` is made of."""
    return {STARTED: Field((), torch.int64)} if _replays(teacher) else {}


def started(teacher: Any, env: Any, device: torch.device) -> dict[str, Tensor]:
    """What has to be kept of the episodes `[R, B]` that were just played, so that they can be played once more."""
    return {STARTED: torch.from_numpy(env.started.copy()).to(device)} if _replays(teacher) else {}


def _replays(teacher: Any) -> bool:
    films: Films | None = getattr(teacher, "films", None)
    return films is not None and films.replays


def episode_of(part: Part, row: int, kept: Store) -> tuple[int, NDArray[Any], int]:
    """The episode that a part was cut from; where several look the same to the learner all along, one of them.

    Args:
        part: what was asked about.
        row: of the seed.
        kept: the episodes.

    Returns:
        What it was begun with, its actions to the end of the part, and the part's first step.

    Raises:
        Failed: where it is kept no more.
    """
    names = ("states", "last", "actions", "lengths", STARTED)
    states, last, actions, lengths, begun = (kept.column(name)[0][row].cpu().numpy() for name in names)
    through, steps = np.concatenate([states, last[:, None]], 1), len(part.actions)  # [N, T + 1, *shape]
    same = (through[:, : through.shape[1] - steps] == part.states[0]).all(tuple(range(2, through.ndim)))
    for number, first in np.argwhere(same[: int(kept.count[row])]).tolist():
        end = first + steps
        if (
            end <= lengths[number]
            and np.array_equal(actions[number, first:end], part.actions)
            and np.array_equal(through[number, first:end], part.states[:-1])
        ):
            return int(begun[number]), actions[number, :end], first
    raise Failed("an episode that is asked about is kept no more")


def _encoded(picture: NDArray[np.uint8]) -> str:
    """A picture `[H, W, 3]` as a small PNG in base64.

    Raises:
        ValueError: where it is none.
    """
    from PIL import Image

    if np.ndim(picture) != 3:
        raise ValueError(f"render() gives a {type(picture).__name__} for a picture")
    image = Image.fromarray(np.asarray(picture, dtype=np.uint8))
    image.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    image.quantize(_COLOURS, Image.Quantize.FASTOCTREE).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode("ascii")
