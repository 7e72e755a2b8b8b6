"""Checkpoints: written whole or not at all, the newest kept, checked before they are trusted."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.files.checkpoint_file import pack, read_file, unpack
from prefrl_cli.files.read import short
from prefrl_cli.files.write import make_folder, sync_folder, write_whole

if TYPE_CHECKING:
    from concurrent.futures import Future

FORMAT = 3


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
        make_folder(self._folder)
        final = self._folder / f"step_{step:06d}.pt"
        text, data = pack(content)
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
        self._name_the_newest()
        sync_folder(self._folder)
        self._keep_few()

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
        """Leave the folder as it stood after a step: a resumed run writes later ones again; `last` names the newest."""
        if not self._folder.is_dir():
            return
        for path in self._folder.glob("*.part"):
            path.unlink()
        for path in self.newest_first():
            if _step(path) > step:
                path.unlink()
        self._name_the_newest()
        self._keep_few()

    def _name_the_newest(self) -> None:
        """Make `last` say what the names of the files say."""
        found, last = self.newest_first(), self._folder / "last"
        if found:
            write_whole(last, f"{found[0].name}\n", sync=False)
        else:
            last.unlink(missing_ok=True)

    def _keep_few(self) -> None:
        for old in self.newest_first()[self.keep :] if self.keep else []:
            old.unlink()

    def take(self, path: Path) -> None:
        """Make another run's checkpoint the first of these.

        Raises:
            OSError: when it cannot be read or written.
        """
        self._folder.mkdir(exist_ok=True)
        write_whole(self._folder / path.name, path.read_bytes())
        self._name_the_newest()
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
        path = Path(path)
        try:
            kind, step, text, data = read_file(path)
            if step != _step(path):
                raise ValueError("no checkpoint")
            if kind == FORMAT:
                return {**unpack(text, data, device), "step": step}
        except Exception as problem:  # damaged bytes may raise anything
            raise CheckpointError(f"checkpoint {path.name} is damaged ({short(problem)})") from None
        raise UnfitError(f"checkpoint {path.name} is of format {kind}, here it is {FORMAT}")


def _step(path: Path) -> int:
    found = re.fullmatch(r"step_(\d{1,12})", path.stem)
    return int(found[1]) if found else -1
