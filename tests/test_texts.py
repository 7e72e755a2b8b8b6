"""Texts from elsewhere: shown in a line, put into Markdown, read from people's files, taken as paths."""

import codecs
import os
import re
import unicodedata
from pathlib import Path

import pytest
import yaml

from prefrl_cli.cli import report, reproduce, train
from prefrl_cli.config.overrides import as_meant
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.texts import markdown, read_text, shown, typed_path
from prefrl_cli.run import runner

EVIL = ["\x1b[31m", "\x9b2J", "\r", "a\nb", "\u202e", "\u2066", "\u2028", "\ud800", "\0", "\x7f", "\u200b", "a\tb"]


@pytest.mark.parametrize("text", EVIL)
def test_what_a_terminal_obeys_is_shown_as_an_escape(text):
    assert shown(text).isprintable() and shown(text).encode()
    assert markdown(text).isprintable()


def test_other_texts_are_shown_as_they_are_and_long_ones_cut():
    assert shown("Größe 8 × 8, 日本 \\x") == "Größe 8 × 8, 日本 \\x"
    assert shown("x" * 9000) == "x" * 4000 + "…" and shown("abc", 2) == "ab…"
    assert "4300" in shown(1 << 100_000)


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "<script>alert(1)</script>",
        "`code`",
        "[x](http://evil)",
        "![x](y)",
        "# head",
        "<!-- /study x -->",
        "**b**",
        "a\n\n| b |",
        "https://evil.example",
        "www.evil.example",
        "&lt;",
        "~~x~~",
        "$x$",
    ],
)
def test_markdown_of_a_text_is_the_text(text):
    bare = re.sub(r"\\.|&(lt|gt|amp);", "", markdown(text))
    assert not set(bare) & set("`*_[]#|!~$<>&\\"), bare
    back = re.sub(r"\\(\W)", r"\1", markdown(text)).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back == shown(text).replace("\\n", "\\n")
    assert "<!--" not in markdown(text) and "-->" not in markdown(text)
    assert "://" not in markdown(text) and "www." not in markdown(text)


def test_people_s_files(tmp_path):
    path = tmp_path / "a.yaml"
    for data in ("é: 1\nb: 2\n".encode(), codecs.BOM_UTF8 + "é: 1\r\nb: 2\r\n".encode(), "é: 1\rb: 2\r".encode()):
        path.write_bytes(data)
        assert read_text(path) == "é: 1\nb: 2\n"
    (tmp_path / "link.yaml").symlink_to(path)
    assert read_text(tmp_path / "link.yaml") == "é: 1\nb: 2\n"


@pytest.mark.parametrize(
    ("data", "line"),
    [("a: 1\nb: é\n".encode("latin-1"), "a.yaml, line 2: is not in UTF-8; save"), ("a: 1\n".encode("utf-16"), "UTF-16"),
     ("a: 1\n".encode("utf-16-le"), "UTF-16"), ("a: 1\n".encode("utf-32"), "UTF-16 or the like"),
     (b"a" * (2 << 20), "more than 1,048,576 bytes"), (None, "is not a plain file"), ("pipe", "is not a plain file")],
)  # fmt: skip
def test_files_that_are_no_text_of_people_s(data, line, tmp_path):
    path = tmp_path / "a.yaml"
    if data is None:
        path.mkdir()
    else:
        os.mkfifo(path) if data == "pipe" else path.write_bytes(data)
    with pytest.raises(ConfigError, match="a.yaml.*") as caught:
        read_text(path)
    assert line in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("run", "run/"),
        ("run", "./run//"),
        ("run", " run "),
        ("run", "'run'"),
        ("run", '"run"'),
        ("run", "~/run"),
        ("run", "run\r"),
        ("a b=c", "a b=c"),
        ("a b", "file://{home}/a%20b"),
        ("a", "file://localhost{home}/a"),
        ("é", unicodedata.normalize("NFD", "é")),
        (unicodedata.normalize("NFD", "é"), "é"),
        ("a/b", "a\\b"),
        ("~x", "~x"),
        ("'q'", "'q'"),
        (" s", " s"),
        ("日本", "日本"),
    ],
)
def test_paths_as_people_type_them(name, typed, home):
    (home / name).mkdir(parents=True)
    assert typed_path(typed.format(home=home)).samefile(home / name)


def test_paths_that_are_not_there_yet(home):
    assert typed_path("~/new") == home / "new" and typed_path("file:///new%20x") == Path("/new x")
    assert typed_path("a 'b'") == Path("a 'b'")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("addition_linear.yaml",) * 2,
        ("addition_linear.yml",) * 2,
        ("./addition_linear",) * 2,
        ("addition_linear/",) * 2,
        (" addition_linear ",) * 2,
        ("'addition_linear'",) * 2,
        ("addition_linear\r\n",) * 2,
        ("notebook\\addition_linear",) * 2,
    ],
)
def test_a_choice_by_its_file(typed, meant, home):
    (found,) = as_meant([f"experiment={typed}"])
    assert found == ("experiment=notebook/addition_linear" if "notebook" in meant else "experiment=addition_linear")
    assert as_meant([f"-m experiment={typed}"]) == [f"-m experiment={typed}".rstrip("\r\n")]


def test_choices_of_a_sweep_by_their_files(home):
    assert as_meant(["-m", "optimizer=adam.yaml,sgd.yaml"]) == ["-m", "optimizer=adam,sgd"]
    assert as_meant(["seed=1,2", "steps=2\r", "optimizer=[a]"]) == ["seed=1,2", "steps=2", "optimizer=[a]"]


OWN = "# @package _global_\ndefaults:\n  - addition_linear\n  - _self_\nsteps: 2\n"


@pytest.mark.parametrize(
    ("file", "typed", "line"),
    [
        ("c/experiment/mine.yaml", ["experiment=c/experiment/mine.yaml"], "type --config-dir {home}/c experiment=mine"),
        (
            "c/experiment/mine.yaml",
            ["experiment={home}/c/experiment/mine"],
            "type --config-dir {home}/c experiment=mine",
        ),
        (
            "mine.yaml",
            ["experiment=./mine.yaml"],
            "put the file into FOLDER/experiment/ and type --config-dir FOLDER experiment=mine",
        ),
        (
            "c/experiment/mine.yml",
            ["--config-dir", "c", "experiment=mine"],
            "c/experiment/mine.yml: files of choices end in .yaml",
        ),
        ("c/experiment/mine.yml", ["experiment=c/experiment/mine.yml"], "files of choices end in .yaml; rename it"),
        (
            "c/experiment/mine.yaml",
            ["--config-dir=c", "experiment=../c/experiment/mine"],
            "is a path, and a choice is a name",
        ),
        ("o.yaml", ["experiment=../../o"], "there is no such experiment"),
    ],
)
def test_a_path_for_a_choice_is_told(file, typed, line, home, capsys):
    (home / file).parent.mkdir(parents=True, exist_ok=True)
    (home / file).write_text(OWN)
    if "../c" in typed[-1]:
        (home / "d").mkdir()
        os.chdir(home / "d")
    assert train.main([*(text.format(home=home) for text in typed), "quiet=true"]) == 2
    said = capsys.readouterr().err
    assert line.format(home=home) in said and said.count("\n") == 1, said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_an_experiment_as_an_editor_saves_it(encoding, home, capsys):
    (home / "c" / "experiment").mkdir(parents=True)
    text = OWN.replace("steps: 2", "# é\nsteps: 2").replace("\n", "\r\n")
    (home / "c" / "experiment" / "mine.yaml").write_bytes(text.encode(encoding))
    code = train.main(["--config-dir", "c", "experiment=mine.yaml", "quiet=true", "output_dir=ä é'=x\\"])
    said = capsys.readouterr().err
    if encoding == "utf-8-sig":
        assert code == 0 and (home / "ä é'=x\\" / "summary.json").is_file(), said
    else:
        assert code == 2 and "mine.yaml" in said and "save" in said and said.count("\n") == 1, said


def test_what_a_stranger_s_record_says_is_no_command_of_a_terminal(home, capsys):
    evil = "\x1b[31m\u202ered"
    run = home / f"run{evil}"
    options = ["experiment=addition_linear", "steps=2", "quiet=true"]
    assert train.main([*options, "output_dir=run"]) == 0
    (home / "run").rename(run)
    for name in ("config.yaml", "environment.json", "summary.json", "metrics.csv", "status.json"):
        text = (run / name).read_text()
        for good in ("3.11.7", "loss", '"python": "'):
            text = text.replace(
                good, good + evil.encode("unicode_escape").decode() if name.endswith("json") else good + evil
            )
        (run / name).write_text(text.replace("\\x1b", "\\u001b"))
    config = yaml.safe_load(
        (home / run / "config.yaml").read_text(errors="replace").replace("\x1b", "").replace("\u202e", "")
    )
    (run / "config.yaml").write_text(yaml.safe_dump({**config, f"a{evil}": evil}))
    assert train.main([f"resume={run}", "steps=3"]) == 2
    assert report.main([str(run), "-o", f"out{evil}"]) == 0
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert train.main([f"resume={run}", "steps=3"]) in (0, 1)
    reproduce.main([str(run)])
    report.main([str(home)])
    said = capsys.readouterr()
    logs = [
        path.read_text() for path in home.rglob("*") if path.suffix in (".log", ".html") or path.name == "report.csv"
    ]
    assert len(logs) >= 3
    for text in (said.out, said.err, *logs):
        assert {letter for letter in text if not letter.isprintable()} <= {"\n"}
