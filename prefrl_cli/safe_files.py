"""Files of a run that someone else may have made: nothing outside the run is read and nothing in it is executed."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_MOST_TEXT = 1 << 18  # bytes of a YAML file; ours have some 2,000
_MOST_JSON = 1 << 26
_MOST_METRICS = 1 << 31
_DEEPEST = 40  # levels of a YAML file
_MOST_ALIASES = 8  # ours have none; each may double what is read
_MOST_OPTIONS = 5000


class UnreadableError(Exception):
    """A run's file that cannot be used; the message is one line that names it."""


def not_plain(*folders: Path) -> str | None:
    """What is wrong with the first thing right in the folders that is neither a file nor a folder: a line, or none.

    Writing through a link would leave the run, and a pipe would be waited for.

    Args:
        *folders: the first as a person named it, then those inside, no links themselves; they need not be there.
    """
    inside = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    for path in (*folders[1:], *inside):
        if path.is_symlink():
            return f"{path}: is a link, which would be written through; put what it leads to there"
        if path.exists() and not (path.is_file() or path.is_dir()):
            return f"{path}: is neither a file nor a folder; take it out"
    return None


def read(folder: Path, name: str, most: int = _MOST_METRICS) -> bytes:
    """A plain file right in the folder.

    Raises:
        UnreadableError: when it is missing, a link, a device or a pipe, or larger than `most` bytes.
    """
    try:
        # Opening a pipe would wait for ever, and following a link would leave the run.
        handle = os.open(folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise UnreadableError(f"{name} is missing") from None
    except OSError as problem:
        link = (folder / name).is_symlink()
        raise UnreadableError(f"{name} is a link" if link else f"{name}: {problem.strerror}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError(f"{name} is not a plain file")
        if found.st_size > most:
            raise UnreadableError(f"{name} has {found.st_size:,} bytes; {most:,} at most are read")
        with open(handle, "rb", closefd=False) as file:
            return file.read(found.st_size)  # what a running process appends meanwhile is left
    except OSError as problem:
        raise UnreadableError(f"{name}: {problem.strerror}") from None
    finally:
        os.close(handle)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        UnreadableError: when it is none.
    """
    try:
        content = json.loads(read(folder, name, _MOST_JSON).decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise UnreadableError(f"{name} is not JSON ({short(problem)})") from None
    if not isinstance(content, dict):
        raise UnreadableError(f"{name} holds no object")
    return content


def read_yaml(folder: Path, name: str) -> Any:
    """A YAML file, safe-loaded.

    Raises:
        UnreadableError: when it is not YAML, asks for Python objects, or is nested deeper, or repeats itself more
            often, than any of ours.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster
    try:
        text = read(folder, name, _MOST_TEXT).decode("utf-8")
        depth = aliases = 0
        for event in yaml.parse(text, loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:  # the C loader would overflow its stack
                raise UnreadableError(f"{name} is nested deeper than {_DEEPEST} levels")
            aliases += isinstance(event, yaml.AliasEvent)
            if aliases > _MOST_ALIASES:
                raise UnreadableError(f"{name} has more than {_MOST_ALIASES} aliases")
        return yaml.load(text, loader)
    except UnreadableError:
        raise
    except Exception as problem:  # a YAML tag's constructor may raise anything, such as OverflowError for a date
        raise UnreadableError(f"{name} is not YAML that can be loaded safely ({short(problem)})") from None


def flat(options: Any, name: str) -> dict[str, Any]:
    """Options by their dotted names; lists as text.

    Raises:
        UnreadableError: when it is no mapping, or larger (aliases may multiply) than any of ours.
    """
    if not isinstance(options, dict):
        raise UnreadableError(f"{name} holds no options")
    found: dict[str, Any] = {}
    left = [("", options, 0)]
    while left:
        prefix, node, depth = left.pop()
        if depth > _DEEPEST or len(found) + len(left) > _MOST_OPTIONS:
            raise UnreadableError(f"{name} has more than {_MOST_OPTIONS} options")
        for key, value in node.items():
            path = f"{prefix}{str(key)[:200]}"
            if isinstance(value, dict):
                left.append((f"{path}.", value, depth + 1))
            elif isinstance(value, list | tuple | set):
                found[path] = f"[{', '.join(_word(item) for item in list(value)[:50])}]"
            else:
                found[path] = value if isinstance(value, bool | int | float | None) else _word(value)
    return found


def changed_on_the_way(environment: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """What differed each time a run was resumed, by its `environment.json`: the step as it stands there, and a line."""
    resumed = environment.get("resumed")
    for one in resumed if isinstance(resumed, list) else []:
        lines = one.get("differences") if isinstance(one, dict) else None
        for line in lines if isinstance(lines, list) else []:
            yield one.get("step"), str(line)[:200]


def _word(value: Any) -> str:
    # repr of nested aliases could be endless: only what a line can show
    return "..." if isinstance(value, dict | list | tuple | set) else str(value)[:200]


def short(problem: BaseException) -> str:
    """What an error says, in a part of a line."""
    return (" ".join(str(problem).split()) or type(problem).__name__)[:160]
