"""Typed text: the one place where it is parsed, into flags and `NAME=VALUE`, and what these say of a run or a sweep."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from prefrl_cli.config.choices import GROUPS, choice_now, option_now
from prefrl_cli.config.messages import check_slips, meant, unknown_flag
from prefrl_cli.config.options import Run, signature
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.texts import quoted, typed_path

MOST_STARTED = 1 << 24  # bytes, some 300,000 runs
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_HELP = ("--help", "-h")
_GROUPS = ("experiment", "hparams_search", *GROUPS)
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*")
_QUOTED = re.compile(r"""(['"]).*\1""", re.DOTALL)


class Override(NamedTuple):
    """One `NAME=VALUE`.

    Attributes:
        text: as it was typed.
        option: the name, `env.size` of `+env.size=8`.
        value: what stands behind the first `=`, as text.
        equals: whether there is one.
    """

    text: str
    option: str
    value: str
    equals: bool


def read(text: str) -> Override:
    """An override, cut at its `=`."""
    name, equals, value = text.partition("=")
    return Override(text, name.strip().lstrip("+~").strip(), value, bool(equals))


def option(text: str) -> str:
    """The option that an override sets: `env.size` of `+env.size=8`."""
    return read(text).option


def cut(text: str) -> list[str]:
    """The overrides in a line of them, as `sweep.csv` has it."""
    return re.split(r" (?=[+~]*[\w./@]+=)", text)


def renamed(text: str) -> str:
    """An override of an earlier version's record, with the names of today."""
    name, sign, value = text.partition("=")
    one = option(text)
    name = name.replace(one, option_now(one)) if one else name
    return f"{name}{sign}{','.join(choice_now(one, part) for part in value.split(','))}"


@dataclass(frozen=True)
class Typed:
    """What a person typed after `prefrl-train`, parsed once and handed on.

    Attributes:
        flags: `multirun`, `config_dir` and the others, as attributes.
        overrides: each `NAME=VALUE`, with choices and paths as they are meant.
    """

    flags: argparse.Namespace
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Typed:
        """Parse; who asks for help is not told what else is wrong.

        Raises:
            ConfigError: for a flag that does not exist, an option typed like a flag, and slips that have a known cure.
        """
        words = [text.rstrip("\r\n") for text in arguments]  # a script with the line ends of Windows
        asked = any(text in _HELP for text in words)
        if not asked:
            _check_dashes(words)
        try:
            flags = _parser().parse_intermixed_args(words)  # flags and options in any order
        except ConfigError:
            if not asked:
                raise
            flags = _parser().parse_args(["--help"])
        overrides, flags.overrides = list(flags.overrides), []
        if not (asked or flags.help or flags.version or flags.shell_completion):
            overrides = as_meant(overrides, flags.config_dir, several=flags.multirun)
            check_slips(list(map(read, overrides)), several=flags.multirun)
        return cls(flags, tuple(overrides))

    def value(self, name: str) -> str | None:
        """The text that was typed last for an option; none where it was not typed."""
        found = [one.value for one in map(read, self.overrides) if one.option == name and one.equals]
        return found[-1] if found else None

    def without(self, *names: str) -> list[str]:
        """The overrides but for those of some options."""
        return [text for text in self.overrides if option(text) not in names]

    def with_overrides(self, overrides: Sequence[str]) -> Typed:
        """The same flags with other overrides."""
        return replace(self, overrides=tuple(overrides))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(unknown_flag(message, self._option_string_actions, "prefrl-train"))


def _parser() -> argparse.ArgumentParser:
    """The flags: Hydra's, under their names, and ours."""
    # To make a usage takes longer than to parse.
    parser = _Parser(prog="prefrl-train", usage="--help", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    for flags in (
        [*_HELP],
        ["--version"],
        ["--check"],
        ["--hydra-help"],
        ["--resolve"],
        ["--run", "-r"],
        ["--multirun", "-m"],
        ["--shell-completion", "-sc"],
    ):
        parser.add_argument(*flags, action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", const="all", nargs="?", choices=_INFO)
    for flags in (
        ["--package", "-p"],
        ["--config-dir", "-cd"],
        ["--config-path", "-cp"],
        ["--config-name", "-cn"],
        ["--experimental-rerun"],
    ):
        parser.add_argument(*flags)
    return parser


def _check_dashes(words: Sequence[str]) -> None:
    """Refuse options that are typed as other programs' are, `--seed 3`: they would be taken for flags.

    Raises:
        ConfigError: naming the option as it is typed here.
    """
    known = {*signature(Run), *GROUPS, "logger", "resume"}
    for text, following in zip(words, [*words[1:], ""], strict=False):
        name, value = text.removeprefix("--").partition("=")[::2]
        if text.startswith("--") and name.replace("-", "_").partition(".")[0] in known:
            value = value if "=" in text else following
            shown = "VALUE" if not value or value.startswith("-") or "=" in value else value
            raise ConfigError(f"{show(text)}: options have no dashes; type {name.replace('-', '_')}={shown}")


def as_meant(overrides: Sequence[str], own: str | None = None, *, several: bool = False) -> list[str]:
    """The overrides, with the names of choices and the paths that Hydra takes for something else put right.

    Args:
        overrides: as they were typed.
        own: the folder of `--config-dir`.
        several: whether it is a sweep.

    Raises:
        ConfigError: for a path where the name of a choice is wanted.
    """
    found = []
    for text in (text.rstrip("\r\n") for text in overrides):
        name, sign, value = text.partition("=")
        group = name.lstrip("+")
        if sign and group in _GROUPS and value and not set("[]{}$()") & set(value):
            folder = None if own is None else Path(own)
            text = f"{name}={','.join(meant(group, one, folder) if one else one for one in value.split(','))}"
        elif sign and group == "output_dir" and value:
            text = f"{name}={_place(value, several)}"
        found.append(text)
    return found


def _place(typed: str, several: bool) -> str:
    """An output folder as Hydra takes it for one word; a list stands for itself in a sweep, which refuses it."""
    if _PLAIN.fullmatch(typed) or _QUOTED.fullmatch(typed) or "${" in typed or typed == "null":
        return typed
    if several and "," in typed:
        return typed
    return quoted(str(typed_path(typed)))


def overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Names and values of options typed as for a new run; groups cannot be chosen anew.

    Raises:
        ConfigError: for what is no `NAME=VALUE`.
    """
    values: dict[str, Any] = {}
    for text in texts:
        if (one := _parsed(text)) is None:
            raise ConfigError(f"{show(text)}: beside a run type only NAME=VALUE, such as steps=200")
        name = one.key_or_group
        if one.is_sweep_override() or one.is_delete() or one.package is not None:
            raise ConfigError(f"{show(text)}: a run that has begun takes only NAME=VALUE, such as steps=200")
        if name in GROUPS:
            raise ConfigError(f"{show(text)}: a run keeps its {name}; start a new run for another")
        values[name] = one.value()
    return values


def one_folder(text: str) -> Path | None:
    """The folder that a sweep's `output_dir=` names; none where it names nothing.

    Raises:
        ConfigError: for several folders, or one that is not known yet.
    """
    one = _parsed(f"output_dir={text}")
    if one is None or one.is_sweep_override() or "${" in text:
        raise ConfigError(f"output_dir={text}: holds the whole sweep, with a folder for each job; type one name")
    return Path(str(one.value())) if one.value() else None


def values(overrides: Sequence[str]) -> dict[str, list[str]] | None:
    """The values that each option of a sweep takes, by its name; none where that cannot be told."""
    from hydra.errors import HydraException

    found: dict[str, list[str]] = {}
    for text in overrides:
        one = _parsed(text)
        try:
            if one is None:
                return None
            several = one.is_sweep_override()
            found[option(text)] = list(one.sweep_string_iterator()) if several else [one.get_value_element_as_str()]
        except (HydraException, ValueError):  # a glob needs the choices
            return None
    return found


def number_of_values(text: str) -> int:
    """How many values an override of a sweep takes, without a list of them; 1 for any other."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    one = _parsed(text)
    value = None if one is None else one.value()
    if isinstance(value, RangeSweep):
        step = abs(float(value.step)) or math.inf
        return math.ceil(min(abs(float(value.stop or 0) - float(value.start or 0)) / step, 1e18))
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def _parsed(text: str) -> Any:
    """An override by Hydra's grammar; none where it is not of that."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def _is_how(text: str) -> bool:
    """Whether an override only says how a sweep runs."""
    name = option(text)
    return name in ("hydra/launcher", "quiet") or name.startswith("hydra.launcher.")


def what(overrides: Sequence[str]) -> list[str]:
    """The overrides that say what a sweep is, in one order: neither the launcher nor where it goes."""
    return sorted(one for one in overrides if not _is_how(one) and option(one) != "output_dir")


def how(overrides: Sequence[str]) -> list[str]:
    """The overrides that only say how a sweep runs."""
    return [one for one in overrides if _is_how(one)]
