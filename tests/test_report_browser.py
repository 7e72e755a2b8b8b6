"""The report in headless Chromium, wide and narrow, light and dark; skipped where there is no Chromium."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_speed import make_run

from prefrl_cli.cli import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium")

# The report stands in a frame of the wanted width (a headless window has a least one), as the browser shows it to a
# person; the page around it measures it.
MEASURE = """<!doctype html><html style="color-scheme: light dark"><body style="margin: 0">
<iframe id="report" style="border: 0" width="{width}" height="900" srcdoc="{page}"></iframe><pre id="found"></pre>
<script>
addEventListener("load", () => {{
  const inside = document.getElementById("report").contentDocument, root = inside.documentElement;
  const style = inside.defaultView.getComputedStyle.bind(inside.defaultView);
  const box = one => one.getBoundingClientRect();
  const all = (name, within = inside) => [...within.querySelectorAll(name)];
  const seen = name => all(name).filter(one => one.checkVisibility());
  const linear = x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  const light = colour => {{  // relative luminance, as WCAG defines it
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(x => linear(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }};
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const paper = style(inside.body).backgroundColor;
  const charts = seen("figure svg"), lines = charts.flatMap(one => all("polyline", one));
  const links = all("[src],[href]").map(one => one.getAttribute("src") || one.getAttribute("href"));
  document.getElementById("found").textContent = JSON.stringify({{
    width: inside.defaultView.innerWidth, room: root.clientWidth, content: root.scrollWidth, paper,
    tables: seen("table").map(one => [one.rows.length, box(one).width]),
    outside: all("table").filter(one => !one.closest(".scroll")).length,
    scrolling: all(".scroll").filter(one => one.scrollWidth > one.clientWidth).length,
    charts: charts.map(one => [box(one).width, box(one).height]),
    lines: lines.map(one => box(one).width),
    letters: Math.min(...charts.flatMap(one => all("text", one)).map(one => box(one).height)),
    text: contrast(style(inside.body).color, paper),
    soft: contrast(style(all(".soft")[0]).color, paper),
    strokes: [...new Set(lines.map(one => style(one).stroke))].map(colour => contrast(colour, paper)),
    numbers: all("td.n").every(one => style(one).textAlign === "right"),
    images: all("img").length,
    external: links.filter(one => !/^(data:|#)/.test(one)).length,
  }});
}});
</script></body></html>"""


def chromium(*arguments: str) -> subprocess.CompletedProcess[str]:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    return subprocess.run([CHROMIUM, *flags, *arguments], capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for number in range(8):
        size, weight = 8 * (1 + number % 2), float(number // 2)
        make_run(folder / "runs" / str(number), seeds=5, speed=0.7 + number / 8, env__size=size, shaping__weight=weight)
    make_run(
        folder / "runs" / "failed", first_seed=7, status="failed", reason="step 9: " + "no blank in it " + "x" * 120
    )
    make_run(folder / "runs" / ("long_name_" * 12), commit="b" * 40, evil="<img src=x onerror=console.error('evil')>")
    assert report.main([str(folder / "runs"), "-o", str(folder)]) == 0
    return folder / "report.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_in_a_browser(page, tmp_path, width, dark):
    around = tmp_path / "around.html"
    around.write_text(MEASURE.format(width=width, page=html.escape(page.read_text())))
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = chromium(*scheme, f"--window-size={width},900", "--virtual-time-budget=2000", "--dump-dom", around.as_uri())
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)[1]))
    assert "CONSOLE" not in done.stderr, done.stderr
    assert found["width"] == width and found["content"] <= found["room"]
    assert found["paper"] == ("rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)")
    assert len(found["tables"]) >= 5 and all(rows > 1 and wide > 100 for rows, wide in found["tables"])
    assert found["outside"] == 0 and found["numbers"]
    assert found["scrolling"] >= 1 if width == 400 else True
    assert len(found["charts"]) >= 9 and all(wide > 300 and high > 180 for wide, high in found["charts"])
    assert len(found["lines"]) >= 9 * 9 and min(found["lines"]) > 1
    assert found["letters"] >= 10  # pixels
    assert found["text"] >= 7 and found["soft"] >= 4.5 and min(found["strokes"]) >= 3
    assert len(found["strokes"]) == 6
    assert found["images"] == found["external"] == 0


def test_a_wide_table_has_room_on_a_wide_screen(tmp_path):
    for number in range(4):
        named = {f"env__{name}": f"{name}_number_{number}" for name in ("layout", "entrance", "exits", "doors")}
        make_run(tmp_path / str(number), seeds=5, speed=0.7 + number / 8, env__size=8 + number, **named)
    assert report.main([str(tmp_path), "-o", str(tmp_path / "report")]) == 0
    around = tmp_path / "around.html"
    text = (tmp_path / "report" / "report.html").read_text()
    around.write_text(MEASURE.format(width=1280, page=html.escape(text)))
    done = chromium("--window-size=1280,900", "--virtual-time-budget=2000", "--dump-dom", around.as_uri())
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)[1]))
    assert found["scrolling"] == 0 and max(wide for _, wide in found["tables"]) > 900


def test_the_file_itself_says_nothing_on_the_console(page):
    done = chromium("--dump-dom", page.as_uri())
    assert "CONSOLE" not in done.stderr, done.stderr
    assert "<h1>prefrl report</h1>" in done.stdout


def test_the_console_is_watched(tmp_path):
    """The checks above can fail: an error and a blocked script are seen."""
    (tmp_path / "bad.html").write_text("<script>console.error('told')</script>")
    assert "CONSOLE" in chromium("--dump-dom", (tmp_path / "bad.html").as_uri()).stderr
