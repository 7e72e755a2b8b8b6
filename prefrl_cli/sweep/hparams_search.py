"""Searches: what they go by, and how they go on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prefrl_cli.config.build import check_objective, metric_names
from prefrl_cli.config.options import Configuration
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.sweep.record import fewer_trials

NO_OBJECTIVE = "objective: a search needs a metric to go by"

Compose = Callable[[DictConfig], Configuration]


def is_search(config: DictConfig) -> bool:
    """Whether the sweeper goes by what the jobs reach; Hydra's own does not."""
    return not str(OmegaConf.select(config, "hydra.sweeper._target_")).startswith("hydra._internal.")


def check_search(config: DictConfig, compose: Compose) -> None:
    """Refuse a search that has nothing to go by, before it tries anything.

    Raises:
        ConfigError: with what to type.
    """
    if not is_search(config):
        return
    directions = OmegaConf.select(config, "hydra.sweeper.direction")
    if OmegaConf.is_list(directions) and len(directions) != 1:
        raise ConfigError("hydra.sweeper.direction: a search goes by one metric; type minimize or maximize")
    try:
        made = compose(config).with_run(device="cpu")
        known = metric_names(made)
    except (ConfigError, OmegaConfBaseException):
        return  # an option that only the search itself sets: each of its jobs is checked
    if made.run.objective is None:
        raise ConfigError(f"{NO_OBJECTIVE}; type objective=NAME, one of {', '.join(known)}")
    check_objective(made)


def few_words() -> None:
    """Let Optuna tell errors only: how its trials stand is ours to tell."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def go_on_searching(search: Any) -> None:
    """Take an Optuna study up where it stands: what was cut off or failed is tried again, and finished trials count.

    Optuna's sweeper alone would add as many trials as before, and leave the ones that were cut off.

    Args:
        search: the sweeper, with its study's name and storage.

    Raises:
        ConfigError: when the study has had more trials than are wanted.
    """
    import optuna
    from optuna.trial import TrialState

    study = optuna.create_study(
        study_name=search.study_name,
        storage=search.storage,
        directions=search._get_directions(),
        load_if_exists=True,
    )
    trials = study.get_trials()
    done = sum(trial.state.is_finished() and trial.state != TrialState.FAIL for trial in trials)
    if search.n_trials < done:
        raise ConfigError(fewer_trials(search.n_trials, done))
    complete = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
    known = [*complete, *(one.system_attrs.get("fixed_params") for one in trials if one.state == TrialState.WAITING)]
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.state in (TrialState.RUNNING, TrialState.FAIL) and trial.params and trial.params not in known:
            study.enqueue_trial(trial.params)
            known.append(trial.params)
    search.n_trials = max(0, search.n_trials - len(complete))
    if trials and hasattr(search.sampler, "reseed_rng"):
        search.sampler.reseed_rng()  # with its seed it would draw the first trials again
