"""What our commands have in common: exit codes, and one line for whatever ends them early."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from prefrl_cli.config.messages import TRACEBACK, cause, unknown_flag
from prefrl_cli.core.option_types import ConfigError, Failed
from prefrl_cli.files import standard_streams
from prefrl_cli.files.standard_streams import say, silence
from prefrl_cli.files.texts import shown

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def exit_code(ended: str) -> int:
    """The exit code of a run that ended so: finished or failed."""
    return FAILED if ended == "failed" else 0


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line, and that knows `--version`."""

    def __init__(self, **given: Any) -> None:
        epilog = f"{TRACEBACK}=1 {given.get('prog')} ... shows where an error comes from."
        super().__init__(**given, epilog=epilog, allow_abbrev=False)
        self.add_argument("--version", action=_Version, nargs=0, help="say which version of prefrl this is")

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse alone would not tell that it cannot be written."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end."""
        say(f"{self.prog}: {shown(unknown_flag(message, self._option_string_actions, self.prog))}")
        raise SystemExit(REFUSED)


class _Version(argparse.Action):
    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        print(version())
        raise SystemExit(0)


def version() -> str:
    """Our name and version."""
    from importlib import metadata  # takes longer than all the rest of --help

    try:
        return f"prefrl {metadata.version('prefrl')}"
    except metadata.PackageNotFoundError:  # a folder that was only unpacked
        return "prefrl, not installed: of no known version"


def told(arguments: Sequence[str], usage: str) -> bool:
    """Whether `--help` or `--version` was all that was asked for; it is answered then."""
    if "--help" in arguments or "-h" in arguments:
        print(usage, end="")
        return True
    if "--version" in arguments:
        print(version())
        return True
    return False


def run_command(name: str, answer: Callable[[], int], unexpected: int = FAILED) -> int:
    """Do what a command does.

    Args:
        name: the command's.
        answer: does it and returns an exit code, or raises: `ConfigError` for what a person should type otherwise,
            `Failed`, `KeyboardInterrupt`, `SystemExit` with a code, `BrokenPipeError`, or anything else.
        unexpected: the exit code for anything else.

    Returns:
        An exit code: `answer`'s own, 1, 2 for a `ConfigError`, 130 on Ctrl-C, 128 + N on a signal N. Each but 0 has
        its line on standard error, unless whoever read along has left.
    """
    # Threads of torch's OpenMP wait for each other by spinning, on a busy machine for longer than they work.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    standard_streams.make_whole()
    code = _code(name, answer, unexpected)
    if (reason := standard_streams.flushed()) is not None:
        say(f"{name}: standard output cannot be written ({reason})")
        code = code or FAILED
    return code


def _code(name: str, answer: Callable[[], int], unexpected: int) -> int:
    try:
        return answer()
    except SystemExit as end:  # of a parser
        if isinstance(end.code, str):
            say(f"{name}: {' '.join(end.code.split())}")
            return FAILED
        return int(end.code or 0)
    except KeyboardInterrupt as problem:
        say(f"{name}: {shown(problem) or 'interrupted'}")
        return getattr(problem, "exit_code", INTERRUPTED)
    except BrokenPipeError:
        silence(sys.stdout)  # its reader has left (`| head`)
        return FAILED
    except Exception as problem:
        return _told(name, problem, unexpected)


def _told(name: str, problem: Exception, unexpected: int) -> int:
    """Tell in one line what ended a command; its exit code."""
    if os.environ.get(TRACEBACK) == "1":
        import traceback  # only where something has gone wrong

        link: BaseException | None = problem
        while link is not None:
            link.__suppress_context__ = False  # what was made one line of is the interesting part
            link = link.__cause__ or link.__context__
        say("".join(traceback.format_exception(problem)), end="")
    if (gone := _folder_gone()) is not None:
        say(f"{name}: {gone}")
        return REFUSED
    if isinstance(problem, ConfigError | Failed):
        say(f"{name}: {shown(problem)}")  # it may name what stands in a stranger's file
        return REFUSED if isinstance(problem, ConfigError) else FAILED
    say(f"{name}: {cause(problem)}; {TRACEBACK}=1 before the command shows where")
    return unexpected


def _folder_gone() -> str | None:
    """What to say where the folder that a person stands in was deleted; none where it is there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the folder you are in was deleted; type cd to go to another one"
    except OSError as problem:
        return f"the folder you are in cannot be used ({problem.strerror}); type cd to go to another one"
    return None
