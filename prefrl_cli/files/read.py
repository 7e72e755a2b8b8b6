"""Files of a run that someone else may have made: nothing outside the run is read and nothing in it is executed."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from prefrl_cli.core.option_types import show
from prefrl_cli.files.texts import shown

_MOST_TEXT = 1 << 18  # bytes of a YAML file; ours have some 2,000

_MOST_JSON = 1 << 24  # bytes; a hundred times as many in memory, at worst; ours have some 50,000

_DEEPEST = 40  # levels of a YAML file

_MOST_ALIASES = 8  # inside of what has a name itself, where each may double what is read; ours have none

_MOST_REPEATS = 200  # aliases elsewhere

_MOST_OPTIONS = 5000

_LARGEST = 1 << 64  # no number of ours is; Python writes none of more than 4,300 digits


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


def read(folder: Path, name: str, most: int) -> bytes:
    """A plain file right in the folder.

    Raises:
        UnreadableError: when it is missing, a link, a device or a pipe, or larger than `most` bytes.
    """
    with opened(folder, name, most) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)  # what a running process appends meanwhile is left
        except OSError as problem:
            raise UnreadableError(f"{name}: {problem.strerror}") from None


def tail(folder: Path, name: str, most: int) -> bytes:
    """The last `most` bytes of a plain file right in the folder, however large it is.

    Raises:
        UnreadableError: as `read`.
    """
    with opened(folder, name, sys.maxsize) as file:
        try:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            return file.read(most)
        except OSError as problem:
            raise UnreadableError(f"{name}: {problem.strerror}") from None


@contextlib.contextmanager
def opened(folder: Path, name: str, most: int) -> Iterator[BinaryIO]:
    """A plain file right in the folder, open for reading.

    Raises:
        UnreadableError: as `read`.
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
            yield file
    finally:
        os.close(handle)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        UnreadableError: when it is none.
    """
    try:
        content = json.loads(read(folder, name, _MOST_JSON).decode("utf-8"))
    except (ValueError, RecursionError) as problem:  # Python reads no number of more than 4,300 digits
        raise UnreadableError(f"{name} is not JSON ({short(problem)})") from None
    if not isinstance(content, dict):
        raise UnreadableError(f"{name} holds no object")
    return content


def read_yaml(folder: Path, name: str) -> Any:
    """A YAML file, safe-loaded.

    Raises:
        UnreadableError: as `load_yaml`.
    """
    try:
        text = read(folder, name, _MOST_TEXT).decode("utf-8")
    except UnicodeDecodeError as problem:
        raise UnreadableError(f"{name} is not YAML that can be loaded safely ({short(problem)})") from None
    return load_yaml(text, name)


def load_yaml(text: str, name: str) -> Any:
    """What a text in YAML says, safe-loaded.

    Args:
        text: the whole of a file.
        name: of the file, for what is wrong with it.

    Raises:
        UnreadableError: when it is not YAML, asks for Python objects, names one thing twice, has numbers of hundreds
            of digits, or is nested deeper, or repeats itself more often, than any of ours.
    """
    import yaml

    try:
        check_yaml(text, name)
        content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the C one is ten times faster
        flattest = [content]
        seen = set()
        while flattest:  # aliases make one thing stand in several places
            node = flattest.pop()
            if isinstance(node, int) and abs(node) > _LARGEST:
                raise UnreadableError(f"{name} has a number of more than 19 digits")
            if isinstance(node, dict | list | tuple | set) and id(node) not in seen:
                seen.add(id(node))
                flattest += [*node, *(node.values() if isinstance(node, dict) else ())]
        return content
    except UnreadableError:
        raise
    except Exception as problem:  # a YAML tag's constructor may raise anything, such as OverflowError for a date
        mark: Any = getattr(problem, "problem_mark", None)
        where = f"{name}, line {mark.line + 1}," if hasattr(mark, "line") else name
        reason = getattr(problem, "problem", None) or problem
        raise UnreadableError(f"{where} is not YAML that can be loaded safely ({short(reason)})") from None


def check_yaml(text: str, name: str) -> None:
    """Refuse, before anything is made of it, what would keep a reader of YAML busy or overflow its stack.

    Raises:
        UnreadableError: when it is nested deeper, or repeats itself more often, than any of ours, or names one thing
            twice, of which all but the last would be lost.
        yaml.YAMLError: when it is not YAML.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    levels: list[_Level] = []
    repeats = inside = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.CollectionEndEvent):
            levels.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        if levels and (twice := levels[-1].add(getattr(event, "value", None))) is not None:
            mark: Any = event.start_mark
            raise UnreadableError(f"{name}, line {mark.line + 1}: {show(twice)} stands there twice; leave one out")
        if isinstance(event, yaml.AliasEvent):
            repeats, inside = repeats + 1, inside + any(level.named for level in levels)
            if inside > _MOST_ALIASES or repeats > _MOST_REPEATS:
                raise UnreadableError(f"{name} has more than {_MOST_ALIASES} aliases; write out what they stand for")
        elif isinstance(event, yaml.CollectionStartEvent):
            levels.append(_Level(isinstance(event, yaml.MappingStartEvent), event.anchor is not None))
            if len(levels) > _DEEPEST:  # the C loader would overflow its stack
                raise UnreadableError(f"{name} is nested deeper than {_DEEPEST} levels")


class _Level:
    """A list or a mapping that is being read: its names so far."""

    def __init__(self, mapping: bool, named: bool) -> None:
        self.named, self._mapping = named, mapping
        self._names: set[str] = set()
        self._number = 0

    def add(self, text: str | None) -> str | None:
        """Take the next thing of it, with its text if it is one; a name that was there before."""
        self._number += 1
        if not self._mapping or self._number % 2 == 0 or text is None or text == "<<":
            return None
        if text in self._names:
            return text
        self._names.add(text)
        return None


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


def _word(value: Any) -> str:
    # repr of nested aliases could be endless: only what a line can show
    return "..." if isinstance(value, dict | list | tuple | set) else str(value)[:200]


def short(problem: object) -> str:
    """What an error says, in a part of a line."""
    return shown(" ".join(str(problem).split()) or type(problem).__name__, 160)
