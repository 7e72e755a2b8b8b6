"""Runs in Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from prefrl_cli.core.option_types import Given
from prefrl_cli.files.write import make_folder
from prefrl_cli.logger.mlflow import tracker_id


class WandB:
    """A Weights & Biases run, kept in `wandb/` of the run directory.

    Args:
        directory: of the run; a resumed one goes on in the same W&B run. Offline each start has a folder of its
            own, with the same id.
        experiment: its name, the group of the run.
        settings: every option with its value.
        mode: `offline` keeps it here until `wandb sync`; `online` sends it, for which wandb must be logged in;
            `disabled` does neither.
        project: the project's name.
        folder: where wandb keeps its files; none is the run directory.
        per_seed: whether each seed has a curve.
    """

    extra: ClassVar[str] = "wandb"
    needs: ClassVar[Sequence[str]] = ("wandb",)
    variables: ClassVar[Mapping[str, str]] = {
        "mode": "WANDB_MODE",
        "project": "WANDB_PROJECT",
        "folder": "WANDB_DIR",
        "experiment": "WANDB_RUN_GROUP",
    }

    def __init__(
        self,
        directory: Given[Path],
        experiment: Given[str],
        settings: Given[Mapping[str, Any]],
        mode: Literal["offline", "online", "disabled"] = "offline",
        project: str = "prefrl",
        folder: str | None = None,
        per_seed: bool = True,
    ) -> None:
        import wandb

        make_folder(directory / "wandb")
        self.per_seed = per_seed
        self._run = wandb.init(
            project=project,
            group=experiment,
            name=directory.name,
            id=tracker_id(directory),
            resume="allow",
            dir=folder or str(directory),
            config=dict(settings),
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Write out what is still kept."""
        self._run.finish()
