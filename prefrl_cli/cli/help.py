"""`prefrl-train --help`, read from the files of `conf/` as text: Hydra alone would take ten times as long to import."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from prefrl_cli.cli.hydra_options import OBEYED
from prefrl_cli.config.choices import GROUPS, choices, conf_folder

_WIDTH = 80
_EXAMPLES = """\
examples:
  one seed, to the end:
    prefrl-train experiment=oprl_maze
  other parts and options, seeds 0 to 15 at once:
    prefrl-train experiment=oprl_maze shaping=none env.size=12 num_seeds=16
  a sweep, a run for each combination:
    prefrl-train -m experiment=oprl_maze shaping=none,potential env.size=8,12
  your own my_conf/experiment/mine.yaml:
    prefrl-train --config-dir my_conf experiment=mine
  go on with a run that was stopped or killed, by its folder or the newest:
    prefrl-train resume=outputs/oprl_maze/2026-01-31_12-00-00
    prefrl-train resume=latest experiment=oprl_maze
  begin a run of its own where another one stands:
    prefrl-train resume=RUN_DIR output_dir=NEW optimizer.lr=1e-4
  every option with its value, without running:
    prefrl-train experiment=oprl_maze --cfg job
  where an error comes from:
    PREFRL_TRACEBACK=1 prefrl-train experiment=oprl_maze

flags, in any order: -m, --config-dir DIR, --cfg job|hydra|all with --package
and --resolve, --info, --hydra-help, --version, -sc

shell completion (bash; for zsh and fish see --hydra-help):
  eval "$(prefrl-train -sc install=bash)"
"""


def help_text() -> str:
    """What the command is, its experiments, groups and options, and examples."""
    groups = [_hanging(group, ", ".join(choices(group))) for group in GROUPS]
    return "\n".join(
        [
            "prefrl-train: learn rewards and policies from preferences, many seeds at once.",
            "",
            "usage: prefrl-train experiment=NAME [OPTION=VALUE ...] [GROUP=CHOICE ...]",
            "",
            experiment_list(),
            "",
            "groups, each with options such as env.size=12 (see --cfg job):",
            *groups,
            "",
            "options:",
            *_root_options(),
            "",
            "Hydra's own options that count here; any other is refused:",
            *[_hanging(name, text) for name, text in OBEYED.items()],
            "",
            _EXAMPLES.rstrip(),
        ]
    )


def experiment_list() -> str:
    """The experiments, a line each."""
    folder = conf_folder() / "experiment"
    names = choices("experiment")
    width = max(map(len, names), default=0)
    lines = [_hanging(name, _description(folder / f"{name}.yaml"), width + 2) for name in names]
    return "\n".join(["experiments:", *lines])


def _description(path: Path) -> str:
    """The first line of a YAML's heading that is neither Hydra's nor the command."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").strip()
        if text and not text.startswith(("@", "prefrl-train")):
            return text
    return ""


def _root_options() -> list[str]:
    """`name=default` and the meaning, from the lines of `conf/config.yaml` that end in a comment."""
    lines = []
    parent = ""
    for line in (conf_folder() / "config.yaml").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"(\w+):", line):
            parent = f"{match[1]}."
        elif match := re.fullmatch(r"( *)(\w+): (\S+)  # (.*)", line):
            name = f"{parent if match[1] else ''}{match[2]}={match[3]}"
            lines.append(_hanging(name, match[4]))
    return lines


def _hanging(name: str, text: str, column: int = 22) -> str:
    first = f"  {name:<{column - 2}}  "
    return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(f"  {'':<{column - 2}}  "))
