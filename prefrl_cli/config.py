"""From the options that a person chose to the algorithm that they describe.

Each choice of a group of `conf/` is a class, which its `_target_` names; every other key is an argument of its
constructor.
"""

from __future__ import annotations

import contextlib
import graphlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from prefrl_cli.choices import GROUPS, PARTS, not_set
from prefrl_cli.groups import Group, is_optimizer, is_part, mapping
from prefrl_cli.limits import Count, CountOrZero, Limits, Seed
from prefrl_cli.options import (
    ConfigError,
    Option,
    check,
    check_value,
    show,
    signature,
    suggest,
    unknown,
)

if TYPE_CHECKING:
    from pathlib import Path

    from prefrl_cli.algorithm import Algorithm
    from prefrl_cli.trackers import Trackers

_LARGEST_SEED = 2**32 - 1
_FOR_LOGGERS = ("directory", "experiment", "settings")


@dataclass(frozen=True)
class Checkpoints:
    """Options under `checkpoint`."""

    every: CountOrZero = 50
    keep: CountOrZero = 2


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


def build(config: Mapping[str, Any]) -> Algorithm:
    """The algorithm that a configuration describes, with every part it takes.

    A constructor's parameter that has no default, or one that no YAML could hold, is given the thing of its name:
    `seeds`, `device`, `steps`, a part. `<x>_optimizer` is the group `optimizer` on the parameters of `<x>_model` or
    `<x>`, and `optimizer` that of the reward model.

    Args:
        config: plain mappings, lists and values, resolved; the root options with `experiment`, and the groups.

    Raises:
        ConfigError: for the first thing that is not allowed; nothing is written before.
    """
    run = check_run(config)
    check_loggers(config, run)
    groups = {group: config[group] for group in GROUPS if config.get(group) is not None}
    chosen = {
        group: node
        for group, node in groups.items()
        if not isinstance(node, Mapping) or {"choice", "_target_"} & set(node)
    }
    nodes = {group: Group(group, node, run.allow_targets) for group, node in chosen.items()}
    if "algorithm" not in nodes:
        raise not_set("algorithm", "every experiment")
    _check_use(nodes, groups)
    nodes |= {group: Group(group, node, run.allow_targets) for group, node in groups.items() if group not in nodes}
    for node in nodes.values():
        node.check_parts(nodes)
    ready: dict[str, Any] = {"seeds": run.seeds, "device": None, "steps": run.steps}
    late = {group: None for group in GROUPS if group in nodes}
    optimizers = [name for name in nodes["algorithm"].allowed if is_optimizer(name) and "optimizer" in nodes]
    late |= {name: None for name in optimizers}
    for node in nodes.values():  # every option is checked before the first part is built
        node.check({*ready, *late, "parameters"} - {node.group})
    from prefrl_cli.memory import check_memory

    check_memory(_sizes(run, nodes), _lowered(nodes))
    ready["device"] = _device(run.device)
    for group in _order(nodes):
        ready[group] = nodes[group].build(ready)
    for name in optimizers:
        ready[name] = nodes["optimizer"].build({**ready, "parameters": _parameters(name, ready)})
    algorithm: Algorithm = nodes["algorithm"].build(ready)
    return algorithm


def metric_names(config: Mapping[str, Any], wanted: str | None = None) -> list[str]:
    """The metrics of an evaluation, asked of one seed; what is trained is built anew, and untouched.

    Args:
        config: the resolved options.
        wanted: where it is among the metrics before training, these are all that is asked for: what there is only
            after it, such as the success of its episodes, takes a step.

    Raises:
        ConfigError: as `build`.
    """
    algorithm = build({**config, "num_seeds": 1})
    names = set(algorithm.evaluate())
    if wanted not in names:
        algorithm.update()
        names |= set(algorithm.evaluate())
    return sorted(names)


def check_objective(config: Mapping[str, Any]) -> None:
    """Refuse an objective that is no metric of the evaluation.

    Raises:
        ConfigError: naming the metric that is near, or all.
    """
    name = config.get("objective")
    if name is not None and name not in (known := metric_names(config, name)):
        raise ConfigError(f"objective={show(name)}: the run has no such metric; {suggest(name, known, 'objective=')}")


def memory_needed(config: Mapping[str, Any]) -> float:
    """About how many bytes the run of a configuration takes at its peak; nothing is built.

    Raises:
        ConfigError: for an option that is not allowed.
    """
    from prefrl_cli.memory import estimate

    run = check_run(config)
    return estimate(_sizes(run, {group: Group(group, config[group], ()) for group in GROUPS if config.get(group)}))


def _sizes(run: Run, nodes: Mapping[str, Group]) -> dict[str, Any]:
    """Every option by its dotted name, defaults included."""
    from prefrl_cli.memory import all_options

    root = {"num_seeds": run.num_seeds, "steps": run.steps}
    return all_options(root, {group: (node.target, node.given) for group, node in nodes.items()})


def _lowered(nodes: Mapping[str, Group]) -> dict[str, Option]:
    """The options that a person can lower where memory is short, by their dotted names."""
    own = {name: option for name, option in signature(Run).items() if name in ("num_seeds", "steps")}
    return own | {f"{group}.{name}": one for group, node in nodes.items() for name, one in node.allowed.items()}


def check_loggers(config: Mapping[str, Any], run: Run) -> dict[str, Group]:
    """The trackers that were chosen, `logger.<name>` each, with their options checked and their packages there.

    Raises:
        ConfigError: for the first thing that is not allowed or not installed.
    """
    nodes: dict[str, Group] = {}
    if not config.get("logger"):
        return nodes
    from prefrl_cli.trackers import require

    for name, node in mapping("logger", config["logger"]).items():
        if not {"choice", "_target_"} & set(mapping(f"logger.{name}", node)):
            raise ConfigError(f"logger.{name}: is not chosen; type logger={name}")
        nodes[name] = group = Group(f"logger.{name}", node, run.allow_targets)
        group.check(set(_FOR_LOGGERS))
        require(group.target)
    return nodes


def prepare_loggers(config: Mapping[str, Any], overrides: Sequence[str] = ()) -> list[str]:
    """Make what several runs at once share, such as MLflow's store; where that fails, each run's tracker tells.

    Returns:
        The variables of the environment that the trackers follow, as they are told.
    """
    from prefrl_cli.tracker_variables import from_environment

    told = []
    for name, node in check_loggers(config, check_run(config)).items():
        found, lines = from_environment(name, node.target, node.given, overrides)
        told += lines
        with contextlib.suppress(Exception):
            getattr(node.target, "prepare", lambda **_: None)(**{**node.given, **found})
    return told


def build_loggers(
    config: Mapping[str, Any],
    run: Run,
    directory: Path,
    warn: Callable[[str], None],
    overrides: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Trackers:
    """The trackers of a run, made when its first step is logged.

    Args:
        config: the resolved options.
        run: the root options.
        directory: of the run.
        warn: told when a tracker fails.
        overrides: what was typed; the environment's variables count for the rest.
        tell: told which of these count, in one line.
    """
    from prefrl_cli.tracker_variables import as_line, from_environment
    from prefrl_cli.trackers import Trackers

    ready = dict(zip(_FOR_LOGGERS, (directory, run.experiment, dict(config)), strict=True))
    makers, told = {}, []
    for name, node in check_loggers(config, run).items():
        found, lines = from_environment(name, node.target, node.given, overrides)
        told += lines
        node.given |= {option: value for option, value in found.items() if option not in ready}
        makers[name] = partial(node.build, {**ready, **{part: found[part] for part in ready if part in found}})
    if told:
        tell(as_line(told))
    return Trackers(run.seeds, makers, warn)


def _check_use(nodes: Mapping[str, Group], groups: Mapping[str, Any]) -> None:
    """Refuse a group that nothing takes: the person who set it expects an effect."""
    taken = {"algorithm", "streams"}
    for node in nodes.values():
        taken |= {"optimizer" if is_optimizer(name) else name for name in node.allowed}
    algorithm = nodes["algorithm"].name
    for group in groups:
        if group not in taken:
            typed = f"{group}={nodes[group].name}" if group in nodes else group
            raise ConfigError(f"{typed}: {algorithm} has no use for it; leave {group} out")


def _order(nodes: Mapping[str, Group]) -> list[str]:
    """The parts, each after those that it takes."""
    takes = {
        group: [name for name, option in nodes[group].allowed.items() if name in nodes and is_part(option)]
        for group in PARTS
        if group in nodes
    }
    try:
        return list(graphlib.TopologicalSorter(takes).static_order())
    except graphlib.CycleError as problem:
        raise ConfigError(f"{' and '.join(problem.args[1][1:])} need each other; choose another one") from None


def _parameters(name: str, ready: Mapping[str, Any]) -> Any:
    owner = name.removesuffix("_optimizer") if name != "optimizer" else "reward"
    model = ready.get(f"{owner}_model", ready.get(owner))
    if model is None:
        raise not_set(f"{owner}_model" if f"{owner}_model" in PARTS else owner, name)
    return model.parameters


def _device(name: str) -> Any:
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as problem:
        reason = " ".join(str(problem).split())[:80]
        raise ConfigError(f"device={name}: torch finds no such GPU here ({reason}); try device=cpu") from None
    return device
