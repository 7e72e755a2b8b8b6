"""`conf/study/*.yaml`: read, and told in one line what is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from prefrl_cli.config.choices import choices, conf_folder
from prefrl_cli.config.options import unknown
from prefrl_cli.config.overrides import option
from prefrl_cli.config.trust import check_overrides
from prefrl_cli.core.option_types import ConfigError, show, suggest
from prefrl_cli.files.read import UnreadableError, load_yaml
from prefrl_cli.files.texts import read_text, typed_path
from prefrl_cli.report.study.study import Row, Study

CHARTS = ("points", "ladder", "lines")
_STUDY = ("title", "question", "minutes", "common", "quick", "metrics", "chart", "x_label", "rows")
_ROW = ("name", "overrides", "baseline", "x", "series")
_LONGEST = 1000  # letters
_OURS = ("output_dir", "resume", "quiet", "threads")  # the study sets these itself
_OVERRIDE = re.compile(r"[+]{0,2}[A-Za-z_][\w./]*=.*|~[A-Za-z_][\w./]*", re.DOTALL)


def load(name: str, *, quick: bool = False) -> Study:
    """A study by its name in `conf/study/`, or by the path of a YAML of one's own.

    Args:
        name: such as `maze_size` or `my/study.yaml`.
        quick: whether the rows take its `quick` overrides, which make them short.

    Raises:
        ConfigError: when there is none, or something in it is not allowed.
    """
    path = typed_path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in choices("study"):
            raise ConfigError(f"{show(name)}: there is no such study; {suggest(name, choices('study'))}")
        path = conf_folder() / "study" / f"{name}.yaml"
    try:
        content = load_yaml(read_text(path), str(path))
    except UnreadableError as problem:
        raise ConfigError(str(problem)) from None
    try:
        return _study(path.stem, content, quick)
    except ConfigError as problem:
        raise ConfigError(f"{path.name}: {problem}") from None


def _study(name: str, content: Any, quick: bool) -> Study:
    given = _known("study", content, _STUDY)
    common, last = _overrides(given, "common"), _overrides(given, "quick")
    chart = given.get("chart", "points")
    if chart not in CHARTS:
        raise ConfigError(f"chart={show(chart)}: must be one of {', '.join(CHARTS)}")
    rows: list[Row] = []
    for node in _value(given, "rows", list, []):
        rows.append(_row(node, common, last if quick else [], rows, chart))
        if chart == "ladder":  # a rung keeps the changes of those below it
            common = [*common, *_overrides(node, "overrides")]
    if not rows:
        raise ConfigError("rows: there is none; a study needs a row")
    _check_baselines(rows)
    minutes = given.get("minutes")
    if minutes is not None and (type(minutes) not in (int, float) or not 0 <= minutes < 1e6):
        raise ConfigError(f"minutes={show(minutes)}: must be a number, or left out")
    metrics = _value(given, "metrics", list, [])
    if ("metrics" in given and not metrics) or not all(isinstance(one, str) and one.isprintable() for one in metrics):
        raise ConfigError(f"metrics={show(metrics)}: must be a list of names of columns, or left out")
    title, question, x_label = (_value(given, key, str, "") for key in ("title", "question", "x_label"))
    if not title or not question:
        raise ConfigError(f"{'question' if title else 'title'}: is missing")
    return Study(name, title, question, minutes, tuple(metrics), chart, x_label, tuple(rows))


def _row(node: Any, common: list[str], last: list[str], before: list[Row], chart: str) -> Row:
    given = _known("row", node, _ROW)
    name = _value(given, "name", str, "")
    folder = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not folder or len(folder) > 100:
        raise ConfigError(f"row {show(name)}: needs a name with letters or digits, 100 at most")
    if any(folder == row.folder for row in before):
        raise ConfigError(f"row {show(name)}: another row has this name, or one that differs in signs only")
    try:
        # A later override takes the place of an earlier one of the same option.
        several = {option(one): one for one in [*common, *_overrides(given, "overrides"), *last]}
        overrides = sorted(several.values(), key=lambda one: option(one) != "experiment")  # which is read first
        x = given.get("x")
        if x is not None and (type(x) not in (int, float) or not math.isfinite(x)):
            raise ConfigError(f"x={show(x)}: must be a number")
        series = _value(given, "series", str, "") or None
        if chart == "lines" and series is None:
            raise ConfigError("a chart of lines needs its series")
    except ConfigError as problem:
        raise ConfigError(f"row {show(name)}: {problem}") from None
    previous = before[-1].name if chart == "ladder" and before else None  # a rung is held against the one before
    baseline = _value(given, "baseline", str, "") or previous
    return Row(name, folder, tuple(overrides), baseline, x, series)


def _check_baselines(rows: list[Row]) -> None:
    names = [row.name for row in rows]
    for row in rows:
        if row.baseline is not None and (row.baseline not in names or row.baseline == row.name):
            others = [name for name in names if name != row.name]
            raise ConfigError(
                f"row {show(row.name)}: baseline={show(row.baseline)}: there is no such row;"
                f" {suggest(row.baseline, others)}"
            )


def _known(kind: str, node: Any, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{kind} {show(node)}: must be a mapping with {', '.join(allowed)}")
    for name in node:
        if name not in allowed:
            where = f"row {show(node['name'])}: {name}" if kind == "row" and "name" in node else str(name)
            raise unknown(where, str(name), allowed, f"field of a {kind}")
    return node


def _value(given: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = given.get(name, default)
    if not isinstance(value, kind):
        raise ConfigError(f"{name}={show(value)}: must be {'a list' if kind is list else 'a text'}")
    if isinstance(value, str):
        value = value.strip()
        if not value.isprintable() or len(value) > _LONGEST:  # it stands in a page, in a chart and in a terminal
            raise ConfigError(f"{name}={show(value)}: must be one line of at most {_LONGEST} characters")
    return value


def _overrides(given: Mapping[str, Any], name: str) -> list[str]:
    texts = _value(given, name, list, [])
    for text in texts:
        if not isinstance(text, str) or not _OVERRIDE.fullmatch(text):
            raise ConfigError(f"{name}: {show(text)}: options are NAME=VALUE, such as env.size=12")
        if option(text) in _OURS:
            raise ConfigError(f"{name}: {show(text)}: the study sets {option(text)} itself; leave it out")
        if "<!--" in text or "-->" in text or not text.isprintable():  # it stands in pages, and in a terminal
            raise ConfigError(f"{name}: {show(text)}: must be one line of printable characters, without <!-- and -->")
    check_overrides(name, texts, "type that row with prefrl-train instead")
    return list(texts)
