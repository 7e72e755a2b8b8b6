"""What there is to choose in `conf/`: groups and their options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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


def not_set(group: str, user: str) -> ConfigError:
    """The error for a group that something needs."""
    return ConfigError(f"{group} is not set and {user} needs one; type {group}={'|'.join(choices(group))}")


def choice_error(group: str, name: str, names: Sequence[str] | None = None) -> ConfigError:
    """The error for a group's option that does not exist."""
    known = names if names is not None else choices(group)
    return ConfigError(f"{group}={show(name)}: there is no such {group}; {suggest(name, known, f'{group}=')}")
