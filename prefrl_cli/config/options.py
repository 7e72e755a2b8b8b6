"""Check options against the signature of what they are for, and say in one line what is wrong with them."""

from __future__ import annotations

import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple

from prefrl_cli.config.choices import GROUPS, choices
from prefrl_cli.core.option_types import LARGEST, ConfigError, Count, CountOrZero, Limits, Seed, show, suggest

MISSING = inspect.Parameter.empty

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", types.NoneType: "null"}


class Option(NamedTuple):
    """One parameter of a constructor.

    Attributes:
        annotation: what it may be, as `typing.get_type_hints` gives it with extras.
        default: its default, or `MISSING`.
        is_value: whether a configuration can hold it: numbers, words, truth values, null and lists of these.
    """

    annotation: Any
    default: Any
    is_value: bool


def signature(target: Callable[..., Any]) -> dict[str, Option]:
    """The parameters of a class's constructor, those that it passes on to its base class (`**parts`) included."""
    found: dict[str, Option] = {}
    for level in target.__mro__ if isinstance(target, type) else (target,):
        initialise = vars(level).get("__init__") if isinstance(level, type) else level
        if initialise is None:
            continue
        hints = typing.get_type_hints(initialise, include_extras=True)
        parameters = list(inspect.signature(initialise).parameters.values())
        for parameter in parameters[isinstance(level, type) :]:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                annotation = hints.get(parameter.name, Any)
                option = Option(annotation, parameter.default, _is_value(annotation))
                found.setdefault(parameter.name, option)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def check(path: str, allowed: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options, each converted to the type that is asked for.

    Args:
        path: the group's name, empty for the root.
        allowed: the options that exist.
        given: names and values.

    Raises:
        ConfigError: for the first name or value that is not allowed.
    """
    checked = {}
    for name, value in given.items():
        where = f"{path}.{name}" if path else str(name)
        if name not in allowed:
            raise unknown(where, str(name), allowed, "option")
        checked[name] = check_value(where, allowed[name], value)
    return checked


def check_value(where: str, option: Option, value: Any) -> Any:
    """A value converted to an option's type.

    Raises:
        ConfigError: naming `where`, the value, what is allowed and what to type.
    """
    try:
        return _convert(option.annotation, value)
    except _Unfit:
        sample = _sample(option, value)
        cure = "" if sample is None else f"; try {where}={show(sample)}"
        huge = type(value) in (int, float) and LARGEST < abs(value) < math.inf
        size = f", and {LARGEST:g} at most in size" if huge else ""
        raise ConfigError(f"{where}={show(value)}: must be {describe(option.annotation)}{size}{cure}") from None


# Options of earlier versions, and what is typed today.
MOVED = {
    "teacher.criterion": "criterion=progress|return|discounted_return",
    "teacher.discount": "criterion.discount=VALUE",
    "teacher.ties": "criterion.ties=VALUE",
}


def unknown(where: str, name: str, allowed: Iterable[str], kind: str) -> ConfigError:
    """The error for a name that does not exist, with the nearest that does, or all of them."""
    if where in MOVED and name not in allowed:
        return ConfigError(f"{where}: is chosen apart from the teacher; type {MOVED[where]}")
    names = sorted(allowed)
    shown = where if where.isprintable() else repr(where)
    return ConfigError(f"{shown}: there is no such {kind}; {suggest(name, names, where.removesuffix(name))}")


def describe(annotation: Any) -> str:
    """What an annotation allows, in words."""
    base, limits = _split(annotation)
    origin = typing.get_origin(base)
    if origin is Literal:
        return "one of " + ", ".join(map(show, typing.get_args(base)))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(describe, typing.get_args(base)))
    if origin is not None and issubclass(origin, Sequence):
        return f"a list, each {describe(typing.get_args(base)[0])}"
    words = _WORDS.get(base, "a value")
    if limits is None:
        return words
    return f"{words} {limits}".rstrip() if str(limits) else f"{words} that is finite"


class _Unfit(Exception):
    """A value that an annotation does not allow."""


def _convert(annotation: Any, value: Any) -> Any:
    base, limits = _split(annotation)
    origin = typing.get_origin(base)
    if origin is Literal:
        if not any(value == one and type(value) is type(one) for one in typing.get_args(base)):
            raise _Unfit
        return value
    if origin in (typing.Union, types.UnionType):
        for one in typing.get_args(base):
            try:
                return _convert(one, value)
            except _Unfit:
                continue
        raise _Unfit
    if origin is not None and issubclass(origin, Sequence):
        if not isinstance(value, list | tuple):
            raise _Unfit
        return [_convert(typing.get_args(base)[0], one) for one in value]
    if base is float and type(value) is int:
        value = _as_float(value)
    if type(value) is not base or (base is str and not _is_text(value)):  # type(), since true is an int to isinstance
        raise _Unfit
    if limits is not None and value not in limits:
        raise _Unfit
    return value


def _is_text(value: str) -> bool:
    """Whether it is a text that a file can keep; a folder's name may hold bytes that are none."""
    return bool(value) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _Unfit from None


def _split(annotation: Any) -> tuple[Any, Limits | None]:
    """The type and the limits of an annotation."""
    if typing.get_origin(annotation) is Annotated:
        base, *extras = typing.get_args(annotation)
        return base, next((extra for extra in extras if isinstance(extra, Limits)), None)
    return annotation, None


def _is_value(annotation: Any) -> bool:
    base, _ = _split(annotation)
    origin = typing.get_origin(base)
    if origin is Literal:
        return True
    if origin in (typing.Union, types.UnionType):
        return all(map(_is_value, typing.get_args(base)))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return all(map(_is_value, typing.get_args(base)))
    return base in _WORDS


def _sample(option: Option, value: Any) -> Any:
    """A value to try instead: the limit that was passed, else the default, else the first that is allowed."""
    choices = [part for part in _parts(option.annotation) if part is not types.NoneType]
    for base, limits in map(_split, choices):
        if base in (int, float) and limits is not None and type(value) in (int, float):
            if value > limits.high:
                return base(limits.high)
            if value < limits.low and not limits.open_low:
                return base(limits.low)
    if option.default is not MISSING and option.default is not None and option.default != "":
        return option.default
    base, limits = _split(choices[0]) if choices else (str, None)
    if typing.get_origin(base) is Literal:
        words = [one for one in typing.get_args(base) if isinstance(one, str)]
        near = difflib.get_close_matches(str(value), words, n=1)
        return near[0] if near else typing.get_args(base)[0]
    if base in (int, float):
        return base(limits.low) if limits is not None and 0 <= limits.low and not limits.open_low else base(1)
    return True if base is bool else None


def _parts(annotation: Any) -> Sequence[Any]:
    base, _ = _split(annotation)
    return typing.get_args(base) if typing.get_origin(base) in (typing.Union, types.UnionType) else (annotation,)


_LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Checkpoints:
    """Options under `checkpoint`."""

    every: CountOrZero = 50
    keep: Annotated[int, Limits(0, 1_000_000)] = 2


@dataclass(frozen=True)
class Evaluations:
    """Options under `evaluation`."""

    every: CountOrZero = 0


@dataclass(frozen=True)
class Run:
    """The root options; `conf/config.yaml` says what each means and holds the same defaults."""

    experiment: str
    seed: Seed = 0
    num_seeds: Annotated[int, Limits(1, 100_000)] = 1
    steps: Count = 100
    device: str = "cpu"
    threads: Annotated[int, Limits(1, 1024)] | None = None
    quiet: bool = False
    output_dir: str | None = None
    objective: str | None = None
    allow_targets: Sequence[str] = ()
    checkpoint: Checkpoints = field(default_factory=Checkpoints)
    evaluation: Evaluations = field(default_factory=Evaluations)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are trained."""
        return tuple(range(self.seed, self.seed + self.num_seeds))


def check_run(config: Mapping[str, Any]) -> Run:
    """The root options, checked.

    Raises:
        ConfigError: for a name or value that is not allowed.
    """
    given = {name: value for name, value in config.items() if name not in (*GROUPS, "logger")}
    allowed = signature(Run)
    for name in given:
        if name not in allowed:
            raise unknown(str(name), str(name), [*allowed, *GROUPS], "option")
    values: dict[str, Any] = {}
    for one in fields(Run):
        if one.name not in given:
            continue
        nested = one.default_factory
        if isinstance(nested, type) and is_dataclass(nested):
            values[one.name] = nested(**check(one.name, signature(nested), mapping(one.name, given[one.name])))
        else:
            values[one.name] = check_value(one.name, allowed[one.name], given[one.name])
    run = Run(**values)
    if run.seeds[-1] > _LARGEST_SEED:
        raise ConfigError(
            f"seed={run.seed} num_seeds={run.num_seeds}: seeds end at {_LARGEST_SEED};"
            f" try seed={_LARGEST_SEED - run.num_seeds + 1}"
        )
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", run.device):
        raise ConfigError(f"device={show(run.device)}: must be cpu, cuda or cuda:N; try device=cpu")
    return run


def mapping(where: str, node: Any) -> Mapping[str, Any]:
    """The node itself, refused where a single value stands for a group of options."""
    if not isinstance(node, Mapping):
        if where in GROUPS or where == "logger":
            cure = f"type {where}={'|'.join(choices(where))}"
        elif where.startswith("logger."):
            cure = f"type logger={where.removeprefix('logger.')}"
        else:
            cure = f"try {where}.every=10"
        raise ConfigError(f"{where}={show(node)}: must be a group of options; {cure}")
    return node
