"""The ranges that options may take, written once in a constructor's signature and checked before anything is built."""

from __future__ import annotations

import difflib
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

LARGEST = 3.4e38  # what 32 bits hold; torch refuses more in the middle of a step


@dataclass(frozen=True)
class Limits:
    """A closed or half-open interval of numbers, and a value inside it to suggest to a person.

    Attributes:
        low: smallest value, allowed unless `open_low`.
        high: largest value, allowed.
        open_low: whether `low` itself is refused.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether `value` is allowed; NaN, the infinities and what 32 bits cannot hold never are."""
        if not abs(value) <= LARGEST:
            return False
        return (value > self.low if self.open_low else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        """The interval in words, such as `of at least 1` or `between 0 and 1`."""
        if math.isinf(self.low) and math.isinf(self.high):
            return ""
        if math.isinf(self.high):
            return f"above {_shown(self.low)}" if self.open_low else f"of at least {_shown(self.low)}"
        if self.open_low:
            return f"above {_shown(self.low)} and at most {_shown(self.high)}"
        return f"between {_shown(self.low)} and {_shown(self.high)}"


def _shown(number: float) -> str:
    """A limit as it is typed: 1000000000, not 1e+09."""
    return str(int(number)) if number == int(number) else f"{number:g}"


_Part = TypeVar("_Part")
GIVEN = object()
# What a constructor is handed by what builds it, and no person types: `env: Given[FiniteEnvironment]`, or `env: Given`.
Given = Annotated[_Part, GIVEN]

Seed = Annotated[int, Limits(0, 2**32 - 1)]

# Each limit of a whole number is ten times or more what any sensible run needs, and low enough that one step ends.
Count = Annotated[int, Limits(1, 10**9)]  # that costs nothing by itself, such as steps between two things

CountOrZero = Annotated[int, Limits(0, 10**9)]

Items = Annotated[int, Limits(1, 10**6)]  # that are drawn or kept at once

Repeats = Annotated[int, Limits(1, 10_000)]  # of the same within one step

RepeatsOrZero = Annotated[int, Limits(0, 10_000)]

Units = Annotated[int, Limits(1, 16_384)]  # of a hidden layer

Layers = Annotated[int, Limits(1, 100)]

Members = Annotated[int, Limits(1, 1000)]  # of an ensemble

Number = Annotated[float, Limits()]

Positive = Annotated[float, Limits(0, open_low=True)]

NotNegative = Annotated[float, Limits(0)]

Fraction = Annotated[float, Limits(0, 1)]


class Failed(Exception):
    """What ended a command in the midst of its work: one line."""


_MOST_SHOWN = 50  # things of a list


class ConfigError(Exception):
    """What a person typed, what is allowed, and what to type: one line."""


def suggest(name: str, names: Sequence[str], prefix: str = "") -> str:
    """`did you mean …?` where a name is near, else the list of names."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    return f"choose one of {', '.join(names)}" if names else "it has no options"


def show(value: Any) -> str:
    """A value as it is typed."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(show, value))}]" if len(value) <= _MOST_SHOWN else f"a list of {len(value)}"
    try:
        text = str(value)
    except ValueError as problem:  # Python writes no number of more than 4,300 digits
        text = str(problem)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(shown) if not text or not text.isprintable() else shown


def as_typed(text: str) -> str:
    """A text as a shell takes it for one word."""
    if text.isprintable():
        return shlex.quote(text)
    # As in bash's $'...'; Python would quote a text that holds an apostrophe with ", were there no " in it.
    return "$" + ascii(text + '"').removesuffix("\"'") + "'"
