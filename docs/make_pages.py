"""Writes what pages repeat from the code: `python docs/make_pages.py`; tests/test_pages.py says whether it is current.

docs/options.md is made whole, from `conf/` and the signatures that it names; docs/design.md gets the rooms of the
package, docs/results.md the commands of the studies' rows, each between its markers.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from prefrl_cli.config.choices import GROUPS, choices, conf_folder, target
from prefrl_cli.config.group import is_part
from prefrl_cli.config.options import MISSING, describe, signature
from prefrl_cli.core.option_types import show
from prefrl_cli.files.texts import markdown_code
from prefrl_cli.report.study.file import load

DOCS = Path(__file__).parent
BEGIN = """\
# Options

Made from the code by `python docs/make_pages.py`; a test compares them. A group is chosen by `GROUP=CHOICE`, its
options are typed as `GROUP.OPTION=VALUE`. `prefrl-train experiment=oprl_maze --cfg job` prints every value that a run
would have.
"""


def pages() -> dict[str, str]:
    """Each page that repeats something from the code, as it has to be."""
    return {"options.md": options(), "design.md": design(), "results.md": results()}


def design() -> str:
    """The page with a line for each room of the package: what its `__init__.py` says."""
    package = Path(DOCS.parent, "prefrl_cli")
    rooms = sorted(path.parent for path in package.glob("*/__init__.py"))
    lines = [f"{path.name + '/':<15} {_says(path / '__init__.py')}" for path in rooms]
    text = "\n".join(["```text", "prefrl_cli/", *(f"  {line}" for line in lines), "```"])
    return _between(_page("design.md"), "rooms", lambda _: text)


def _says(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def results() -> str:
    """The page with the commands of today's studies; tables and charts are what they were."""
    page = _page("results.md")
    for name in choices("study"):
        rows = [f"# {markdown_code(row.name)}\n{markdown_code(row.command)}" for row in load(name).rows]
        block = "\n".join(["```text", *rows, "```"])
        page = _between(
            page,
            f"study {name}",
            lambda text, block=block: re.sub(r"```text\n.*?```", lambda _: block, text, flags=re.S),
        )
    return page


def _between(page: str, name: str, change: Callable[[str], str]) -> str:
    """The page with what stands between the markers of a name changed."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
    if begin not in page or end not in page:
        raise SystemExit(f"a page needs the lines {begin.strip()} and {end.strip()}, with one between them")
    before, _, rest = page.partition(begin)
    inside, _, after = rest.partition(end)
    return f"{before}{begin}{change(inside)}{end}{after}"


def _page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def options() -> str:
    """Every experiment, group, choice and option."""
    parts = [BEGIN, _experiments(), _root()]
    parts += [_group(group) for group in (*GROUPS, "logger") if choices(group)]
    return "\n".join(parts)


def _experiments() -> str:
    lines = ["## Experiments", "", "| experiment | what it is |", "| --- | --- |"]
    lines += [f"| `experiment={name}` | {_description('experiment', name)} |" for name in choices("experiment")]
    return "\n".join([*lines, ""])


def _root() -> str:
    """The root options, from the comments of `conf/config.yaml`."""
    lines = ["## Of every run", "", "| option | default | meaning |", "| --- | --- | --- |"]
    parent = ""
    for line in _text("", "config").splitlines():
        if found := re.fullmatch(r"(\w+):", line):
            parent = f"{found[1]}."
        elif found := re.fullmatch(r"( *)(\w+): (\S+)  # (.*)", line):
            lines.append(f"| `{parent if found[1] else ''}{found[2]}` | `{found[3]}` | {_cell(found[4])} |")
    return "\n".join([*lines, ""])


def _group(group: str) -> str:
    """A group's choices, and one table of their options; an option that several choices have is one row."""
    names = choices(group)
    lines = [f"## {group}", "", *(f"- `{group}={name}`: {_description(group, name)}" for name in names), ""]
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for name in names:
        for key, (allowed, meaning, default) in _options(group, name).items():
            where = f"logger.{name}" if group == "logger" else group
            found.setdefault((f"{where}.{key}", allowed, meaning), {})[name] = default
    if not found:
        return "\n".join(lines)
    lines += ["| option | of | default | may be | meaning |", "| --- | --- | --- | --- | --- |"]
    for (option, allowed, meaning), defaults in found.items():
        others = [name for name in names if name not in defaults]
        of = f"all but {', '.join(others)}" if 0 < len(others) < len(defaults) else ", ".join(defaults)
        of = of if others else "all"
        values = list(defaults.values())
        usual = max(values, key=values.count)
        unlike = {value: [name for name in defaults if defaults[name] == value] for value in values if value != usual}
        cells = [f"`{usual}`", *(f"`{value}` ({', '.join(those)})" for value, those in unlike.items())]
        lines.append(f"| `{option}` | {of} | {', '.join(cells)} | {_cell(allowed)} | {_cell(meaning)} |")
    return "\n".join([*lines, ""])


def _options(group: str, choice: str) -> dict[str, tuple[str, str, str]]:
    """What each option of a choice may be, what it means, and its default."""
    module, _, name = target(group, choice).rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    values = yaml.safe_load(_text(group, choice))
    # A file with comments speaks for the others of its class too.
    same = [one for one in choices(group) if target(group, one) == target(group, choice)]
    said = {**_arguments(cls), **{key: text for one in reversed(same) for key, text in _comments(group, one).items()}}
    found = {}
    for key, option in signature(cls).items():
        # A parameter without a default that the file gives no value is a part, handed in by the build.
        if option.is_value and not is_part(option) and (option.default is not MISSING or key in values):
            found[key] = describe(option.annotation), said.get(key, ""), show(values.get(key, option.default))
    return found


def _arguments(cls: Any) -> dict[str, str]:
    """What the docstrings of a class and its bases say of the constructor's arguments."""
    found: dict[str, str] = {}
    for level in cls.__mro__:
        text = inspect.cleandoc(level.__doc__ or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
        for entry in re.split(r"\n(?= {4}\S)", text.rstrip()):
            name, _, meaning = entry.strip().partition(": ")
            if meaning:
                found.setdefault(name, " ".join(meaning.split()).rstrip("."))
    return found


def _comments(group: str, choice: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+): .*?  # (.*)$", _text(group, choice), re.MULTILINE))


def _description(group: str, choice: str) -> str:
    """The first line of a file's heading that is neither Hydra's nor the command."""
    heading = re.match(r"(#.*\n)*", _text(group, choice))
    lines = [line.lstrip("# ").strip() for line in (heading[0] if heading else "").splitlines()]
    return _cell(next((line for line in lines if line and not line.startswith(("@", "prefrl-train"))), ""))


def _text(group: str, choice: str) -> str:
    return (conf_folder() / group / f"{choice}.yaml").read_text(encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
