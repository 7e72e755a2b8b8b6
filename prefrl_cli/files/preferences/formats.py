"""Our two formats of preferences, NumPy's `.npz` and JSON lines; docs/preference_data.md describes both.

Reading either runs no code, and what it takes in memory is bounded before it is taken.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.preferences.data import STEPS, PreferenceData, stacked
from prefrl_cli.files.read import UnreadableError, read, short
from prefrl_cli.files.write import write_whole

KIND, VERSION = "prefrl preferences", 1
EXAMPLE = Path(__file__).with_name("example.npz")
MOST = 1 << 31  # bytes of a file, and of what it holds
_MOST_MEMBERS = 64
_LONGEST = 200  # bytes of a name, to which a temporary file adds some
_ANSWER = ("seed", "number", "asked", "answered", "label", "weight", "teacher")
_SEGMENTS = ("first", "second")
_DATE = (1980, 1, 1, 0, 0, 0)  # the same questions give the same bytes, whenever they are written


def load(path: Path, option: str | None = None) -> PreferenceData:
    """Read a file of preferences in one of our formats, by its ending.

    Args:
        path: of the file.
        option: by which it was typed, for the error; none names the file alone.

    Raises:
        ConfigError: one line that says what was expected.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        named = f"{option}={show(str(path))}" if option else show(str(path))
        raise ConfigError(f"{named}: no file of preferences; its name has to end in {_endings()}")
    try:
        data = reader(path.name, read(path.parent, path.name, MOST))
        if not len(data):
            raise UnreadableError(f"{path.name} holds no question")
        return data
    except UnreadableError as problem:
        inside = "" if path.parent == Path() else f"{show(str(path.parent))}: "
        named = f"{option}={show(str(path))}: " if option else inside
        cure = f"; type {option}=FILE" if option else ""
        raise ConfigError(f"{named}{problem}; a file of preferences was expected{cure}") from None


def save(path: Path, data: PreferenceData) -> None:
    """Write a file of preferences, by its ending, whole or not at all; a link in its place is replaced.

    Raises:
        OSError: when it cannot be written.
    """
    write_whole(path, _WRITERS[path.suffix](data))


def held(name: str | None) -> tuple[int, int]:
    """About how many questions a file holds, and bytes of its arrays, without reading it; 0 where it is not there."""
    path = Path(name or "")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {part.filename: part.file_size for part in archive.infolist()}
        return sizes.get("label.npy", 0) // 4, sum(sizes.values())
    except (OSError, ValueError, zipfile.BadZipFile):
        size = path.stat().st_size if path.is_file() else 0
        return size // 200, 4 * size  # lines of JSON: a number is some two letters there and eight bytes here


def check_ending(option: str, name: str) -> None:
    """Refuse a name that does not say in which of our formats to write.

    Raises:
        ConfigError: naming what to type.
    """
    if Path(name).suffix not in _WRITERS:
        raise ConfigError(f"{option}={show(name)}: has to end in {_endings()}; try {option}=preferences.npz")


def check_name(option: str, name: str) -> None:
    """Refuse what is not the name of a file in a run directory, in one of our formats.

    Raises:
        ConfigError: naming what to type.
    """
    check_ending(option, name)
    if Path(name).name != name or not name.isprintable() or len(name.encode()) > _LONGEST:
        reason = "is the name of a file in the run directory, no path"
        raise ConfigError(f"{option}={show(name)}: {reason}; try {option}=preferences.npz")


def _endings() -> str:
    return " or ".join(_WRITERS)


def _about(data: PreferenceData) -> dict[str, Any]:
    return {"format": KIND, "version": VERSION, **data.about}


def _known(name: str, about: Any) -> dict[str, Any]:
    """What a file says of itself, less that it is one of ours.

    Raises:
        UnreadableError: where it is none, or of another version.
    """
    if not isinstance(about, Mapping) or about.get("format") != KIND:
        raise UnreadableError(f"{name} does not say that it holds {KIND}")
    if about.get("version") != VERSION:
        raise UnreadableError(f"{name} is of version {show(about.get('version'))}, here it is {VERSION}")
    return {key: value for key, value in about.items() if key not in ("format", "version")}


def _npz(data: PreferenceData) -> bytes:
    """An archive of arrays, as `numpy.load` reads them; `about` is JSON in a text."""
    packed = io.BytesIO()
    arrays = {**data.arrays(), "about": np.array(json.dumps(_about(data), sort_keys=True))}
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, value in arrays.items():
            about = zipfile.ZipInfo(f"{name}.npy", _DATE)
            about.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(about, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(value, order="C"), version=(1, 0), allow_pickle=False)
    return packed.getvalue()


def _from_npz(name: str, content: bytes) -> PreferenceData:
    arrays = read_npz(name, content)
    text = arrays.pop("about", np.array(""))
    try:
        about = json.loads(str(text)) if text.dtype.kind == "U" and text.shape == () else None
    except (ValueError, RecursionError):
        about = None
    return PreferenceData.checked(name, arrays, _known(name, about))


def read_npz(name: str, content: bytes, most: int = MOST) -> dict[str, NDArray[Any]]:
    """The arrays of an archive; nothing in it is run, and none is larger than it says.

    Args:
        name: of the file, for what is wrong with it.
        content: the whole of it.
        most: bytes that its arrays may have together.

    Raises:
        UnreadableError: when it is no archive of arrays of numbers and texts, or larger.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            names = [part.filename for part in parts]
            if len(set(names)) < len(names) or len(names) > _MOST_MEMBERS:
                raise UnreadableError(f"{name} has an array twice, or more than {_MOST_MEMBERS}")
            if sum(part.file_size for part in parts) > most:
                raise UnreadableError(f"{name} holds more than {most:,} bytes")
            return {
                part.filename.removesuffix(".npy"): _array(f"{part.filename} in {name}", archive.read(part))
                for part in parts
            }
    except UnreadableError:
        raise
    except Exception as problem:  # damaged bytes may raise anything
        raise UnreadableError(f"{name} is no archive of arrays ({short(problem)})") from None


def _array(name: str, content: bytes) -> NDArray[Any]:
    """One array in NumPy's format, of numbers or texts; its header alone decides nothing about memory."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise UnreadableError(f"{name} is of a version of NumPy's format that is not read")
    shape, by_columns, kind = header(file)
    size = math.prod(shape) * kind.itemsize
    if kind.kind not in "biufU" or len(shape) > 8 or size != len(content) - file.tell():
        raise UnreadableError(f"{name} is no array of numbers or texts, or has not the size that it says")
    values = np.frombuffer(content, kind, count=math.prod(shape), offset=file.tell()) if size else np.zeros(shape, kind)
    return values.reshape(shape, order="F" if by_columns else "C")


def _json_lines(data: PreferenceData) -> bytes:
    """A line about the file, then one for each question."""
    lines = [json.dumps(_about(data), sort_keys=True)]
    for row in range(len(data)):
        question: dict[str, Any] = {name: getattr(data, name)[row].item() for name in _ANSWER}
        for name in ("label", "weight"):  # the shortest text of 32 bits
            question[name] = None if math.isnan(question[name]) else float(str(getattr(data, name)[row]))
        text = json.dumps(question)
        for place, name in enumerate(_SEGMENTS):
            steps = slice(int(data.lengths[row, place]))
            values = {one: _listed(getattr(data, one)[row, place, steps]) for one in STEPS}
            values["last"] = _listed(data.last[row, place])
            inside = ", ".join(f'"{one}": {value}' for one, value in values.items())
            text = f'{text[:-1]}, "{name}": {{{inside}}}}}'
        lines.append(text)
    return "".join(f"{line}\n" for line in lines).encode()


def _listed(values: NDArray[Any]) -> str:
    """An array as JSON: the shortest text that gives each number back; null where it is not finite."""
    if values.ndim > 1:
        return f"[{', '.join(map(_listed, values))}]"
    texts = np.asarray(values).astype(str)
    if values.dtype.kind == "f":
        texts = np.where(np.isfinite(values), texts, "null")
    return f"[{', '.join(texts.tolist())}]" if values.ndim else str(texts.item())


def _from_json_lines(name: str, content: bytes) -> PreferenceData:
    lines = _parsed(name, content)
    about = _known(name, next(lines, None))
    answers: list[list[Any]] = []
    segments: list[dict[str, NDArray[Any]]] = []
    last = []
    wanted = {*_ANSWER, *_SEGMENTS}
    for row, line in enumerate(lines, 1):
        if not isinstance(line, dict) or set(line) != wanted:
            raise UnreadableError(f"{name}, line {row + 1}: a question has exactly {', '.join(sorted(wanted))}")
        answers.append([line[one] for one in _ANSWER])
        for place in _SEGMENTS:
            segment = line[place]
            if not isinstance(segment, dict) or set(segment) != {*STEPS, "last"}:
                raise UnreadableError(f"{name}, line {row + 1}: a segment has exactly {', '.join(STEPS)}, last")
            values = {one: _numbers(f"{name}, line {row + 1}: {one}", segment[one]) for one in (*STEPS, "last")}
            last.append(values.pop("last"))
            segments.append(values)
    try:
        arrays = {one: value.reshape(-1, 2, *value.shape[1:]) for one, value in stacked(segments).items()}
        if not last:
            raise UnreadableError(f"{name} holds no question")
        arrays["last"] = np.stack(last).reshape(-1, 2, *last[0].shape)
    except ValueError as problem:
        raise UnreadableError(f"{name} has questions that do not go together ({short(problem)})") from None
    for one, column in zip(_ANSWER, zip(*answers, strict=True), strict=True):
        texts = one == "teacher"
        if not all(type(value) is str if texts else type(value) in (int, float, NoneType) for value in column):
            raise UnreadableError(f"{name}: {one} is {'no text' if texts else 'no number'} in some line")
        arrays[one] = np.array(column) if texts else _numbers(f"{name}: {one}", list(column))
    return PreferenceData.checked(name, arrays, about)


def _parsed(name: str, content: bytes) -> Iterator[Any]:
    """What each line of JSON says, one at a time."""

    def refused(word: str) -> None:
        raise ValueError(f"{word} is no number")

    for number, line in enumerate(io.BytesIO(content), 1):
        try:
            yield json.loads(line.decode("utf-8"), parse_constant=refused)
        except (ValueError, RecursionError) as problem:
            raise UnreadableError(f"{name}, line {number}: is not JSON ({short(problem)})") from None


def _numbers(name: str, values: Any) -> NDArray[Any]:
    """A number, or nested lists of them; null is no finite number, and makes the others real ones."""
    try:
        found = np.array(values)
        if found.dtype == object:
            found = np.array(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        found = np.array("")
    if found.dtype.kind not in "if" or found.ndim > 2:
        raise UnreadableError(f"{name}: is no number, list of numbers, or list of such lists of one length")
    return found


_READERS: dict[str, Callable[[str, bytes], PreferenceData]] = {".npz": _from_npz, ".jsonl": _from_json_lines}
_WRITERS: dict[str, Callable[[PreferenceData], bytes]] = {".npz": _npz, ".jsonl": _json_lines}
