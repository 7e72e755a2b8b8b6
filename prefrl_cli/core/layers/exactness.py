"""Whether a seed alone gives what it gives among others on this processor: tried on a network's own shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from prefrl_cli.core.layers.networks import Network
from prefrl_cli.core.optimizer import Adam, Optimizer
from prefrl_cli.core.streams import PhiloxStreams

MOST_WORK = 8 * 10**7  # multiplications in forward passes; a whole check then takes some 0.2 s
FEWEST_SEEDS, MOST_SEEDS = 3, 256


@dataclass(frozen=True)
class Trained:
    """How a run uses one of its networks.

    Attributes:
        sizes: what `Network` takes beside the streams.
        optimizer: of the run; only its settings are used.
        rows: sizes of the batches of features; none where the network is evaluated on the table of all states.
    """

    sizes: Mapping[str, Any]
    optimizer: Optimizer
    rows: tuple[int, ...] = ()


def trained(**used: tuple[Any, Optimizer, tuple[int, ...]]) -> dict[str, Trained]:
    """What is trained, by name: models that tell their sizes, optimisers, rows."""
    return {
        name: Trained(model.sizes, optimizer, rows)
        for name, (model, optimizer, rows) in used.items()
        if hasattr(model, "sizes") and hasattr(optimizer, "on")
    }


def differences(used: Trained, seeds: int) -> dict[str, Any]:
    """Train new networks of these sizes for two steps, a seed alone and the same seed among others.

    Neither the run's parameters nor its random streams are touched. Parameters are drawn even where the run's start
    at zero, which would hide a difference.

    Args:
        used: its sizes, optimiser and batches.
        seeds: of the run; where so many take too long fewer are tried, and fewer rows; never fewer than 3.

    Returns:
        `seeds` and `rows` that were tried, and what `differs`: some of forward, slope, backward and step.
    """
    device = used.optimizer.parameters.flat.device
    rows = sorted(set(used.rows)) or [used.sizes["inputs"]]
    work = _work(used.sizes, table=not used.rows)
    most = MOST_WORK // (work * len(rows) * FEWEST_SEEDS)
    rows = sorted({max(1, min(number, most)) for number in rows})
    seeds = max(FEWEST_SEEDS, min(seeds, MOST_SEEDS, MOST_WORK // (work * sum(rows))))
    together = _passes(used, rows, PhiloxStreams(range(seeds), device))
    differs = []
    for place in sorted({0, seeds // 2, seeds - 1}):
        alone = _passes(used, rows, PhiloxStreams([place], device))
        for (name, mine), (_, theirs) in zip(alone, together, strict=True):
            share = len(theirs) // seeds
            if not _same(mine, theirs[place * share : (place + 1) * share]):
                differs.append(name)
    return {"seeds": seeds, "rows": rows, "differs": list(dict.fromkeys(differs))}


def _passes(used: Trained, rows: list[int], streams: PhiloxStreams) -> list[tuple[str, Tensor]]:
    """What comes out of each pass, by the pass's name; the seed axis in front, with its members."""
    inputs = used.sizes["inputs"] if used.rows else rows[0]
    network = Network(streams, "init", **{**used.sizes, "inputs": inputs, "zero_head": False})
    optimizer = used.optimizer.on(network.parameters)
    found: list[tuple[str, Tensor]] = []
    members = used.sizes["members"]
    for number in rows:
        forward: Callable[[], Tensor] = network.table
        if used.rows:
            drawn = streams.normal("features", number, network.inputs).float().repeat_interleave(members, 0)
            forward = partial(network, drawn)
            if network.has_slope:
                moving, direction = drawn[..., -1].contiguous(), torch.zeros_like(drawn[0, 0])
                direction[-1] = 1.0
                found.append(("slope", network.slope(drawn - drawn * direction, direction)(moving)))
        first = forward().square().mean((1, 2)).view(len(streams.seeds), members).sum(1)
        found.append(("forward", first.detach()))
        found.append(("backward", network.parameters.gradient(first)))
        for _ in range(2):  # the moments of the first step count in the second
            output = forward()
            optimizer.step(output.square().mean((1, 2)).view(len(streams.seeds), members).sum(1))
            found += [("forward", output.detach()), ("step", network.parameters.flat.clone())]
    return found


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal bit for bit; NaN that a large learning rate brings is not the processor's fault."""
    return torch.equal(one.nan_to_num(), other.nan_to_num())


def _work(sizes: Mapping[str, Any], *, table: bool) -> int:
    """Multiplications of one row of one seed; a table's first layer is looked up."""
    widths = [sizes["inputs"], *sizes["hidden"], sizes["outputs"]][table:]
    products = sum(one * other for one, other in zip(widths[:-1], widths[1:], strict=True))
    return int(sizes["members"] * max(1, products))


def odd_sizes() -> dict[str, list[str]]:
    """What differs, by shape, over odd sizes, which fill no register: nothing where a seed is a seed."""
    found = {}
    shapes: list[dict[str, Any]] = [
        *({"inputs": 25, "hidden": [width], "outputs": 5} for width in (1, 3, 5, 7, 13, 33)),
        *({"inputs": 30, "hidden": [width, width], "outputs": 1, "normalise": True} for width in (1, 3, 7, 13, 33)),
        {"inputs": 64, "hidden": [128, 128], "outputs": 5},
        {"inputs": 64, "hidden": [128, 128], "outputs": 1, "normalise": True, "members": 3},
        {"inputs": 3, "hidden": [6, 6], "outputs": 1, "activation": "leaky_relu"},
        {"inputs": 3, "hidden": [33, 7], "outputs": 2, "activation": "tanh"},
        {"inputs": 2, "hidden": [], "outputs": 1},
    ]
    for sizes in shapes:
        whole = {"members": 1, **sizes}
        network = Network(PhiloxStreams([0]), "init", **whole)
        for rows in ((), (1,), (10,), (33,)):
            for seeds in (3, 16):
                optimizer = Adam(network.parameters, clip=1.0)
                tried = differences(Trained(whole, optimizer, rows), seeds)
                batch = f"{rows[0]} rows" if rows else "all states"
                name = f"{'-'.join(map(str, (whole['inputs'], *whole['hidden'], whole['outputs'])))}"
                name += f" x {whole['members']}" if whole["members"] > 1 else ""
                found[f"{name}, {batch}, {seeds} seeds"] = tried["differs"]
    return found
