"""Going on with a run: which is the newest, and what was typed beside one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prefrl_cli.config.options import Configuration, Run, change, check_value, signature
from prefrl_cli.config.overrides import MOST_STARTED, Typed, overrides
from prefrl_cli.config.trust import check_trackers
from prefrl_cli.core.option_types import ConfigError, as_typed, show
from prefrl_cli.files.read import UnreadableError, read
from prefrl_cli.files.texts import typed_path
from prefrl_cli.files.write import append_to
from prefrl_cli.run.directory import STATUS, half_begun, read_status
from prefrl_cli.run.provenance import check_seeds, chosen_trackers, stored_config

STARTED = ".started"  # in outputs/: the runs in the order of their start, which no clock tells for sure


def note_start(folder: Path) -> None:
    """Note that a run was started, for `resume=latest`."""
    with contextlib.suppress(OSError), append_to(Path("outputs", STARTED)) as file:
        file.write(f"{folder.relative_to('outputs').as_posix()}\n")


LATEST = "latest"
_OUTPUTS = Path("outputs")

_SWEEPS = "sweeps"


def latest(experiment: str | None) -> Path:
    """The run under `outputs/` that was started last of those that are not finished, sweeps left out.

    Args:
        experiment: only runs of this one; none takes them all.

    Raises:
        ConfigError: when there is none.
    """
    for folder in _newest_first():
        if read_status(folder).get("status") == "finished":
            continue
        try:
            name = stored_config(folder)["experiment"]
        except ConfigError:
            continue
        if experiment in (None, name):
            return folder
    of = f" of {experiment}" if experiment else ""
    raise ConfigError(f"resume=latest: outputs/ holds no unfinished run{of}; type resume=RUN_DIR")


def _newest_first() -> Iterator[Path]:
    try:
        started = read(_OUTPUTS, STARTED, MOST_STARTED).decode("utf-8", "replace").splitlines()
    except UnreadableError:
        started = []
    for name in reversed(started):
        if not Path(name).is_absolute() and ".." not in Path(name).parts and (_OUTPUTS / name).is_dir():
            yield _OUTPUTS / name
    others = [path.parent for path in _OUTPUTS.rglob(STATUS) if _SWEEPS not in path.parts]
    unlisted = [one for one in others if one.relative_to(_OUTPUTS).as_posix() not in started]
    # By the UTC time in the record: the names of folders have the local one.
    yield from sorted(unlisted, key=lambda one: (str(read_status(one).get("started")), str(one)), reverse=True)


class GoingOn(NamedTuple):
    """What `resume=` and the options beside it ask for.

    Attributes:
        folder: of the run that is there.
        checkpoint: the one that was named; none takes the newest good one.
        new: the folder of a run of its own that begins there; none goes on with the run itself.
        config: the options that count from now on.
        overrides: what was typed for them.
        longer: whether a finished run may go on with more steps.
    """

    folder: Path
    checkpoint: Path | None
    new: Path | None
    config: Configuration
    overrides: list[str]
    longer: bool


def going_on(typed: Typed) -> GoingOn:
    """What was typed beside a run.

    Raises:
        ConfigError: for a folder that holds no run, and an option that is not allowed.
    """
    wanted = typed.value("resume")
    values = overrides(typed.without("resume"))
    experiment = values.pop("experiment", None)
    if not wanted:
        raise ConfigError("resume='': which run? type resume=RUN_DIR, or resume=latest")
    named = named_checkpoint(str(typed_path(wanted)))
    new = check_value("output_dir", signature(Run)["output_dir"], values.pop("output_dir", None))
    folder = latest(experiment) if wanted == LATEST else named[0] if named else typed_path(wanted)
    if folder.is_dir() and half_begun(folder):
        raise ConfigError(
            f"resume={show(wanted)}: this run was stopped before it had begun; type its own command again,"
            f" with output_dir={as_typed(wanted)}"
        )
    if not (folder / STATUS).exists():
        raise ConfigError(f"resume={show(wanted)}: holds no run; type the folder that prefrl-train printed")
    stored = stored_config(folder)
    if experiment not in (None, stored["experiment"]):
        raise ConfigError(f"experiment={show(experiment)}: {folder} is a run of {stored['experiment']}")
    if "logger" in values:
        stored["logger"] = chosen_trackers(stored.get("logger"), values.pop("logger"))
    check_trackers(folder, stored, values)
    changed = change(stored, values)
    check_seeds(folder, stored, changed)
    options = [f"experiment={stored['experiment']}", *typed.without("resume", "experiment")]
    branches = new is not None and (named is not None or Path(new).resolve() != folder.resolve())
    if named and not branches:
        raise not_in_place(*named)
    config = Configuration.of({**changed, "output_dir": new} if branches else changed)
    return GoingOn(
        folder, named[1] if named else None, Path(new) if branches else None, config, options, "steps" in values
    )


def named_checkpoint(typed: str) -> tuple[Path, Path] | None:
    """The run and its checkpoint, where a path names one, `RUN/checkpoints/step_000050.pt`, there or not."""
    path = Path(typed)
    if path.suffix != ".pt" or path.parent.name != "checkpoints":
        return None
    return path.parent.parent, path


def not_in_place(run: Path, checkpoint: Path) -> ConfigError:
    """The error for going on from a named checkpoint without another folder: later ones would be lost."""
    return ConfigError(
        f"resume={show(str(checkpoint))}: is one checkpoint of a run; to begin a new run from it type output_dir=NEW"
        f" as well, to go on with the run itself type resume={as_typed(str(run))}"
    )


def unused(folder: Path) -> Path:
    """The folder, or with a number where it is taken."""
    names = (folder.with_name(f"{folder.name}_{number}") if number else folder for number in range(10_000))
    return next(path for path in names if not path.exists())
