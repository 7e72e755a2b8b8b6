"""Check options against the signature of what they are for, and say in one line what is wrong with them."""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

from prefrl_cli.config.choices import GROUPS, choices, option_now
from prefrl_cli.core.option_types import (
    LARGEST,
    ConfigError,
    Count,
    CountOrZero,
    Limits,
    Seed,
    Unfit,
    convert,
    describe,
    is_value,
    sample,
    show,
    suggest,
)

MISSING = inspect.Parameter.empty


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
                option = Option(annotation, parameter.default, is_value(annotation))
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
        return convert(option.annotation, value)
    except Unfit:
        instead = sample(option.annotation, None if option.default is MISSING else option.default, value)
        none = "; leave it out" if option.default is None else ""
        cure = none if instead is None else f"; try {where}={show(instead)}"
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
    if (now := option_now(where)) != where:
        return ConfigError(f"{where}: is called {now} now; type {now}=VALUE")
    names = sorted(allowed)
    shown = where if where.isprintable() else repr(where)
    return ConfigError(f"{shown}: there is no such {kind}; {suggest(name, names, where.removesuffix(name))}")


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
class Preferences:
    """Options under `preferences`."""

    save: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Run:
    """The root options; `conf/config.yaml` says what each means and holds the same defaults."""

    experiment: str
    seed: Seed = 0
    num_seeds: Annotated[int, Limits(1, 100_000)] = 1
    steps: Count = 100
    device: str = "cpu"
    threads: Annotated[int, Limits(1, 1024)] | None = None
    workers: Annotated[int, Limits(1, 1024)] | Literal["auto"] = 1
    quiet: bool = False
    charts: bool = True
    output_dir: str | None = None
    objective: str | None = None
    allow_targets: Sequence[str] = ()
    checkpoint: Checkpoints = field(default_factory=Checkpoints)
    evaluation: Evaluations = field(default_factory=Evaluations)
    preferences: Preferences = field(default_factory=Preferences)

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
            from prefrl_cli.config.messages import slip  # which knows the root options

            raise slip(str(name), config) or unknown(str(name), str(name), [*allowed, *GROUPS], "option")
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
    if run.workers not in ("auto", 1) and run.device != "cpu":
        raise ConfigError(f"workers={run.workers}: one process fills the device {run.device}; try workers=1")
    if run.workers != "auto" and run.workers > run.num_seeds:
        raise ConfigError(f"workers={run.workers}: more than num_seeds={run.num_seeds}; try workers={run.num_seeds}")
    return run


@dataclass(frozen=True)
class Configuration:
    """The options of one run, with the root options checked; what they mean to each part, `build` checks.

    Attributes:
        options: all, as plain mappings, lists and values; not to be changed.
        run: the root options.
    """

    options: Mapping[str, Any]
    run: Run

    @classmethod
    def of(cls, options: Configuration | Mapping[str, Any]) -> Configuration:
        """Check the root options; what is a configuration already was checked before.

        Raises:
            ConfigError: for a root option that is not allowed.
        """
        return options if isinstance(options, Configuration) else cls(options, check_run(options))

    @property
    def experiment(self) -> str:
        """Its name."""
        return self.run.experiment

    @property
    def choices(self) -> dict[str, str]:
        """Group -> choice, of those that were chosen by one."""
        nodes = {group: self.options.get(group) for group in GROUPS}
        return {
            group: str(node["choice"])
            for group, node in nodes.items()
            if isinstance(node, Mapping) and "choice" in node
        }

    def with_run(self, **values: Any) -> Configuration:
        """The same with other root options, which must be allowed."""
        return Configuration({**self.options, **values}, replace(self.run, **values))


def change(config: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run with those that were typed in their places.

    Raises:
        ConfigError: for an option that the run does not have.
    """
    config = {name: _copy(value) for name, value in config.items()}
    for name, value in typed.items():
        *path, last = name.split(".")
        node: Any = config
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or (last not in node and path) or (not path and last not in signature(Run)):
            if option_now(name) != name:
                raise unknown(name, last, (), "option")
            if isinstance(node, dict):
                cure = suggest(last, sorted(map(str, node)), name.removesuffix(last))
            else:
                cure = suggest(path[0], sorted(config)).replace("?", f"{name.removeprefix(path[0])}?")
            raise ConfigError(f"{name}: the run has no such option; {cure}")
        if not path:
            value = check_value(name, signature(Run)[last], value)
        node[last] = value
    return config


def _copy(value: Any) -> Any:
    return {name: _copy(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def mapping(where: str, node: Any) -> Mapping[str, Any]:
    """The node itself, refused where a single value stands for a group of options."""
    if not isinstance(node, Mapping):
        if where in GROUPS or where == "logger":
            cure = f"type {where}={'|'.join(choices(where))}"
        elif where.startswith("logger."):
            cure = f"type logger={where.removeprefix('logger.')}"
        else:
            cure = f"try {where}.save=preferences.npz" if where == "preferences" else f"try {where}.every=10"
        raise ConfigError(f"{where}={show(node)}: must be a group of options; {cure}")
    return node
