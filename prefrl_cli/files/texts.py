"""Texts from elsewhere: shown in a line, put into Markdown, read from people's files, taken as paths."""

from __future__ import annotations

import codecs
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from prefrl_cli.core.option_types import ConfigError

LONGEST_LINE = 4000  # letters of a line that a person is told; a list of choices has some hundred
_MOST_TEXT = 1 << 20  # bytes of a file that a person wrote; ours have 6,000
_OTHER_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARKDOWN = re.compile(r"[\\`*_\[\]#|!~$<>&]|(?<=:)/|(?<=www)\.")  # GitHub makes links of bare addresses
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def shown(text: object, most: int = LONGEST_LINE) -> str:
    r"""A text in one line that a terminal or a page shows as it is.

    What moves the cursor, turns the direction of writing, ends the line or is no character is written as an escape,
    such as `\x1b`; what is longer is cut.

    Args:
        text: of any file, name or error.
        most: letters of it that are shown.
    """
    try:
        whole = str(text)
    except ValueError as problem:  # Python writes no number of more than 4,300 digits
        whole = str(problem)
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in whole[:most])
    return line if len(whole) <= most else f"{line}…"


def html(text: object, most: int = 400) -> str:
    """A text that a page shows as it is."""
    return escape(shown(text, most))


def markdown(text: object, most: int = LONGEST_LINE) -> str:
    """A text that a page in Markdown shows as it is: no table, link, HTML, heading or comment comes of it."""
    return _MARKDOWN.sub(lambda one: _ENTITIES.get(one[0], f"\\{one[0]}"), shown(text, most))


def markdown_code(text: object) -> str:
    """A line inside a fenced block, where nothing but the mark of a comment means anything to our pages."""
    return shown(text).replace("<!--", "<!- -").replace("-->", "- ->")


def read_text(path: Path) -> str:
    """A text file that a person wrote: UTF-8, with or without a byte-order mark, lines ended in any way.

    Raises:
        ConfigError: when it is none.
    """
    name = shown(path)
    try:
        # Opening a pipe would wait for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(f"{name}: is not a plain file")
            with open(handle, "rb", closefd=False) as file:
                data = file.read(_MOST_TEXT + 1)
        finally:
            os.close(handle)
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{name}: cannot be read ({getattr(problem, 'strerror', None) or problem})") from None
    if len(data) > _MOST_TEXT:
        raise ConfigError(f"{name}: has more than {_MOST_TEXT:,} bytes, which are too many for a file of options")
    if data.startswith(_OTHER_MARKS) or b"\0" in data[:200]:
        raise ConfigError(f"{name}: is not in UTF-8 but in UTF-16 or the like; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise ConfigError(f"{name}, line {line}: is not in UTF-8; save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def typed_path(text: str) -> Path:
    """The path that a person means, whatever its characters: of what it may mean, the first that is there.

    A shell leaves `~` after an option's `=`; quotes, spaces and the end of a line come along with what is copied; a
    file manager copies `file://...`; and one name may be written in two ways in Unicode.

    Args:
        text: as it was typed.

    Returns:
        A path that is there, else the one that would be made.
    """
    meant = list(dict.fromkeys(_meant(text)))
    for path in map(Path, meant):
        try:
            if os.path.lexists(path):
                return path
        except ValueError:  # a NUL
            continue
    return Path(meant[1] if meant[0].startswith(("~", "file:")) and len(meant) > 1 else meant[0])


def _meant(text: str) -> Iterator[str]:
    yield text
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        bare = bare[1:-1]
    if match := re.match(r"file://(?:localhost)?(?=/)", bare):
        bare = unquote(bare[match.end() :])
    bare = os.path.expanduser(bare)
    for form in (bare, bare.replace("\\", "/")):
        yield form
        for name in ("NFC", "NFD"):
            yield unicodedata.normalize(name, form)


def quoted(path: str) -> str:
    """A path as Hydra takes it for one word."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", path)) + "'"


_WORD = re.compile(r"[A-Za-z_][\w/.-]*")  # what Hydra takes for a text without quotes
_NO_WORDS = ("null", "true", "false", "nan", "inf")


def plain(value: Any) -> Any:
    """Numbers of NumPy or torch, alone, in an array or in a list, as Python's; anything else as it is."""
    if isinstance(value, list | tuple | range):
        return list(map(plain, value))
    return value.tolist() if hasattr(value, "shape") and hasattr(value, "tolist") else value


def as_overrides(name: str, value: Any, *, several: bool = False) -> list[str]:
    """An option given in Python as it would be typed; several for a mapping, as `env={"size": 8}` is.

    Args:
        name: of the option or group.
        value: a number, a text or a path, a truth value, None, a list of these, or a mapping by the names within.
        several: whether a list holds the values that an option takes one after another, as in a sweep.

    Raises:
        ConfigError: for any other value.
    """
    if isinstance(value, Mapping):
        return [text for key, inner in value.items() for text in as_overrides(f"{name}.{key}", inner, several=several)]
    value = plain(value)
    if several and isinstance(value, list):
        return [f"{name}={','.join(_as_value(name, one) for one in value)}"]
    return [f"{name}={_as_value(name, value)}"]


def _as_value(name: str, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)
    if isinstance(value, list):
        return f"[{','.join(_as_value(name, one) for one in value)}]"
    if not isinstance(value, str):
        what = type(value).__name__
        raise ConfigError(f"{name}: {what}: must be a number, a text, true or false, None, or a list of these")
    return value if _WORD.fullmatch(value) and value.lower() not in _NO_WORDS else quoted(value)
