"""Charts: what is drawn, read back from matplotlib's artists and from the files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from PIL import Image

from prefrl_cli.charts import draw
from prefrl_cli.core.figures import Curves, Figure, Line, Panel, moving_mean

STEPS = np.arange(1, 31)


def panel(*lines: Line, **options) -> Panel:
    return Panel("Title", "episode", "value (unit)", lines, **options)


def axes_of(*panels: Panel) -> list[Axes]:
    return draw.curves_sheet(Curves("Sheet", panels)).axes


def caption_of(*lines: Line, note: str = "") -> str:
    title, caption = draw.curves_sheet(Curves("Sheet", (panel(*lines),), note)).texts
    assert title.get_text() == "Sheet"
    return caption.get_text()


def written(figure: Figure, path: Path) -> list[Path]:
    """The files of a figure: a path without a suffix, and one for each."""
    files = {path.with_name(f"{path.name}.{suffix}"): content for suffix, content in draw.draw(figure).items()}
    for place, content in files.items():
        place.write_bytes(content)
    return [*files]


def noise(rows: int = 30, seeds: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, seeds))


def test_a_figure_gives_the_same_png_and_svg_each_time_whatever_style_is_set(tmp_path: Path) -> None:
    figure = Curves("Training", (panel(Line(STEPS, noise(), "a")), panel(Line(STEPS, noise(), style="points"))))
    first = written(figure, tmp_path / "loss.v1")
    assert [path.name for path in first] == ["loss.v1.png", "loss.v1.svg"]
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "pink", "svg.hashsalt": None}):
        second = written(figure, tmp_path / "again")
        assert matplotlib.rcParams["font.size"] == 30
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    with Image.open(first[0]) as picture:
        assert picture.size == (1920, 735)  # 12.8 inches at 150 dots
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    text = first[1].read_text()
    assert text.rstrip().endswith("</svg>") and "<dc:date>" not in text


def test_drawing_needs_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys; from prefrl_cli.charts import draw; from prefrl_cli.stats import intervals; "
        "print([name for name in ('torch', 'matplotlib.pyplot', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_band_is_the_median_and_the_ten_to_ninety_percent_of_the_seeds() -> None:
    values = noise(seeds=11)
    (axes,) = axes_of(panel(Line(STEPS, values)))
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), np.median(values, 1))
    (band,) = [one for one in axes.collections if isinstance(one, FillBetweenPolyCollection)]
    corners = band.get_paths()[0].vertices
    low, high = np.quantile(values, [0.1, 0.9], 1)
    tenth = corners[corners[:, 0] == STEPS[10], 1]
    np.testing.assert_allclose([tenth.min(), tenth.max()], [low[10], high[10]])


def test_the_caption_says_over_how_many_seeds() -> None:
    reference = Line(STEPS, np.zeros((30, 1)), style="dashed")
    assert caption_of(Line(STEPS, noise(seeds=7)), reference) == "Median and 10–90 % band of 7 seeds; thin: each seed."
    assert caption_of(Line(STEPS, noise(seeds=7), style="points"), reference) == "7 seeds, all shown."
    assert caption_of(Line(STEPS, noise(seeds=1), style="smooth"), note="Faint: raw.") == "1 seed. Faint: raw."


def test_the_caption_says_when_some_seeds_have_no_value() -> None:
    values = noise(seeds=7)
    values[:10] = np.nan  # not measured yet, for any seed
    assert caption_of(Line(STEPS, values)) == "Median and 10–90 % band of 7 seeds; thin: each seed."
    values[20, 3] = np.nan
    assert (
        caption_of(Line(STEPS, values))
        == "Median and 10–90 % band of the seeds (of 7) that have a value; thin: each seed."
    )


def test_one_seed_has_no_band() -> None:
    (axes,) = axes_of(panel(Line(STEPS, noise(seeds=1))))
    assert not axes.collections
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), noise(seeds=1)[:, 0])


def test_a_metric_measured_now_and_then_is_joined_and_one_that_starts_late_starts_late() -> None:
    values = np.full((30, 4), np.nan)
    values[9::5] = noise(5, 4)
    values[14, :3] = np.nan  # one seed left
    (axes,) = axes_of(panel(Line(STEPS, values)))
    x, y = axes.lines[-1].get_data()
    assert x.tolist() == [10, 15, 20, 25, 30]
    np.testing.assert_allclose(y, [np.nanmedian(values[int(row) - 1]) for row in x])


def test_a_loss_that_left_the_numbers_leaves_a_gap_and_no_warning() -> None:
    values = noise(30, 3)
    values[20:] = np.inf
    (axes,) = axes_of(panel(Line(STEPS, values, style="smooth"), Line(STEPS, values)))
    assert np.isfinite(axes.lines[-1].get_ydata()).sum() == 20
    assert np.isfinite(axes.get_ylim()).all()


def test_a_panel_without_values_says_so() -> None:
    (axes,) = axes_of(panel(Line(STEPS, np.full((30, 4), np.nan), style="smooth")))
    assert [text.get_text() for text in axes.texts] == ["no values"]
    assert not axes_of(panel(Line(STEPS, noise())))[0].texts


def test_moving_mean_is_that_of_the_rows_before() -> None:
    values = noise(23, 3)
    values[np.random.default_rng(4).random(values.shape) < 0.3] = np.nan
    expected = np.full_like(values, np.nan)
    for row, seed in np.argwhere(~np.isnan(values)):
        expected[row, seed] = np.nanmean(values[max(0, row - 6) : row + 1, seed])
    np.testing.assert_allclose(moving_mean(values, 7), expected)
    np.testing.assert_allclose(
        moving_mean(values, 100)[-1], np.where(np.isnan(values[-1]), np.nan, np.nanmean(values, 0))
    )


@pytest.mark.parametrize("seeds", [2, 16, 17, 64])
def test_up_to_sixteen_seeds_have_a_thin_line_each(seeds: int) -> None:
    values = noise(seeds=seeds)
    (axes,) = axes_of(panel(Line(STEPS, values, style="smooth", window=4)))
    *thin, median = axes.lines
    assert len(thin) == (seeds if seeds <= 16 else 0)
    for seed, line in enumerate(thin):
        np.testing.assert_allclose(line.get_ydata()[10], values[7:11, seed].mean())
        assert line.get_linewidth() < median.get_linewidth() / 2
    np.testing.assert_allclose(median.get_ydata()[10], np.median(values[7:11].mean(0)))
    assert ("thin: each seed" in caption_of(Line(STEPS, values))) == (seeds <= 16)


def test_smooth_shows_the_faint_raw_values_of_a_seed_alone() -> None:
    (axes,) = axes_of(panel(Line(STEPS, noise(seeds=1), style="smooth", window=4)))
    raw, smooth = axes.lines
    np.testing.assert_allclose(raw.get_ydata(), noise(seeds=1)[:, 0])
    np.testing.assert_allclose(smooth.get_ydata()[10], noise(seeds=1)[7:11].mean())
    assert raw.get_alpha() < 0.5 and smooth.get_alpha() is None
    assert len(axes_of(panel(Line(STEPS, noise(seeds=1), style="smooth", window=1)))[0].lines) == 1


def test_rows_of_panels_lie_on_the_sheet_and_none_covers_another() -> None:
    several = tuple(panel(Line(STEPS, noise(), "model")) for _ in range(5))
    for rows in ((), (2, 3), (1, 4)):
        sheet = draw.curves_sheet(Curves("Sheet", several, rows=rows))
        boxes = [axes.get_position() for axes in sheet.axes]
        assert len(boxes) == 5
        across = sorted({round(box.y0, 6) for box in boxes}, reverse=True)
        assert [sum(round(box.y0, 6) == low for box in boxes) for low in across] == list(rows or (2, 2, 1))
        assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)
        for one, other in ((one, other) for one in boxes for other in boxes if one is not other):
            assert one.x1 < other.x0 or other.x1 < one.x0 or one.y1 < other.y0 or other.y1 < one.y0


def test_points_take_an_x_of_each_seed_and_other_styles_refuse_it() -> None:
    x, y = noise(6, 3), noise(6, 3) ** 2
    y[0, 0] = np.nan
    (axes,) = axes_of(panel(Line(x, y, "seen", "points")))
    assert sorted(zip(*axes.lines[0].get_data(), strict=True)) == sorted(zip(x.ravel()[1:], y.ravel()[1:], strict=True))
    with pytest.raises(ValueError, match=r"line 'seen': style band needs one x for all seeds, not \(6, 3\)"):
        axes_of(panel(Line(x, y, "seen")))


def test_many_points_are_a_picture_inside_the_svg() -> None:
    few, many = (axes_of(panel(Line(np.arange(rows), noise(rows, 4), style="points")))[0] for rows in (50, 500))
    assert not few.lines[0].get_rasterized() and many.lines[0].get_rasterized()


def test_marks_references_and_the_legend() -> None:
    reference = Line(np.array([1, 30]), np.array([[0.5], [0.5]]), "chance", "dashed")
    first, second = axes_of(
        panel(Line(STEPS, noise(), "model"), reference, marks=(7.0, 9.0), mark_label="answer"),
        panel(Line(STEPS, noise())),
    )
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["model", "chance", "answer"]
    assert [line.get_xdata()[0] for line in first.lines if len(set(line.get_xdata())) == 1] == [7.0, 9.0]
    assert second.get_legend() is None


def test_panels_are_labelled_and_ranges_kept() -> None:
    one, log = axes_of(
        panel(Line(STEPS, noise()), y_range=(0.0, 2.0), x_range=(0.0, 100.0)),
        panel(Line(STEPS, noise()), y_scale="log"),
    )
    assert (one.get_title(), one.get_xlabel(), one.get_ylabel()) == ("Title", "episode", "value (unit)")
    assert one.get_ylim() == (0.0, 2.0) and one.get_xlim() == (-2.0, 102.0)
    assert log.get_yscale() == "log" and (log.lines[-1].get_ydata() > 0).all()


def test_long_histories_are_thinned_to_what_a_panel_can_show() -> None:
    (axes,) = axes_of(panel(Line(np.arange(30_000), noise(30_000, 2), style="smooth")))
    assert all(1000 < len(line.get_xdata()) <= 2000 for line in axes.lines)


@pytest.mark.parametrize(("most", "shown"), [(250, {50, 100, 200}), (30_000, {100, 1000, 10_000})])
def test_a_log_axis_says_more_than_one_number(most: int, shown: set[int]) -> None:
    labels = np.geomspace(50, most, 30)
    sheet = draw.curves_sheet(Curves("Sheet", (panel(Line(labels, noise()), x_scale="log"),)))
    draw.FigureCanvasAgg(sheet).draw()
    low, high = sheet.axes[0].get_xlim()
    assert {round(tick) for tick in sheet.axes[0].get_xticks() if low <= tick <= high} == shown


def test_long_numbers_of_an_axis_have_room() -> None:
    steps = 1600 * np.arange(1, 31)
    (axes,) = axes_of(panel(Line(steps, noise())))
    axes.figure.canvas.draw()
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert "20,000" in shown and len(shown) <= 6


def ticks_of(axes: Axes) -> list[str]:
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    return axes.xaxis.get_major_formatter().format_ticks(shown)


def test_what_is_counted_has_whole_numbers_below_it() -> None:
    counted, measured = axes_of(
        panel(Line(np.arange(62, 81), noise(19))), panel(Line(np.arange(62, 81) + 0.25, noise(19)))
    )
    assert ticks_of(counted) == ["65", "70", "75", "80"] and "62.5" in ticks_of(measured)
    (thousands,) = axes_of(panel(Line(200 * STEPS, -900 * noise() ** 2)))
    assert "2,000" in ticks_of(thousands)
    assert "−2,000" in thousands.yaxis.get_major_formatter().format_ticks(thousands.get_yticks())


def test_an_axis_without_words_says_what_its_panel_shows() -> None:
    (axes,) = axes_of(Panel("EPIC distance", "step", "", (Line(STEPS, noise()),)))
    assert axes.get_ylabel() == "EPIC distance"


def test_a_y_label_is_folded_where_it_is_longer_than_its_axis_and_numbers_have_room() -> None:
    long = "mean cross-entropy of the pairs of a batch (nats)"
    (plain,) = axes_of(panel(Line(STEPS, noise())))
    (axes,) = axes_of(Panel("Loss", "step", long, (Line(STEPS, 1e5 * noise()),)))
    assert axes.get_ylabel().split("\n") == ["mean cross-entropy of the", "pairs of a batch (nats)"]
    axes.figure.canvas.draw()
    assert axes.yaxis.label.get_window_extent().height <= axes.bbox.height + 0.15 * axes.figure.dpi
    assert axes.get_position().x0 > plain.get_position().x0


def test_no_values_is_read_where_a_line_crosses_it() -> None:
    chance = Line(STEPS, np.full((30, 1), 0.5), "chance", "dashed")
    (axes,) = axes_of(panel(Line(STEPS, np.full((30, 2), np.nan)), chance, y_range=(0.0, 1.0)))
    (words,) = axes.texts
    assert words.get_bbox_patch().get_facecolor()[:3] == (1.0, 1.0, 1.0) and words.get_zorder() > axes.lines[-1].zorder
