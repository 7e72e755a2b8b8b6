"""Typed text: what each override sets, and what it says of a sweep."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.config.choices import GROUPS, choices
from prefrl_cli.config.options import Run, check_value, signature
from prefrl_cli.core.option_types import ConfigError, as_typed, show, suggest
from prefrl_cli.files.texts import typed_path

MOST_STARTED = 1 << 24  # bytes, some 300,000 runs


def overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Names and values of options typed as for a new run; groups cannot be chosen anew.

    Raises:
        ConfigError: for what is no `NAME=VALUE`.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    values: dict[str, Any] = {}
    for text in arguments:
        try:
            one = OverridesParser.create().parse_override(text)
        except HydraException:
            raise ConfigError(f"{show(text)}: beside a run type only NAME=VALUE, such as steps=200") from None
        name = one.key_or_group
        if one.is_sweep_override() or one.is_delete() or one.package is not None:
            raise ConfigError(f"{show(text)}: a run that has begun takes only NAME=VALUE, such as steps=200")
        if name in GROUPS:
            raise ConfigError(f"{show(text)}: a run keeps its {name}; start a new run for another")
        values[name] = one.value()
    return values


def change(config: dict[str, Any], typed: dict[str, Any]) -> dict[str, Any]:
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
            known = sorted(node) if isinstance(node, dict) else sorted(config)
            raise ConfigError(f"{name}: the run has no such option; {suggest(last, [str(one) for one in known])}")
        if not path:
            value = check_value(name, signature(Run)[last], value)
        node[last] = value
    return config


def _copy(value: Any) -> Any:
    return {name: _copy(inner) for name, inner in value.items()} if isinstance(value, dict) else value


_GROUPS = ("experiment", "hparams_search", *GROUPS)

_SUFFIXES = (".yaml", ".yml")

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*")

_QUOTED = re.compile(r"""(['"]).*\1""", re.DOTALL)


def as_meant(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the names of choices and the paths that Hydra takes for something else put right.

    Args:
        arguments: as they were typed.

    Raises:
        ConfigError: for a path where the name of a choice is wanted.
    """
    ends = [text.rstrip("\r\n") for text in arguments]  # a script with the line ends of Windows
    own = _config_dir(ends)
    found = []
    for text in ends:
        name, sign, value = text.partition("=")
        group = name.lstrip("+")
        if sign and group in _GROUPS and value and not set("[]{}$()") & set(value):
            text = f"{name}={','.join(_choice(group, one, own) if one else one for one in value.split(','))}"
        elif sign and group == "output_dir" and value:
            text = f"{name}={_place(value, '-m' in ends or '--multirun' in ends)}"
        found.append(text)
    return found


def _config_dir(arguments: Sequence[str]) -> Path | None:
    """The `--config-dir` that was typed."""
    for place, text in enumerate(arguments):
        if text.startswith("--config-dir="):
            return Path(text.partition("=")[2])
        if text in ("--config-dir", "-cd") and place + 1 < len(arguments):
            return Path(arguments[place + 1])
    return None


def _choice(group: str, typed: str, own: Path | None) -> str:
    """The name of a choice: of `oprl_maze`, `oprl_maze.yaml`, `conf/experiment/oprl_maze.yaml` or `./oprl_maze/`.

    Raises:
        ConfigError: for a file that is no choice, saying how to make it one.
    """
    bare = typed.strip().strip("\"'").strip().replace("\\", "/").rstrip("/")
    name = _without_suffix(bare.removeprefix("./"))
    known = choices(group)
    if name in known:
        return name
    of_own = Path(own, group, name) if own is not None else None
    if of_own is not None and of_own.with_name(f"{of_own.name}.yaml").is_file():
        return name
    if of_own is not None and of_own.with_name(f"{of_own.name}.yml").is_file():
        raise ConfigError(f"{group}={show(typed)}: {of_own}.yml: files of choices end in .yaml; rename it")
    path = typed_path(typed)
    if not path.is_file() and not bare.endswith(_SUFFIXES):
        path = path.with_name(f"{path.name}.yaml")
    if not path.is_file():
        return name if bare.endswith(_SUFFIXES) or typed != bare else typed
    if path.suffix == ".yml":
        raise ConfigError(f"{group}={show(typed)}: {path}: files of choices end in .yaml; rename it")
    parts = _without_suffix(path.resolve().as_posix()).split("/")
    for place in range(len(parts) - 2, 0, -1):  # the folder of the group that is nearest to the file
        if parts[place] == group:
            inside, top = "/".join(parts[place + 1 :]), Path("/".join(parts[:place]))
            if inside in known or (own is not None and own.resolve() == top):
                return inside
            cure = f"type --config-dir {as_typed(str(top))} {group}={as_typed(inside)}"
            raise ConfigError(f"{group}={show(typed)}: is a path, and a choice is a name; {cure}")
    cure = f"put the file into FOLDER/{group}/ and type --config-dir FOLDER {group}={as_typed(parts[-1])}"
    raise ConfigError(f"{group}={show(typed)}: is a path, and a choice is a name; {cure}")


def _without_suffix(text: str) -> str:
    return text[: -len(Path(text).suffix)] if text.endswith(_SUFFIXES) else text


def _place(typed: str, several: bool) -> str:
    """An output folder as Hydra takes it for one word; a list stands for itself in a sweep, which refuses it."""
    if _PLAIN.fullmatch(typed) or _QUOTED.fullmatch(typed) or "${" in typed or typed == "null":
        return typed
    if several and "," in typed:
        return typed
    return _quoted(str(typed_path(typed)))


_HOW = ("hydra/launcher=", "hydra.launcher.", "quiet=")  # how a sweep runs, not what it is


def option(override: str) -> str:
    """The option that an override sets: `env.size` of `+env.size=8`."""
    return override.lstrip("+~").partition("=")[0]


def what(overrides: Sequence[str]) -> list[str]:
    """The overrides that say what a sweep is, in one order: neither the launcher nor where it goes."""
    return sorted(one for one in overrides if not one.startswith(_HOW) and option(one) != "output_dir")


def how(overrides: Sequence[str]) -> list[str]:
    """The overrides that only say how a sweep runs."""
    return [one for one in overrides if one.startswith(_HOW)]


_WORD = re.compile(r"[A-Za-z_][\w/.-]*")  # what Hydra takes for a text without quotes
_NO_WORDS = ("null", "true", "false", "nan", "inf")


def as_overrides(name: str, value: Any) -> list[str]:
    """An option given in Python as it would be typed; several for a mapping, as `env={"size": 8}` is.

    Args:
        name: of the option or group.
        value: a number, a text or a path, a truth value, None, a list of these, or a mapping by the names within.

    Raises:
        ConfigError: for any other value.
    """
    if isinstance(value, Mapping):
        return [text for key, inner in value.items() for text in as_overrides(f"{name}.{key}", inner)]
    return [f"{name}={_as_value(name, value)}"]


def _as_value(name: str, value: Any) -> str:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # of NumPy or torch
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)
    if isinstance(value, list | tuple | range):
        return f"[{','.join(_as_value(name, one) for one in value)}]"
    if not isinstance(value, str):
        what = type(value).__name__
        raise ConfigError(f"{name}: {what}: must be a number, a text, true or false, None, or a list of these")
    return value if _WORD.fullmatch(value) and value.lower() not in _NO_WORDS else _quoted(value)


def _quoted(text: str) -> str:
    """A text in quotes as Hydra reads them."""
    quoted = re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", text))
    return f"'{quoted}'"
