"""Resume runs with one option changed, every option of every experiment, and see that none is spoilt.

`python benchmarks/resume_changes.py` tries them all; `--experiment oprl_maze` one experiment. For each, a short run is
killed in the middle. A copy of it is then resumed with one option changed: a number halved, doubled, set to null; a
truth value turned; another word, another choice of a group; null given a value. Each resume is a forked child of this
process. Either the run goes on to its end, or it is refused: one line, exit code 2, and every byte of every file of
the run is what it was. Anything else is a fault: a traceback, a failed run, a refused run that was written to. The exit
code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import shutil
import sys
import tempfile
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from kill_and_resume import config_of

from prefrl_cli.cli.train import main as prefrl_train
from prefrl_cli.config.choices import GROUPS, choices
from prefrl_cli.config.group import Group
from prefrl_cli.config.options import Checkpoints, Evaluations, Option, Run, signature
from prefrl_cli.core.option_types import Limits, show
from prefrl_cli.run import runner
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.lifecycle import run_or_resume

# Everything happens before the kill that happens in a long run: questions, fits, checkpoints, evaluations.
STEPS, KILLED = 10, 7
SHORT = [f"steps={STEPS}", "checkpoint.every=2", "evaluation.every=3"]
EARLY = {
    "tutorial/oprl_maze": [
        "queries.start=2", "reward_update.start=3", "reward_update.min_questions=1", "algorithm.policy_start=2",
        "algorithm.greedy_episode_every=3",
    ],
}  # fmt: skip
REFUSED = 2


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


def begun(experiment: str, folder: Path, *options: str) -> dict[str, Any]:
    """Make a run that was killed in the middle; its options."""
    config, overrides = config_of(experiment, *SHORT, *EARLY.get(experiment, []), *options)

    def due(step: int, every: int) -> bool:
        if step == KILLED:
            raise Killed
        return every > 0 and step % every == 0

    original, runner.due = runner.due, due
    try:
        run_or_resume(config, overrides, folder)
    except Killed:
        return config
    finally:
        runner.due = original
    raise RuntimeError(f"{experiment}: was not killed")


def changes(config: Mapping[str, Any]) -> Iterator[str]:
    """What is typed to change one option, `NAME=VALUE`, each option in every way."""
    for name, option in signature(Run).items():
        if name in config and name != "experiment":
            yield from _typed(name, option, config[name])
    for group, kind in (("checkpoint", Checkpoints), ("evaluation", Evaluations)):
        for name, option in signature(kind).items():
            yield from _typed(f"{group}.{name}", option, config[group][name])
    for group in GROUPS:
        if not config.get(group):
            continue
        for name, option in Group(group, config[group], ()).allowed.items():
            if option.is_value:
                yield from _typed(f"{group}.{name}", option, config[group].get(name, option.default))
        yield from (f"{group}={choice}" for choice in choices(group))


def _typed(name: str, option: Option, value: Any) -> Iterator[str]:
    for other in others(option.annotation, value):
        yield f"{name}={show(other)}"


def others(annotation: Any, value: Any) -> list[Any]:
    """Other values of an option that its annotation allows, or nearly."""
    found: list[Any] = []
    for part in typing.get_args(annotation) if _is_union(annotation) else (annotation,):
        base, limits = part, None
        if typing.get_origin(part) is Annotated:
            base, *extras = typing.get_args(part)
            limits = next((one for one in extras if isinstance(one, Limits)), None)
        if typing.get_origin(base) is Literal:
            found += typing.get_args(base)
        elif base is bool:
            found += [True, False]
        elif base is types.NoneType:
            found.append(None)
        elif base in (int, float):
            number = value if type(value) in (int, float) else None
            tried = [base(number / 2), number * 2] if number else [base(1), base(2)]
            found += [one for one in tried if limits is None or one in limits]
        elif base is str:
            found.append("other")
        elif isinstance(value, list | tuple):
            found += [list(value)[:-1], [*value, *value]]
    return [one for one in found if one != value or type(one) is not type(value)]


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run, by its name."""
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in files}


def resumed(folder: Path, typed: str) -> tuple[str, str]:
    """Resume with one option changed, in this process: `goes on`, `refused` or the fault, and what was said."""
    before = content(folder)
    said, raised = io.StringIO(), ""
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = prefrl_train([f"resume={folder}", typed])
        except Exception as problem:
            code, raised = 70, f"{type(problem).__name__}: {problem}"
    text = said.getvalue().strip() + raised
    if raised or "Traceback" in text or "Traceback" in (folder / "train.log").read_text(encoding="utf-8"):
        return "traceback", text
    if code == 0:
        return _ended(folder, typed, before), text
    if code != REFUSED:
        return f"exit code {code}", text
    if content(folder) != before:
        changed = [name for name, data in {**content(folder), **before}.items() if content(folder).get(name) != data]
        return f"refused, but {', '.join(changed) or 'files'} changed", text
    return ("refused" if text.count("\n") == 0 and text else "refused in several lines"), text


def _ended(folder: Path, typed: str, before: dict[str, bytes]) -> str:
    """What became of a run that went on; with another `output_dir` it is a new one, and the old one stays as it is."""
    option, _, new = typed.partition("=")
    if option == "output_dir":
        if content(folder) != before:
            return "went on elsewhere, but files changed"
        folder = Path(new)
    status = read_status(folder)
    if option == "output_dir":
        shutil.rmtree(folder)
    if status.get("status") != "finished":
        return "not finished"
    return "not drawn" if status.get("charts") is False else "goes on"


def no_pictures(algorithm: Any, log: Any, directory: Any) -> None:
    """Compute the charts and draw none: a second each."""
    algorithm.figures(log.history(), np.array(log.living))


def in_child(folder: Path, typed: str, place: Path) -> tuple[str, str]:
    """`resumed` on a copy, in a forked child."""
    shutil.copytree(folder, place / "run")
    answer = place / "answer"
    child = os.fork()
    if not child:
        try:
            outcome, text = resumed(place / "run", typed)
            answer.write_text(f"{outcome}\n{text}", encoding="utf-8")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    outcome, _, text = (answer.read_text(encoding="utf-8") if answer.exists() else "killed\n").partition("\n")
    shutil.rmtree(place / "run")
    answer.unlink(missing_ok=True)
    return outcome, text


def main() -> int:
    """Try every change; prints the faults and how many there were of each outcome."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--experiment", choices=choices("experiment"), help="only this one")
    parser.add_argument("--only", default="", help="only changes that begin so, such as env.")
    parser.add_argument("--show", action="store_true", help="print what every refusal says")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    given = parser.parse_args()
    if given.quick:
        given.experiment, given.only = "addition_linear", "checkpoint."
    runner.draw = no_pictures
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        for experiment in [given.experiment] if given.experiment else choices("experiment"):
            folder = Path(experiment.replace("/", "_"))
            config = begun(experiment, folder)
            place = Path("copy")
            place.mkdir(exist_ok=True)
            for typed in changes(config):
                if not typed.startswith(given.only):
                    continue
                outcome, text = in_child(folder, typed, place)
                counts[outcome] += 1
                if outcome not in ("goes on", "refused") or (given.show and outcome == "refused"):
                    print(f"{experiment} {typed}: {outcome}: {text[-200:]}", flush=True)
    print(f"{counts.total()} resumes with one changed option: {dict(counts.most_common())}")
    return int(bool(set(counts) - {"goes on", "refused"}))


if __name__ == "__main__":
    sys.exit(main())
