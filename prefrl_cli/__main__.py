"""`prefrl`, and `python -m prefrl_cli`: the commands under one name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence

from prefrl_cli.cli.command import run_command, version
from prefrl_cli.core.option_types import ConfigError, show, suggest

_COMMANDS = {
    "train": "learn rewards and policies from preferences; all else begins here",
    "evaluate": "what a run has learned, with other random numbers or elsewhere",
    "report": "statistics, learning curves and comparisons of runs, on one page",
    "reproduce": "run a run again from its own record, and compare",
    "study": "runs that answer one question together, as a table and a chart",
    "label": "a page on which a person answers the questions of a file",
    "convert": "preferences of other programs, as files to learn a reward from",
    "doctor": "what is installed here, and whether runs repeat on this machine",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is named first.

    Args:
        arguments: what was typed after `prefrl`; none takes it from the process.

    Returns:
        The command's exit code; 2 where there is no such command.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    return run_command("prefrl", lambda: _answer(typed))


def _answer(typed: list[str]) -> int:
    commands = {name: text for name, text in _COMMANDS.items() if _module(name)}
    first = typed[0] if typed else ""
    if first in ("--help", "-h", "help"):
        print(_help(commands))
        return 0
    if first in ("--version", "version"):
        print(version())
        return 0
    name = first.removeprefix("prefrl-")
    if name in commands:
        code: int = importlib.import_module(f"prefrl_cli.cli.{name}").main(typed[1:])
        return code
    if "=" in first or first in ("-m", "--multirun"):
        raise ConfigError(f"{show(first)}: which command? type prefrl train {show(first)} ...")
    if not first:
        raise ConfigError(f"which command? type prefrl {'|'.join(commands)}, or prefrl --help")
    raise ConfigError(f"{show(first)}: there is no such command; {suggest(name, sorted(commands))}")


def _module(name: str) -> bool:
    return importlib.util.find_spec(f"prefrl_cli.cli.{name}") is not None


def _help(commands: dict[str, str]) -> str:
    lines = [f"  {name:<10} {text}" for name, text in commands.items()]
    return "\n".join(
        [
            "prefrl: a lab for learning from preferences.",
            "",
            "usage: prefrl COMMAND ..., the same as prefrl-COMMAND ...",
            "",
            "commands, each with --help:",
            *lines,
            "",
            "prefrl --version says which version this is.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
