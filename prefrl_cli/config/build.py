"""From the options that a person chose to the algorithm that they describe.

Each choice of a group of `conf/` is a class, which its `_target_` names; every other key is an argument of its
constructor.
"""

from __future__ import annotations

import contextlib
import graphlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.config.choices import GROUPS, PARTS, not_set
from prefrl_cli.config.group import Group, is_optimizer, is_part, learned_reward, preferences_for
from prefrl_cli.config.options import Configuration, check_value, mapping, signature
from prefrl_cli.config.overrides import option
from prefrl_cli.core.option_types import ConfigError, show, suggest

if TYPE_CHECKING:
    from prefrl_cli.core.algorithm import Algorithm

_FOR_LOGGERS = ("directory", "experiment", "settings")


def build(config: Configuration | Mapping[str, Any]) -> Algorithm:
    """The algorithm that a configuration describes, with every part it takes.

    A constructor's parameter that is annotated `Given` is handed the thing of its name: `seeds`, `device`, `steps`, a
    part. `<x>_optimizer` is the group `optimizer` on the parameters of `<x>_model` or `<x>`, `optimizer` the reward's.

    Args:
        config: the root options with `experiment`, and the groups; plain and resolved.

    Raises:
        ConfigError: for the first thing that is not allowed; nothing is written before.
    """
    configuration = Configuration.of(config)
    run, options = configuration.run, configuration.options
    check_loggers(configuration)
    groups = {group: options[group] for group in GROUPS if options.get(group) is not None}
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
    handed = preferences_for(run, nodes["algorithm"], nodes.get("env"))
    for node in sorted(nodes.values(), key=lambda node: node.group != "algorithm"):  # whose name a person knows
        node.check_parts(nodes)
    ready: dict[str, Any] = {"seeds": run.seeds, "device": None, "steps": run.steps, **handed}
    ready["allow_targets"] = run.allow_targets
    late = {group: None for group in GROUPS if group in nodes}
    optimizers = [name for name in nodes["algorithm"].allowed if is_optimizer(name) and "optimizer" in nodes]
    late |= {name: None for name in optimizers}
    for node in nodes.values():  # every option is checked before the first part is built
        node.check({*ready, *late, "parameters", "learned", "preference_data"} - {node.group})
    from prefrl_cli.config.memory import all_options, check_memory, lowered

    check_memory(all_options(run, nodes), lowered(nodes))
    ready["device"] = _device(run.device)
    for group in _order(nodes):
        if "learned" in nodes[group].allowed:
            ready["learned"] = learned_reward(nodes[group].given.get("run"), ready)
        if "preference_data" in nodes[group].allowed and run.preferences.file is not None:
            from prefrl_cli.files.preferences.formats import load

            ready["preference_data"] = load(Path(run.preferences.file), "preferences.file")
        ready[group] = nodes[group].build(ready)
    for name in optimizers:
        ready[name] = nodes["optimizer"].build({**ready, "parameters": _parameters(name, ready)})
    algorithm: Algorithm = nodes["algorithm"].build(ready)
    return algorithm


def metric_names(config: Configuration | Mapping[str, Any], wanted: str | None = None) -> list[str]:
    """The metrics of an evaluation, asked of one seed; what is trained is built anew, and untouched.

    Args:
        config: the resolved options.
        wanted: where it is among the metrics before training, these are all that is asked for: what there is only
            after it, such as the success of its episodes, takes a step.

    Raises:
        ConfigError: as `build`.
    """
    algorithm = build(Configuration.of(config).with_run(num_seeds=1))
    names = set(algorithm.evaluate())
    if wanted not in names:
        algorithm.update()
        names |= set(algorithm.evaluate())
    return sorted(names)


def check_objective(config: Configuration | Mapping[str, Any]) -> None:
    """Refuse an objective that is no metric of the evaluation.

    Raises:
        ConfigError: naming the metric that is near, or all.
    """
    configuration = Configuration.of(config)
    name = configuration.run.objective
    if name is not None and name not in (known := metric_names(configuration, name)):
        raise ConfigError(f"objective={show(name)}: the run has no such metric; {suggest(name, known, 'objective=')}")


def memory_needed(config: Configuration | Mapping[str, Any]) -> float:
    """About how many bytes the run of a configuration takes at its peak; nothing is built.

    Raises:
        ConfigError: for an option that is not allowed.
    """
    from prefrl_cli.config.memory import all_options, estimate

    run, options = Configuration.of(config).run, Configuration.of(config).options
    nodes = {group: Group(group, options[group], run.allow_targets) for group in GROUPS if options.get(group)}
    return estimate(all_options(run, nodes))


def check_loggers(configuration: Configuration) -> dict[str, Group]:
    """The trackers that were chosen, `logger.<name>` each, with their options checked and their packages there.

    Raises:
        ConfigError: for the first thing that is not allowed or not installed.
    """
    nodes: dict[str, Group] = {}
    chosen = configuration.options.get("logger")
    if not chosen:
        return nodes
    from prefrl_cli.config.messages import require

    for name, node in mapping("logger", chosen).items():
        if not {"choice", "_target_"} & set(mapping(f"logger.{name}", node)):
            raise ConfigError(f"logger.{name}: is not chosen; type logger={name}")
        nodes[name] = group = Group(f"logger.{name}", node, configuration.run.allow_targets)
        group.check(set(_FOR_LOGGERS))
        require(group.target)
    return nodes


def prepare_loggers(configuration: Configuration, overrides: Sequence[str] = ()) -> list[str]:
    """Make what several runs at once share, such as MLflow's store; where that fails, each run's tracker tells.

    Returns:
        The variables of the environment that the trackers follow, as they are told.
    """
    told = []
    for name, node in check_loggers(configuration).items():
        found, lines = from_environment(name, node.target, node.given, overrides)
        told += lines
        with contextlib.suppress(Exception):
            getattr(node.target, "prepare", lambda **_: None)(**{**node.given, **found})
    return told


def build_loggers(
    configuration: Configuration,
    directory: Path,
    overrides: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Callable[[], Any]]:
    """What makes the trackers of a run, by their names.

    Args:
        configuration: of the run.
        directory: of the run.
        overrides: what was typed; the environment's variables count for the rest.
        tell: told which of these count, in one line.
    """
    given = (directory, configuration.experiment, dict(configuration.options))
    ready = dict(zip(_FOR_LOGGERS, given, strict=True))
    makers: dict[str, Callable[[], Any]] = {}
    told = []
    for name, node in check_loggers(configuration).items():
        found, lines = from_environment(name, node.target, node.given, overrides)
        told += lines
        node.given |= {option: value for option, value in found.items() if option not in ready}
        makers[name] = partial(node.build, {**ready, **{part: found[part] for part in ready if part in found}})
    if told:
        tell(as_line(told))
    return makers


def check_use(options: Mapping[str, Any]) -> None:
    """Refuse a group that the algorithm has no use for, before the values of its options are known."""
    groups = {group: options[group] for group in GROUPS if options.get(group) is not None}
    chosen = {group: node for group, node in groups.items() if isinstance(node, Mapping) and "choice" in node}
    if "algorithm" in chosen:
        _check_use({group: Group(group, node, ()) for group, node in chosen.items()}, groups)


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


_OLD_WORDS = {"dryrun": "offline", "run": "online"}  # W&B's own, of before


def from_environment(
    name: str, tracker: type, given: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """What the environment says of a tracker's arguments.

    Args:
        name: the tracker's in `logger`.
        tracker: its class, whose `variables` names a variable for some of its constructor's arguments.
        given: its options; one that is not its default was chosen by someone.
        overrides: what was typed.

    Returns:
        The arguments with their values, and each variable as it is told: without a password, or with what is wrong.
    """
    typed = {option(text) for text in overrides}
    allowed = signature(tracker)
    found: dict[str, Any] = {}
    told = []
    for argument, variable in getattr(tracker, "variables", {}).items():
        value = os.environ.get(variable, "").strip()
        one = allowed[argument]
        chosen = f"logger.{name}.{argument}" in typed or given.get(argument, one.default) != one.default
        if not value or chosen:
            continue
        try:
            found[argument] = check_value(variable, one, _OLD_WORDS.get(value, value))
        except ConfigError as problem:
            told.append(f"{problem} (left aside)")
        else:
            told.append(f"{variable}={show(re.sub(r'//[^/@]*@', '//***@', value))}")
    return found, told


def as_line(told: Sequence[str]) -> str:
    """What is told of all trackers' variables, in one line."""
    return f"trackers follow the environment: {', '.join(told)}; a typed option wins"
