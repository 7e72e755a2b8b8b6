"""Ensembles on the seed axis."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

Combine = Literal["mean", "min"]


class Asks(Protocol):
    """The part of the queries that decides how many models are needed by default."""

    needs_members: bool


def default_members(members: int | None, queries: Asks | None) -> int:
    """Models in an ensemble: those wanted, else 3 where the queries go by what they disagree on (B-Pref's), else 1."""
    return members or (3 if queries is not None and queries.needs_members else 1)


def combine(rewards: Tensor, how: Combine) -> Tensor:
    """One reward `[R, ...]` from those of the M members of an ensemble `[R, M, ...]`; `min` is the pessimistic one."""
    if rewards.shape[1] == 1:
        return rewards.squeeze(1)
    return rewards.amin(1) if how == "min" else rewards.mean(1)
