"""What the report's page shows of runs that never change, word for word: `report_page.txt` beside this file.

Where the page is meant to show something else, `python tests/test_report_page.py` writes that file anew.
"""

import json
import os
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from report_speed import make_run

from prefrl_cli.report import page
from prefrl_cli.report.results import results
from prefrl_cli.report.runs import load

SHOWN = Path(__file__).with_name("report_page.txt")


def page_of_fixed_runs():
    """A page of runs of each kind, in the working folder."""
    for name, options in {
        "a": {"seeds": 6},
        "b": {"seeds": 5, "first_seed": 2, "noise": 1, "env__size": 9},
        "c": {"seeds": 3, "first_seed": 50, "shaping__weight": 1.0, "commit": "b" * 40},
        "again": {"seeds": 3, "noise": 3},
        "late": {"status": "interrupted", "reason": "stopped & <left>"},
        "wrong": {"status": "failed", "reason": "step 3: the loss is not a number any more"},
        "other": {"experiment": "mine/<b>x", "seeds": 1, "split": True},
    }.items():
        make_run(Path("runs", name), **options)
    for name in ("status.json", "summary.json"):
        file = Path("runs", "b", name)
        failed = {"failed_seeds": {"3": {"step": 9, "reason": "the loss is <inf>"}}}
        file.write_text(json.dumps(json.loads(file.read_text()) | failed))
    Path("runs", "odd").mkdir()
    Path("runs", "odd", "status.json").write_text("{")
    return page.page(results(load([Path("runs")])))


class Words(HTMLParser):
    """The text of a page, a line for each element that stands for itself; charts are left out but for their titles."""

    OWN = {"h1", "h2", "h3", "li", "p", "tr", "summary", "figcaption"}

    def __init__(self):
        super().__init__()
        self.lines, self._inside = [""], []

    def handle_starttag(self, tag, attributes):
        if tag in self.OWN:
            self.lines.append("")
        elif tag in ("td", "th"):
            self.lines[-1] += " | "
        if tag in ("svg", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.OWN:
            self.lines.append("")
        if tag in ("svg", "style"):
            self._inside.remove(tag)

    def handle_data(self, data):
        if not self._inside:
            self.lines[-1] += data


def words(text):
    """What a page shows, without the space between its words."""
    reader = Words()
    reader.feed(text)
    return "\n".join(line for one in reader.lines if (line := " ".join(one.split())))


def test_it_shows_what_it_showed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words(page_of_fixed_runs()).splitlines() == SHOWN.read_text(encoding="utf-8").splitlines()


def test_what_is_handed_to_the_template_is_escaped_bounded_and_there():
    template = page.environment().from_string("{{ one }}")
    assert template.render(one="<b>\x1b\n&" + "x" * 999) == r"&lt;b&gt;\x1b\n&amp;" + "x" * 394 + "…"
    with pytest.raises(UndefinedError):
        template.render()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        SHOWN.write_text(words(page_of_fixed_runs()) + "\n", encoding="utf-8")
