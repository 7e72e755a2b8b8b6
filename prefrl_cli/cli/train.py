"""`prefrl-train`: options in, a run directory and an exit code out."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.cli.command import REFUSED, exit_code, run_command, version
from prefrl_cli.core.option_types import ConfigError, as_typed, show
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
    from prefrl_cli.config.overrides import as_meant  # --help does without what takes long to import
    from prefrl_cli.run.directory import RECORD

    arguments = as_meant(arguments)
    folder = typed_resume(arguments)
    if folder is not None and not (typed_path(folder) / RECORD).is_file():
        return resume(arguments)
    return run_hydra(arguments)


def run_hydra(arguments: list[str]) -> int:
    """Compose the options that were typed and run the job, or with `-m` each job of the sweep.

    Args:
        arguments: what was typed after the command.

    Returns:
        The exit code: the largest of the jobs'.

    Raises:
        ConfigError: for a wrong option.
    """
    from prefrl_cli.cli import hydra_options
    from prefrl_cli.cli.help import help_text
    from prefrl_cli.config import messages, trust
    from prefrl_cli.config.compose import call_hydra, one_line_errors, only_check, plain_options, task_overrides
    from prefrl_cli.run.lifecycle import run_job
    from prefrl_cli.sweep.start import resume_sweep, run_sweep

    messages.check_dashes(arguments)
    typed = _parse(arguments)
    if typed.help:  # as a beginning of it
        print(help_text())
        return 0
    trust.check_flags(typed)
    hydra_options.check_flags(typed)
    arguments = hydra_options.in_order(typed)
    with one_line_errors(arguments):
        if typed.cfg or typed.info or typed.shell_completion or typed.hydra_help:
            return call_hydra(arguments, only_check)
        hydra_options.check_typed(typed.overrides, sweep=typed.multirun)
        if (folder := _sweep_to_resume(typed.overrides)) is not None:
            return resume_sweep(folder, typed.overrides, typed.config_dir)
        if not typed.multirun:
            return call_hydra(arguments, lambda config: exit_code(run_job(plain_options(config), task_overrides())))
        return run_sweep(arguments, typed)


def _parse(arguments: list[str]) -> Any:
    """The flags, by Hydra's own parser, whose usage message is longer than a line."""
    from hydra._internal.utils import get_args_parser

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return get_args_parser().parse_intermixed_args(arguments)  # flags and options in any order
    except SystemExit as end:
        if not end.code:
            raise
        reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise ConfigError(f"{reason}; see prefrl-train --help") from None


def _sweep_to_resume(overrides: list[str]) -> Path | None:
    from prefrl_cli.config.overrides import option
    from prefrl_cli.run.directory import RECORD

    typed = [text.partition("=")[2] for text in overrides if option(text) == "resume"]
    return folder if typed and ((folder := typed_path(typed[-1])) / RECORD).is_file() else None


def typed_resume(arguments: Sequence[str]) -> str | None:
    """What `resume=` was given among the arguments, if it was typed."""
    given = [text.partition("=")[2] for text in arguments if text.startswith("resume=")]
    return given[-1] if given else None


def resume(arguments: Sequence[str]) -> int:
    """Go on with a run, or with `output_dir=NEW` begin one of its own where a checkpoint of it stands.

    Args:
        arguments: `resume=RUN_DIR`, `resume=latest`, with `experiment=NAME` for that experiment's latest, or a
            checkpoint, `resume=RUN_DIR/checkpoints/step_000050.pt`; and options that are to differ from now on.

    Returns:
        The exit code of training.

    Raises:
        ConfigError: for a folder that holds no run, a finished one, or an option that is not allowed.
        Interrupted: as for any run.
    """
    from prefrl_cli.config.options import Run, check_value, signature
    from prefrl_cli.config.overrides import change, overrides
    from prefrl_cli.config.trust import check_trackers
    from prefrl_cli.run.directory import STATUS, half_begun
    from prefrl_cli.run.lifecycle import branch, named_checkpoint, not_in_place, resume_run
    from prefrl_cli.run.outputs import LATEST, latest
    from prefrl_cli.run.provenance import chosen_trackers, stored_config

    wanted = typed_resume(arguments)
    typed = overrides([text for text in arguments if not text.startswith("resume=")])
    experiment = typed.pop("experiment", None)
    if not wanted:
        raise ConfigError("resume='': which run? type resume=RUN_DIR, or resume=latest")
    named = named_checkpoint(str(typed_path(wanted)))
    new = check_value("output_dir", signature(Run)["output_dir"], typed.pop("output_dir", None))
    folder = latest(experiment) if wanted == LATEST else named[0] if named else typed_path(wanted)
    if folder.is_dir() and half_begun(folder):
        raise ConfigError(
            f"resume={show(wanted)}: this run was stopped before it had begun; type its own command again,"
            f" with output_dir={as_typed(wanted)}"
        )
    if not (folder / STATUS).exists():
        raise ConfigError(f"resume={show(wanted)}: holds no run; type the folder that prefrl-train printed")
    config = stored_config(folder)
    if experiment not in (None, config["experiment"]):
        raise ConfigError(f"experiment={show(experiment)}: {folder} is a run of {config['experiment']}")
    if "logger" in typed:
        config["logger"] = chosen_trackers(config.get("logger"), typed.pop("logger"))
    check_trackers(folder, config, typed)
    changed = change(config, typed)
    options = [text for text in arguments if not text.startswith(("resume=", "experiment="))]
    options.insert(0, f"experiment={config['experiment']}")
    if new is not None and (named or Path(new).resolve() != folder.resolve()):
        return exit_code(branch(folder, named and named[1], Path(new), {**changed, "output_dir": new}, options))
    if named:
        raise not_in_place(*named)
    return exit_code(resume_run(folder, changed, options, extend="steps" in typed))


if __name__ == "__main__":
    sys.exit(main())
