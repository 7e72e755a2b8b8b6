"""Random numbers: one generator for each seed and purpose."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from test_replicas import SEEDS
from torch import Tensor

from prefrl_cli.core.streams import NotebookStreams, PhiloxStreams


def reload(state: dict) -> dict:
    """Through a file, as a checkpoint goes."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def draw(streams: PhiloxStreams | NotebookStreams) -> list[Tensor]:
    return [
        streams.uniform("states", 3, 2, high=20.0),
        streams.normal("init", 5, std=2.0),
        streams.uniform("init/alternatives", 3),
        streams.uniform("states", 1),
    ]


@pytest.mark.parametrize("kind", [PhiloxStreams, NotebookStreams])
@pytest.mark.parametrize("warm_up", [0, 1, 7])
def test_streams_go_on_from_their_state(kind: type, warm_up: int) -> None:
    streams = kind(SEEDS)
    for _ in range(warm_up):
        draw(streams)
    state = reload(streams.state())
    expected = draw(streams)
    other = kind(SEEDS)
    draw(other)
    other.restore(state)
    assert all(torch.equal(*pair) for pair in zip(expected, draw(other), strict=True))


def test_philox_streams_are_independent() -> None:
    """A purpose's numbers depend neither on other purposes, nor on other seeds, nor on how many are asked at once."""
    expected = PhiloxStreams([7]).uniform("env", 6)[0]
    streams = PhiloxStreams([3, 7, 9])
    streams.uniform("teacher", 100)
    streams.normal("init", 3)
    parts = [streams.uniform("env", 2)]
    streams.uniform("teacher", 1)
    parts.append(streams.uniform("env", 4))
    assert torch.equal(torch.cat(parts, 1)[1], expected)
    others = [*torch.cat(parts, 1)[[0, 2]].tolist(), PhiloxStreams([7]).uniform("teacher", 6)[0].tolist()]
    apart = [expected.tolist(), *others]
    assert len({number for row in apart for number in row}) == 24


@pytest.mark.parametrize("purpose", ["a", "b"])
def test_philox_numbers_are_uniform_and_normal(purpose: str) -> None:
    streams = PhiloxStreams([1, 2])
    drawn = streams.uniform(purpose, 4000, low=-2.0, high=3.0)
    assert drawn.dtype == torch.float64 and drawn.shape == (2, 4000)
    assert kstest(drawn.flatten().numpy(), "uniform", (-2, 5)).pvalue > 0.01
    assert abs(float(torch.corrcoef(drawn)[0, 1])) < 0.05
    assert kstest(streams.normal(purpose, 4000, std=2.0).flatten().numpy(), "norm", (0, 2)).pvalue > 0.01


def test_philox_restart_begins_again_and_leaves_the_others() -> None:
    streams = PhiloxStreams(SEEDS)
    first, other = streams.uniform("evaluation", 4), streams.uniform("env", 4)
    streams.restart("evaluation")
    assert torch.equal(streams.uniform("evaluation", 4), first)
    assert not torch.equal(streams.uniform("env", 4), other)


def test_notebook_streams_are_numpys_and_torchs() -> None:
    streams = NotebookStreams([81, 5], torch_purposes=("init", "alternatives"))
    for row, seed in enumerate((81, 5)):
        one = NotebookStreams([seed], torch_purposes=("init", "alternatives"))
        generator, legacy = torch.Generator().manual_seed(seed), np.random.RandomState(seed)
        expected = [
            torch.normal(0.0, 0.5, (6, 3), generator=generator).double(),
            torch.normal(0.0, 0.5, (6,), generator=generator).double(),
            torch.empty(20).uniform_(-2, 2, generator=generator).double(),
            torch.from_numpy(legacy.uniform(0, 20, (10, 2))),
            torch.from_numpy(legacy.uniform(0, 40, 10)),
        ]
        for some, place in ((one, 0), (streams, row)):
            if some is streams and row:
                continue  # drawn once for both seeds, compared below
            drawn = [
                some.normal("init/reward_model", 6, 3, std=0.5),
                some.normal("init/reward_model", 6, std=0.5),
                some.uniform("alternatives", 20, low=-2.0, high=2.0),
                some.uniform("states", 10, 2, high=20.0),
                some.uniform("actions", 10, high=40.0),
            ]
            assert all(torch.equal(mine[place], theirs) for mine, theirs in zip(drawn, expected, strict=True))
            if some is streams:
                together = drawn
        assert all(torch.equal(mine[row], theirs) for mine, theirs in zip(together, expected, strict=True))


def test_notebook_evaluation_is_always_on_its_own_seed() -> None:
    streams = NotebookStreams([1, 2])
    expected = torch.from_numpy(np.random.RandomState(42).uniform(0, 10, (7, 2)))
    for _ in range(2):
        streams.restart("evaluation")
        assert torch.equal(streams.uniform("evaluation/states", 7, 2, high=10.0), expected.expand(2, -1, -1))
        streams.uniform("states", 3)


def test_the_state_of_the_notebooks_generators_is_numpys() -> None:
    streams = NotebookStreams([1, 2])
    for draws in (0, 3, 700):
        streams.uniform("states", draws)
        kept = streams.state()["training"]
        for generator, words in zip(streams._training, kept.tolist(), strict=True):
            expected: Any = generator.get_state()
            assert words == [*expected[1].tolist(), expected[2]]


@pytest.mark.parametrize("kind", [PhiloxStreams, NotebookStreams])
def test_an_idle_seed_draws_nothing_and_the_others_go_on(kind):
    one, other = kind([1, 2]), kind([1, 2])
    with one.idle(torch.tensor([True, False])):
        drawn = one.uniform("a", 3)
    expected = other.uniform("a", 3)
    assert not drawn[0].any() and torch.equal(drawn[1], expected[1])
    following = one.uniform("a", 3)
    assert torch.equal(following[0], expected[0]) and torch.equal(following[1], other.uniform("a", 3)[1])
