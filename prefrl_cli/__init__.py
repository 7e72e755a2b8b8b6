"""prefrl: preference learning for reinforcement learning, many seeds at once."""

from typing import TYPE_CHECKING, Any

from prefrl_cli.run import processor

if TYPE_CHECKING:
    from prefrl_cli.api import ConfigError, LoadedRun, RunFailed, load, make, resume, runs, train, train_sweep

__all__ = ["ConfigError", "LoadedRun", "RunFailed", "load", "make", "resume", "runs", "train", "train_sweep"]

processor.ask_for_exactness()  # before anything imports torch


def __getattr__(name: str) -> Any:
    """A name of the Python API, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prefrl_cli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
