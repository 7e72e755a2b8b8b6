"""Runs that are there: their names and ages in outputs/, what they report, and what one of them has learned."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prefrl_cli.algorithm.metrics import axis_of_old_runs as axis_of_old_runs
from prefrl_cli.algorithm.metrics import in_order, recorded
from prefrl_cli.config.options import Configuration, Run, change, check_value, signature
from prefrl_cli.config.overrides import MOST_STARTED, Typed, overrides
from prefrl_cli.config.trust import check_trackers
from prefrl_cli.core.metric import Metric
from prefrl_cli.core.option_types import ConfigError, as_typed, show
from prefrl_cli.files.checkpoints import CheckpointError, Checkpoints
from prefrl_cli.files.read import UnreadableError, read, short
from prefrl_cli.files.texts import typed_path
from prefrl_cli.files.write import append_to
from prefrl_cli.run.directory import STATUS, TABLE, half_begun, read_status
from prefrl_cli.run.metrics_csv import current_names
from prefrl_cli.run.provenance import check_seeds, chosen_trackers, stored_config

if TYPE_CHECKING:
    from prefrl_cli.algorithm.living import Metrics
    from prefrl_cli.core.algorithm import Algorithm

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
    from prefrl_cli.run.lifecycle import named_checkpoint, not_in_place

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


_MOST_TABLE = 1 << 24  # bytes; 20,000 jobs have some 6 million

_MOST_JOBS = 20_000

_LONGEST_OF_ALL = 255  # bytes, that file systems take


def unused(folder: Path) -> Path:
    """The folder, or with a number where it is taken."""
    names = (folder.with_name(f"{folder.name}_{number}") if number else folder for number in range(10_000))
    return next(path for path in names if not path.exists())


def listed(folder: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The jobs that a sweep's `sweep.csv` lists.

    Returns:
        Name -> the row; and a line for each row whose name is none of a folder in this one.

    Raises:
        UnreadableError: when there is no such table, or one that cannot be read or is larger than any of ours.
    """
    text = read(folder, TABLE, _MOST_TABLE).decode("utf-8", "replace")
    jobs: dict[str, dict[str, str]] = {}
    wrong = []
    try:
        # Lines are counted before: of the empty ones the reader itself would say nothing.
        if text.count("\n") > 2 * _MOST_JOBS:
            raise UnreadableError(f"{TABLE} has more than {2 * _MOST_JOBS:,} lines")
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), 1):
            name = row.get("job")
            if name in jobs:
                wrong.append(f"row {number} of {TABLE} has the job {show(name)} again")
            elif name is None or not _is_name(name):
                wrong.append(f"row {number} of {TABLE} has no name of a folder: {show(name)}")
            else:
                jobs[name] = {str(key): str(value or "") for key, value in row.items()}
            if len(jobs) + len(wrong) > _MOST_JOBS:
                raise UnreadableError(f"{TABLE} has more than {_MOST_JOBS:,} jobs")
    except csv.Error as problem:
        raise UnreadableError(f"{TABLE}: {problem}") from None
    return jobs, wrong


def _is_name(text: str) -> bool:
    """Whether a folder may have this name, in the folder that it is written in."""
    if text in ("", ".", "..") or Path(text).name != text or "\0" in text:
        return False
    return len(text.encode("utf-8", "replace")) <= _LONGEST_OF_ALL


def declared(found: Any) -> dict[str, tuple[Metric, Mapping[str, Any]]]:
    """The metrics of a `summary.json`, by the names that they have now: what each is, and what is said of it.

    Args:
        found: such as its `metrics`; what is no mapping of mappings holds nothing.
    """
    entries = {str(name)[:80]: one for name, one in found.items()} if isinstance(found, Mapping) else {}
    given = {name: one for name, one in current_names(entries).items() if isinstance(one, Mapping)}
    names = given if any("direction" in one for one in given.values()) else in_order(given)
    return {name: (recorded(name, given[name]), given[name]) for name in names}


def metric_of(name: str, known: Mapping[str, Metric]) -> Metric:
    """What a metric is: as its record says, or as it was meant by a version whose record does not say it."""
    return known.get(name) or recorded(name, {})


_DAMAGED = (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError)  # what another's state raises


class Learned(NamedTuple):
    """What a run has learned.

    Attributes:
        run: the root options that count now.
        algorithm: built anew, with what was learned.
        step: of the checkpoint.
        policies: R seeds, of training.
        failed: those of them that had failed by then.
        state: of the whole algorithm, in the checkpoint.
    """

    run: Run
    algorithm: Algorithm
    step: int
    policies: list[int]
    failed: list[int]
    state: dict[str, Any]

    def measure(self, episodes: int) -> Metrics:
        """What the policies reach, in so many fresh episodes too: `[R]` each, NaN for those that had failed."""
        from prefrl_cli.algorithm.living import arrays

        metrics = arrays({**self.algorithm.evaluate(), **self.algorithm.play(episodes)})
        for values in metrics.values():
            values[[self.policies.index(seed) for seed in self.failed]] = math.nan
        return metrics


def learned(
    folder: Path, stored: Mapping[str, Any], config: Configuration | Mapping[str, Any], checkpoint: Path | None = None
) -> Learned:
    """What a run has learned, from a checkpoint of it; nothing is written, and nothing in it is run.

    Args:
        folder: of the run.
        stored: the options that it recorded.
        config: the options that count now; those of `env` may be others that its networks fit.
        checkpoint: the one that is taken; none takes the newest good one.

    Raises:
        ConfigError: for a folder without a checkpoint, and an environment that the networks do not fit.
    """
    policies = list(Configuration.of(stored).run.seeds)
    config = Configuration.of(config)
    # Built with the seeds of training: some of what does not learn, an ensemble's start, is drawn from them.
    from prefrl_cli.algorithm.living import Living
    from prefrl_cli.run.training import ready  # with all that trains

    built = Configuration({**config.options, "logger": None}, config.run).with_run(seed=stored["seed"], output_dir=None)
    run = built.run
    algorithm, _ = ready(built)
    step, state, failed = _newest(folder, checkpoint, policies, run.device)
    try:
        algorithm.adopt(state)
    except _DAMAGED as problem:
        before = dict(stored.get("env") or {})
        now = dict(config.options.get("env") or {})
        changed = [(name, value) for name, value in now.items() if value != before.get(name)]
        typed = " ".join(f"env.{name}={show(value)}" for name, value in changed)
        cure = "leave out what changes its size" if typed else "use the prefrl that wrote it"
        raise ConfigError(
            f"{typed or folder}: the networks of the run do not fit ({short(problem)[:80]}); {cure}"
        ) from None
    Living(policies, {str(seed): {} for seed in failed}, {}).clear(algorithm)
    return Learned(run, algorithm, step, policies, failed, state)


def _newest(
    folder: Path, named: Path | None, seeds: Sequence[int], device: str
) -> tuple[int, dict[str, Any], list[int]]:
    """The step, the algorithm's state and the failed seeds of the named checkpoint, or the newest good one."""
    inside = folder / "checkpoints"
    if inside.is_symlink():
        raise ConfigError(f"{show(str(inside))}: is a link; put what it leads to there")
    problems = []
    for path in [named] if named else Checkpoints(inside).newest_first():
        try:
            content = Checkpoints.load(path, device)
            if content["seeds"] == list(seeds):
                failed = [seed for seed in seeds if str(seed) in content.get("failed", {})]
                return int(content["step"]), dict(content["algorithm"]), failed
            problems.append(f"checkpoint {path.name} is of other seeds than config.yaml")
        except (CheckpointError, *_DAMAGED) as problem:
            problems.append(short(problem))
    raise ConfigError(f"{show(str(folder))}: no checkpoint to evaluate ({'; '.join(problems) or 'there is none yet'})")
