"""`prefrl-label`: the questions of a file are answered in the file, and a stopped run's in the run."""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from test_label_page import ask, asked

from prefrl_cli.cli import label
from prefrl_cli.files.lock import LOCK, hold
from prefrl_cli.files.preferences.data import PreferenceData, stacked
from prefrl_cli.files.preferences.formats import load, save
from prefrl_cli.label_page.address import kept_address
from prefrl_cli.preference.database import ANSWERS, AnswerDatabase

ABOUT = {"experiment": "oprl_maze", "env.choice": "maze", "env.size": 4, "env.horizon": 8}


def data(count=6, **about):
    """Questions about a small maze, of which the last has an answer already."""
    segments = [
        {"states": np.arange(row % 3 + 1), "actions": np.ones(row % 3 + 1, int), "rewards": np.zeros(row % 3 + 1)}
        for row in range(2 * count)
    ]
    found = stacked(segments)
    last = np.array([row % 3 + 1 for row in range(2 * count)])
    arrays = {name: value.reshape(count, 2, *value.shape[1:]) for name, value in {**found, "last": last}.items()}
    arrays |= {name: np.arange(count) * 0 - 1 for name in ("asked", "answered")}
    arrays |= {
        "seed": np.zeros(count, int),
        "number": np.arange(count),
        "teacher": np.array([""] * (count - 1) + ["x"]),
    }
    arrays["label"] = np.array([np.nan] * (count - 1) + [1.0], np.float32)
    arrays["weight"] = np.array([0.0] * (count - 1) + [1.0], np.float32)
    return PreferenceData.checked("made", arrays, {**ABOUT, **about})


class Labelling:
    """The command in a thread, and a person who is told its address."""

    def __init__(self, *arguments, address):
        self.codes = []
        self.thread = threading.Thread(target=lambda: self.codes.append(label.main([*arguments, "--no-open"])))
        address.unlink(missing_ok=True)
        self.thread.start()
        until = time.monotonic() + 60
        while (found := kept_address(address)) is None:
            assert self.thread.is_alive() and time.monotonic() < until
            time.sleep(0.02)
        self.server = SimpleNamespace(address=found)

    def question(self):
        until = time.monotonic() + 30
        while (found := ask(self.server, "GET", "/api/question", rater="anna"))[0] == 204 and time.monotonic() < until:
            time.sleep(0.02)
        return found[1]

    def answer(self, answer, **more):
        """Answer the next question; its number."""
        question = self.question()["question"]
        given = {"question": question, "answer": answer, "rater": "anna", **more}
        assert ask(self.server, "POST", "/api/answer", given)[0] == 200
        return question

    def done(self):
        assert ask(self.server, "POST", "/api/done", {})[0] == 200
        self.thread.join(60)
        return self.codes


@pytest.mark.parametrize("ending", ["npz", "jsonl"])
def test_answers_go_into_the_file_and_on_where_they_stopped(tmp_path, ending, capsys):
    path, address = tmp_path / f"q.{ending}", tmp_path / f".q.{ending}.label_page.json"
    before = data()
    save(path, before)
    person = Labelling(str(path), address=address)
    for answer in ("left", "right", "cannot_tell"):
        person.answer(answer, strong=answer == "right")
    assert person.done() == [0]
    said = capsys.readouterr().out
    assert f"3 answers in {path}" in said
    assert re.search(r"^Ctrl-C ends; to answer the questions open\nhttp://\S+\?token=\w+$", said, re.MULTILINE)
    first = [side == "left" for (side,) in database_of(path).rows("SELECT first_side FROM questions ORDER BY number")]
    after = load(path)
    np.testing.assert_array_equal(after.label, np.float32([first[0], not first[1], 0.5, np.nan, np.nan, 1]))
    np.testing.assert_array_equal(after.weight, np.float32([1, 2, 0, 0, 0, 1]))
    assert after.teacher.tolist() == ["anna", "anna", "anna", "", "", "x"]
    for name, value in before.arrays().items():
        if name not in ("label", "weight", "teacher"):
            np.testing.assert_array_equal(getattr(after, name), value)
    again = Labelling(str(path), address=address)
    assert ask(again.server, "GET", "/api/progress")[1]["labels"] == 5  # less the one that had an answer
    assert ask(again.server, "POST", "/api/undo", {"rater": "anna"})[0] == 200
    numbers = [again.answer("equal") for _ in range(3)]
    assert numbers[0] == 3  # the one that was taken back
    assert ask(again.server, "GET", "/api/question")[0] == 204
    assert again.done() == [0]
    np.testing.assert_array_equal(load(path).label[2:], np.float32([0.5, 0.5, 0.5, 1]))
    np.testing.assert_array_equal(load(path).weight, np.float32([1, 2, 1, 1, 1, 1]))


def database_of(path):
    return AnswerDatabase(path.with_name(f"{path.name}.{ANSWERS}"))


def test_films_of_both_sides_are_those_of_the_file(tmp_path):
    path = tmp_path / "q.npz"
    save(path, data())
    person = Labelling(str(path), address=tmp_path / ".q.npz.label_page.json")
    question = person.question()
    paths = {tuple(question[side]["path"]) for side in ("left", "right")}
    assert paths == {(0, 1), (0, 1, 2)} and question["left"]["size"] == 4
    assert person.done() == [0]


def test_a_stopped_runs_questions_are_answered_in_the_run(tmp_path):
    database = AnswerDatabase(tmp_path / ANSWERS)
    database.ask([asked(0), asked(1)], 0)
    person = Labelling(str(tmp_path), address=tmp_path / "label_page.json")
    person.answer("left")
    assert person.done() == [0]
    said = database.rows("SELECT answer FROM answers WHERE answer != 'done'")
    assert said == [("left",)] and database.done
    database.close()


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"env.choice": None}, "does not say which environment"),
        ({"env.choice": "no_such"}, "no_such"),
        ({"env.size": 3}, "size"),
        ({"env.choice": "addition"}, "draws no films"),
        ({"env.layout": "evil"}, "layout"),
        ({"env.evil": 1}, "evil"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(tmp_path, capsys, about, said):
    path = tmp_path / "q.npz"
    made = data(**about)
    save(path, replace(made, about={"env.choice": "addition"} if about == {"env.choice": "addition"} else made.about))
    content = path.read_bytes()
    assert label.main([str(path), "--no-open"]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and path.read_bytes() == content


def test_states_of_another_environment_are_refused(tmp_path, capsys):
    path = tmp_path / "q.npz"
    made = data()
    save(path, replace(made, last=made.last + 40))
    assert label.main([str(path), "--no-open"]) == 2
    assert "has states that env=maze does not have" in capsys.readouterr().err


def test_a_file_without_an_open_question_is_refused(tmp_path, capsys):
    path = tmp_path / "q.npz"
    save(path, data().take(np.array([5])))
    assert label.main([str(path), "--no-open"]) == 2
    said = ": each of its questions has an answer; type a file with some that have none\n"
    assert capsys.readouterr().err.endswith(said) and [one.name for one in tmp_path.iterdir()] == ["q.npz"]


def test_another_file_in_its_place_is_refused(tmp_path, capsys):
    path = tmp_path / "q.npz"
    save(path, data())
    person = Labelling(str(path), address=tmp_path / ".q.npz.label_page.json")
    person.answer("left")
    assert person.done() == [0]
    changed = data()
    save(path, replace(changed, states=changed.states + 1, last=changed.last + 1))
    assert label.main([str(path), "--no-open"]) == 2
    assert "question 1 is not the one that was answered here" in capsys.readouterr().err
    assert np.isnan(load(path).label[0])


def test_wrong_arguments_are_one_line(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no questions")
    (tmp_path / "run").mkdir()
    AnswerDatabase(tmp_path / "run" / ANSWERS).close()
    handle = hold(tmp_path / "run" / LOCK)
    for arguments, said in (
        (["absent.npz"], "there is no such file"),
        ([str(tmp_path)], "there is no such file"),
        ([str(tmp_path / "notes.txt")], ".npz or .jsonl"),
        ([str(tmp_path / "run")], "is training now"),
        ([str(tmp_path / "notes.txt"), "--port=70000"], "--port=70000"),
    ):
        assert label.main(arguments) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    os.close(handle)
    assert not list(tmp_path.glob("*notes*sqlite*"))
