"""The report as one HTML page: what the template `page.html` asks for, in the look of `page.css`.

Every text that the template shows is escaped, in one line and of bounded length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from prefrl_cli.core.metric import Metric
from prefrl_cli.files.texts import shown
from prefrl_cli.report.answers import agreements, raters
from prefrl_cli.report.configurations import seed_text
from prefrl_cli.report.results import MOST_IN_PAIRS, Experiment, Results
from prefrl_cli.report.runs import Run
from prefrl_cli.report.sections import evaluation_charts, main_charts, training_charts
from prefrl_cli.report.svg import swatch
from prefrl_cli.stats.aggregates import few_seeds
from prefrl_cli.stats.families import chance_text
from prefrl_cli.stats.resampling import RESAMPLES
from prefrl_cli.stats.summary import brackets, digits, value_text

_ORDER = ("failed", "unreadable", "missing", "interrupted", "running", "linked")
_MOST_FAILED = 100  # seeds that are named
_LONGEST = 400  # letters of a text


def page(found: Results) -> str:
    """The whole page."""
    without = [run for run in found.runs if run.status in _ORDER and not run.failed]
    names = {id(run): one.name for e in found.experiments for one in e.configurations for run in one.runs}
    every = [metric for one in found.experiments for several in one.metrics.values() for metric in several]
    statuses = Counter(run.status for run in found.runs)
    return (
        environment()
        .get_template("page.html")
        .render(
            found=found,
            style=Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8")),
            statuses={name: statuses[name] for name in ("finished", "linked")},
            number=sum(len(one.configurations) for one in found.experiments),
            few=few_seeds(min((metric.seeds for metric in every if metric.seeds > 1), default=0)),
            troubled=sorted(without, key=lambda run: _ORDER.index(run.status)),
            names=[names.get(id(run), "–") for run in found.runs],
            raters=raters(found.runs),
            agreements=agreements(found.runs),
            most_failed=_MOST_FAILED,
            most_in_pairs=MOST_IN_PAIRS,
            resamples=RESAMPLES,
        )
    )


def environment() -> Environment:
    """The templates of this folder, with what they ask of a report's parts."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "apart": _apart,
        "best": _best,
        "brackets": brackets,
        "chance": chance_text,
        "columns": _columns,
        "counted": _counted,
        "digits": digits,
        "failures": _failures,
        "kinds": _kinds,
        "marked": _marked,
        "path": _path,
        "repeated": _repeated,
        "sections": _sections,
        "seed_text": seed_text,
        "swatch": lambda place: Markup(swatch(place)),
        "titles": _titles,
        "value": value_text,
    }
    return made


def _one_line(value: Any) -> Any:
    """What the template writes in the place of a value; markup of ours stays as it is."""
    return value if isinstance(value, Markup | StrictUndefined) else shown(value, _LONGEST)


def _path(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _best(experiment: Experiment) -> int | None:
    """The place of the configuration with the best mean; none where no run has finished."""
    metrics = experiment.metrics.get(experiment.headline, [])
    there = [place for place, metric in enumerate(metrics) if metric.seeds]
    sign = experiment.declared[experiment.headline].sign or 1 if there else 1
    return max(there, key=lambda place: sign * metrics[place].mean.value, default=None)


def _apart(experiment: Experiment, place: int) -> str:
    """What sets a configuration apart: of several options, where it is not as most are."""
    own = {name: values[place] for name, values in experiment.options.items() if values[place] != "-"}
    most = len(experiment.configurations) / 2
    rare = [name for name, value in own.items() if len(own) == 1 or experiment.options[name].count(value) <= most]
    return ", ".join(f"{name}={own[name]}" for name in rare) or ("the most common of each option" if own else "")


def _columns(experiment: Experiment) -> list[Metric]:
    """The metrics beside each configuration: verdicts, the headline, and what it cost."""
    first = [experiment.headline] if experiment.metrics else []
    names = dict.fromkeys([*experiment.of_role("verdict"), *first, *experiment.of_role("cost")])
    return [experiment.declared[name] for name in names]


def _titles(metrics: Iterable[Metric], kind: str) -> list[tuple[str, str]]:
    """Columns for metrics."""
    return [(one.words + (f", {one.unit}" if one.binary else ""), kind) for one in metrics]


def _kinds(names: Iterable[str], kind: str) -> list[tuple[Markup, str]]:
    """Columns for options, whose names may break at their dots on a small screen."""
    return [(escape(shown(name, _LONGEST)).replace(".", Markup(".<wbr>")), kind) for name in names]


def _sections(experiment: Experiment) -> Iterator[tuple[str, list[Markup], bool]]:
    """Title, charts, and whether they are shown at once."""
    for title, pictures, is_open in (
        ("Main curves", main_charts(experiment), True),
        ("Learning curves of the evaluation", evaluation_charts(experiment), True),
        ("Curves of training", training_charts(experiment), False),
    ):
        if pictures:
            yield title, list(map(Markup, pictures)), is_open


def _counted(statuses: Iterable[str]) -> str:
    return ", ".join(f"{number} {status}" for status, number in Counter(statuses).items())


def _failures(runs: Iterable[Run]) -> list[tuple[Run, int, str]]:
    """The seeds that failed, each with its run and the reason."""
    return [(run, seed, why) for run in runs for seed, why in run.failed.items()]


def _repeated(experiments: Iterable[Experiment]) -> list[tuple[str, str]]:
    """Configurations with seeds that were run twice, and what is said of these."""
    every = [one for experiment in experiments for one in experiment.configurations]
    return [(one.name, line) for one in every for line in one.repeated]


def _marked(found: Results) -> Sequence[tuple[str, dict[str, str]]]:
    """The letters of different code, each with its versions."""
    marks = sorted(set(found.marks) - {""}, key=lambda mark: (len(mark), mark))
    return list(zip(marks, found.codes, strict=True))
