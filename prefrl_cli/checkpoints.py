"""Checkpoints: written whole or not at all, the newest kept, checked before they are trusted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.own_files import write_whole
from prefrl_cli.safe_files import short

if TYPE_CHECKING:
    from concurrent.futures import Future

    import torch
    from torch import Tensor

FORMAT = 3
_TENSOR = "__tensor__"


class CheckpointError(Exception):
    """A checkpoint that cannot be used; one line."""


class UnfitError(CheckpointError):
    """A checkpoint that is whole, but of other options or another prefrl; one line."""


class Checkpoints:
    """The folder `checkpoints/` of a run: `step_NNNNNN.pt`, and `last`, which names the newest for a person.

    A disk may take longer to make a file last than fifty steps take, so a thread does it while training goes on.

    Args:
        folder: where; made when the first is written.
        keep: how many of the newest are kept; 0 keeps all.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._folder, self.keep = folder, keep
        self._writing: Future[None] | None = None

    def save(self, step: int, content: Mapping[str, Any], before: Callable[[], None] = lambda: None) -> Path:
        """Begin to write a checkpoint that a kill cannot tear, once the one before is there; `wait` for its end.

        Args:
            step: updates done.
            content: nested dictionaries with text as keys, and lists, of tensors, numbers, texts and None, as they
                are now; what becomes of them later is not written.
            before: what has to be done first; called in the thread that writes.

        Raises:
            OSError: when this one, or the one before, cannot be written; those before that are as they were.
            TypeError: when it holds anything else.
        """
        from concurrent.futures import ThreadPoolExecutor

        self.wait()
        self._folder.mkdir(exist_ok=True)
        final = self._folder / f"step_{step:06d}.pt"
        text, data = _pack(content)
        thread = ThreadPoolExecutor(1)
        whole = {"format": FORMAT, "step": step, "content": text, "data": data}
        self._writing = thread.submit(self._put, final, whole, before)
        thread.shutdown(wait=False)
        return final

    def wait(self) -> None:
        """Return when the last checkpoint is on the disk.

        Raises:
            OSError: when it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _put(self, final: Path, whole: Mapping[str, Any], before: Callable[[], None]) -> None:
        import torch

        before()
        written = io.BytesIO()  # torch reports a full disk as an error of its archive when it writes to a file itself
        torch.save(whole, written)
        write_whole(final, written.getbuffer())
        write_whole(self._folder / "last", f"{final.name}\n", sync=False)  # the names of the files say the same
        sync_folder(self._folder)
        for old in self.newest_first()[self.keep :] if self.keep else []:
            old.unlink()

    def __enter__(self) -> Checkpoints:
        """The checkpoints themselves."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait; a problem of the disk is told unless there is another."""
        with contextlib.nullcontext() if kind is None else contextlib.suppress(OSError):
            self.wait()

    def newest_first(self) -> list[Path]:
        """The checkpoints that are there, by their steps: clocks may go back."""
        return sorted(self._folder.glob("step_*.pt"), key=_step, reverse=True)

    def drop_after(self, step: int) -> None:
        """Remove those of later steps, which a resumed run writes again, and what a kill left half-written."""
        for path in self._folder.glob("*.part"):
            path.unlink()
        for path in self.newest_first():
            if _step(path) > step:
                path.unlink()

    def take(self, path: Path) -> None:
        """Make another run's checkpoint the first of these.

        Raises:
            OSError: when it cannot be read or written.
        """
        self._folder.mkdir(exist_ok=True)
        write_whole(self._folder / path.name, path.read_bytes())
        write_whole(self._folder / "last", f"{path.name}\n", sync=False)
        sync_folder(self._folder)

    @staticmethod
    def load(path: str | Path, device: str) -> dict[str, Any]:
        """What a checkpoint holds; no code in it is run.

        Args:
            path: one of `newest_first`, or typed.
            device: where its tensors go.

        Raises:
            CheckpointError: when it is torn, damaged or no checkpoint at all.
            UnfitError: when it is of another format.
        """
        import torch

        path = Path(path)
        try:
            if path.is_symlink() or not path.is_file():
                raise ValueError("not a file")
            # torch does not look at the checksums that it writes. It compresses nothing, so nothing may grow either.
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("compressed")
                if (torn := archive.testzip()) is not None:
                    raise ValueError(f"{torn} differs from its checksum")
            saved = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(saved, dict) or saved["step"] != _step(path) or type(saved["format"]) is not int:
                raise ValueError("no checkpoint")
            if saved["format"] == FORMAT:
                return {"step": saved["step"], **_unpack(saved["content"], saved["data"], device)}
        except Exception as problem:  # damaged bytes raise whatever they like
            raise CheckpointError(f"checkpoint {path.name} is damaged ({short(problem)})") from None
        raise UnfitError(f"checkpoint {path.name} is of format {saved['format']}, here it is {FORMAT}")


def _step(path: Path) -> int:
    found = re.fullmatch(r"step_(\d{1,12})", path.stem)
    return int(found[1]) if found else -1


def _pack(content: Mapping[str, Any]) -> tuple[str, Tensor]:
    """JSON that describes each tensor, and the bytes of all of them, uint8 `[N]`.

    torch takes 0.1 ms for each object of a checkpoint and the disk its time for each byte: many small tensors are
    written as one, and whole numbers in as few bytes as they need (a maze's states and actions are most of a run).
    """
    import torch

    parts = [torch.empty(0, dtype=torch.uint8)]
    written = 0

    def describe(value: Any) -> Any:
        nonlocal written
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")
        tensor = value.detach().cpu()
        small = tensor.contiguous() if tensor.dtype != torch.int64 else tensor.to(_narrowest(tensor)).contiguous()
        parts.append(small.view(-1).view(torch.uint8))
        start, written = written, written + parts[-1].numel()
        return {_TENSOR: [_name(tensor.dtype), _name(small.dtype), list(tensor.shape), start, written]}

    return json.dumps(content, default=describe), torch.cat(parts)


def _unpack(text: str, data: Tensor, device: str) -> dict[str, Any]:
    """What `_pack` was given; lists stand for tuples.

    Raises:
        Exception: of any kind, when the text was not made by `_pack`.
    """

    def tensor(value: dict[str, Any]) -> Any:
        if _TENSOR not in value:
            return value
        kind, stored, shape, start, end = value[_TENSOR]
        # A copy each: it lies where torch's own tensors do, and what is learned on does not depend on its place.
        found = data[start:end].clone().view(_dtype(stored)).view(shape)
        return found.to(device=device, dtype=_dtype(kind))

    content = json.loads(text, object_hook=tensor)
    if not isinstance(content, dict):
        raise ValueError("no checkpoint")
    return content


def _narrowest(tensor: Tensor) -> torch.dtype:
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


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be opened (not on Windows)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
