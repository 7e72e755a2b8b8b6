"""What was typed after `prefrl-train`, as it was meant: names of choices and paths, whatever their characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prefrl_cli.choices import GROUPS, choices
from prefrl_cli.options import ConfigError, as_typed, show
from prefrl_cli.texts import typed_path

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
    path = str(typed_path(typed))
    quoted = re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", path))
    return f"'{quoted}'"
