"""The variables by which people tell trackers where to go: they count where no option was typed.

They are read when a run begins and stand in none of its records: an address may hold a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefrl_cli.options import ConfigError, check_value, show, signature
from prefrl_cli.sweep_record import option

_OLD_WORDS = {"dryrun": "offline", "run": "online"}  # W&B's own, of before


def from_environment(
    name: str, tracker: type, given: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """What the environment says of a tracker's arguments.

    Args:
        name: the tracker's in `logger`.
        tracker: its class, whose `variables` names a variable for some of its constructor's arguments.
        given: its options; one that is not its default was chosen by someone.
        overrides: what was typed.

    Returns:
        The arguments with their values, and each variable as it is told: without a password, or with what is wrong.
    """
    typed = {option(text) for text in overrides}
    allowed = signature(tracker)
    found: dict[str, Any] = {}
    told = []
    for argument, variable in getattr(tracker, "variables", {}).items():
        value = os.environ.get(variable, "").strip()
        one = allowed[argument]
        chosen = f"logger.{name}.{argument}" in typed or given.get(argument, one.default) != one.default
        if not value or chosen:
            continue
        try:
            found[argument] = check_value(variable, one, _OLD_WORDS.get(value, value))
        except ConfigError as problem:
            told.append(f"{problem} (left aside)")
        else:
            told.append(f"{variable}={show(re.sub(r'//[^/@]*@', '//***@', value))}")
    return found, told


def as_line(told: Sequence[str]) -> str:
    """What is told of all trackers' variables, in one line."""
    return f"trackers follow the environment: {', '.join(told)}; a typed option wins"
