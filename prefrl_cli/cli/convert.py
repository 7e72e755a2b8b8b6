"""`prefrl-convert IN OUT`: preferences of others, and episodes, as files of ours; ours as others read them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from prefrl_cli.cli.command import run_command, told
from prefrl_cli.config import overrides as typed_text
from prefrl_cli.config.options import MISSING, Option, check_value, unknown
from prefrl_cli.core.option_types import ConfigError, Items, Limits, Seed, show
from prefrl_cli.files.read import UnreadableError, read
from prefrl_cli.files.write import write_whole

if TYPE_CHECKING:
    from prefrl_cli.files.preferences.data import PreferenceData

USAGE = """\
prefrl-convert: preferences that other programs publish, as a file that
experiment=reward_from_file learns from. Nothing in a file is run.

usage: prefrl-convert IN OUT [OPTION=VALUE ...]

IN is one of
  NAME.npz, NAME.jsonl  of ours; NAME.npz of Contrastive Preference Learning too
  NAME.pkl              a PreferenceDataset of imitation
  FOLDER data=FILE      labels of Preference Transformer or Uni-RLHF, and the
                        steps that they number: D4RL's NAME.hdf5, or an .npz
                        with observations, actions, rewards and timeouts
  NAME.hdf5             episodes of Minari, of which questions are drawn
OUT is NAME.npz or NAME.jsonl, and must not be there yet. Exit code 0, or 2 for
a wrong argument.

options:
  label=KEY         the array that holds the labels of an .npz; label
  data=FILE         see above
  segment=N         steps of a segment; 25 of episodes, else as the names say
  questions=N       drawn of episodes; 200
  seed=N            of the random numbers for that; 0
  answer=return     the larger true return is preferred in what is drawn of
                    episodes; none leaves the questions open
  to=trl            write prompt, chosen and rejected in lines of JSON for TRL
  --version         say which version of prefrl this is

PREFRL_TRACEBACK=1 prefrl-convert ... shows where an error comes from.
"""
_OPTIONS: dict[str, Any] = {
    "label": str,
    "data": str,
    "segment": Annotated[int, Limits(1, 100_000)],
    "questions": Items,
    "seed": Seed,
    "answer": Literal["none", "return"],
    "to": Literal["trl"],
}
_OF_KIND = {
    "folder": {"data", "segment"},
    "episodes": {"questions", "segment", "seed", "answer"},
    ".npz": {"label"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0, 2 for a wrong argument, 130 on Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command("prefrl-convert", lambda: _answer(arguments))


def _answer(arguments: Sequence[str]) -> int:
    if told(arguments, USAGE):
        return 0

    options = {}
    for name, value in typed_text.overrides([text for text in arguments if _is_option(text)]).items():
        if name not in _OPTIONS:
            raise unknown(name, name, _OPTIONS, "option")
        options[name] = check_value(name, Option(_OPTIONS[name], MISSING, True), value)
    paths = [Path(text) for text in arguments if not _is_option(text)]
    if len(paths) != 2 or any(str(path).startswith("-") for path in paths):
        raise ConfigError("which files? type prefrl-convert IN OUT, or --help")
    source, target = paths
    from prefrl_cli.files.preferences.formats import check_ending

    check_ending("OUT", str(target))
    if os.path.lexists(target):
        raise ConfigError(f"{show(str(target))}: is there already; type another name")
    try:
        data = converted(source, options)
    except UnreadableError as problem:
        raise ConfigError(f"{show(str(source))}: {problem}") from None
    print(written(target, data, trl=options.get("to") == "trl"))
    return 0


def _is_option(text: str) -> bool:
    one = typed_text.read(text)
    return one.equals and one.option.isidentifier()


def converted(source: Path, options: Mapping[str, Any]) -> PreferenceData:
    """What a file or folder holds, as our own data.

    Args:
        source: the file or folder.
        options: as they are typed, checked.

    Raises:
        ConfigError: for an option that has no meaning for it, or one that is missing.
        UnreadableError: where it cannot be read, or is of no kind that is known.
    """
    from prefrl_cli.files.preferences import episodes, formats, others

    kind = "folder" if source.is_dir() else "episodes" if source.suffix in episodes.HDF5 else source.suffix
    for name in options:
        if name not in _OF_KIND.get(kind, set()) | {"to"}:
            raise ConfigError(f"{name}={show(options[name])}: has no meaning for {show(str(source))}; leave it out")
    if kind == "folder":
        if "data" not in options:
            raise ConfigError(f"{show(str(source))}: numbers steps of another file; type data=FILE as well")
        return others.from_indices(source, episodes.read_steps(Path(options["data"])), options.get("segment"))
    if kind == "episodes":
        return _drawn(source, options)
    if kind in (".pkl", ".pickle"):
        return others.from_imitation(source.name, read(source.parent, source.name, others.MOST_PICKLED))
    if kind == ".npz":
        arrays = formats.read_npz(source.name, read(source.parent, source.name, formats.MOST))
        if "about" not in arrays:
            return others.from_cpl(source.name, arrays, options.get("label", "label"))
    if kind not in (".npz", ".jsonl"):
        if not source.exists():
            raise UnreadableError("there is no such file or folder")
        raise UnreadableError("is no .npz, .jsonl, .pkl, .hdf5 or folder; see prefrl-convert --help")
    return formats.load(source)


def _drawn(source: Path, options: Mapping[str, Any]) -> PreferenceData:
    """Questions about segments of recorded episodes."""
    import numpy as np

    from prefrl_cli.files.preferences import episodes, others

    questions, seed = options.get("questions", 200), options.get("seed", 0)
    found = episodes.draw_segments(episodes.read_episodes(source), questions, options.get("segment", 25), seed)
    returns = np.array([segment["rewards"].sum() for segment in found]).reshape(-1, 2)
    label = np.full(questions, np.nan)
    if options.get("answer") == "return":
        label = np.where(returns[:, 0] == returns[:, 1], 0.5, returns[:, 0] > returns[:, 1])
    return others.with_answers(source.name, found, label, "return", "Minari")


def written(target: Path, data: PreferenceData, *, trl: bool = False) -> str:
    """Write a file; a line that says what is in it.

    Raises:
        ConfigError: when it cannot be written, or nothing could be learned from it.
    """
    from prefrl_cli.files.preferences import formats, others

    equal = int((data.counts & (data.label == 0.5)).sum())
    said = f"{len(data)} questions, {int(data.counts.sum())} answered"
    try:
        if trl:
            lines = [json.dumps(one) for one in others.trl_lines(data)]
            if not lines:
                raise ConfigError(
                    f"{show(str(target))}: no answer prefers one of the two, and TRL learns from no other"
                )
            write_whole(target, "".join(f"{line}\n" for line in lines))
            return f"{target}: {len(lines)} lines of {said}; {equal} ties are left out"
        formats.save(target, data)
    except OSError as problem:
        raise ConfigError(f"{show(str(target))}: cannot be written ({problem.strerror or problem})") from None
    first = float(data.label[data.counts].mean()) if data.counts.any() else 0.0
    return (
        f"{target}: {said} ({equal} equal, the first preferred in {first:.0%} on average),"
        f" segments of {data.lengths.min()} to {data.lengths.max()} steps"
    )


if __name__ == "__main__":
    sys.exit(main())
