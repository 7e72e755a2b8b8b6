"""No word of a chart leaves it: measured as it is drawn, in the picture and in the vector file."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure as Sheet
from matplotlib.text import Text
from PIL import Image
from test_charts import STEPS, noise, panel, written
from test_classic_control_charts import TASKS
from test_classic_control_charts import learned as learned_in_a_task
from test_experiment_charts import oprl
from test_maze_charts import learned, question

from prefrl_cli.charts import draw, grid, maps
from prefrl_cli.charts.lettering import fitting, fold, fold_evenly, inches, widest
from prefrl_cli.core.figures import Curves, Film, Films, Line, MazeAnimation, Panel
from prefrl_cli.env.maze import Maze
from prefrl_cli.reward_model.reliability_figure import reliability_figure

WORDS = "Were each prediction right, the error over so many pairs would still be 0.023 of what WWWWWWWW said iiiii."
LONGEST_SEED = "seed 1023, the median of 1023 by return that did not fail"


def outside(sheet: Sheet) -> list[str]:
    """The texts of a sheet that leave it, as a picture or as a vector file."""
    found, draw_text = [], Text.draw

    def drawn(text: Text, renderer) -> None:
        box, (width, height) = text.get_window_extent(renderer), sheet.bbox.size
        if text.get_text().strip() and (box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height):
            found.append(text.get_text())
        draw_text(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", drawn)
        sheet.set_dpi(150)
        FigureCanvasAgg(sheet).draw()
        sheet.set_dpi(72)
        sheet.draw(RendererSVG(*sheet.bbox.size, io.StringIO(), image_dpi=72))
    return found


@pytest.mark.parametrize("width", [0.5, 2.0, 3.3, 50.0])
@pytest.mark.parametrize("way", [fold, fold_evenly])
def test_lines_are_as_wide_as_they_may_be(width: float, way) -> None:
    measure = inches(11)
    lines = way(WORDS, width, measure).split("\n")
    assert " ".join(lines) == WORDS
    assert all(measure(line) <= width or " " not in line for line in lines)
    if way is fold:
        assert all(measure(f"{line} {after.split()[0]}") > width for line, after in pairwise(lines))
    else:
        plain = fold(WORDS, width, measure).split("\n")
        assert len(plain) == len(lines) and widest(lines, measure) <= widest(plain, measure)
    assert way("", width, measure) == ""


def test_letters_are_smaller_where_a_line_must_fit() -> None:
    assert fitting(WORDS, 50.0, 17, "bold") == 17 and fitting("", 1.0, 17) == 17
    size = fitting(WORDS, 6.0, 17, "bold")
    assert 5 < size < 17 and inches(size, "bold")(WORDS) == pytest.approx(6.0, rel=1e-3)


def reliability(seeds: int, pairs: int, counted: int) -> Curves:
    """Of seeds of which so many have pairs."""
    generator = np.random.default_rng(0)
    chances = generator.random((seeds, pairs))
    weights = np.ones_like(chances)
    weights[counted:] = 0.0
    (figure,) = reliability_figure(chances, (generator.random(chances.shape) < chances) * 1.0, weights).values()
    return figure


@pytest.mark.parametrize("figure", [
    reliability(4, 64, 1), reliability(4, 300, 4), reliability(64, 1200, 61),
    oprl(np.random.default_rng(0).random((6, 4)))["training"],
    Curves(WORDS, (panel(Line(STEPS, noise())),), note=f"{WORDS} {WORDS}"),
    Curves(2 * WORDS, (panel(Line(STEPS, 4e6 * noise()), Line(STEPS, noise(), WORDS[:40])),) * 5, WORDS, rows=(2, 3)),
    Curves("Long", (Panel(WORDS, WORDS[:60], WORDS[:90], (Line(STEPS, -4e4 * noise()),)),) * 3, note=3 * WORDS),
])  # fmt: skip
def test_no_text_of_curves_leaves_the_sheet(figure: Curves) -> None:
    with draw.style():
        assert outside(draw.curves_sheet(figure)) == []


@pytest.mark.parametrize(("size", "moments", "scale"), [(8, 4, 1.0), (8, 1, -0.0123), (24, 4, 20.0)])
def test_no_text_of_a_maze_leaves_the_sheet(size: int, moments: int, scale: float) -> None:
    maze = Maze(size)
    seen = learned(maze, seed=LONGEST_SEED)
    seen = replace(seen, rewards={10**5 * n: scale * table for n, table in list(seen.rewards.items())[:moments]})
    if size == 8:
        seen = replace(seen, questions=tuple(question(maze, update) for update in (1, 20, 300, 4000)))
    for figure in maze.figures(seen).values():
        if not isinstance(figure, MazeAnimation):
            with draw.style():
                assert outside(grid.mazes_sheet(figure)) == []


@pytest.mark.parametrize("task", TASKS)
def test_no_text_of_a_map_leaves_the_sheet(task) -> None:
    env = task()
    seen = learned_in_a_task(env, seed=LONGEST_SEED, labels=1_234_567)
    with draw.style():
        assert outside(maps.maps_sheet(env.figures(seen)["reward_map"])) == []


def test_the_words_of_an_animation_end_before_it_does(tmp_path: Path) -> None:
    maze, film = Maze(4), Film("", [[{"kind": "circle", "centre": [0.5, 0.5], "radius": 0.1, "colour": "agent"}]])
    for name, figure in {
        "maze": maze.figures(learned(maze, seed=LONGEST_SEED))["episode"],
        "film": Films(LONGEST_SEED, (film,), note=WORDS),
        "films": Films(f"Which is better? {LONGEST_SEED}", (film, film), columns=2, note=2 * WORDS),
    }.items():
        (path,) = written(figure, tmp_path / name)
        with Image.open(path) as gif:
            pixels = np.asarray(gif.convert("L"))
        assert (pixels[:56, -8:] > 240).all() and (pixels[:56, -60:-8] < 200).any(), name
        assert (pixels[-30:, -8:] > 240).all() or name == "maze", name
