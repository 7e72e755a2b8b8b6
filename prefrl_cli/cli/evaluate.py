"""`prefrl-evaluate RUN_DIR`: what a run has learned, tried with other random numbers or in another environment."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prefrl_cli.cli.command import run_command, told
from prefrl_cli.config.options import MISSING, Option, check_value
from prefrl_cli.core.metric import Metric, by_name
from prefrl_cli.core.option_types import ConfigError, Count, show
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.files.read import UnreadableError, read_json
from prefrl_cli.files.write import write_whole
from prefrl_cli.run.earlier.going_on import named_checkpoint
from prefrl_cli.run.metrics_csv import current_names
from prefrl_cli.run.provenance import stored_config

if TYPE_CHECKING:
    import numpy as np

USAGE = """\
prefrl-evaluate: what a run has learned, with other random numbers or in another
environment. Nothing is trained, and nothing is written into the run.

usage: prefrl-evaluate RUN_DIR [OPTION=VALUE ...] [--json FILE]

Each policy of the run, one a seed, plays episodes of its own. RUN_DIR may also
be one of its checkpoints, RUN_DIR/checkpoints/step_000050.pt. Exit code 0, or
2 for a wrong argument.

options:
  seed=N              random numbers of seeds N, N + 1, ..., one for each
                      policy; else those of the run's own evaluation
  episodes=N          played by each policy; 100
  env.OPTION=VALUE    another environment, such as env.layout=random
                      env.layout_seed=3; its networks must fit
  threads=N           processor threads; they change no result
  allow_targets=[...] packages of your own that the run's config may use
  --json FILE         the values of each seed as well
  --version           say which version of prefrl this is

PREFRL_TRACEBACK=1 prefrl-evaluate ... shows where an error comes from.
"""
_OPTIONS = ("seed", "threads", "device", "allow_targets")


class Evaluation(NamedTuple):
    """What was found.

    Attributes:
        experiment: its name.
        step: of the checkpoint.
        policies: R seeds, of training.
        seeds: R seeds, whose random numbers were used.
        metrics: name -> `[R]`, NaN where there is no value.
        failed: seeds of training that failed before the checkpoint; their policies have no values.
        declared: what each metric is.
    """

    experiment: str
    step: int
    policies: list[int]
    seeds: list[int]
    metrics: dict[str, np.ndarray]
    failed: list[int]
    declared: dict[str, Metric]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0, 2 for a wrong argument, 130 on Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command("prefrl-evaluate", lambda: _answer(arguments))


def _answer(arguments: Sequence[str]) -> int:
    if told(arguments, USAGE):
        return 0
    from prefrl_cli.cli.reproduce import is_option
    from prefrl_cli.config.overrides import overrides

    texts, file = _without_file(arguments)
    typed = overrides([text for text in texts if is_option(text)])
    folders = [text for text in texts if not is_option(text)]
    if len(folders) != 1 or folders[0].startswith("-"):
        raise ConfigError("which run? type prefrl-evaluate RUN_DIR, or --help")
    episodes = check_value("episodes", Option(Count, MISSING, True), typed.pop("episodes", 100))
    found = evaluate(Path(folders[0]), typed, episodes)
    for line in table(found, _in_the_run(Path(folders[0]), found.step), episodes, typed):
        print(line)
    if file is not None:
        content = {**found._asdict(), "episodes": episodes, "options": typed, "metrics": _statistics(found)}
        del content["declared"]  # each of the metrics has it
        try:
            write_whole(file, json.dumps(content, indent=2, default=str) + "\n", sync=False)
        except OSError as problem:
            raise ConfigError(f"--json {show(str(file))}: cannot be written ({problem.strerror})") from None
    return 0


def evaluate(folder: Path, typed: Mapping[str, Any], episodes: int = 100) -> Evaluation:
    """Try the policies of a run; nothing is written.

    Args:
        folder: of the run, or one of its checkpoints, else the newest good one is taken.
        typed: options that differ from the run's: `seed`, `threads`, `device`, `allow_targets` and those of `env`.
        episodes: that each policy plays, where the experiment has episodes.

    Raises:
        ConfigError: for a folder without a checkpoint, another option, and an environment that the networks do not fit.
    """
    from prefrl_cli.config.build import build
    from prefrl_cli.config.options import Configuration, change
    from prefrl_cli.run.earlier.learned import learned

    for name in typed:
        if name not in _OPTIONS and not name.startswith("env."):
            allowed = ", ".join((*_OPTIONS, "episodes"))
            raise ConfigError(f"{name}: a run is evaluated as it is; only {allowed} and options of env may change")
    named = named_checkpoint(str(folder))
    if named is not None:
        folder = named[0]
        there = [path.name for path in reversed(Checkpoints(folder / "checkpoints").newest_first())]
        if there and named[1].name not in there:
            raise ConfigError(f"{named[1].name}: is not there; {folder} has {', '.join(there)}")
    stored = stored_config(folder)
    config = Configuration.of({**change(stored, dict(typed)), "logger": None, "output_dir": None})
    found = learned(folder, stored, config, named and named[1])
    algorithm, policies = found.algorithm, found.policies
    if config.run.seed != stored["seed"]:
        algorithm.streams = build(config).streams
    metrics = found.measure(episodes)
    known = by_name(algorithm.metrics, metrics)
    metrics = {name: values for name, values in metrics.items() if known[name].role != "cost"}  # none is paid here
    seeds = list(config.run.seeds)
    return Evaluation(config.experiment, found.step, policies, seeds, metrics, found.failed, known)


def table(
    found: Evaluation, before: Mapping[str, float], episodes: int, typed: Mapping[str, Any] | None = None
) -> list[str]:
    """What was found, in lines: each metric's mean with its 95 % interval.

    Args:
        found: what was found.
        before: the means at the end of the run itself, where they are known.
        episodes: that each policy played.
        typed: the options that differ from the run's.
    """
    from prefrl_cli.run.progress import footnote, metric_lines

    of, on = (f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0]) for seeds in found[2:4])
    changed = "".join(f", {name}={show(value)}" for name, value in (typed or {}).items() if name.startswith("env."))
    first = (
        f"{found.experiment}, step {found.step}: policies of seeds {of}, {episodes} episodes each"
        f" with the random numbers of seeds {on}{changed}"
    )
    if found.failed:
        first += f"; {len(found.failed)} failed in training, and count as failures"
    lines = textwrap.wrap(first, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    lines.append(f"  {'':<22}{'in the run':>12}{'here':>12}  95 % interval of the mean")
    means = {name: {"mean": value} for name, value in before.items()}
    lines += metric_lines(means, _statistics(found), ("in the run", "here"), len(found.policies))
    return lines + footnote(len(found.policies) - len(found.failed))


def _statistics(found: Evaluation) -> dict[str, Any]:
    import numpy as np

    from prefrl_cli.run.runner import records

    return records(found.metrics, found.declared, np.isin(found.policies, found.failed))


def _in_the_run(folder: Path, step: int) -> dict[str, float]:
    """The means of the run's own last evaluation, where it is of this step."""
    try:
        summary = read_json(folder, "summary.json")
    except UnreadableError:
        return {}
    metrics = summary.get("metrics")
    if summary.get("steps") != step or not isinstance(metrics, dict):
        return {}
    means = {name: one.get("mean") for name, one in metrics.items() if isinstance(one, dict)}
    return {name: float(mean) for name, mean in current_names(means).items() if isinstance(mean, int | float)}


def _without_file(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """The arguments but for `--json FILE`, and the file."""
    from prefrl_cli.config.overrides import read

    given = [
        ("--json", one.value) if one.option == "--json" and one.equals else (one.text,) for one in map(read, arguments)
    ]
    texts = [text for words in given for text in words]
    if "--json" not in texts:
        return texts, None
    place = texts.index("--json")
    if place + 1 >= len(texts):
        raise ConfigError("--json: which file? type --json FILE")
    return texts[:place] + texts[place + 2 :], Path(texts[place + 1])


if __name__ == "__main__":
    sys.exit(main())
