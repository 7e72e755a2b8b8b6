"""What a run writes of itself, read back without trusting it, and how it differs from what is here now."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.config.choices import choice_error, choices, conf_folder, named, option_now, updated, updated_flat
from prefrl_cli.config.trust import check_values
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.files.read import UnreadableError, flat, read_json, read_yaml
from prefrl_cli.run import processor

if TYPE_CHECKING:
    from prefrl_cli.run.directory import RunDirectory
    from prefrl_cli.run.progress import Console

# How a run was started rather than what it is; allow_targets has to be typed each time.
_NOT_COMPARED = ("quiet", "charts", "workers", "output_dir", "allow_targets", "logger", "preferences.save")


def stored_config(folder: Path) -> dict[str, Any]:
    """The options that a run recorded, but for `quiet` and `allow_targets`, which are typed anew.

    A file may not allow itself code; see `trust` for what else it may not.

    Raises:
        ConfigError: when they cannot be read.
    """
    path = folder / "config.yaml"
    try:
        config = read_yaml(folder, path.name)
        options = flat(config, path.name)
    except UnreadableError as problem:
        raise ConfigError(f"{folder}: {problem}; is it a run?") from None
    check_values(str(path), options)
    name = config.get("experiment")
    if not isinstance(name, str):
        raise ConfigError(f"{path}: holds no options of a run")
    if not name.isprintable() or Path(name).is_absolute() or ".." in Path(name).parts:  # it names a folder of outputs/
        raise ConfigError(f"{path}: experiment={show(name)}: is no name of an experiment")
    return updated(config) | {"allow_targets": [], "quiet": False}


def check_seeds(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse other seeds for a run that has learned something.

    Raises:
        ConfigError: naming what was typed.
    """
    others = [f"{name}={show(now[name])}" for name in ("seed", "num_seeds") if before.get(name) != now.get(name)]
    if others and Checkpoints(folder / "checkpoints").newest_first():
        raise ConfigError(
            f"{' '.join(others)}: the checkpoints of {show(str(folder))} are of other seeds;"
            " leave that out, or start a new run for these"
        )


def chosen_trackers(before: Any, typed: Any) -> dict[str, Any] | None:
    """The group `logger` of a run that goes on with other trackers; one that it had keeps its options.

    Args:
        before: the group so far.
        typed: a name, several, or none.

    Raises:
        ConfigError: for a tracker that does not exist.
    """
    names = [typed] if isinstance(typed, str) else typed or []
    had = before if isinstance(before, dict) else {}
    chosen: dict[str, Any] = {}
    for name in names if isinstance(names, list) else [names]:
        if name not in choices("logger"):
            raise choice_error("logger", show(name), choices("logger"))
        chosen[name] = had.get(name) or read_yaml(conf_folder() / "logger", f"{name}.yaml")
    return named({"logger": chosen}, {})["logger"] if chosen else None


def stored_environment(folder: Path) -> dict[str, Any]:
    """What a run recorded of the machine and the software; empty where it cannot be read."""
    try:
        return read_json(folder, "environment.json")
    except UnreadableError:
        return {}


def write_record(
    directory: RunDirectory,
    console: Console,
    config: Mapping[str, Any],
    overrides: Sequence[str],
    threads: int,
    workers: int,
    step: int,
    said: Sequence[str],
    ran: Any,
    exactness: Mapping[str, Any],
    origin: Path | None = None,
) -> None:
    """Write what runs and on what; for a resumed run also what differs from what ran before.

    Args:
        directory: of the run.
        console: told what was said and what differs.
        config: the resolved options.
        overrides: what was typed.
        threads: that torch uses.
        workers: processes that train.
        step: that it begins at.
        said: of a resumed run, how it is resumed; a new one has nothing to say.
        ran: the options that the checkpoint says it ran with; `config.yaml` may have been edited since.
        exactness: what the run found of its processor.
        origin: the run that this one branches from, whose history it continues; none where it is its own.

    Raises:
        OSError: when it cannot be written.
    """
    import yaml

    now = {**environment(threads, workers, config.get("device", "cpu")), "exactness": exactness}
    content: dict[str, Any] = now
    if said:
        differences, changed = [], {}
        with contextlib.suppress(ConfigError):  # a run that ended before its record was written has none
            known = ran if isinstance(ran, dict) and ran else stored_config(origin or directory.path)
            changed = config_changes(known, config)
            differences = config_differences(changed)
        before = stored_environment(origin or directory.path)
        differences += environment_differences(before, now) if before else []
        for line in (*said, *differences):
            console.line(line)
        earlier = before.get("resumed")
        new = {"step": step, "differences": differences, "options": changed, "exactness": exactness}
        again = [*(earlier if isinstance(earlier, list) else []), new]
        if origin is not None:  # what became of that run after the checkpoint is not this one's history
            again = [one for one in again[:-1] if isinstance(one, dict) and _before(one.get("step"), step)] + again[-1:]
            again[-1]["branched_from"] = str(origin.resolve())
        content = {**(before or now), "resumed": again}
    for line in processor.notes(exactness):
        (console.warn if line.startswith(processor.WARNING) else console.line)(line)
    directory.write_status("running", step)
    directory.write_text("config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
    directory.write_text("overrides.yaml", yaml.safe_dump(list(overrides), sort_keys=False))
    directory.write_json("environment.json", content)


def _before(step: Any, end: int) -> bool:
    return type(step) is int and step < end


def kept_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that two runs are compared by, by their dotted names: numbers, words, truth values and nothing.

    Raises:
        ConfigError: when they are more than any of ours.
    """
    try:
        return {
            name: value
            for name, value in flat(dict(config), "config.yaml").items()
            if not {name, name.partition(".")[0]} & {*_NOT_COMPARED}
        }
    except UnreadableError as problem:
        raise ConfigError(str(problem)) from None


Changes = dict[str, list[Any]]  # name -> [value before, value now]

ABSENT: dict[str, Any] = {}  # in place of a value, where there is no such option


def config_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """The options that differ; either may be flat already."""
    was, becomes = updated_flat(kept_options(before)), kept_options(now)
    names = [name for name in {**was, **becomes} if was.get(name) != becomes.get(name)]
    return {name: [was.get(name, ABSENT), becomes.get(name, ABSENT)] for name in names}


def config_differences(changes: Changes) -> list[str]:
    """A line for each: `config differs: optimizer.lr 0.001 -> 0.01`."""
    texts = {name: ["nothing" if value == ABSENT else show(value) for value in pair] for name, pair in changes.items()}
    return [f"config differs: {name} {' -> '.join(pair)}" for name, pair in texts.items()]


def changes_on_the_way(environment: Mapping[str, Any]) -> Iterator[tuple[Any, Changes]]:
    """The options that were changed each time a run was resumed, by its `environment.json`, with the step.

    Of runs of earlier versions that have lines only, the options have the value before, as text, and no other.
    """
    resumed = environment.get("resumed")
    for one in resumed if isinstance(resumed, list) else []:
        if not isinstance(one, dict):
            continue
        options, lines = one.get("options"), one.get("differences")
        pairs = options.items() if isinstance(options, dict) else ()
        changes = {option_now(str(name)): pair if isinstance(pair, list) else [] for name, pair in pairs}
        for line in lines if isinstance(lines, list) else []:
            if match := re.match(r"config differs: (\S+) (.*) -> ", str(line)):
                changes.setdefault(option_now(match[1]), [match[2]])
        yield one.get("step"), changes


def environment_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each version, platform, device or commit that differs; the number of threads changes no result."""
    kept = ("python", "platform", "machine", "device", "packages", "git")
    some, others = ({name: one.get(name) for name in kept} for one in (before, now))
    was, becomes = dict(dotted(some)), dict(dotted(others))
    names = [name for name in {**was, **becomes} if was.get(name) != becomes.get(name)]
    return [f"environment differs: {name} {_shown(was, name)} -> {_shown(becomes, name)}" for name in names]


def _shown(values: Mapping[str, Any], name: str) -> str:
    return show(values[name]) if name in values else "nothing"


def dotted(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`a.b`, value for each value of nested mappings."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


_PACKAGES = ("prefrl", "torch", "numpy", "hydra-core", "omegaconf", "matplotlib", "tqdm")


def environment(threads: int, workers: int, device: str) -> dict[str, Any]:
    """The machine and the software of this process.

    Args:
        threads: processor threads that are used.
        workers: processes that train, with so many threads each.
        device: where tensors live.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor.name(),
        "processors": os.cpu_count(),
        "threads": threads,
        "workers": workers,
        "device": device,
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """The commit of the clone that the code lies in, and whether it was changed since; none for an installed wheel."""
    folder = Path(__file__).resolve().parents[2]
    top = _ask_git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != folder:  # some other repository around a virtual environment
        return None
    changed = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _ask_git(folder, "rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}


def _ask_git(folder: Path, *question: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *question], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def changed_on_the_way(environment: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """What differed each time a run was resumed, by its `environment.json`: the step as it stands there, and a line."""
    resumed = environment.get("resumed")
    for one in resumed if isinstance(resumed, list) else []:
        lines = one.get("differences") if isinstance(one, dict) else None
        for line in lines if isinstance(lines, list) else []:
            yield one.get("step"), str(line)[:200]
