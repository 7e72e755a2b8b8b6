"""`prefrl-train resume=RUN_DIR` and `resume=latest`: go on with a run from its own record, there or in a new folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.choices import GROUPS
from prefrl_cli.claims import STATUS, half_begun
from prefrl_cli.cli.branch import branch, named_checkpoint, not_in_place
from prefrl_cli.cli.job import STARTED, resume_run
from prefrl_cli.cli.record import chosen_trackers, stored_config
from prefrl_cli.cli.trust import check_trackers
from prefrl_cli.config import Run
from prefrl_cli.options import ConfigError, as_typed, check_value, show, signature, suggest
from prefrl_cli.run_directory import read_status
from prefrl_cli.safe_files import UnreadableError, read
from prefrl_cli.texts import typed_path

LATEST = "latest"
_OUTPUTS = Path("outputs")
_SWEEPS = "sweeps"
_MOST_STARTED = 1 << 24  # bytes, some 300,000 runs


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
        return branch(folder, named and named[1], Path(new), {**changed, "output_dir": new}, options)
    if named:
        raise not_in_place(*named)
    return resume_run(folder, changed, options, extend="steps" in typed)


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
        started = read(_OUTPUTS, STARTED, _MOST_STARTED).decode("utf-8", "replace").splitlines()
    except UnreadableError:
        started = []
    for name in reversed(started):
        if not Path(name).is_absolute() and ".." not in Path(name).parts and (_OUTPUTS / name).is_dir():
            yield _OUTPUTS / name
    others = [path.parent for path in _OUTPUTS.rglob(STATUS) if _SWEEPS not in path.parts]
    unlisted = [one for one in others if one.relative_to(_OUTPUTS).as_posix() not in started]
    # By the UTC time in the record: the names of folders have the local one.
    yield from sorted(unlisted, key=lambda one: (str(read_status(one).get("started")), str(one)), reverse=True)


def overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Names and values of options typed as for a new run; groups cannot be chosen anew.

    Raises:
        ConfigError: for what is no `NAME=VALUE`.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    values: dict[str, Any] = {}
    for text in arguments:
        try:
            one = OverridesParser.create().parse_override(text)
        except HydraException:
            raise ConfigError(f"{show(text)}: beside a run type only NAME=VALUE, such as steps=200") from None
        name = one.key_or_group
        if one.is_sweep_override() or one.is_delete() or one.package is not None:
            raise ConfigError(f"{show(text)}: a run that has begun takes only NAME=VALUE, such as steps=200")
        if name in GROUPS:
            raise ConfigError(f"{show(text)}: a run keeps its {name}; start a new run for another")
        values[name] = one.value()
    return values


def change(config: dict[str, Any], typed: dict[str, Any]) -> dict[str, Any]:
    """The options of a run with those that were typed in their places.

    Raises:
        ConfigError: for an option that the run does not have.
    """
    config = {name: _copy(value) for name, value in config.items()}
    for name, value in typed.items():
        *path, last = name.split(".")
        node: Any = config
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or (last not in node and path) or (not path and last not in signature(Run)):
            known = sorted(node) if isinstance(node, dict) else sorted(config)
            raise ConfigError(f"{name}: the run has no such option; {suggest(last, [str(one) for one in known])}")
        if not path:
            value = check_value(name, signature(Run)[last], value)
        node[last] = value
    return config


def _copy(value: Any) -> Any:
    return {name: _copy(inner) for name, inner in value.items()} if isinstance(value, dict) else value
