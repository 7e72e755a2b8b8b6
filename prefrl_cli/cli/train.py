"""`prefrl-train`: options in, a run directory and an exit code out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from prefrl_cli.cli.command import REFUSED, exit_code, run_command, version
from prefrl_cli.config.overrides import Typed
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.texts import typed_path


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
    from prefrl_cli.cli.options import help as text

    if not arguments:
        print("prefrl-train: which experiment? type prefrl-train experiment=NAME, or --help", file=sys.stderr)
        print(text.experiment_list(), file=sys.stderr)
        return REFUSED
    typed = Typed.of(arguments)
    if typed.flags.help:
        print(text.help_text(typed), flush=True)
        return 0
    if typed.flags.version:
        print(version())
        return 0
    return train(typed)


def train(typed: Typed) -> int:
    """Run what was typed: one run, with `-m` each job of a sweep, or what `resume=` names.

    Args:
        typed: after the command.

    Returns:
        The exit code: the largest of the jobs'.

    Raises:
        ConfigError: for a wrong option.
    """
    from prefrl_cli.cli.options import hydra_options
    from prefrl_cli.config import trust
    from prefrl_cli.run.directory import RECORD

    trust.check_flags(typed)
    hydra_options.check_flags(typed)
    folder = typed.value("resume")
    if folder is not None and typed.flags.check:
        raise ConfigError("--check: says what a new run would do; leave it out, or type the run's own command again")
    of_sweep = folder is not None and (typed_path(folder) / RECORD).is_file()
    if folder is not None and not of_sweep:
        return resume(typed)
    from prefrl_cli.config.compose import call_hydra, one_line_errors, only_check
    from prefrl_cli.run.lifecycle import run_job
    from prefrl_cli.sweep.start import resume_sweep, run, sweep_of

    flags = typed.flags
    with one_line_errors(typed):
        if flags.cfg or flags.info or flags.shell_completion or flags.hydra_help:
            return call_hydra(typed, lambda config, _: only_check(config))
        hydra_options.check_typed(typed.overrides, sweep=flags.multirun)
        if flags.check:
            from prefrl_cli.sweep.check import check

            return check(typed)
        if folder is not None:
            return resume_sweep(typed_path(folder), typed)
        if not flags.multirun:
            return call_hydra(typed, lambda config, overrides: exit_code(run_job(config, overrides, page=label_page)))
        return run(typed, sweep_of(typed))


def label_page(folder: Path, person: Any) -> AbstractContextManager[str]:
    """The page on which a person answers the questions of a run; see `prefrl_cli.label_page.session`."""
    from prefrl_cli.label_page.session import label_page as page  # with torch, which a wrong option does not wait for

    return page(folder, person)


def resume(typed: Typed) -> int:
    """Go on with a run, or with `output_dir=NEW` begin one of its own where a checkpoint of it stands.

    Args:
        typed: `resume=RUN_DIR`, `resume=latest`, with `experiment=NAME` for that experiment's latest, or a
            checkpoint, `resume=RUN_DIR/checkpoints/step_000050.pt`; and options that are to differ from now on.

    Returns:
        The exit code of training.

    Raises:
        ConfigError: for a folder that holds no run, a finished one, or an option that is not allowed.
        Interrupted: as for any run.
    """
    from prefrl_cli.cli.options.hydra_options import COMMANDS
    from prefrl_cli.run.earlier.going_on import going_on
    from prefrl_cli.run.lifecycle import go_on

    for name, flag in {**COMMANDS, "config_dir": "--config-dir", "package": "--package"}.items():
        if getattr(typed.flags, name) not in (None, False):
            raise ConfigError(f"{flag}: beside a run type only NAME=VALUE, such as steps=200")
    return exit_code(go_on(going_on(typed), label_page))


if __name__ == "__main__":
    sys.exit(main())
