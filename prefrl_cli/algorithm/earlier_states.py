"""Checkpoints of OPRL that earlier versions wrote, as today's code reads them."""

from __future__ import annotations

from typing import Any

import torch


def updated_state(state: dict[str, Any]) -> dict[str, Any]:
    """A state of OPRL as today's code would have written it; one of today stays.

    Earlier versions kept a teacher's score beside each trajectory, and of an answer neither weight nor number nor time.
    """
    if "asked" not in state or "labels_used" not in state:
        return state
    state = {"held_out": {}, **state}
    trajectories, answered = dict(state["trajectories"]), dict(state["preferences"])
    trajectories["items"] = {name: value for name, value in trajectories["items"].items() if name != "score"}
    items = dict(answered["items"])
    if "label" in items:
        label = items["label"]
        items["weight"] = torch.ones_like(label)
        items |= {name: torch.full_like(label, -1, dtype=torch.int64) for name in ("number", "asked", "answered")}
    answered["items"] = items
    if trajectories["items"]:  # an episode of theirs had always come to its end
        ended = torch.ones_like(trajectories["items"]["lengths"], dtype=torch.bool)
        trajectories["items"] = {**trajectories["items"], "terminated": ended}
    preferences = {"asked": state.pop("asked"), "used": state.pop("labels_used"), "answered": answered, "pending": []}
    return state | {"trajectories": trajectories, "preferences": preferences}
