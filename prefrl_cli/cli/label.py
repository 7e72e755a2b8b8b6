"""`prefrl-label`: a page on which a person answers the questions of a file, without training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.cli.command import Parser, run_command
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.texts import typed_path
from prefrl_cli.run.signals import ended_by_signals

if TYPE_CHECKING:
    from prefrl_cli.files.preferences.data import PreferenceData

_TEXT = """Answer questions in the browser, without training.

FILE is a file of preferences (.npz or .jsonl) whose questions have no answer
yet, or a run that a person teaches and that is stopped: its folder, or the
answers.sqlite in it. Answers are saved as they are given; type the command
again to go on where you stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0 when the person is done, 1 where the answers cannot be kept, 2 for a wrong argument, 130 on Ctrl-C.
    """
    parser = Parser(prog="prefrl-label", description=_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", type=typed_path, help="a file of preferences, or a stopped run")
    parser.add_argument("--host", default="127.0.0.1", help="to listen on; any but the default lets other machines in")
    parser.add_argument("--port", type=int, default=0, help="to listen on; default: the one before, or any free one")
    parser.add_argument("--no-open", action="store_true", help="open no browser")

    def given() -> int:
        typed = parser.parse_args(arguments)
        if not 0 <= typed.port < 65536:
            raise ConfigError(f"--port={typed.port}: a number between 0 and 65535 is needed; try --port=8000")
        return _label(typed)

    return run_command(parser.prog, given)


def _label(typed: argparse.Namespace) -> int:
    from prefrl_cli.label_page.session import answer_alone

    with ended_by_signals():
        answer_alone(typed.file, _environment, typed.host, typed.port, browser=not typed.no_open)
    return 0


def _environment(path: Path, data: PreferenceData) -> Any:
    """The environment that a file's questions are about.

    Raises:
        ConfigError: where the file does not say, or its states are none of that environment's.
    """
    from prefrl_cli.config.group import make

    options: Mapping[str, Any] = {
        name.removeprefix("env."): value for name, value in data.about.items() if name.startswith("env.")
    }
    choice = options.get("choice")
    if not isinstance(choice, str):
        raise ConfigError(f"{show(str(path))}: does not say which environment draws its films; env.choice is missing")
    env = make(f"env/{choice}", **{name: value for name, value in options.items() if name != "choice"})
    if not hasattr(env, "clip"):
        raise ConfigError(f"{show(str(path))}: is about env={choice}, which draws no films")
    count = getattr(env.observation_space, "n", None)
    shape = () if count is not None else env.observation_space.shape
    if data.last.shape[2:] != shape or (count is not None and max(data.states.max(), data.last.max()) >= count):
        raise ConfigError(f"{show(str(path))}: has states that env={choice} does not have; was another env meant?")
    return env


if __name__ == "__main__":
    sys.exit(main())
