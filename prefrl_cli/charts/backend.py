"""Matplotlib made ready: nothing of a person's settings or home is needed to draw."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def ready() -> Iterator[None]:
    """Within it charts can be drawn to files, whatever MPLBACKEND, a matplotlibrc or a missing home say.

    A backend for a screen or a notebook may not be there; a matplotlibrc in the working directory may be anything.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells that it made a folder for its cache
    with _backend(), _elsewhere():
        import matplotlib

        assert matplotlib
    yield


@contextlib.contextmanager
def _backend() -> Iterator[None]:
    """Without a person's choice of a backend, which may not be there; it counts again for what they plot themselves."""
    wanted, first = os.environ.pop("MPLBACKEND", None), "matplotlib" not in sys.modules
    try:
        yield
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
            if first and (there := sys.modules.get("matplotlib")) is not None:
                with contextlib.suppress(ValueError):
                    there.rcParams["backend"] = wanted


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """In a working directory that holds no matplotlibrc, which matplotlib would read when it is imported."""
    if not os.path.lexists("matplotlibrc"):
        yield
        return
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(os.sep)
        yield
    finally:
        os.fchdir(here)
        os.close(here)
