"""A checkpoint's file: one text and the bytes of all tensors, as torch writes them; read without running its pickle.

What reading takes is bounded by the size of the file: each byte of it is used once, a whole number of one byte may
become one of eight, and nothing else may grow, repeat itself or be asked for.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.files.read import read

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

_TENSOR = "__tensor__"
_LARGEST = 1 << 34  # bytes of a file
_MOST_PARTS, _LONGEST_LIST = 16, 1 << 12  # torch writes seven parts, and lists them in some 460 bytes
_LONGEST_PROGRAM = 64
_MOST_DIMENSIONS = 16
# What torch's pickle of a checkpoint does, what it only remembers left out: two numbers, a text and one tensor.
_PROGRAM = """
    PROTO:2 EMPTY_DICT MARK BINUNICODE:format NUMBER BINUNICODE:step NUMBER BINUNICODE:content BINUNICODE
    BINUNICODE:data GLOBAL:torch._utils,_rebuild_tensor_v2 MARK MARK BINUNICODE:storage GLOBAL:torch,ByteStorage
    BINUNICODE:0 BINUNICODE:cpu NUMBER TUPLE BINPERSID NUMBER NUMBER TUPLE1 NUMBER TUPLE1 NEWFALSE
    GLOBAL:collections,OrderedDict EMPTY_TUPLE REDUCE TUPLE REDUCE SETITEMS STOP
""".split()
_REMEMBER = ("BINPUT", "LONG_BINPUT")
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1")


@dataclass(frozen=True)
class Whole:
    """Numbers that are int64, in as few bytes as they need: most of a maze's checkpoint, an eighth as large."""

    numbers: NDArray[np.integer]


def read_file(path: Path) -> tuple[int, int, str, Tensor]:
    """Its format, its step, its text and its bytes, uint8 `[N]`; text and bytes are empty where it holds other things.

    Raises:
        Exception: of any kind, when it is no checkpoint.
    """
    import torch

    content = read(path.parent, path.name, _LARGEST)
    end = content.rfind(b"PK\5\6")  # each part that is listed would be an object in memory
    if end < 0 or struct.unpack_from("<L", content, end + 12)[0] > _LONGEST_LIST:
        raise ValueError("no archive of a checkpoint's few parts")
    # torch does not look at the checksums that it writes. It compresses nothing, so nothing may grow either.
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        names = [part.filename for part in parts]
        if len(set(names)) < len(names) or len(names) > _MOST_PARTS:
            raise ValueError("has a part twice, or too many")
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("compressed")
        if sum(part.file_size for part in parts) > len(content):
            raise ValueError("its parts are larger than the file")
        if (torn := archive.testzip()) is not None:
            raise ValueError(f"{torn} differs from its checksum")
        top = names[0].partition("/")[0] if names else ""
        step_and_more = _values(archive.read(f"{top}/data.pkl"))
        if len(step_and_more) == 2:
            return *step_and_more, "", torch.empty(0, dtype=torch.uint8)
        kind, step, text, size, offset, shape, stride = step_and_more
        data = bytearray(archive.read(f"{top}/data/0"))
    if not len(data) == size == shape or (offset, stride) != (0, 1):
        raise ValueError("its tensor is not the bytes that it has")
    return kind, step, text, torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _values(pickled: bytes) -> list[Any]:
    """The values in a checkpoint's pickle, which is read as a list of commands and never run.

    Returns:
        Format, step, text, and the tensor's storage size, offset, shape and stride; of another pickle that begins
        with format and step these two.

    Raises:
        ValueError: when it does not begin so.
    """
    values: list[Any] = []
    few = itertools.islice(pickletools.genops(pickled), _LONGEST_PROGRAM)
    commands = (one for one in few if one[0].name not in _REMEMBER)
    for wanted, (code, value, _) in zip(_PROGRAM, commands, strict=False):
        name, _, text = wanted.partition(":")
        number = name == "NUMBER" and code.name in _NUMBERS and type(value) is int and 0 <= value < 1 << 63
        if not number and (code.name != name or (text and text != str(value).replace(" ", ","))):
            break
        if number or wanted == "BINUNICODE":
            values.append(value)
        if name == "STOP":
            return values
    if len(values) < 2:
        raise ValueError("no checkpoint")
    return values[:2]


def pack(content: Mapping[str, Any]) -> tuple[str, Tensor]:
    """JSON that describes each tensor, and the bytes of all of them, uint8 `[N]`.

    torch takes 0.1 ms for each object of a checkpoint and the disk its time for each byte: many small tensors are
    written as one, and whole numbers in as few bytes as they need (a maze's states and actions are most of a run).
    """
    import torch

    parts = [torch.empty(0, dtype=torch.uint8)]
    written = 0

    def describe(value: Any) -> Any:
        nonlocal written
        whole = torch.from_numpy(value.numbers) if isinstance(value, Whole) else None
        value = value if whole is None else whole
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")
        tensor = value.detach().cpu()
        small = tensor.contiguous() if tensor.dtype != torch.int64 else tensor.to(narrowest(tensor)).contiguous()
        flat = small.reshape(-1)
        if flat.stride(0) != 1:  # one number of a tensor that was stretched
            flat = flat.clone(memory_format=torch.contiguous_format)
        parts.append(flat.view(torch.uint8))
        kind = tensor.dtype if whole is None else torch.int64
        start, written = written, written + parts[-1].numel()
        return {_TENSOR: [_name(kind), _name(small.dtype), list(tensor.shape), start, written]}

    return json.dumps(content, default=describe), torch.cat(parts)


def unpack(text: str, data: Tensor, device: str) -> dict[str, Any]:
    """What `pack` was given; lists stand for tuples.

    Raises:
        Exception: of any kind, when the text was not made by `pack`.
    """
    import torch

    used = 0

    def tensor(value: dict[str, Any]) -> Any:
        nonlocal used
        if _TENSOR not in value:
            return value
        kind, stored, shape, start, end = value[_TENSOR]
        kind, stored = _dtype(kind), _dtype(stored)
        widened = kind == torch.int64 and stored in (torch.uint8, torch.int16, torch.int32)
        if not (kind == stored or widened) or not _is_shape(shape):
            raise ValueError("a tensor of another type or shape than any of ours")
        # Each begins where the one before ends: what is read twice could be read a million times.
        if start != used or end - start != math.prod(shape) * stored.itemsize or end > data.numel():
            raise ValueError("a tensor that is not where it was written")
        used = end
        # A copy each: it lies where torch's own tensors do, and what is learned on does not depend on its place.
        return data[start:end].clone().view(stored).view(shape).to(device=device, dtype=kind)

    content = json.loads(text, object_hook=tensor)
    if not isinstance(content, dict) or used != data.numel():
        raise ValueError("no checkpoint")
    return content


def _is_shape(shape: Any) -> bool:
    sizes = shape if isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS else [None]
    return all(type(size) is int and 0 <= size < 1 << 48 for size in sizes)


def narrowest(tensor: Tensor) -> torch.dtype:
    """The smallest type that holds all of an int64 tensor's numbers."""
    import torch

    if not tensor.numel():
        return tensor.dtype
    least, most = (int(end) for end in tensor.aminmax())
    for kind in (torch.uint8, torch.int16, torch.int32):
        if torch.iinfo(kind).min <= least and most <= torch.iinfo(kind).max:
            return kind
    return tensor.dtype


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _dtype(name: str) -> torch.dtype:
    import torch

    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"no type of a tensor: {name}")
    return found
