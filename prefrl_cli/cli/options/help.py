"""`prefrl-train --help`, read from `conf/` and from sources as text: importing Hydra takes ten times as long."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from prefrl_cli.cli.options.hydra_options import OBEYED
from prefrl_cli.config.choices import GROUPS, choice_error, choices, conf_folder, content
from prefrl_cli.config.messages import meant
from prefrl_cli.config.overrides import Typed, read

_LONGEST_PATH = 60  # letters; of a longer one the end is shown
_WIDTH = 80
_GROUPS = (*GROUPS, "logger")
_MORE = """\
more:
  prefrl-train experiment --help      what each experiment is
  prefrl-train teacher=noisy --help   the options of a part, or teacher --help:
                                      its choices, experiment=NAME --help: it
  prefrl-train --help all             every group, option, flag and example
  prefrl-train experiment=oprl_maze num_seeds=16 --check   what would run"""
_EXAMPLES = """\
examples:
  one seed, to the end:
    prefrl-train experiment=oprl_maze
  other parts and options, seeds 0 to 15 at once:
    prefrl-train experiment=oprl_maze shaping=none env.size=12 num_seeds=16
  what would run, how much memory and about how long:
    prefrl-train experiment=oprl_maze num_seeds=16 --check
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

flags, in any order: -m, --check, --config-dir DIR, --cfg job|hydra|all with
--package and --resolve, --info, --hydra-help, --version, -sc

shell completion (bash; for zsh and fish see --hydra-help):
  eval "$(prefrl-train -sc install=bash)"
"""


def help_text(typed: Typed) -> str:
    """What a person asks for: the command on one screen, all of it, or a part, a group or an experiment.

    Args:
        typed: with `--help` beside it; `all`, a choice such as `teacher=noisy`, a group, or `--config-dir`.
    """
    own = None if typed.flags.config_dir is None else Path(typed.flags.config_dir)
    asked = [read(text) for text in typed.overrides]
    if any(one.text == "all" for one in asked):
        return _everything(own)
    parts = []
    for one in asked:
        group = one.option.partition(".")[0]
        if group in ("experiment", *_GROUPS):
            parts.append(_choice(group, one.value, own) if one.equals and group == one.option else _group(group, own))
    return "\n\n".join(parts) if parts else _short(own)


def _short(own: Path | None) -> str:
    """The command on one screen of 24 lines, experiments of one's own added."""
    return "\n".join(
        [
            "prefrl-train: learn rewards and policies from preferences, many seeds at once.",
            "usage: prefrl-train experiment=NAME [OPTION=VALUE ...] [GROUP=CHOICE ...]",
            "",
            *_experiments(own),
            _wrapped("groups: ", ", ".join(_GROUPS)),
            _wrapped("options: ", ", ".join(name for name, _, _ in _root_options())),
            "",
            _MORE,
        ]
    )


def _experiments(own: Path | None) -> Iterator[str]:
    """The experiments, those of one's own with what they are."""
    if own is not None and (own / "experiment").is_dir():
        yield "your experiments:\n" + "\n".join(_listed(own / "experiment", 1))
    yield _wrapped("experiments: ", ", ".join(choices("experiment")))


def _everything(own: Path | None) -> str:
    return "\n".join(
        [
            "prefrl-train: learn rewards and policies from preferences, many seeds at once.",
            "",
            "usage: prefrl-train experiment=NAME [OPTION=VALUE ...] [GROUP=CHOICE ...]",
            "",
            experiment_list(own),
            "",
            "groups, each with options such as env.size=12 (see env --help, --cfg job):",
            *[_hanging(group, ", ".join(choices(group))) for group in _GROUPS],
            "",
            "options:",
            *[_hanging(f"{name}={value}", text) for name, value, text in _root_options()],
            "",
            "Hydra's own options that count here; any other is refused:",
            *[_hanging(name, text) for name, text in OBEYED.items()],
            "",
            _EXAMPLES.rstrip(),
        ]
    )


def experiment_list(own: Path | None = None, lines: int = 9) -> str:
    """The experiments, those of one's own first.

    Args:
        own: the folder of `--config-dir`.
        lines: that each takes at most.
    """
    texts = []
    for folder in (own, conf_folder()):
        if folder is not None and (folder / "experiment").is_dir():
            found = _listed(folder / "experiment", lines)
            place = str(folder) if len(str(folder)) <= _LONGEST_PATH else f"...{str(folder)[3 - _LONGEST_PATH :]}"
            texts.append(f"experiments{f' of {place}' if folder == own else ''}:\n" + "\n".join(found))
    return "\n\n".join(texts)


def _listed(folder: Path, lines: int = 9) -> list[str]:
    """The choices of a group, each with what it is."""
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    width = max(map(len, names), default=0)
    found = []
    for name in names:
        text = _hanging(name, _description(_text(folder / f"{name}.yaml")), width + 2)
        kept = text.splitlines()[:lines]
        found += kept if len(kept) == len(text.splitlines()) else [f"{kept[-1][: _WIDTH - 4]} ..."]
    return found


def _group(group: str, own: Path | None) -> str:
    """The choices of a group."""
    folders = [folder / group for folder in (own, conf_folder()) if folder is not None and (folder / group).is_dir()]
    rows = [line for folder in folders for line in _listed(folder)]
    return "\n".join([f"{group}, one of:", *rows, f"options of one: prefrl-train {group}=NAME --help"])


def _choice(group: str, typed: str, own: Path | None) -> str:
    """What a choice is, and each of its options: name, default, what is allowed, and what it means.

    Raises:
        ConfigError: for a choice that does not exist, and a path where the name of one is wanted.
    """
    name = meant(group, typed, own) if typed else ""
    paths = [folder / group / f"{name}.yaml" for folder in (own, conf_folder()) if folder is not None]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        if not typed:
            return _group(group, own)
        mine = {one.stem for one in (own / group).glob("*.yaml")} if own is not None else set()
        raise choice_error(group, typed, sorted({*choices(group), *mine}))
    text = _text(path)
    from prefrl_cli.files.source import class_options  # takes as long to import as all the rest of --help

    lines = [_wrapped(f"{group}={name}: ", _description(text))]
    if group == "experiment":
        return "\n".join(
            [*lines, "", *_setting(text), "", f"all its options: prefrl-train experiment={name} --cfg job"]
        )
    target = re.search(r"^_target_: ([\w.]+)$", text, re.MULTILINE)
    about, known = class_options(target[1]) if target else ("", {})
    if about:
        lines.append(textwrap.fill(about, _WIDTH, initial_indent="  ", subsequent_indent="  "))
    given = {match[1]: (match[2], match[3] or "") for match in _values(text)}
    prefix = f"logger.{name}" if group == "logger" else group
    lines += ["", "options:"]
    for option in [*given, *(option for option in known if option not in given)]:
        allowed, default, meaning = known.get(option, ("", "", ""))
        value, comment = given.get(option, (default, ""))
        if option in given or allowed:
            lines += _option(f"{prefix}.{option}={value}", allowed, comment or meaning)
    return "\n".join(lines)


def _option(typed: str, allowed: str, meaning: str) -> list[str]:
    told = "; ".join(text for text in (allowed, meaning.rstrip(".")) if text) or "see its own documentation"
    column = 28
    if len(typed) > column - 4:
        return [f"  {typed}", textwrap.fill(told, _WIDTH, initial_indent=" " * column, subsequent_indent=" " * column)]
    return [_hanging(typed, told, column)]


def _setting(text: str) -> list[str]:
    """What an experiment chooses and sets, as it stands in its file."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [textwrap.fill(f"  {line}", _WIDTH, subsequent_indent=" " * 8) for line in lines]


def _values(text: str) -> Iterator[re.Match[str]]:
    """The options of a YAML of ours: each name, value and comment."""
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+): (\S.*?)(?:\s+# (.*))?", line)
        if match and match[1] != "_target_":
            yield match


def _text(path: Path) -> str:
    """A file's text; one of a person's own may hold anything."""
    if path.is_relative_to(conf_folder()):
        return content(path)
    from prefrl_cli.files.texts import read_text

    return read_text(path)


def _description(text: str) -> str:
    """The first line of a YAML's heading that is neither Hydra's nor the command."""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        told = line.lstrip("# ").strip()
        if told and not told.startswith(("@", "prefrl-train")):
            return told
    return ""


def _root_options() -> list[tuple[str, str, str]]:
    """Name, default and meaning, from the lines of `conf/config.yaml` that end in a comment."""
    found = []
    parent = ""
    for line in content(conf_folder() / "config.yaml").splitlines():
        if match := re.fullmatch(r"(\w+):", line):
            parent = f"{match[1]}."
        elif match := re.fullmatch(r"( *)(\w+): (\S+)  # (.*)", line):
            found.append((f"{parent if match[1] else ''}{match[2]}", match[3], match[4]))
    return found


def _hanging(name: str, text: str, column: int = 22) -> str:
    first = f"  {name:<{column - 2}}  "
    return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(f"  {'':<{column - 2}}  "))


def _wrapped(name: str, text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=name, subsequent_indent="  ")
