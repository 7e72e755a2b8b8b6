"""Pictures of classic control: the films that a person sees and a run draws, and maps of rewards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor
from test_charts import written

from prefrl_cli.charts import films, maps
from prefrl_cli.core.figures import Film, Films, Learned, Question
from prefrl_cli.env.classic_control.acrobot import Acrobot
from prefrl_cli.env.classic_control.cart_pole import CartPole
from prefrl_cli.env.classic_control.mountain_car import MountainCar, MountainCarContinuous
from prefrl_cli.env.classic_control.pendulum import Pendulum

TASKS = [CartPole, Pendulum, MountainCar, MountainCarContinuous, Acrobot]


def seen(env, *states) -> np.ndarray:
    return env.observe(np.array(states, dtype=float))


def played(env, steps: int = 40) -> np.ndarray:
    """Observed states `[steps + 1, F]` of random actions."""
    generator = np.random.default_rng(0)
    state = env.reset(generator.random(env.reset_draws))
    states = [state]
    for _ in range(steps):
        action = generator.integers(2) if hasattr(env.action_space, "n") else generator.uniform(-1, 1, 1)
        states.append(env.step(states[-1], np.asarray(action))[0])
    return env.observe(np.array(states))


def learned(env, **changes) -> Learned:
    states = played(env)
    question = Question(
        3, np.stack([states[:8], states[8:16]]), np.zeros((2, 8), int), np.array([8, 5]), label=1.0, chance=0.75
    )
    tie = Question(9, question.states, question.actions, question.lengths, label=0.5, chance=0.4)
    fields = dict(
        seed="seed 3, the median of 5", success=np.ones(4), labels=1234, policy=np.zeros((0, 0)), rewards={},
        states=states, questions=(question, tie), returns=np.zeros(4),
        reward_of=lambda observed, actions: 2.0 * observed[:, 0] + np.asarray(actions).reshape(len(observed)),
    )  # fmt: skip
    return Learned(**(fields | changes))


def point(shapes, kind: str, colour: str) -> np.ndarray:
    """The last point, or the centre, of the only shape of a kind and a colour."""
    (shape,) = [one for one in shapes if (one["kind"], one["colour"]) == (kind, colour)]
    return np.array(shape["centre"] if kind == "circle" else shape["points"][-1])


def test_what_is_drawn_is_where_the_state_says() -> None:
    right, left, up = [point(CartPole().frames(seen(CartPole(), s))[0], "line", "agent") for s in (
        [0, 0, 0.2, 0], [0, 0, -0.2, 0], [0, 0, 0, 0],
    )]  # fmt: skip
    assert right[0] > 0.55 and left[0] < 0.45 and up == pytest.approx([0.5, 0.78])
    up, half, down = [point(Pendulum().frames(seen(Pendulum(), s))[0], "circle", "agent") for s in (
        [0, 1], [np.pi / 2, 0], [np.pi, 0],
    )]  # fmt: skip
    assert (
        up == pytest.approx([0.5, 0.88]) and half == pytest.approx([0.12, 0.5]) and down == pytest.approx([0.5, 0.12])
    )
    acrobot = Acrobot()
    hangs, bent = [point(acrobot.frames(seen(acrobot, s))[0], "line", "agent") for s in (
        [0, 0, 0, 0], [np.pi / 2, np.pi / 2, 0, 0],
    )]  # fmt: skip
    assert hangs == pytest.approx([0.5, 0.06]) and bent == pytest.approx([0.72, 0.72])
    for car in (MountainCar(), MountainCarContinuous()):
        shapes = car.frames(seen(car, [car.flag, 0.01], [-0.5, 0]))
        flag = np.array([one for one in shapes[0] if one["colour"] == "goal"][0]["points"])
        there, valley = (np.array([one for one in some if one["kind"] == "polygon"][1]["points"]) for some in shapes)
        assert there.mean(0)[0] == pytest.approx(flag[0, 0], abs=0.03) and valley.mean(0)[0] == pytest.approx(
            0.4, abs=0.02
        )
        assert valley[:, 1].max() < there[:, 1].min()


@pytest.mark.parametrize("task", TASKS)
def test_a_clip_is_plain_data_of_the_unit_square(task) -> None:
    env = task()
    states = torch.from_numpy(played(env))
    if task is CartPole:
        states[-1, 0] = 30.0  # far beyond its bounds
    clip = env.clip(states)
    assert clip["kind"] == "shapes" and len(clip["frames"]) == 41
    assert json.loads(json.dumps(clip)) == clip
    for shapes in clip["frames"]:
        assert shapes
        for shape in shapes:
            assert shape["colour"] in films.COLOURS and shape["kind"] in ("line", "circle", "polygon")
            points = np.array(shape["points"] if "points" in shape else [shape["centre"]])
            assert points.shape[1] == 2 and (points >= 0).all() and (points <= 1).all()
    assert clip["frames"][0] != clip["frames"][-1]


@pytest.mark.parametrize("task", TASKS)
def test_states_are_found_again_in_what_is_observed(task) -> None:
    env = task()
    states = np.random.default_rng(1).uniform(-1, 1, (50, len(env.start))) * (
        np.pi if task in (Pendulum, Acrobot) else 1
    )
    np.testing.assert_allclose(env.unobserve(env.observe(states)), states, atol=1e-5)


def test_a_gif_has_a_frame_a_step_and_is_the_same_each_time(tmp_path: Path) -> None:
    env = Pendulum()
    episode, other = env.frames(played(env)), env.frames(played(env, 10))
    figure = Films("Seed 3", (Film("", episode),))
    (path,), (again,) = written(figure, tmp_path / "one.v1"), written(figure, tmp_path / "two")
    assert path.name == "one.v1.gif" and path.read_bytes() == again.read_bytes()
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (41, 0)
        colours = set()
        for frame in range(gif.n_frames):
            gif.seek(frame)
            assert gif.info["duration"] == (2000 if frame == 40 else 120)
            colours |= {colour for _, colour in gif.convert("RGB").getcolors()}
    assert {ImageColor.getrgb(films.COLOURS[name]) for name in ("paper", "box", "agent", "ink")} <= colours
    both = Films("Two", (Film("A", episode, framed=True), Film("B", other)), columns=2, note="what it means " * 12)
    (path,) = written(both, tmp_path / "both")
    with Image.open(path) as gif:
        assert gif.n_frames == 41 and gif.width > 1.5 * 232
        gif.seek(12)
        before = np.asarray(gif.convert("RGB"))
        gif.seek(13)
        moved = (before != np.asarray(gif.convert("RGB"))).any(2)[80:]
    assert moved[:, : gif.width // 2].any() and not moved[:, gif.width // 2 :].any()  # the shorter one stays


def test_a_long_episode_is_thinned(tmp_path: Path) -> None:
    frames = [
        [{"kind": "circle", "centre": [number / 600, 0.5], "radius": 0.05, "colour": "agent"}] for number in range(600)
    ]
    (path,) = written(Films("Long", (Film("", frames),)), tmp_path / "long")
    with Image.open(path) as gif:
        assert gif.n_frames == 250 and gif.info["duration"] == 40


@pytest.mark.parametrize("task", TASKS)
def test_a_task_draws_what_was_learned_in_it(task, tmp_path: Path) -> None:
    env = task()
    figures = env.figures(learned(env))
    assert set(figures) == {"episode", "reward_map", "questions"}
    assert [len(film.frames) for film in figures["episode"].films] == [41]
    questions = figures["questions"]
    assert [film.title for film in questions.films] == [
        "Update 3, model: 75 %", "Update 3, model: 25 %", "Update 9, model: 40 %", "Update 9, model: 60 %",
    ]  # fmt: skip
    assert [film.framed for film in questions.films] == [True, False, True, True]
    assert [len(film.frames) for film in questions.films] == [8, 5, 8, 5]
    figure = figures["reward_map"]
    says, true = figure.panels
    x = figure.x_range[0] + np.ptp(figure.x_range) * (np.arange(61) + 0.5) / 61
    y = figure.y_range[0] + np.ptp(figure.y_range) * (np.arange(61) + 0.5) / 61
    plane = {
        CartPole: 0.5 + 2 * x, Pendulum: 2 * np.cos(x), MountainCar: 1.0 + 2 * x,
        MountainCarContinuous: 2 * x, Acrobot: 1.0 + 2 * np.cos(x),
    }  # fmt: skip
    np.testing.assert_allclose(says.values, np.tile(plane[task], (61, 1)), atol=1e-5)
    if task is Pendulum:
        np.testing.assert_allclose(true.values, -(x**2) - 0.1 * y[:, None] ** 2, atol=1e-9)
    elif task is CartPole:
        assert np.array_equal(true.values == 1, (abs(x) <= 2.4) & (abs(y[:, None]) <= 12 * np.pi / 180))
    elif task is MountainCar:
        assert np.array_equal(true.values == 0, (x >= 0.5) & (y[:, None] >= 0))
    axes = maps.maps_sheet(figure).axes
    images = [one.images[0] for one in axes if one.images]
    assert [tuple(one.get_extent()) for one in images] == [(*figure.x_range, *figure.y_range)] * 2
    assert all(np.array_equal(one.get_array(), panel.values) for one, panel in zip(images, figure.panels, strict=True))
    assert set(env.figures(learned(env, questions=(), reward_of=None))) == {"episode"}


def test_an_episode_that_rests_is_cut_and_an_angle_that_turns_over_is_no_line_across() -> None:
    car = MountainCar()
    states = seen(car, [-0.5, 0.01], [0.4, 0.05], [0.5, 0.05], *[[0.5, 0.05]] * 30)
    assert len(car.figures(learned(car, states=states))["episode"].films[0].frames) == 3
    pendulum = Pendulum()
    turns = seen(pendulum, [3.0, 4], [3.1, 4], [3.3, 4], [3.5, 4])
    path = pendulum.figures(learned(pendulum, states=turns))["reward_map"].path
    assert np.isnan(path[:, 0]).tolist() == [False, False, True, False, False]
    assert path[3, 0] == pytest.approx(3.3 - 2 * np.pi, abs=1e-5)


def test_a_map_is_drawn_twice_the_same_even_where_all_is_one_colour(tmp_path: Path) -> None:
    car = MountainCar()
    figure = car.figures(learned(car, reward_of=lambda observed, actions: np.full(len(observed), 3.0)))["reward_map"]
    first, second = written(figure, tmp_path / "a"), written(figure, tmp_path / "b")
    assert [path.name for path in first] == ["a.png", "a.svg"]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))


def test_a_seed_that_failed_has_no_pictures() -> None:
    pendulum = Pendulum()
    states = played(pendulum)
    nowhere = np.full_like(states, np.nan)
    assert pendulum.figures(learned(pendulum, states=nowhere)) == {}
    silent = pendulum.figures(learned(pendulum, reward_of=lambda observed, actions: np.full(len(observed), np.nan)))
    assert set(silent) == {"episode", "questions"}
