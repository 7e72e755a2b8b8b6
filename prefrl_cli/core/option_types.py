"""The types and ranges that options may take, written once in a constructor's signature, and the errors about them."""

from __future__ import annotations

import difflib
import math
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

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


Plain = Any  # of an option that holds names and values: a number, a word, true, false, null, or a list of these

_Part = TypeVar("_Part")
GIVEN = object()
# What a constructor is handed by what builds it, and no person types: `env: Given[FiniteEnvironment]`, or `env: Given`.
Given = Annotated[_Part, GIVEN]

Seed = Annotated[int, Limits(0, 2**32 - 1)]

# Each limit of a whole number is ten times or more what any sensible run needs, and low enough that one step ends.
Count = Annotated[int, Limits(1, 10**9)]  # of what costs nothing by itself, such as steps between two checkpoints

CountOrZero = Annotated[int, Limits(0, 10**9)]

Items = Annotated[int, Limits(1, 10**6)]  # drawn or kept at the same time

Repeats = Annotated[int, Limits(1, 10_000)]  # of the same work within one step

RepeatsOrZero = Annotated[int, Limits(0, 10_000)]

Units = Annotated[int, Limits(1, 16_384)]  # of a hidden layer

Layers = Annotated[int, Limits(1, 100)]

Members = Annotated[int, Limits(1, 1000)]  # of an ensemble

Number = Annotated[float, Limits()]

Positive = Annotated[float, Limits(0, open_low=True)]

NotNegative = Annotated[float, Limits(0)]

Fraction = Annotated[float, Limits(0, 1)]


class Failed(Exception):
    """What ended a command in the middle of its work: one line."""


_MOST_SHOWN = 50  # things of a list


class ConfigError(Exception):
    """What a person typed, what is allowed, and what to type: one line."""


class OptionError(ValueError):
    """A value that a part cannot take, for a reason that its type does not say; `build` makes the line of it.

    Args:
        option: the parameter of the constructor that raises it, or another part's option, `queries.questions`.
        value: that it has.
        reason: why that cannot be, in a few words.
        try_: what to type instead: a value, or several options with theirs, each of which is enough.
    """

    def __init__(self, option: str, value: Any, reason: str, try_: Any = None) -> None:
        super().__init__(option, value, reason, try_)
        self.option, self.value, self.reason, self.try_ = option, value, reason, try_

    def line(self, group: str = "", groups: Sequence[str] = ()) -> str:
        """The error in one line, with the names as they are typed.

        Args:
            group: whose class raised it; empty where the names are whole already.
            groups: all of them: their names are whole.
        """

        def typed(name: str, value: Any) -> str:
            whole = not group or "." in name or name in groups
            return f"{name if whole else f'{group}.{name}'}={show(value)}"

        instead = self.try_ if isinstance(self.try_, Mapping) else {self.option: self.try_}
        cure = "" if self.try_ is None else "; try " + " or ".join(typed(*one) for one in instead.items())
        return f"{typed(self.option, self.value)}: {self.reason}{cure}"

    def __str__(self) -> str:
        """The line, without a group."""
        return self.line()


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
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{show(name)}:{show(one)}" for name, one in value.items()) + "}"
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


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", types.NoneType: "null"}


def describe(annotation: Any) -> str:
    """What an annotation allows, in words."""
    base, limits = split(annotation)
    origin = typing.get_origin(base)
    if origin is Literal:
        allowed = list(map(show, typing.get_args(base)))
        return allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(describe, typing.get_args(base)))
    if origin is not None and issubclass(origin, Mapping):
        return "names and values, such as {size: 8}"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list, each {describe(typing.get_args(base)[0])}"
    words = _WORDS.get(base, "a value")
    if limits is None:
        return words
    return f"{words} {limits}".rstrip() if str(limits) else f"{words} that is finite"


class Unfit(Exception):
    """A value that an annotation does not allow."""


def convert(annotation: Any, value: Any) -> Any:
    """A value in the type that an annotation asks for.

    Raises:
        Unfit: where it cannot be.
    """
    base, limits = split(annotation)
    origin = typing.get_origin(base)
    if origin is Literal:
        if not any(value == one and type(value) is type(one) for one in typing.get_args(base)):
            raise Unfit
        return value
    if origin in (typing.Union, types.UnionType):
        for one in typing.get_args(base):
            try:
                return convert(one, value)
            except Unfit:
                continue
        raise Unfit
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping) or not all(
            isinstance(name, str) and _is_plain(value[name]) for name in value
        ):
            raise Unfit
        return dict(value)
    if origin is not None and issubclass(origin, Sequence):
        if not isinstance(value, list | tuple):
            raise Unfit
        return [convert(typing.get_args(base)[0], one) for one in value]
    if base is float and type(value) is int:
        value = _as_float(value)
    if type(value) is not base or (base is str and not _is_text(value)):  # type(), since true is an int to isinstance
        raise Unfit
    if limits is not None and value not in limits:
        raise Unfit
    return value


def _is_plain(value: Any) -> bool:
    """Whether a value holds nothing but numbers, words, true, false, null, and lists of these."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float) or (type(value) is str and _is_text(value))


def _is_text(value: str) -> bool:
    """Whether it is a text that a file can keep; a folder's name may hold bytes that are none."""
    return bool(value) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Unfit from None


def split(annotation: Any) -> tuple[Any, Limits | None]:
    """The type and the limits of an annotation."""
    if typing.get_origin(annotation) is Annotated:
        base, *extras = typing.get_args(annotation)
        return base, next((extra for extra in extras if isinstance(extra, Limits)), None)
    return annotation, None


def is_value(annotation: Any) -> bool:
    """Whether a configuration can hold what an annotation allows."""
    base, _ = split(annotation)
    origin = typing.get_origin(base)
    if origin is Literal:
        return True
    if origin in (typing.Union, types.UnionType):
        return all(map(is_value, typing.get_args(base)))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return True
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return all(map(is_value, typing.get_args(base)))
    return base in _WORDS


def sample(annotation: Any, default: Any, value: Any) -> Any:
    """A value to try: the whole number that was meant, the limit that was passed, the default, or the first allowed."""
    choices = [part for part in alternatives(annotation) if part is not types.NoneType]
    for base, limits in map(split, choices):
        if base in (int, float) and limits is not None and type(value) in (int, float):
            if base is int and value in limits and value == int(value):  # 1e3
                return int(value)
            if value > limits.high:
                return base(limits.high)
            if value < limits.low and not limits.open_low:
                return base(limits.low)
    if default is not None and default != "":
        return default
    base, limits = split(choices[0]) if choices else (str, None)
    if typing.get_origin(base) is Literal:
        words = [one for one in typing.get_args(base) if isinstance(one, str)]
        near = difflib.get_close_matches(str(value), words, n=1)
        return near[0] if near else typing.get_args(base)[0]
    if base in (int, float):
        return base(limits.low) if limits is not None and 0 <= limits.low and not limits.open_low else base(1)
    return True if base is bool else None


def alternatives(annotation: Any) -> Sequence[Any]:
    """The types of a union; of any other annotation itself."""
    base, _ = split(annotation)
    return typing.get_args(base) if typing.get_origin(base) in (typing.Union, types.UnionType) else (annotation,)
