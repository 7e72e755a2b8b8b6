"""Checkpoints: written whole or not at all, the last two kept, checked before they are trusted."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 2
_KEPT = 2


class CheckpointError(Exception):
    """A checkpoint that cannot be used; one line."""


class Checkpoints:
    """The folder `checkpoints/` of a run: `step_NNNNNN.pt`, and `last`, which names the newest.

    Args:
        folder: where; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, step: int, content: Mapping[str, Any]) -> Path:
        """Write a checkpoint that a kill cannot tear, point `last` at it, and keep the one before.

        Args:
            step: updates done.
            content: what `torch.load(weights_only=True)` reads back.

        Raises:
            OSError: when it cannot be written; those before it are as they were.
        """
        import torch

        self._folder.mkdir(exist_ok=True)
        final = self._folder / f"step_{step:06d}.pt"
        written = io.BytesIO()  # torch reports a full disk as an error of its archive when it writes to a file itself
        torch.save(_compact({"format": FORMAT, "step": step, **content}), written)
        _write(final, written.getbuffer())
        _write(self._folder / "last", f"{final.name}\n".encode())
        sync_folder(self._folder)
        for old in self.newest_first()[_KEPT:]:
            old.unlink()
        return final

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

    @staticmethod
    def load(path: Path, device: str) -> dict[str, Any]:
        """What a checkpoint holds; no code in it is run.

        Args:
            path: one of `newest_first`.
            device: where its tensors go.

        Raises:
            CheckpointError: when it is torn, damaged, no checkpoint at all or of another format.
        """
        import torch

        try:
            if path.is_symlink() or not path.is_file():
                raise ValueError("not a file")
            # torch does not look at the checksums that it writes. It compresses nothing, so nothing may grow either.
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("compressed")
                if (torn := archive.testzip()) is not None:
                    raise ValueError(f"{torn} differs from its checksum")
            content = torch.load(path, map_location=device, weights_only=True)
            if not isinstance(content, dict) or content["step"] != _step(path) or type(content["format"]) is not int:
                raise ValueError("no checkpoint")
        except Exception as problem:  # damaged bytes raise whatever they like
            reason = " ".join(str(problem).split())[:100] or type(problem).__name__
            raise CheckpointError(f"checkpoint {path.name} is damaged ({reason})") from None
        if content["format"] != FORMAT:
            raise CheckpointError(f"checkpoint {path.name} is of format {content['format']}, here it is {FORMAT}")
        return content


def _step(path: Path) -> int:
    found = re.fullmatch(r"step_(\d{1,12})", path.stem)
    return int(found[1]) if found else -1


def _write(final: Path, data: bytes | memoryview) -> None:
    temporary = final.with_name(f"{final.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(final)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk its room is needed
        raise


def _compact(content: Any) -> Any:
    """The same with each tensor on the CPU and alone in its storage: torch writes the whole of what a view views."""
    import torch

    if isinstance(content, torch.Tensor):
        tensor = content.detach().cpu()
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        return tensor if whole else tensor.clone(memory_format=torch.contiguous_format)
    if isinstance(content, Mapping):
        return {name: _compact(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_compact(value) for value in content]
    return content


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
