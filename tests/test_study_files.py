"""`conf/study/`: every row of every study is a run that `prefrl-train` takes; what is wrong is told in one line."""

import codecs
import datetime
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from prefrl_cli.cli.study import main
from prefrl_cli.config.choices import choices, conf_folder
from prefrl_cli.report.study.file import load
from prefrl_cli.sweep.directory import composed

STUDIES = choices("study")
TINY = {
    "title": "Tiny",
    "question": "Which?",
    "rows": [{"name": "a", "overrides": ["steps=2"]}, {"name": "b", "baseline": "a"}],
    "common": ["experiment=addition_linear", "steps=1"],
}


def test_the_studies_are_there():
    assert {"maze_size", "teachers", "queries", "ties", "tutorial_faults"} <= set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_composes(name):
    study = load(name)
    config = {row.name: composed(row) for row in study.rows}
    assert len({str(one) for one in config.values()}) == len(config), "two rows are the same run"
    assert all(row.overrides[0].startswith("experiment=") for row in study.rows)
    short = load(name, quick=True).rows[-1]
    assert composed(short).run.num_seeds < min(5, config[short.name].run.num_seeds)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_headed_by_its_command(name):
    text = (conf_folder() / "study" / f"{name}.yaml").read_text()
    assert text.startswith(f"# prefrl-study {name}")


def written(folder, **changes):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in {**TINY, **changes}.items() if value is not None}))
    return str(path)


def test_a_later_override_takes_the_place_of_an_earlier_one(tmp_path):
    study = load(written(tmp_path, quick=["steps=7", "num_seeds=3"]))
    assert [row.overrides for row in study.rows] == [
        ("experiment=addition_linear", "steps=2"),
        ("experiment=addition_linear", "steps=1"),
    ]
    assert study.rows[0].command == "prefrl-train experiment=addition_linear steps=2"
    assert (study.metrics, study.chart) == ((), "points")
    quick = load(written(tmp_path, quick=["steps=7", "num_seeds=3"]), quick=True)
    assert {row.overrides for row in quick.rows} == {("experiment=addition_linear", "steps=7", "num_seeds=3")}


def test_a_rung_keeps_what_is_above_it_and_is_held_against_it(tmp_path):
    rows = [{"name": "a", "overrides": ["seed=1"]}, {"name": "b", "overrides": ["steps=3"]}, {"name": "c"}]
    a, b, c = load(written(tmp_path, rows=rows, chart="ladder")).rows
    assert b.overrides == c.overrides == ("experiment=addition_linear", "steps=3", "seed=1")
    assert (a.baseline, b.baseline, c.baseline) == (None, "a", "b")


ROW = {"name": "a"}
WRONG = [
    ({"titel": "x"}, "tiny.yaml: titel: there is no such field of a study; did you mean title?"),
    ({"title": None}, "tiny.yaml: title: is missing"),
    ({"rows": []}, "tiny.yaml: rows: there is none; a study needs a row"),
    ({"rows": [{"name": "b", "overides": []}]}, "row b: overides: there is no such field of a row; did you mean"),
    ({"rows": [3]}, "tiny.yaml: row 3: must be a mapping with name, overrides, baseline, x, series"),
    ({"rows": [{"name": "!"}]}, "row !: needs a name with letters or digits"),
    ({"rows": [ROW, {"name": "A "}]}, "another row has this name, or one that differs in signs only"),
    ({"rows": [{"name": "one"}, {"name": "b", "baseline": "oen"}]}, "row b: baseline=oen: there is no such row; did"),
    ({"rows": [{"name": "b", "baseline": "b"}]}, "row b: baseline=b: there is no such row"),
    ({"rows": [{"name": "b", "overrides": ["steps"]}]}, "row b: overrides: steps: options are NAME=VALUE"),
    ({"rows": [{"name": "b", "overrides": ["-m"]}]}, "row b: overrides: -m: options are NAME=VALUE"),
    ({"rows": [{"name": "b", "overrides": "steps=1"}]}, "row b: overrides=steps=1: must be a list"),
    ({"common": ["output_dir=x"]}, "common: output_dir=x: the study sets output_dir itself; leave it out"),
    ({"chart": "pie"}, "tiny.yaml: chart=pie: must be one of points, ladder, lines"),
    ({"chart": "lines"}, "row a: a chart of lines needs its series"),
    ({"minutes": "ten"}, "minutes=ten: must be a number, or left out"),
    ({"metrics": []}, "metrics=[]: must be a list of names"),
    ({"common": ["experiment=nope"]}, "row 'a': experiment=nope: there is no such experiment; choose one of"),
    ({"common": ["experiment=addition_linear", "stesp=1"]}, "row 'a': stesp: there is no such option; did you mean"),
    ({"quick": ["num_seeds=0"]}, "row 'a': num_seeds=0: must be a whole number"),
    ({"minutes": datetime.date(2020, 1, 2)}, "minutes=2020-01-02: must be a number, or left out"),
    ({"minutes": float("nan")}, "minutes=nan: must be a number, or left out"),
    ({"rows": [{"name": "a", "x": float("inf")}]}, "row a: x=inf: must be a number"),
    ({"rows": [{"name": "a", "overrides": [datetime.date(2020, 1, 2)]}]}, "2020-01-02: options are NAME=VALUE"),
    ({"rows": {"a", "b"}}, "rows={'"),
    ({"title": b"\xff"}, "title=b'"),
    ({"rows": [{"name": "a", 1: 2}]}, "row a: 1: there is no such field"),
    ({"title": "a\nb"}, r"title='a\nb': must be one line"),
    ({"question": "\x1b[31m"}, r"question='\x1b[31m': must be"),
    ({"metrics": ["\u202e"]}, r"metrics=['\u202e']: must be a list of names"),
    ({"metrics": ["preference_acuracy"]}, "metrics=preference_acuracy: no row has such a metric; did you mean prefer"),
    ({"metrics": ["loss", "zzz"]}, "tiny: metrics=zzz: no row has such a metric; choose one of answer_error, eval"),
    ({"common": ["a=<!-- /study tiny -->"]}, "must be one line of printable characters, without <!-- and -->"),
]
# What a row that someone else wrote may not do.
FOR_PEOPLE = [
    "allow_targets=[evil]",
    "+allow_targets=[evil]",
    "~allow_targets",
    "teacher._target_=evil.X",
    "+env={_target_: evil.X}",
    "seed=${oc.env:SECRET}",
    'output="${oc.env:SECRET}"',
    "+hydra.callbacks.x._target_=evil.X",
    "hydra.run.dir=x",
    "hydra/launcher=joblib",
    "~hydra/launcher",
    "+a.hydra.b=1",
    "logger.wandb.mode=online",
    "+logger.mlflow.store=http://evil",
]
TEXTS = [
    ("[" * 3000, "is nested deeper than 40 levels"),
    ("a: " * 3000, "that can be loaded safely"),
    ("- " * 3000, "is nested deeper than 40 levels"),
    ("title: 2020-13-45\n", "month must be in 1..12"),
    (f"minutes: {'9' * 5000}\n", "that can be loaded safely"),
    (f"minutes: 0x{'F' * 5000}\n", "a number of more than 19"),
    ("a: &a [*a]\n", "a: there is no such field of a study"),
    ("\ttitle: a\n", "line 1, is not YAML"),
    ("title: a\ntitle: b\n", "line 2: title stands there twice; leave one out"),
    ("title: !!binary x\n", "is not YAML"),
    ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)), "aliases; write out"),
    (
        "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)),
        "aliases; write",
    ),
    ("? [1, {a: b}]\n: 1\n", "that can be loaded safely"),
    ("title: !!python/name:os.system\n", "loaded safely"),
    ("title: \0\n", "in UTF-16 or the like; save it as UTF-8"),
    ("- 3\n", "must be a mapping with title"),
]


@pytest.mark.parametrize(("changes", "line"), WRONG)
def test_is_told_in_one_line(changes, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([written(tmp_path, **changes), "--quick"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("prefrl-study: ") and line in said.err, said.err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize("override", FOR_PEOPLE)
def test_a_row_only_chooses_options(override, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SECRET", "of-this-machine")
    test_is_told_in_one_line(
        {"rows": [{"name": "b", "overrides": [override]}]},
        f"row b: overrides: a file may not set {override}; type that row with prefrl-train instead",
        tmp_path,
        monkeypatch,
        capsys,
    )


@pytest.mark.parametrize(("text", "line"), TEXTS, ids=[line for _, line in TEXTS])
def test_a_text_that_is_no_study(text, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(text)
    assert main(["tiny.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("prefrl-study: tiny.yaml") and line in said and said.count("\n") == 1, said


def test_a_study_as_an_editor_of_windows_saves_it(tmp_path):
    text = Path(written(tmp_path)).read_bytes()
    (tmp_path / "tiny.yml").write_bytes(codecs.BOM_UTF8 + text.replace(b"\n", b"\r\n"))
    assert load(f" '{tmp_path / 'tiny.yml'}'").rows == load(str(tmp_path / "tiny.yaml")).rows


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["maze_sise"], "maze_sise: there is no such study; did you mean maze_size?"),
        ([], "which study? type prefrl-study NAME, or --list"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read (No such file or directory)"),
        (["ties", "--jobs", "0"], "--jobs 0: must be 1 or more"),
        (["ties", "--jobs", "x"], "argument --jobs: invalid int value: 'x'; see prefrl-study --help"),
        (["ties", "steps=3"], "steps=3: a study sets the options of its rows; type it with prefrl-train instead"),
        (
            ["ties", "hydra/launcher=slurm", "--jobs", "2"],
            "--jobs 2: is for this machine, and hydra/launcher=slurm says",
        ),
        (["all", "--output-dir", "x"], "--output-dir: is the folder of one study"),
        (["ties", "--quick", "--readme", "README.md"], "--readme: a quick study says nothing; leave --quick out"),
        (["ties", "--readme", "README.md"], "README.md: cannot be read (No such file or directory)"),
    ],
)
def test_a_wrong_argument(arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert line in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_the_list_has_every_study_in_80_columns_and_takes_nothing_slow():
    code = (
        "import sys\nfrom prefrl_cli.cli.study import main\nassert main(['--list']) == 0\n"
        "print('IMPORTED', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    listed, _, imported = done.stdout.partition("IMPORTED")
    lines = listed.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == STUDIES
    assert max(map(len, lines)) <= 80
    assert "prefrl_cli.report.study.file" in imported.split()
    assert not {"torch", "hydra", "matplotlib"} & set(imported.split())
