"""`prefrl-train`: options in, a run directory and an exit code out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from prefrl_cli.options import ConfigError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0 when every run finished, 1 when one failed, 2 for a wrong option, 130 on Ctrl-C and 143 on SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Threads of torch's OpenMP wait for each other by spinning, on a busy machine for longer than they work.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        return _answer(arguments)
    except ConfigError as problem:
        print(f"prefrl-train: {problem}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt as problem:
        print(f"prefrl-train: {str(problem) or 'interrupted'}", file=sys.stderr)
        return getattr(problem, "exit_code", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has left (`| head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _answer(arguments: list[str]) -> int:
    from prefrl_cli.cli import help as text

    if "--help" in arguments or "-h" in arguments:
        print(text.help_text(), flush=True)
        return 0
    if not arguments:
        print("prefrl-train: which experiment? type prefrl-train experiment=NAME, or --help", file=sys.stderr)
        print(text.experiment_list(), file=sys.stderr)
        return REFUSED
    from prefrl_cli.cli.resume import resume, typed_resume
    from prefrl_cli.sweep import RECORD

    folder = typed_resume(arguments)
    if folder is not None and not Path(folder, RECORD).is_file():
        return resume(arguments)
    from prefrl_cli.cli.hydra_app import run_hydra

    return run_hydra(arguments)
