"""What a run ran on: versions, platform and the commit of the code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefrl_cli import processor

_PACKAGES = ("prefrl", "torch", "numpy", "hydra-core", "omegaconf", "matplotlib", "tqdm")


def environment(threads: int, device: str) -> dict[str, Any]:
    """The machine and the software of this process.

    Args:
        threads: processor threads that are used.
        device: where tensors live.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor.name(),
        "processors": os.cpu_count(),
        "threads": threads,
        "device": device,
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """The commit of the clone that the code lies in, and whether it was changed since; none for an installed wheel."""
    folder = Path(__file__).resolve().parent.parent
    top = _ask_git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != folder:  # some other repository around a virtual environment
        return None
    changed = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _ask_git(folder, "rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}


def _ask_git(folder: Path, *question: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *question], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
