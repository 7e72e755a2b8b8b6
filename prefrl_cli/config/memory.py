"""About how much memory a run will need, told from its options before anything is built or written.

Each line counts the largest tensors of one phase, in bytes of a number times numbers; `benchmarks/memory.py` holds the
sum against the peak of real runs. R seeds, S states, T steps of an episode, H units.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefrl_cli.config.group import Group
from prefrl_cli.config.options import MISSING, Option, Run, signature
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.preferences.formats import held

BASE = 350 * 2**20  # Python, torch, NumPy and matplotlib
WORKER = 80 * 2**20  # what each of several processes has of its own, beside its seeds
SHARE = 0.9  # of what is there that a run may take
_METRIC = 8 * 64  # bytes that a seed's metrics of a step take as texts
_ACTIONS = 4
_ROUTES = (  # limits of control groups, and what is used of them: version 2, version 1
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)

Options = Mapping[str, Any]


def check_memory(options: Options, allowed: Mapping[str, Option], there: float | None = None) -> None:
    """Refuse a run that needs more memory than there is.

    Args:
        options: every option of the run by its dotted name, defaults included, see `estimate`.
        allowed: the options of a person's own that may be lowered, with their defaults.
        there: bytes; none asks the machine.

    Raises:
        ConfigError: naming the option to lower.
    """
    needed, most = estimate(options), SHARE * (available() if there is None else there)
    if needed <= most:
        return
    name = largest(options, allowed)
    if name is None:
        return
    fitting = _fitting(options, name, most)
    cure = f"try {name}={fitting}" if fitting else f"lower {name}"
    raise ConfigError(
        f"{name}={options[name]}: the run needs about {in_words(needed)} of memory, and {in_words(most)} can be used"
        f" here; {cure}"
    )


def estimate(options: Options) -> float:
    """Bytes that a run takes at its peak, the program included.

    Args:
        options: every option by its dotted name, defaults included; `optimizer.slots`, numbers kept for each parameter.
            Those of experiments that are not ours count for nothing.
    """
    base: float = BASE + (options["workers"] * WORKER if options.get("workers", 1) > 1 else 0)
    base += 2.2 * options.get("file_bytes", 0)  # as it is read, and as what is learned from
    base += 60 * options.get("file_answers", 0) * options["num_seeds"]  # each seed draws its own split
    if "env.horizon" in options and "reward_update.dataset_capacity" in options:
        return base + _oprl(options)
    if "env.largest" in options and "algorithm.initial_states" in options:
        return base + _addition(options)
    return base


def largest(options: Options, allowed: Mapping[str, Option]) -> str | None:
    """The option that takes most: the one without whose excess over its default the least would be needed.

    The number of seeds is named only where no other option takes half of it all.
    """
    without = {}
    for name, option in allowed.items():
        default, value = 1 if option.default is None else option.default, options.get(name)
        if type(value) is int and type(default) is int and value > default:
            without[name] = estimate({**options, name: default})
    halving = [name for name in without if name != "num_seeds" and without[name] <= estimate(options) / 2]
    return min(halving or without, key=lambda name: without[name], default=None)


def in_words(size: float) -> str:
    """A size such as `1.5 GB`."""
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if size >= factor:
            return f"{size / factor:.{0 if size >= 100 * factor else 1}f} {unit}"
    return f"{size / 1e6:.0f} MB"


def available() -> float:
    """Bytes that this process may have in all, as the system and its control groups say; infinite where none does."""
    found = [_free_of_the_machine(), *_free_of_groups()]
    return min(found) + _used()


def _fitting(options: Options, name: str, most: float) -> int | None:
    """The largest value of two digits with which the run fits."""
    low, high = 0, options[name]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if estimate({**options, name: middle}) <= most else (low, middle)
    digits = max(0, len(str(low)) - 2)
    return low // 10**digits * 10**digits or None


def _oprl(options: Options) -> float:
    """Of OPRL: bytes of one item of each kind times how many there are, phase by phase."""

    def of(name: str) -> Any:
        return options.get(name) or 0

    seeds, states, horizon = of("num_seeds"), of("env.size") ** 2, of("env.horizon")
    members = of("reward_model.members") or (3 if of("queries.needs_members") else 1)
    width, steps, batch = of("queries.segment") or horizon, of("steps"), of("reward_update.batch")
    episodes, tests = of("algorithm.episodes"), of("algorithm.evaluation_episodes")
    asked = of("queries.questions") * (of("queries.candidates") or 1)
    # Both are made whole with the first item.
    kept, answers = of("algorithm.replay_capacity"), of("reward_update.dataset_capacity")
    state_reward = not of("reward_model.beta")  # of states, with LayerNorm; else of actions
    acts = _parameters(states, of("policy.hidden"), of("policy.layers"), _ACTIONS + 1)
    judges = members * _parameters(states, of("reward_model.hidden"), of("reward_model.layers"), _ACTIONS + 1)
    parameters = 4 * (acts + judges) * (1 + of("optimizer.slots"))
    success = 4 * steps * episodes
    recorded = max(0, steps - of("queries.start")) / (of("queries.every") or 1) * of("queries.questions")
    recorded = min(recorded, of("queries.budget") + of("queries.questions")) if of("queries.budget") else recorded
    recorded *= of("record") * (150 * width + 300)  # kept, copied for a checkpoint, and made into a file
    stored = kept * (20 * horizon + 28) + answers * (32 * width + 40)
    packed = kept * 7 * horizon + answers * 6 * width  # a checkpoint has smaller numbers, and is copied three times
    persistent = parameters + stored + 2 * success + 3 * (parameters + packed + success) + steps * _METRIC + recorded
    see = 12 * states if of("env.observation") == "one_hot" else 0
    played = "env.size" not in options  # states that have no numbers: networks see every step that was played
    act_rows = episodes * horizon if see or played else states
    judge_rows = members * (2 * max(batch, 16 * tests, asked) * width if see and state_reward else states)
    judge_rows = members * episodes * horizon if played else judge_rows
    act = act_rows * (see + 4 * of("policy.hidden") * (2 * of("policy.layers") + 2))
    judge = judge_rows * (
        see + 4 * of("reward_model.hidden") * (4 if state_reward else 2) * (of("reward_model.layers") + 1)
    )
    pairs = 2 * width * (32 + 24 * members)
    phases = {
        "build": 24 * max(acts, judges),
        "play": episodes * horizon * 95 + act,
        "improve": episodes * horizon * 240 + 12 * acts + act,
        "fit": batch * pairs + 32 * of("reward_update.updates") * answers + 12 * judges + judge,
        "ask": asked * (2 * (20 * horizon + 28) + pairs)
        + (answers * 64 * width if of("queries.centres") else 0)
        + judge,
        "evaluate": tests * horizon * (95 + 16 * (44 + 12 * members)) + 2000 * tests + judge,
        "quality": 80 * states * _ACTIONS + judge,
    }
    return float(seeds * (persistent + max(phases.values())) + 36 * horizon**2)


def _addition(options: Options) -> float:
    def of(name: str) -> Any:
        return options.get(name) or 0

    seeds, numbers = of("num_seeds"), of("env.largest") + 1
    hidden, layers = of("reward_model.hidden"), of("reward_model.layers")
    parameters = 4 * (_parameters(3, hidden, layers, 1) if hidden else 2)
    states = max(of("algorithm.initial_states"), of("algorithm.final_states"))
    row = 4 * hidden * (2 * layers + 4) + 150
    everywhere = numbers**2 * 2 * numbers
    phases = {
        "build": 6 * parameters,
        "update": of("algorithm.batch") * row + 3 * parameters,
        "evaluate": states * ((0 if of("policy.spacing") else row) + 200),
        "everywhere": 90 * everywhere,
    }
    persistent = parameters * (1 + of("optimizer.slots")) * 4 + of("steps") * _METRIC
    return float(seeds * (persistent + max(phases.values()) + 4096 * row))


def _parameters(inputs: int, hidden: int, layers: int, outputs: int) -> int:
    return inputs * hidden + max(layers - 1, 0) * (hidden + 3) * hidden + (hidden + 1) * outputs + 3 * hidden


def all_options(run: Run, groups: Mapping[str, Group]) -> dict[str, Any]:
    """Every option by its dotted name, defaults included, as `estimate` takes them."""
    workers = min(os.cpu_count() or 1, run.num_seeds) if run.workers == "auto" else run.workers
    options: dict[str, Any] = {"num_seeds": run.num_seeds, "steps": run.steps, "workers": workers}
    options["record"] = run.preferences.save is not None
    options["file_answers"], options["file_bytes"] = held(run.preferences.file)
    for group, node in groups.items():
        defaults = {name: one.default for name, one in signature(node.target).items() if one.default is not MISSING}
        options |= {f"{group}.{name}": value for name, value in {**defaults, **node.given}.items()}
        for name in ("slots", "needs_members", "centres", "candidates"):
            if hasattr(node.target, name):
                options.setdefault(f"{group}.{name}", getattr(node.target, name))
    return options


def lowered(groups: Mapping[str, Group]) -> dict[str, Option]:
    """The options that a person can lower where memory is short, by their dotted names."""
    own = {name: option for name, option in signature(Run).items() if name in ("num_seeds", "steps")}
    return own | {f"{group}.{name}": one for group, node in groups.items() for name, one in node.allowed.items()}


def _free_of_the_machine() -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    return math.inf


def _free_of_groups(proc: Path = Path("/proc/self/cgroup")) -> list[float]:
    """What each control group that this process is in leaves, up to the root."""
    found = []
    with contextlib.suppress(OSError):
        lines = [line.split(":", 2) for line in proc.read_text(encoding="utf-8").splitlines()]
        for root, limit, usage in _ROUTES:
            for _, controllers, path in (line for line in lines if len(line) == 3):
                if ("memory" in controllers.split(",")) != root.endswith("memory"):
                    continue
                place = Path(root + os.path.normpath("/" + path))
                for folder in (place, *place.parents):
                    with contextlib.suppress(OSError, ValueError):  # "max", or no such file
                        found.append(float(int((folder / limit).read_text())) - int((folder / usage).read_text()))
    return found


def _used() -> float:
    """What this process has taken already."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return float(int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    return 0.0
