"""README.md and docs/ agree with the code, with each other, and with the files beside them."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from test_house import LAYERS

from prefrl_cli.config.choices import choices
from prefrl_cli.report.study.file import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")]
specification = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
make_pages = importlib.util.module_from_spec(specification)
specification.loader.exec_module(make_pages)
MADE = make_pages.pages()


def written(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MADE)
def test_what_a_page_repeats_from_the_code_is_current(name):
    assert written(ROOT / "docs" / name) == MADE[name], "type python docs/make_pages.py"


def test_every_option_has_a_meaning():
    """A comment in its YAML file, or a line under Args in its class."""
    rows = [line for line in MADE["options.md"].splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []


def test_every_room_is_in_the_tree():
    rooms = re.findall(r"^  (\w+)/ +\S.*\.$", MADE["design.md"], re.M)
    assert sorted(rooms) == sorted(path.parent.name for path in (ROOT / "prefrl_cli").glob("*/__init__.py"))


def test_the_layers_are_those_that_are_tested():
    assert "```text\n" + "\n".join(LAYERS) + "\n```" in MADE["design.md"]


@pytest.mark.parametrize("name", choices("study"))
def test_the_table_of_a_study_has_the_rows_of_its_file(name):
    part = MADE["results.md"].partition(f"<!-- study {name} -->")[2].partition(f"<!-- /study {name} -->")[0]
    shown = re.findall(r"^\| ([^|]+?) \| \d", part, re.M)
    assert shown == [row.name for row in load(name).rows]


def test_the_readme_takes_five_minutes():
    assert len(written(ROOT / "README.md").encode()) <= 12_000


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```", "", written(page), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(written(target)), link


def anchors(text):
    """What GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_readme():
    linked = re.findall(r"\]\(docs/([\w.]+)", written(ROOT / "README.md"))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(linked)


def test_licence_and_citation_agree_with_the_package():
    project = tomllib.loads(written(ROOT / "pyproject.toml"))["project"]
    citation = yaml.safe_load(written(ROOT / "CITATION.cff"))
    assert citation["version"] == project["version"] and citation["license"] == project["license"] == "MIT"
    assert project["license-files"] == ["LICENSE"]
    assert written(ROOT / "LICENSE").startswith("MIT License\n\nCopyright (c) 2026 the prefrl authors")
