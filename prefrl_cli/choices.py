"""What there is to choose in `conf/`: groups and their options."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.options import ConfigError, show, suggest

PARTS = (
    "streams",
    "env",
    "reward_model",
    "policy",
    "teacher",
    "queries",
    "loss",
    "reward_update",
    "shaping",
    "policy_update",
    "exploration",
)
GROUPS = (*PARTS, "optimizer", "algorithm")


def conf_folder() -> Path:
    """The folder `conf/`: inside the package when it was installed from a wheel, beside it in a clone."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"conf/config.yaml is missing beside {package}; install prefrl again")


def choices(group: str) -> list[str]:
    """The options of a group, those in folders included."""
    folder = conf_folder() / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def target(group: str, choice: str) -> str:
    """The class that a choice of a group stands for; empty where there is no such choice."""
    return _target(conf_folder() / group / f"{choice}.yaml")


@functools.cache
def _target(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^_target_: ([\w.]+)$", text, re.MULTILINE)
    return found[1] if found else ""


def named(config: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Composed options with the name of each group's choice in place of its class: `shaping: {choice: none}`.

    What was chosen is what a person knows, and it outlives a move of the class. A class that a person typed, or that a
    file of their own names, stays.

    Args:
        config: plain options; a group has a `_target_`.
        chosen: group -> choice; a tracker's name is its choice.
    """

    def node(group: str, choice: Any, options: Any) -> Any:
        if not isinstance(options, Mapping) or "_target_" not in options or "choice" in options:
            return options
        if options["_target_"] != target(group, str(choice)):
            return options
        return {"choice": choice, **{name: value for name, value in options.items() if name != "_target_"}}

    found = {name: node(name, chosen.get(name), value) if name in GROUPS else value for name, value in config.items()}
    if isinstance(found.get("logger"), Mapping):
        found["logger"] = {name: node("logger", name, value) for name, value in found["logger"].items()}
    return found


def not_set(group: str, user: str) -> ConfigError:
    """The error for a group that something needs."""
    return ConfigError(f"{group} is not set and {user} needs one; type {group}={'|'.join(choices(group))}")


def choice_error(group: str, name: str, names: Sequence[str] | None = None) -> ConfigError:
    """The error for a group's option that does not exist."""
    known = names if names is not None else choices(group)
    return ConfigError(f"{group}={show(name)}: there is no such {group}; {suggest(name, known, f'{group}=')}")
