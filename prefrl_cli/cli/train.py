"""`prefrl-train`: options in, a run directory and an exit code out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from prefrl_cli.cli.command import REFUSED, run_command, version


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0 when every run finished, 1 when one failed, 2 for a wrong option, 130 on Ctrl-C and 143 on SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command("prefrl-train", lambda: _answer(arguments), REFUSED)  # what training raises is caught there


def _answer(arguments: list[str]) -> int:
    from prefrl_cli.cli import help as text

    if "--help" in arguments or "-h" in arguments:
        print(text.help_text(), flush=True)
        return 0
    if any(len(text) > 2 and "--version".startswith(text) for text in arguments):
        print(version())
        return 0
    if not arguments:
        print("prefrl-train: which experiment? type prefrl-train experiment=NAME, or --help", file=sys.stderr)
        print(text.experiment_list(), file=sys.stderr)
        return REFUSED
    from prefrl_cli.cli.resume import resume, typed_resume
    from prefrl_cli.sweep_record import RECORD

    folder = typed_resume(arguments)
    if folder is not None and not Path(folder, RECORD).is_file():
        return resume(arguments)
    from prefrl_cli.cli.hydra_app import run_hydra

    return run_hydra(arguments)


if __name__ == "__main__":
    sys.exit(main())
