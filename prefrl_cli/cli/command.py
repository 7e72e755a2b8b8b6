"""What our commands have in common: exit codes, and one line for whatever ends them early."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from prefrl_cli.options import ConfigError
from prefrl_cli.own_files import silence
from prefrl_cli.texts import shown

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end."""
        print(f"{self.prog}: {shown(message)}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(REFUSED)


def run_command(name: str, answer: Callable[[], int]) -> int:
    """Do what a command does.

    Args:
        name: the command's.
        answer: does it and returns an exit code, or raises: `ConfigError` for what a person should type otherwise,
            `KeyboardInterrupt`, `SystemExit` with a code, `BrokenPipeError`.

    Returns:
        An exit code: `answer`'s own, 1, 2 for a `ConfigError`, 130 on Ctrl-C, 128 + N on a signal N.
    """
    # Threads of torch's OpenMP wait for each other by spinning, on a busy machine for longer than they work.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a folder's name may hold what a console cannot show
    try:
        return answer()
    except SystemExit as end:  # of a parser
        return int(end.code or 0)
    except ConfigError as problem:
        _tell(f"{name}: {shown(problem)}")  # it may name what stands in a stranger's file
        return REFUSED
    except KeyboardInterrupt as problem:
        _tell(f"{name}: {shown(problem) or 'interrupted'}")
        return getattr(problem, "exit_code", INTERRUPTED)
    except BrokenPipeError:
        silence(sys.stdout)  # its reader has left (`| head`)
        return FAILED


def _tell(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)  # the terminal has gone, or there is no room
