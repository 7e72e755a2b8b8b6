"""What this processor and its libraries are asked for, and whether a seed is a seed on them.

Importing it takes no torch: the package does so first of all, wherever it is imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.run.workers.number import available as available
from prefrl_cli.run.workers.number import number_of_workers, wished_threads

if TYPE_CHECKING:
    from prefrl_cli.config.options import Run
    from prefrl_cli.core.algorithm import Algorithm

VARIABLE, STRICT = "MKL_CBWR", "AUTO,STRICT"
# What else may change how a product is computed.
_VARIABLES = (VARIABLE, "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE")
WARNING = "warning: a seed alone differs from the same seed among others"
_SEEDS_FOR_ALL_THREADS = 16
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_STRICT_BIT = 0x10000  # mkl_types.h, as are the names
_MODES = {
    1: "off", 2: "AUTO", 3: "COMPATIBLE", 4: "SSE2", 6: "SSSE3", 7: "SSE4_1", 8: "SSE4_2", 9: "AVX", 10: "AVX2",
    11: "AVX512_MIC", 12: "AVX512", 13: "AVX512_MIC_E1", 14: "AVX512_E1",
}  # fmt: skip
_torch_was_first = False


def ask_for_exactness() -> None:
    """Ask MKL for products that do not depend on the matrices beside them, unless a person has asked for something.

    MKL reads the variable at its first product. Where torch was imported before, it may have made one already: that
    is remembered, and MKL is asked afterwards what it does. Workers inherit the variable.
    """
    global _torch_was_first
    _torch_was_first = VARIABLE not in os.environ and "torch" in sys.modules
    os.environ.setdefault(VARIABLE, STRICT)


def prepare(run: Run) -> int:
    """Set the number of threads, before the first tensor is made; returns it.

    The option `threads` counts, then that each of several workers has one, then OMP_NUM_THREADS, as the launchers and
    batch systems set it. A small network on one seed spends its time in calls, not in arithmetic, so more threads only
    wait for each other. Results do not depend on the number.
    """
    import torch

    several = 1 if number_of_workers(run) > 1 else wished_threads()
    threads = run.threads or several or (available() if run.num_seeds >= _SEEDS_FOR_ALL_THREADS else 1)
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)  # numbers below 1e-38 are slow, and no experiment needs them
    return threads


def keep_freed_memory() -> None:
    """Ask the C library (glibc) not to give freed memory back: 64 seeds' tensors would cost a fault for each page."""
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):
        allocator.mallopt(_MMAP_THRESHOLD, 1 << 30)
        allocator.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def name() -> str:
    """The name that the maker gave the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}{_family()}"
    return platform.processor() or platform.machine()


def _family() -> str:
    """Family and model: virtual machines call many processors alike."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    return f" ({found['cpu family']}/{found['model']})" if {"cpu family", "model"} <= set(found) else ""


def libraries() -> dict[str, Any]:
    """What computes: the library of matrix products with its mode, torch's own instructions, and the variables."""
    import torch

    mkl = torch.backends.mkl.is_available()
    return {
        "library": "MKL" if mkl else _blas(torch.__config__.show()),
        "mkl_mode": mkl_mode() if mkl else None,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "variables": {key: os.environ[key] for key in _VARIABLES if key in os.environ},
        "torch_imported_first": _torch_was_first,
    }


def mkl_mode() -> str | None:
    """MKL's own word for how it computes, such as `AUTO,STRICT` or `off`; none where it cannot be asked."""
    import torch

    try:
        library = ctypes.CDLL(str(Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"))
        answer = int(library.mkl_serv_cbwr_get(-1))
    except (OSError, AttributeError):  # linked otherwise, or another system
        return None
    return _MODES.get(answer & ~_STRICT_BIT, str(answer)) + (",STRICT" if answer & _STRICT_BIT else "")


def _blas(shown: str) -> str:
    _, found, rest = shown.partition("BLAS_INFO=")
    return rest.partition(",")[0] if found else "unknown"


def check(algorithm: Algorithm, run: Run) -> dict[str, Any]:
    """Whether one seed alone gives what it gives among others, for each network that is trained, on its own shapes.

    Returns:
        For `environment.json`: `exact`, true, false or none where there is nothing to try; `networks`, what was tried
        of each; `seconds`; and the `libraries`.
    """
    from prefrl_cli.core.layers.exactness import differences
    from prefrl_cli.run.workers.seed_axis import shares

    started = time.perf_counter()
    tried: dict[str, Any] = {}
    problem = {}
    sizes = {run.num_seeds: 0} | {len(share): 0 for share in shares(run.num_seeds, number_of_workers(run))}
    try:
        for network, trained in getattr(algorithm, "networks", dict)().items():  # a person's own need not say
            found = [differences(trained, seeds) for seeds in sizes]
            tried[network] = found[0] | {"differs": list({name: 0 for one in found for name in one["differs"]})}
    except Exception as error:  # of a part of a person's own: the run itself goes on
        problem = {"problem": f"{type(error).__name__}: {error}"[:300]}
    return {
        "exact": not any(one["differs"] for one in tried.values()) if tried and not problem else None,
        "networks": tried,
        **problem,
        "seconds": round(time.perf_counter() - started, 3),
        **libraries(),
    }


def notes(answer: Mapping[str, Any]) -> list[str]:
    """What a person must know of a `check`: a setting of their own, and where a seed is no seed."""
    lines = []
    typed = answer["variables"].get(VARIABLE)
    if answer["library"] == "MKL" and typed != STRICT:
        lines.append(f"{VARIABLE}={typed} is kept as you set it (prefrl would set {STRICT})")
    if answer["exact"] is False:
        wrong = ", ".join(name for name, one in answer["networks"].items() if one["differs"])
        lines.append(
            f"{WARNING} on this processor ({wrong}). Statistics hold, and so does a repeat here with the same seeds;"
            f" for seeds that stand alone {_cure(answer)}"
        )
    return lines


def _cure(answer: Mapping[str, Any]) -> str:
    if answer["library"] != "MKL" or answer["mkl_mode"] == STRICT:
        return "type prefrl-doctor to see which sizes do"
    if answer["torch_imported_first"]:
        return f"set {VARIABLE}={STRICT} before torch is imported"
    return f"type {VARIABLE}={STRICT} before the command"
