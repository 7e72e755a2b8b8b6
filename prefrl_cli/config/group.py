"""One group of a configuration: the class of its choice, or that its `_target_` names, with its options checked.

And a part alone, for a loop of one's own.
"""

from __future__ import annotations

import importlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.config.choices import GROUPS, choice_error, choices, conf_folder, not_set, of_any_group, target, updated
from prefrl_cli.config.options import MISSING, Option, Run, check, check_value, mapping, signature
from prefrl_cli.core.option_types import GIVEN, ConfigError, OptionError, Seed, show
from prefrl_cli.files.texts import plain


class Group:
    """One group: its class and its options.

    Args:
        group: its name.
        node: the options, with `choice`, one of `conf/`, or `_target_`, a class.
        allow_targets: packages of the person's own that `_target_` may name beside what `conf/` names.

    Attributes:
        name: the choice, or of the class where that was typed.
        given: the options; after `check` in the types that the constructor asks for.
        allowed: the constructor's parameters.

    Raises:
        ConfigError: for a `_target_` that is missing, not allowed or not found.
    """

    def __init__(self, group: str, node: Any, allow_targets: Sequence[str]) -> None:
        given = dict(mapping(group, node))
        choice, typed = given.pop("choice", None), given.pop("_target_", None)
        if choice is None and typed is None:
            raise ConfigError(f"{group}: none is chosen for its options; type {group}={'|'.join(choices(group))}")
        if choice is not None and typed is not None:
            raise ConfigError(f"{group}.choice={show(choice)}: its class is given too; type {group}={show(choice)}")
        self.group, self.given, self.name = group, given, str(choice or str(typed).rpartition(".")[2])
        self.target = _imported(_class_of(group, choice)) if typed is None else _find(group, typed, allow_targets)
        try:
            self.allowed = signature(self.target)
        except (NameError, TypeError, ValueError) as problem:
            raise ConfigError(f"{group}._target_={typed}: its signature cannot be read ({problem})") from None

    def check(self, provided: set[str]) -> None:
        """Check every option; `provided` names what will be there for the parameters that are not options."""
        parts = {name for name, option in self.allowed.items() if name in provided and is_part(option)}
        options = {name: option for name, option in self.allowed.items() if name not in parts and option.is_value}
        self.given = check(self.group, options, self.given)
        for name, option in self.allowed.items():
            if option.default is MISSING and name not in self.given and name not in parts:
                if name in provided:
                    says = f"{self.name} does not say that it is handed in; write {name}: Given in its constructor"
                    raise ConfigError(f"{self.group}.{name}: {says}, see docs/extending.md")
                if name in GROUPS or is_optimizer(name):
                    raise not_set(name if name in GROUPS else "optimizer", self.name)
                raise ConfigError(f"{self.group}.{name}: {self.name} needs it; add {self.group}.{name}=VALUE")

    def check_parts(self, nodes: Mapping[str, Group]) -> None:
        """Refuse a part that this constructor cannot use.

        Where it asks for classes, one of ours must be of them, and a user's own may be any; where it asks for a
        Protocol, any must have its methods.
        """
        for name, option in self.allowed.items():
            wanted = _classes(option.annotation)
            part = nodes.get(name)
            if part is None:
                continue
            ours = part.target.__module__.partition(".")[0] == "prefrl_cli"
            if (lacks := _lacks(part.target, option.annotation)) is not None:
                if not ours:
                    needs = f"has no {lacks}, which {self.name} needs; see docs/extending.md"
                    raise ConfigError(f"{name}={part.name}: {needs}")
                found = {one: _find(name, target(name, one), ()) for one in choices(name)}
                fitting = [one for one, each in found.items() if _lacks(each, option.annotation) is None]
                raise ConfigError(f"{name}={part.name}: {self.name} cannot use it; type {name}={'|'.join(fitting)}")
            if ours and wanted and not issubclass(part.target, wanted):
                classes = {each.__name__ for each in wanted}
                fitting = [one for one in choices(name) if target(name, one).rpartition(".")[2] in classes]
                raise ConfigError(f"{name}={part.name}: {self.name} cannot use it; type {name}={'|'.join(fitting)}")

    def build(self, ready: Mapping[str, Any]) -> Any:
        """The thing itself."""
        parts = {name: ready[name] for name, option in self.allowed.items() if name in ready and is_part(option)}
        try:
            return self.target(**parts, **self.given)
        except OptionError as problem:
            raise ConfigError(problem.line(self.group, GROUPS)) from None
        except ValueError as problem:
            raise ConfigError(f"{self.group}: {' '.join(str(problem).split())}") from None
        except (MemoryError, RuntimeError) as problem:
            text = str(problem).partition("\n")[0]
            raise ConfigError(f"{self.group}: {self.name} cannot be built here ({text}); try smaller sizes") from None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """What an annotation names: X and Y of `Given[X | Y]`."""
    bare = typing.get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    return typing.get_args(bare) or (bare,)


def _classes(annotation: Any) -> tuple[type, ...]:
    """The classes that an annotation names; none where it names a Protocol, which says nothing about a class."""
    named = _alternatives(annotation)
    classes = tuple(one for one in named if isinstance(one, type) and one not in (types.NoneType, Any))
    return () if any(getattr(one, "_is_protocol", False) for one in classes) else classes


def _lacks(part: type, annotation: Any) -> str | None:
    """The first method of a Protocol that a class does not have; none where it has all, or no Protocol is asked for."""
    for protocol in (one for one in _alternatives(annotation) if getattr(one, "_is_protocol", False)):
        methods = [name for name, each in vars(protocol).items() if isinstance(each, types.FunctionType)]
        for name in methods:
            if not name.startswith("_") and not hasattr(part, name):
                return str(name)
    return None


def _class_of(group: str, choice: Any) -> str:
    """The class of a choice that a record names."""
    known = group.partition(".")[0]
    found = target(known, choice) if isinstance(choice, str) and choice in choices(known) else ""
    if not found:
        raise choice_error(known, str(choice))
    return found


def _imported(name: str) -> Any:
    """A class that `conf/` names."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def is_part(option: Option) -> bool:
    """Whether a parameter is handed what has its name, where there is such a thing, and is no option."""
    return GIVEN in getattr(option.annotation, "__metadata__", ())


def _find(group: str, wanted: Any, allow_targets: Sequence[str]) -> type:
    """The class that a `_target_` names: one that `conf/` names for this group, or one of an allowed package.

    Nothing else is imported, since a configuration may come from anyone.
    """
    where, known = f"{group}._target_={show(wanted)}", group.partition(".")[0]
    ours = [name for choice in choices(known) if (name := target(known, choice))]

    def allowed(module: str) -> bool:
        return any(module == package or module.startswith(f"{package}.") for package in allow_targets)

    module_name, _, name = str(wanted).rpartition(".")
    if wanted not in ours and not allowed(module_name):
        if module_name.partition(".")[0] == "prefrl_cli":
            raise ConfigError(f"{where}: prefrl has no such {known}; type {known}={'|'.join(choices(known))}")
        own = module_name.partition(".")[0] or "my_package"
        raise ConfigError(
            f"{where}: only prefrl's own classes are allowed; for code of your own, which then runs,"
            f" type 'allow_targets=[{own}]'"
        )
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ImportError as problem:
        raise ConfigError(f"{where}: cannot be imported ({problem})") from None
    # A class that the module merely imported from elsewhere is not the module's own.
    if not isinstance(found, type) or not (wanted in ours or allowed(found.__module__)):
        raise ConfigError(f"{where}: {module_name} has no class of that name")
    return found


def is_optimizer(name: str) -> bool:
    """Whether a parameter is the group `optimizer` on some model's parameters."""
    return name == "optimizer" or name.endswith("_optimizer")


def preferences_for(run: Run, algorithm: Group, env: Group | None) -> dict[str, Any]:
    """What an algorithm is handed of the options `preferences`; refused where it has no use for them.

    Raises:
        ConfigError: for a name of no file of ours, and where the algorithm has no use for it.
    """
    from prefrl_cli.files.preferences.formats import check_name

    save, file = run.preferences.save, run.preferences.file
    if save is not None:
        check_name("preferences.save", save)
    for option, value, taken in (("save", save, "record"), ("file", file, "preferences_file")):
        if value is not None and taken not in algorithm.allowed:
            cure = {"save": "asks no teacher", "file": "learns from no file"}[option]
            raise ConfigError(f"preferences.{option}={show(value)}: {algorithm.name} {cure}; leave that out")
    options = {} if env is None else {f"env.{name}": value for name, value in {"choice": env.name, **env.given}.items()}
    return {"record": save is not None, "preferences_file": file, "env_options": options}


_LEARNED = ("process", "state", "implicit")


def learned_reward(run: Any, ready: Mapping[str, Any]) -> Any:
    """The reward model that a run has learned, by its newest checkpoint; nothing in its folder is run.

    Args:
        run: its folder.
        ready: the parts that it works with, and the `seeds` that take it: each that of the same seed, or of the only
            one.

    Raises:
        ConfigError: where there is none, or it does not fit.
    """
    import torch

    from prefrl_cli.files.checkpoints import CheckpointError, Checkpoints
    from prefrl_cli.files.read import UnreadableError, read_yaml, short

    if not isinstance(run, str):
        raise ConfigError("reward_model.run: is not set; type reward_model.run=RUN_DIR, of a run that learned a reward")
    folder, where = Path(run), f"reward_model.run={show(run)}"
    try:
        stored = read_yaml(folder, "config.yaml")
        node = updated(stored).get("reward_model") if isinstance(stored, Mapping) else None
        saved = Checkpoints(folder / "checkpoints").newest_first()
        if not saved:
            raise CheckpointError("it holds no checkpoint")
        content = Checkpoints.load(saved[0], str(ready["device"]))
    except (UnreadableError, CheckpointError) as problem:
        raise ConfigError(f"{where}: {problem}; type the folder of a run that has learned a reward") from None
    if not isinstance(node, Mapping) or node.get("choice") not in _LEARNED:
        raise ConfigError(f"{where}: its reward is none of {', '.join(_LEARNED)}; type another run")
    try:
        flat, state = content["algorithm"]["reward_model"]["flat"], content["algorithm"]["reference"]
        seeds: list[int] = content["seeds"]
        missing = [seed for seed in ready["seeds"] if seed not in seeds] if len(seeds) > 1 else []
        if missing:
            raise ValueError(f"it has none of seed {missing[0]}")
        rows = [0] * len(ready["seeds"]) if len(seeds) == 1 else [seeds.index(seed) for seed in ready["seeds"]]
        one = Group("reward_model", {**node, "members": 1}, ())
        one.check({*ready})
        model = one.build(ready)
        if (members := flat.shape[1] // model.parameters.flat.shape[1]) > 1 and not model.rewards_actions:
            one.given["members"] = members
            model = one.build(ready)
        if (wanted := model.parameters.flat.shape) != flat[rows].shape:
            raise ValueError(f"parameters {list(flat[rows].shape)} for {list(wanted)}")
        with torch.no_grad():
            model.parameters.flat.copy_(flat[rows])
        model.restore({name: value[rows] for name, value in state.items()})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise ConfigError(f"{where}: its reward does not fit here ({short(problem)}); type another run") from None
    return model


def make(name: str, /, *, seeds: Sequence[int] | None = None, **options: Any) -> Any:
    """Build one part, such as a maze, a teacher or an optimizer, for a loop of one's own.

    Args:
        name: a choice of `conf/`, such as `maze`; with its group, `teacher/noisy`, where several groups have one.
        seeds: R of them, for parts that draw random numbers; `streams=` may be given in their place.
        **options: its options, over those in `conf/`, and the parts that it works with, such as `env=`.

    Returns:
        The part; `help()` on it tells the shapes.

    Raises:
        ConfigError: for a choice or an option that does not exist, and for a part that is missing.
    """
    group, choice = of_any_group(name)
    from omegaconf import OmegaConf  # its YAML knows 1e-8 for a number, as Hydra's does

    content: Any = OmegaConf.to_container(OmegaConf.load(conf_folder() / group / f"{choice}.yaml"), resolve=False)
    given = {key: value for key, value in content.items() if key not in ("defaults", "_target_")}
    node = Group(group, {"choice": choice, **given}, ())
    node.given = {key: value for key, value in given.items() if not (isinstance(value, str) and "${" in value)}
    parts = {key: value for key, value in options.items() if key in node.allowed and is_part(node.allowed[key])}
    if seeds is not None:
        seeds = check_value("seeds", Option(Sequence[Seed], [0, 1], True), plain(seeds))
    if seeds is not None and "seeds" in node.allowed:
        parts["seeds"] = tuple(seeds)
    elif seeds is not None and "streams" in node.allowed:
        parts.setdefault("streams", make("streams/philox", seeds=seeds))
    elif seeds is not None:
        raise ConfigError(f"seeds: {name} draws no random numbers; leave them out")
    node.given |= {key: plain(value) for key, value in options.items() if key not in parts}
    missing = [key for key, one in node.allowed.items() if one.default is MISSING and key not in {*parts, *node.given}]
    if missing:
        others = ", ".join("seeds=[0, 1]" if key in ("streams", "seeds") else f"{key}=..." for key in missing)
        raise ConfigError(f"{name}: needs {', '.join(missing)}; type make({name!r}, {others})")
    node.check(set(parts))
    return node.build(parts)
