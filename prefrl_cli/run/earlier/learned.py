"""What a run has learned, by a checkpoint of it; nothing is written, and nothing in its folder is run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prefrl_cli.config.options import Configuration, Run
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.checkpoints import CheckpointError, Checkpoints
from prefrl_cli.files.read import short

if TYPE_CHECKING:
    from prefrl_cli.algorithm.living import Metrics
    from prefrl_cli.core.algorithm import Algorithm

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
