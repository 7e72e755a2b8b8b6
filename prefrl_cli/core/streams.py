"""Random numbers: one generator for each (seed, purpose), so that drawing from one changes no number of another."""

from __future__ import annotations

import contextlib
import ctypes
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.core.option_types import Given, Seed
from prefrl_cli.core.saved_state import Field, check_state

_BUFFER = 4  # numbers that Philox makes at once
_WORDS = 2 * _BUFFER + 1  # its counter, its buffer and the place in that
_LEGACY = 624  # words of a Mersenne Twister


class Streams(Protocol):
    """What draws random numbers for R seeds; every tensor comes back as `[R, *shape]`, float64, on `device`."""

    seeds: tuple[int, ...]
    device: torch.device

    def uniform(self, purpose: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers spread evenly over [low, high)."""

    def normal(self, purpose: str, *shape: int, std: float = 1.0) -> Tensor:
        """Gaussian numbers around zero."""

    def restart(self, purpose: str) -> None:
        """Put a purpose back to its first number, so that an evaluation draws the same numbers each time."""

    def idle(self, seeds: Tensor | None) -> AbstractContextManager[None]:
        """Within it some seeds, bool `[R]`, draw nothing, as where nothing is asked of them; their numbers are 0."""

    def state(self) -> dict[str, Any]:
        """Every generator's position, as tensors."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`."""


_Generator = TypeVar("_Generator")


class _Drawing:
    """Which seeds draw; see `Streams.idle`."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self._idle = [False] * len(self.seeds)

    @contextlib.contextmanager
    def idle(self, seeds: Tensor | None) -> Iterator[None]:
        """Within it some seeds, bool `[R]`, draw nothing, and their numbers are 0."""
        before, self._idle = self._idle, self._idle if seeds is None else seeds.tolist()
        try:
            yield
        finally:
            self._idle = before

    def _drawn(
        self, of: Sequence[_Generator], draw: Callable[[_Generator], np.ndarray], shape: Sequence[int]
    ) -> Tensor:
        pairs = zip(of, self._idle, strict=True)
        return torch.from_numpy(np.stack([np.zeros(shape) if idle else draw(one) for one, idle in pairs]))


class PhiloxStreams(_Drawing):
    """Counter-based generators keyed by (seed, purpose) (Salmon et al. 2011, Philox4x64).

    The key is the seed and the CRC-32 of the purpose's name: a stream depends on nothing else, neither on the other
    seeds in the process nor on the order in which purposes are first used.

    Args:
        seeds: one seed a replica, R of them.
        device: where the numbers are wanted; they are drawn on the CPU, so a device does not change them.
    """

    def __init__(self, seeds: Given[Sequence[int]], device: Given[torch.device | None] = None) -> None:
        super().__init__(seeds)
        self.device = device or torch.device("cpu")
        self._generators: dict[str, list[np.random.Generator]] = {}

    def uniform(self, purpose: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers spread evenly over [low, high), `[R, *shape]`."""
        drawn = self._drawn(self._of(purpose), lambda generator: generator.random(shape), shape)
        return (drawn if (low, high) == (0.0, 1.0) else low + (high - low) * drawn).to(self.device)

    def normal(self, purpose: str, *shape: int, std: float = 1.0) -> Tensor:
        """Gaussian numbers around zero, `[R, *shape]`."""
        draw = lambda generator: std * generator.standard_normal(shape)  # noqa: E731
        return self._drawn(self._of(purpose), draw, shape).to(self.device)

    def restart(self, purpose: str) -> None:
        """Put a purpose, and those whose names begin with it and a slash, back to the first number."""
        for known in [name for name in self._generators if name == purpose or name.startswith(f"{purpose}/")]:
            del self._generators[known]

    def state(self) -> dict[str, Any]:
        """`{purpose: int64 [R, 9]}`: Philox's counter, its buffer and the place in the buffer."""
        return {purpose: torch.tensor([_position(g) for g in some]) for purpose, some in self._generators.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other seeds or of another generator."""
        check_state(dict.fromkeys(state, Field((len(self.seeds), _WORDS), torch.int64)), state, "streams")
        if any(not 0 <= place <= _BUFFER for positions in state.values() for place in positions[:, -1].tolist()):
            raise ValueError("streams: a place that is not in the buffer")
        self._generators = {}
        for purpose, positions in state.items():
            for generator, position in zip(self._of(purpose), positions.tolist(), strict=True):
                _move(generator, position)

    def _of(self, purpose: str) -> list[np.random.Generator]:
        if purpose not in self._generators:
            code = zlib.crc32(purpose.encode())
            self._generators[purpose] = [
                np.random.Generator(np.random.Philox(key=np.array([seed, code], dtype=np.uint64)))
                for seed in self.seeds
            ]
        return self._generators[purpose]


def _position(generator: np.random.Generator) -> list[int]:
    state: Any = generator.bit_generator.state
    words = np.concatenate([state["state"]["counter"], state["buffer"]]).view(np.int64)
    return [*words.tolist(), state["buffer_pos"]]


def _move(generator: np.random.Generator, position: list[int]) -> None:
    state: Any = generator.bit_generator.state
    words = np.array(position[:8], dtype=np.int64).view(np.uint64)
    state["state"]["counter"], state["buffer"], state["buffer_pos"] = words[:4], words[4:], position[8]
    generator.bit_generator.state = state


class NotebookStreams(_Drawing):
    """The notebook's generators: NumPy's legacy `RandomState` for every purpose but two kinds.

    Purposes whose name begins with `evaluation` are drawn from a `RandomState` of `evaluation_seed`, whatever the
    seed of the run; those named in `torch_purposes` come from one torch generator a seed, which is never restarted
    (the notebook draws its weights and its alternatives from torch's global generator). A `restart` seeds again.

    Args:
        seeds: one seed a replica.
        device: where the numbers are wanted.
        evaluation_seed: the seed of the evaluation's states.
        torch_purposes: purposes, or beginnings of them, drawn from the torch generator.
    """

    def __init__(
        self,
        seeds: Given[Sequence[int]],
        device: Given[torch.device | None] = None,
        evaluation_seed: Seed = 42,
        torch_purposes: Sequence[str] = ("init",),
    ) -> None:
        super().__init__(seeds)
        self.device = device or torch.device("cpu")
        self._evaluation_seed = evaluation_seed
        self._torch_purposes = tuple(torch_purposes)
        self._torch = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        self._training = [np.random.RandomState(seed) for seed in self.seeds]
        self._evaluation = [np.random.RandomState(evaluation_seed) for _ in self.seeds]

    def uniform(self, purpose: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers spread evenly over [low, high), `[R, *shape]`; in steps of float32 where they come from torch."""
        if purpose.startswith(self._torch_purposes):
            draw = lambda generator: torch.empty(shape).uniform_(low, high, generator=generator).numpy()  # noqa: E731
            return self._drawn(self._torch, draw, shape).double().to(self.device)
        generators = self._evaluation if purpose.startswith("evaluation") else self._training
        return self._drawn(generators, lambda generator: generator.uniform(low, high, shape), shape).to(self.device)

    def normal(self, purpose: str, *shape: int, std: float = 1.0) -> Tensor:
        """Gaussian numbers from the torch generator, `[R, *shape]`."""
        draw = lambda generator: torch.normal(0.0, std, shape, generator=generator).numpy()  # noqa: E731
        return self._drawn(self._torch, draw, shape).double().to(self.device)

    def restart(self, purpose: str) -> None:
        """Seed the evaluation's generators again; the torch generator goes on, as in the notebook."""
        if purpose == "evaluation":
            self._evaluation = [np.random.RandomState(self._evaluation_seed) for _ in self.seeds]

    def state(self) -> dict[str, Any]:
        """`training` int64 [R, 625] and `torch` uint8 [R, n]; the evaluation is seeded anew at each use."""
        return {
            "training": torch.from_numpy(np.stack([_words(generator) for generator in self._training])),
            "torch": torch.stack([generator.get_state() for generator in self._torch]),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other seeds or of another generator."""
        check_state(self.state(), state, "streams")
        check_state(Field((len(self.seeds),), below=_LEGACY + 1), state["training"][:, _LEGACY], "streams.training")
        for legacy, words in zip(self._training, state["training"].tolist(), strict=True):
            legacy.set_state(("MT19937", np.array(words[:_LEGACY], dtype=np.uint32), words[_LEGACY], 0, 0.0))
        for generator, row in zip(self._torch, state["torch"], strict=True):
            generator.set_state(row.clone())  # torch reads a row of a larger tensor from the wrong place


def _words(generator: np.random.RandomState) -> np.ndarray:
    """The 624 words of its state and its place in them, int64; `get_state` copies them one by one, in 0.15 ms."""
    address = generator._bit_generator.ctypes.state_address
    return np.frombuffer(ctypes.string_at(address, 625 * 4), np.uint32).astype(np.int64)
