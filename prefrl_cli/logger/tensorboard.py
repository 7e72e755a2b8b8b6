"""Curves in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from prefrl_cli.core.option_types import Given, show
from prefrl_cli.files.write import make_folder
from prefrl_cli.logger.mlflow import flat


class TensorBoard:
    """Event files in `tensorboard/` of the run directory.

    Args:
        directory: of the run.
        settings: every option with its value, shown under HPARAMS; none shows none.
        per_seed: whether each seed has a curve.
    """

    extra: ClassVar[str] = "tensorboard"
    needs: ClassVar[Sequence[str]] = ("tensorboard",)

    def __init__(
        self, directory: Given[Path], settings: Given[Mapping[str, Any] | None] = None, per_seed: bool = True
    ) -> None:
        self.per_seed, self._settings = per_seed, settings
        self._folder = directory / "tensorboard"
        self._writer: Any = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            make_folder(self._folder)
            # A resumed run begins at its checkpoint: what an earlier process wrote past it is not shown.
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
            if self._settings is not None:
                self._show_settings(self._settings, metrics)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is still kept."""
        if self._writer is not None:
            self._writer.close()

    def _show_settings(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write the options as HPARAMS beside the curves: `SummaryWriter.add_hparams` would begin a run of its own."""
        from torch.utils.tensorboard.summary import hparams

        plain = {
            name: value if type(value) in (bool, int, float, str) else show(value)
            for name, value in flat(settings).items()
        }
        columns = {name: 0.0 for name in metrics if name.endswith("/median")}
        for summary in hparams(plain, columns):
            self._writer._get_file_writer().add_summary(summary)
