"""Pickles of others, read as a list of commands and never run: numbers, texts, lists, dictionaries and NumPy's arrays.

Of a pickle's commands only those are known that make such things. A name of Python's in it is looked up nowhere:
NumPy's own ways to put an array together are done here, and a class becomes a `Thing`, which only holds what was in it.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefrl_cli.files.read import UnreadableError, short

_MOST_COMMANDS = 20_000_000
_MARK = object()
_VALUES = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False,
}  # fmt: skip
_TYPED = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_IGNORED = {"PROTO", "FRAME"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_DTYPE = re.compile(r"([<>|=]?)([biufO])(\d{1,2})?")
_ARRAYS = {f"numpy.{package}.multiarray" for package in ("core", "_core")}
_BUFFERS = {f"numpy.{package}.numeric" for package in ("core", "_core")}


@dataclass
class Thing:
    """An instance of a class that was not looked up.

    Attributes:
        name: of the class, with its module.
        state: what it holds, mostly a dictionary.
    """

    name: str
    state: Any = None


@dataclass(frozen=True)
class _Name:
    """A name of Python's."""

    module: str
    last: str


@dataclass
class _Type:
    """An array's type; `order` is of its bytes."""

    code: str
    order: str = "<"

    def array(self, shape: Any, data: Any, by_columns: Any = False) -> Any:
        """The array; of Python's objects, the list of them."""
        if self.code == "O":
            return list(data) if isinstance(data, list) else []
        kind = np.dtype(self.order + self.code)
        sizes = shape if isinstance(shape, tuple) and len(shape) <= 8 else (-1,)
        if not all(type(size) is int and 0 <= size < 1 << 48 for size in sizes):
            raise ValueError("an array of another shape than any")
        if not isinstance(data, bytes | bytearray) or math.prod(sizes) * kind.itemsize != len(data):
            raise ValueError("an array that has not the size that it says")
        return np.frombuffer(bytes(data), kind).reshape(sizes, order="F" if by_columns is True else "C")


@dataclass
class _Array:
    """An array that is still to be given its content, by the command that follows."""

    value: Any = field(default_factory=lambda: np.zeros(0))


def read_pickle(name: str, content: bytes) -> Any:
    """What a pickle holds.

    Args:
        name: of the file, for what is wrong with it.
        content: the whole of it.

    Raises:
        UnreadableError: where it is none, or holds anything else than what this module reads.
    """
    try:
        return _Reader().read(content)
    except Exception as problem:  # damaged bytes may raise anything
        raise UnreadableError(f"{name} is no pickle of numbers and arrays ({short(problem)})") from None


class _Reader:
    """A stack on which each command leaves what it makes."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}

    def read(self, content: bytes) -> Any:
        for number, (command, value, _) in enumerate(pickletools.genops(content)):
            if number > _MOST_COMMANDS:
                raise ValueError(f"more than {_MOST_COMMANDS:,} commands")
            name = command.name
            if name == "STOP":
                (found,) = self._stack
                return _value(found)
            if name in _TYPED:
                self._stack.append(value)
            elif name in _VALUES:
                self._stack.append(_VALUES[name])
            elif name not in _IGNORED:
                self._do(name, value)
        raise ValueError("it does not end")

    def _do(self, name: str, value: Any) -> None:
        stack = self._stack
        if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memory[len(self._memory) if name == "MEMOIZE" else value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memory[value])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in _TUPLES:
            stack.append(tuple(map(_ready, self._popped(_TUPLES[name]))))
        elif name == "TUPLE":
            stack.append(tuple(map(_ready, self._marked())))
        elif name in ("APPEND", "APPENDS"):
            items = self._popped(1) if name == "APPEND" else self._marked()
            _of(list, stack[-1]).extend(map(_value, items))
        elif name in ("SETITEM", "SETITEMS"):
            items = self._popped(2) if name == "SETITEM" else self._marked()
            for key, item in zip(items[::2], items[1::2], strict=True):
                if type(key) not in (str, int):  # others may take for ever to be looked up
                    raise ValueError("a key that is neither a text nor a number")
                _of(dict, stack[-1])[key] = _value(item)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = str(value).split(" ", 1) if name == "GLOBAL" else self._popped(2)
            stack.append(_Name(*map(str, parts)))
        elif name in ("REDUCE", "NEWOBJ"):
            called, given = self._popped(2)
            stack.append(_made(_of(_Name, called), _of(tuple, given), new=name == "NEWOBJ"))
        elif name == "BUILD":
            (state,) = self._popped(1)
            _fill(stack[-1], state)
        else:
            raise ValueError(f"has the command {name}")

    def _popped(self, count: int) -> list[Any]:
        if count > len(self._stack) or any(one is _MARK for one in self._stack[len(self._stack) - count :]):
            raise ValueError("a command without what it needs")
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def _marked(self) -> list[Any]:
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:  # IndexError where there is none
            place -= 1
            if place < 0:
                raise ValueError("a command without what it needs")
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items


def _made(called: _Name, given: tuple[Any, ...], *, new: bool) -> Any:
    """What a name of Python's makes of arguments."""
    if called.module.partition(".")[0] == "imitation" and new:
        return Thing(f"{called.module}.{called.last}")
    maker = {
        **{(module, "_reconstruct"): lambda *_: _Array() for module in _ARRAYS},
        **{(module, "scalar"): _scalar for module in _ARRAYS},
        **{(module, "_frombuffer"): _from_buffer for module in _BUFFERS},
        ("numpy", "dtype"): _type,
        ("_codecs", "encode"): _encoded,
        ("__builtin__", "bytes"): bytes if not given else None,  # how none of them are written
    }.get((called.module, called.last))
    if maker is None or new:
        raise ValueError(f"asks for {called.module}.{called.last}, which is not looked up")
    made: Callable[..., Any] = maker
    return made(*given)


def _scalar(kind: Any, data: Any) -> Any:
    return _of(_Type, kind).array((), data).item()


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> Any:
    return _of(_Type, kind).array(shape, data, order == "F")


def _type(code: Any, *_: Any) -> _Type:
    found = _DTYPE.fullmatch(str(code))
    if found is None:
        raise ValueError(f"an array of {code}")
    return _Type(found[2] + (found[3] or ""), found[1] or "<") if found[2] != "O" else _Type("O")


def _encoded(text: Any, how: Any) -> bytes:
    if how not in ("latin1", "latin-1"):
        raise ValueError(f"a text encoded as {how}")
    return bytes(_of(str, text).encode("latin1"))


def _fill(target: Any, state: Any) -> None:
    """Give a thing what it holds."""
    if isinstance(target, Thing):
        target.state = _value(state)
    elif isinstance(target, _Array):
        _, shape, kind, by_columns, data = _of(tuple, state)
        target.value = _of(_Type, kind).array(shape, data, by_columns)
    elif isinstance(target, _Type):
        order = _of(tuple, state)[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"bytes in the order {order}")
        target.order = order
    else:
        raise ValueError("a command without what it needs")


def _ready(found: Any) -> Any:
    """An array in place of what was to become one."""
    return found.value if isinstance(found, _Array) else found


def _value(found: Any) -> Any:
    """The same for what is kept, which a name of Python's is not."""
    if found is _MARK or isinstance(found, _Name | _Type):
        raise ValueError("holds a name of Python's")
    return _ready(found)


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError("a command without what it needs")
    return value
