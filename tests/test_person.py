"""A person answers: which update takes up which answer is kept, taken back, repeated and given to other runs."""

import contextlib
import json
import shutil
import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace

import direct
import numpy as np
import pytest
import torch

from prefrl_cli.algorithm.oprl_parts import smoothed
from prefrl_cli.cli import reproduce, train
from prefrl_cli.config.compose import composed
from prefrl_cli.core.option_types import ConfigError, Failed, OptionError
from prefrl_cli.env.maze import Maze
from prefrl_cli.files.checkpoint_file import pack, unpack
from prefrl_cli.files.read import UnreadableError
from prefrl_cli.preference.answers.events import copy_answers, events, repeats
from prefrl_cli.preference.answers.films import Films, _encoded, episode_of
from prefrl_cli.preference.database import ANSWERS, AnswerDatabase
from prefrl_cli.preference.questions import Part, Questions, arrays, parts
from prefrl_cli.run.lifecycle import run_job

SMALL = [
    "criterion=progress", "env.size=4", "env.horizon=8", "policy.hidden=4", "reward_model.hidden=4",
    "algorithm.episodes=2", "queries.questions=3", "reward_update.batch=8", "reward_update.updates=1",
]  # fmt: skip


def learner(*options, teacher="human"):
    return direct.configured("oprl_maze", *SMALL, f"teacher={teacher}", *options)


@contextlib.contextmanager
def session(folder, *options, budget=None, pause=None, told=None):
    """A learner whose teacher asks in a database of the folder, and the database, as the page has it."""
    algorithm = learner(*options)
    tell = (lambda _: None) if told is None else told.append
    with algorithm.teacher.attached(folder / ANSWERS, budget, tell, pause):
        page = AnswerDatabase(folder / ANSWERS)
        yield algorithm, page
        page.close()


def answer(page, kind, strong=False):
    """Answer the page's next question; its id and whether that was acknowledged."""
    question = page.next_question("person", 60)
    return question.id, page.answer(question.id, kind, "person", 2.0, f"{question.id} {kind}", strong)


def kept(algorithm):
    """(number, label, weight, asked, answered) of each answer that the first seed has."""
    found = algorithm.preferences.all()
    if found is None:
        return []
    rows = [getattr(found[0], name)[0].tolist() for name in ("number", "label", "weight", "asked", "answered")]
    return list(zip(*rows, strict=True))


def side_of_first(page, question):
    return page.rows("SELECT first_side FROM questions WHERE id = ?", question)[0][0]


def test_an_answer_counts_from_the_update_that_takes_it_up(tmp_path):
    with session(tmp_path) as (algorithm, page):
        algorithm.update()
        assert kept(algorithm) == [] and page.counts() == (0, 3, 0)
        first, good = answer(page, "left")
        assert good
        second, _ = answer(page, "cannot_tell")
        third, _ = answer(page, "equal")
        algorithm.update()
        label = float(side_of_first(page, first) == "left")
        assert kept(algorithm) == [(0, label, 1.0, 0, 1), (2, 0.5, 1.0, 0, 1)]
        assert algorithm.preferences.used.tolist() == [2]  # "I cannot tell" costs nothing
        assert [(one.number, one.kind, one.step) for one in events(page)] == [
            (0, "left", 1),
            (1, "cannot_tell", 1),
            (2, "equal", 1),
        ]
        question, _ = answer(page, "right", strong=True)
        algorithm.update()
        assert kept(algorithm)[-1] == (3, float(side_of_first(page, question) == "right"), 2.0, 1, 2)


def test_both_sides_are_shown_first_and_each_answer_is_turned_back(tmp_path):
    with session(tmp_path, "teacher.questions=null", "queries.questions=40") as (algorithm, page):
        algorithm.update()
        shown = dict(page.rows("SELECT number, first_side FROM questions"))
        assert set(shown.values()) == {"left", "right"}
        for _ in range(40):
            answer(page, "left")
        algorithm.update()
        assert {number: label for number, label, *_ in kept(algorithm)} == {
            number: float(side == "left") for number, side in shown.items()
        }


def test_what_is_shown_is_what_is_asked_about(tmp_path):
    with session(tmp_path) as (algorithm, page):
        algorithm.update()
        pending = algorithm.preferences.pending(0)
        question = page.next_question("person", 60)
        first, second = (
            (question.left, question.right)
            if side_of_first(page, question.id) == "left"
            else (question.right, question.left)
        )
        for clip, one in ((first, 0), (second, 1)):
            steps = int(pending.questions.lengths[0, 0, one])
            states = pending.questions.states[0, 0, one, :steps].tolist()
            assert clip["path"] == [*states, int(pending.questions.last[0, 0, one])]
            assert (clip["kind"], clip["size"], clip["goal"]) == ("maze", 4, 15)
            assert Maze(4).walls.flatten().nonzero()[0].tolist() == clip["walls"]


def test_undo_corrects_the_data_set_and_the_question_comes_again(tmp_path):
    with session(tmp_path) as (algorithm, page):
        algorithm.update()
        first, _ = answer(page, "left")
        answer(page, "right")
        algorithm.update()
        assert algorithm.preferences.used.tolist() == [2]
        page.undo("person")
        assert page.undo("person").id == first and page.counts()[0] == 0
        algorithm.update()
        assert algorithm.preferences.used.tolist() == [0]
        assert [weight for _, _, weight, *_ in kept(algorithm)] == [0.0, 0.0]
        again, good = answer(page, "equal")
        assert (again, good) == (first, True)
        algorithm.update()
        assert kept(algorithm)[-1] == (0, 0.5, 1.0, 0, 3) and algorithm.preferences.used.tolist() == [1]
        assert [(one.kind, one.step, one.undone) for one in events(page)] == [
            ("left", 1, True), ("right", 1, True), ("undo", 2, False), ("undo", 2, False), ("equal", 3, False),
        ]  # fmt: skip


def test_an_answer_that_is_taken_back_before_an_update_never_counts(tmp_path):
    with session(tmp_path) as (algorithm, page):
        algorithm.update()
        first, _ = answer(page, "left")
        page.undo("person")
        page.answer(first, "equal", "person", 1.0, "anew")
        algorithm.update()
        assert [row[:3] for row in kept(algorithm)] == [(0, 0.5, 1.0)]


def test_questions_expire_and_those_of_a_spent_budget_are_not_given_out(tmp_path):
    with session(tmp_path, "teacher.expire=2", "queries.budget=2", budget=2) as (algorithm, page):
        algorithm.update()
        old = page.next_question("slow", 60).id
        algorithm.update()
        algorithm.update()
        assert not page.answer(old, "left", "slow", 9.0, "late")
        assert page.counts() == (0, 6, 0)
        answer(page, "left")
        answer(page, "right")
        assert page.next_question("person", 60) is None and page.counts() == (2, 0, 2)
        assert page.progress()["left"] == 0
        page.undo("person")
        assert page.next_question("person", 60) is not None
        algorithm.update()
        assert algorithm.preferences.used.tolist() == [1]


def test_one_question_is_one_persons_until_the_lease_ends(tmp_path):
    with session(tmp_path) as (algorithm, page):
        algorithm.update()
        mine, yours = page.next_question("one@tab", 60), page.next_question("other@tab", 0.0)
        assert mine.id != yours.id and page.next_question("one@tab", 60) == mine
        assert page.next_question("third", 60).id == yours.id
        assert page.answer(mine.id, "left", "one@tab", None, "a") and page.answer(mine.id, "left", "one@tab", None, "a")
        assert not page.answer(mine.id, "left", "one@tab", None, "b")
        assert page.rows("SELECT rater FROM answers") == [("one",)]


def test_questions_are_asked_again_with_the_sides_changed_and_teach_nothing_then(tmp_path):
    with session(tmp_path, "teacher.repeat=1.0") as (algorithm, page):
        algorithm.update()
        first, _ = answer(page, "left")
        algorithm.update()
        again = page.rows("SELECT id, first_side, repeats FROM questions WHERE repeats IS NOT NULL")
        assert len(again) == 1 and again[0][2] == first and again[0][1] != side_of_first(page, first)
        assert page.answer(again[0][0], "right", "person", 1.0, "again")
        algorithm.update()
        assert len(kept(algorithm)) == 1 and algorithm.preferences.used.tolist() == [1]
        assert [one.label for one in events(page)] == [events(page)[0].label] * 2
        assert len(page.rows("SELECT 1 FROM questions WHERE repeats IS NOT NULL")) == 1


def test_each_answer_is_compared_with_what_the_model_had_guessed_before(tmp_path):
    with session(tmp_path, "teacher.guess=true") as (algorithm, page):
        algorithm.update()
        before = page.rows("SELECT first_side, chance, number FROM questions JOIN guesses ON id = question")
        pending = algorithm.preferences.pending(0).questions.return_differences(algorithm.reward_model)
        chances = pending.detach().double().sigmoid().mean(1)[0]
        assert len(before) == 3 and page.fact("guess") is True
        assert [chance for _, chance, _ in before] == pytest.approx(chances.tolist())
        page.execute("UPDATE guesses SET chance = 0.9")  # surer than a model can be by now
        sides = {number: side for side, _, number in before}
        for right in (True, False, None):
            asked, number = page.rows("SELECT id, number FROM questions WHERE answer IS NULL ORDER BY number")[0]
            agreed = sides[number] if right else "left" if sides[number] == "right" else "right"
            assert page.answer(asked, agreed if right is not None else "equal", "person", 1.0, f"{right}")
        algorithm.teacher.report(1, {"success": 0.25})
        assert page.progress()["curve"][-1] == {"step": 1, "success": 0.25, "guessed": 0.5}
        model = algorithm.teacher.summary()["model"]
        assert (model["value"], model["number"], model["last"]["number"]) == (0.5, 2, 2)  # a tie does not count


def test_answers_of_an_earlier_version_are_read_and_gone_on_with(tmp_path):
    with session(tmp_path) as (algorithm, page):
        algorithm.update()
        answer(page, "left")
        page.execute("DROP TABLE guesses")  # which it did not know
    copy_answers(tmp_path / ANSWERS, tmp_path / "copy.sqlite")
    with contextlib.closing(AnswerDatabase(tmp_path / ANSWERS)) as page:
        assert events(page)[0].guess is None and page.rows("SELECT * FROM guesses") == []
        page.execute("CREATE TABLE more (x)")
    with pytest.raises(Failed, match="holds other tables than ours"), session(tmp_path):
        pass


def test_the_loss_is_as_sure_as_the_person_is_reliable(tmp_path):
    options = ["teacher.repeat=1.0", "loss=soft", "loss.smoothing=measured", "teacher.questions=null"]
    with session(tmp_path, *options, "queries.questions=6") as (algorithm, page):
        algorithm.update()
        for _ in range(4):
            answer(page, "left")
        algorithm.update()
        label = torch.tensor([[1.0, 0.0, 0.5]])
        parts_ = algorithm._loss, algorithm.teacher, algorithm.preferences
        assert torch.equal(smoothed(label, *parts_), label) and algorithm.teacher.repeats.tolist() == [[0, 0]]
        again = page.rows("SELECT id FROM questions WHERE repeats IS NOT NULL ORDER BY id")
        for (asked,), kind in zip(again, ["left", "right", "equal", "right"], strict=True):
            page.answer(asked, kind, "person", 1.0, f"again {asked}")
        assert repeats(page) == {0: (3, 2)} and repeats(page, 1) == {}  # a tie is no flip; the sides were changed
        algorithm.update()
        assert algorithm.teacher.repeats.tolist() == [[3, 2]]  # (2 + 2) / (3 + 2) agree, so e = (1 - sqrt(0.6)) / 2
        assert smoothed(label, *parts_)[0].tolist() == pytest.approx([0.5 + 0.6**0.5 / 2, 0.5 - 0.6**0.5 / 2, 0.5])
        page.undo("person")
        page.undo("person")
        page.undo("person")
        algorithm.update()
        assert algorithm.teacher.repeats.tolist() == [[1, 0]]
        assert repeats(page, 2) == {0: (3, 2)}  # as that update saw it, so that a run repeats
        state = algorithm.state()
    with session(tmp_path, *options, "queries.questions=6") as (resumed, _):
        resumed.restore(unpack(*pack(state), "cpu"))
        assert resumed.teacher.repeats.tolist() == [[1, 0]]
        older = {name: value for name, value in resumed.teacher.state().items() if name != "repeats"}
        resumed.teacher.restore(older)
    told = learner(f"teacher.file={tmp_path / ANSWERS}", "loss=soft", "loss.smoothing=measured", teacher="recorded")
    assert told.teacher.repeats.tolist() == [[1, 0]]


def test_the_policy_waits_for_the_first_answers_and_training_for_its_person(tmp_path):
    waited = []

    def pause():
        waited.append(algorithm.step)
        answer(page, "left")

    with session(tmp_path, "teacher.wait_for=5", "teacher.pace=0.25", pause=pause) as (algorithm, page):
        first, second = algorithm.update(), algorithm.update()
        assert "policy_loss" not in first and "policy_loss" in second
        assert waited == [0, 0, 0, 1, 1, 1]  # all three that wait, though four an update are wanted
        page.say_done()
        algorithm.update()
        assert len(waited) == 6 and page.next_question("person", 60) is None
        algorithm.update()
        assert len(page.rows("SELECT 1 FROM questions")) == 9  # nobody is asked any more


def test_a_run_that_is_taken_up_sees_the_same_answers_at_the_same_updates(tmp_path):
    """Those that were seen after its checkpoint too; what nobody has seen yet comes after them."""
    with session(tmp_path) as (whole, page):
        for number in range(6):
            whole.update()
            if number == 2:
                stored = unpack(*pack(whole.state()), "cpu")
            if number < 5:
                answer(page, ("left", "right", "equal")[number % 3])
            if number == 3:
                page.undo("person")
        expected = pack(whole.state())
        answer(page, "left")
    with session(tmp_path) as (taken_up, page):
        taken_up.restore(stored)
        for _ in range(3):
            taken_up.update()
        text, data = pack(taken_up.state())
        assert text == expected[0] and torch.equal(data, expected[1])
        taken_up.update()
        assert kept(taken_up)[-1][-1] == 6


def test_a_run_whose_answers_are_gone_is_told(tmp_path):
    with session(tmp_path) as (algorithm, page):
        algorithm.update()
        answer(page, "left")
        algorithm.update()
        stored = unpack(*pack(algorithm.state()), "cpu")
    (tmp_path / ANSWERS).unlink()
    other = learner()
    other.restore(stored)
    with (
        pytest.raises(Failed, match="holds fewer answers than the run has seen"),
        other.teacher.attached(tmp_path / ANSWERS, None),
    ):
        pass


def test_answers_to_questions_that_are_others_now_are_kept_and_not_learned_from(tmp_path):
    with session(tmp_path) as (algorithm, page):
        for _ in range(3):
            algorithm.update()
            answer(page, "left")
        algorithm.update()
    told = []
    with session(tmp_path, "seed=0", "optimizer.lr=0.3", told=told) as (other, page):
        for _ in range(4):
            other.update()
        assert len(told) == 1 and "are no longer those that were asked before" in told[0]
        assert len(events(page)) == 3 and min(one.number for one in events(page)) < 0
        assert all(row[0] >= 0 for row in kept(other))
        _, good = answer(page, "left")
        other.update()
        assert good and kept(other)[-1][-1] == 4


def test_two_seeds_are_asked_in_turn_and_each_learns_from_its_own_answers(tmp_path):
    with session(tmp_path, "num_seeds=2", "seed=7") as (algorithm, page):
        algorithm.update()
        asked = [answer(page, kind)[0] for kind in ("equal", "equal", "left")]
        seeds = [page.rows("SELECT seed, number FROM questions WHERE id = ?", one)[0] for one in asked]
        assert seeds == [(7, 0), (8, 0), (7, 1)]
        algorithm.update()
        assert algorithm.preferences.used.tolist() == [2, 1]


def recorded(folder, *options):
    return learner(f"teacher.file={folder}", *options, teacher="recorded")


@pytest.fixture
def answered(tmp_path):
    """A folder with the answers of four updates, and the learner that saw them."""
    with session(tmp_path) as (algorithm, page):
        for _ in range(4):
            algorithm.update()
            for kind in ("left", "equal", "cannot_tell"):
                answer(page, kind)
        algorithm.update()
        yield tmp_path, algorithm


def test_recorded_answers_teach_the_same_run_the_same(answered):
    folder, expected = answered
    again = recorded(folder)
    for _ in range(5):
        again.update()
    taken_up = [[(label, weight, at) for _, label, weight, _, at in kept(one)] for one in (again, expected)]
    assert taken_up[0] == taken_up[1] and len(taken_up[0]) == 8
    mine, theirs = (pack(one.policy_optimizer.state()) for one in (again, expected))
    assert mine[0] == theirs[0] and torch.equal(mine[1], theirs[1])


def test_recorded_answers_teach_other_seeds_and_are_given_once(answered):
    folder, expected = answered
    other = recorded(folder, "seed=50", "num_seeds=2")
    for _ in range(5):
        other.update()
    assert other.preferences.used.tolist() == [8, 8]
    assert "12 of 12 recorded answers were given to each seed" in other.teacher.told()
    alone = recorded(folder, "seed=51")
    for _ in range(5):
        alone.update()
    assert [row[1:] for row in kept(alone)] == [
        tuple(
            getattr(other.preferences.all()[0], name)[1, place].item()
            for name in ("label", "weight", "asked", "answered")
        )
        for place in range(8)
    ]


def test_recorded_answers_without_their_questions_are_given_to_what_is_the_same(answered):
    folder, _ = answered
    other = recorded(folder, "teacher.bring=false", "seed=50", "queries.questions=40")
    for _ in range(5):
        other.update()
    given = int(other.teacher.told().split()[1])
    assert given < 12 and "questions had none" in other.teacher.told()


def test_a_pair_the_other_way_round_gets_the_answer_the_other_way_round(answered):
    folder, expected = answered
    other = recorded(folder, "teacher.bring=false")
    pending = expected.preferences.pending(5)
    turned = Questions(**{name: value.flip(2) for name, value in pending.questions.tensors().items()})
    answers = other.teacher.answer(pending._replace(questions=turned), None, None)
    again = recorded(folder, "teacher.bring=false").teacher.answer(pending, None, None)
    both = arrays(pending.questions)
    pairs = [frozenset(part.hash(b"") for part in parts(both, 0, place)) for place in range(len(pending.number))]
    once = torch.tensor([place for place, pair in enumerate(pairs) if pairs.count(pair) == 1])
    label, turned_label = again.label[0, once], answers.label[0, once]
    assert torch.equal(again.weight[0, once], answers.weight[0, once]) and (label != 0.5).any()
    assert torch.equal(turned_label, 1 - label)


def test_a_recorded_teacher_that_is_taken_up_goes_on(answered):
    folder, _ = answered
    whole, taken_up = recorded(folder), recorded(folder)
    for _ in range(2):
        whole.update()
    taken_up.restore(unpack(*pack(whole.state()), "cpu"))
    for _ in range(3):
        whole.update()
        taken_up.update()
    mine, theirs = pack(whole.state()), pack(taken_up.state())
    assert mine[0] == theirs[0] and torch.equal(mine[1], theirs[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "teacher.file=null: a run whose questions were answered is needed; try teacher.file=RUN_DIR"),
        (["teacher.file=nowhere"], r"teacher.file=nowhere: cannot be read .*; try teacher.file=RUN_DIR"),
        (["teacher.file=."], r"teacher.file=.: cannot be read \(answers.sqlite is missing\)"),
        (["teacher.file=FOLDER", "env.size=5"], "holds no answer to a question of this environment"),
    ],
)
def test_files_that_are_no_answers_are_told(answered, options, message):
    given = [text.replace("FOLDER", str(answered[0])) for text in options]
    with pytest.raises(ConfigError, match=message):
        learner(*given, teacher="recorded")


def test_a_strangers_database_runs_nothing_and_is_left_as_it_is(answered, tmp_path):
    folder, _ = answered
    copy_answers(folder / ANSWERS, tmp_path / "copy.sqlite")
    with pytest.raises(UnreadableError, match="is missing"):
        copy_answers(tmp_path / "nothing", tmp_path / "other.sqlite")
    (tmp_path / "link").symlink_to(tmp_path / "copy.sqlite")
    with pytest.raises(UnreadableError, match="is a link"):
        copy_answers(tmp_path / "link", tmp_path / "other.sqlite")
    evil = sqlite3.connect(tmp_path / "copy.sqlite")
    evil.execute("CREATE TRIGGER t AFTER INSERT ON facts BEGIN DELETE FROM answers; END")
    evil.commit()
    evil.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("copy.sqlite*")}
    with pytest.raises(UnreadableError, match="holds something else than answers"):
        copy_answers(tmp_path / "copy.sqlite", tmp_path / "other.sqlite")
    (tmp_path / "torn.sqlite").write_bytes((folder / ANSWERS).read_bytes()[:5000])
    with pytest.raises(UnreadableError, match="is damaged"):
        copy_answers(tmp_path / "torn.sqlite", tmp_path / "another.sqlite")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("copy.sqlite*")} == before


CART = ["env.horizon=12", "env.solved_return=5", "policy.hidden=4", "reward_model.hidden=4", "num_seeds=2",
        "algorithm.episodes=3", "queries.budget=8", "queries.first=1.0", "queries.segment=6", "reward_update.batch=4",
        "reward_update.updates=1", "teacher.pace=null"]  # fmt: skip


def test_films_of_an_environment_that_draws_only_itself_are_of_what_is_asked(tmp_path):
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("pygame")
    learners = [direct.configured("gymnasium", "teacher=human", *CART) for _ in range(2)]
    algorithm = learners[0]
    with algorithm.teacher.attached(tmp_path / ANSWERS, 8) as page:
        algorithm.update()
        played = gymnasium.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=-1)
        seen = 0
        for seed, clips, both in page.rows("SELECT seed, first_clip || '\n' || second_clip, parts FROM questions"):
            for clip, part in zip(map(json.loads, clips.split("\n")), json.loads(both), strict=True):
                begun, actions, first = episode_of(Part.of(algorithm.env, **part), seed, algorithm._trajectories)
                observed, _ = played.reset(seed=begun)
                frames, states, ends = [played.render()], [observed], False
                for action in actions:
                    if not ends:
                        observed, _, ends, _, _ = played.step(int(action))
                        frames.append(played.render())
                    states.append(observed)
                assert states[first:] == pytest.approx(np.array(part["states"], np.float32))
                shown = [_encoded(frame) for frame in frames[first:] or frames[-1:]]
                assert clip == {"kind": "images", "frames": shown}
                seen += len(clip["frames"]) > 1
        assert seen > 4 and page.fact("film")["kind"] == "images"
    learners[1].restore(unpack(*pack(algorithm.state()), "cpu"))
    newest = [one.teacher.films.of_newest(one._trajectories) for one in learners]
    assert newest[0] == newest[1] and len(newest[0]["frames"]) > 4
    oracle = direct.configured("gymnasium", "teacher=oracle", *CART[:-1])
    oracle.update()
    assert "started" not in oracle._trajectories.state()["items"]


def test_what_cannot_be_drawn_is_told_before_anything_is_written(tmp_path, monkeypatch, capsys):
    def none(start, actions):
        yield lambda: None

    for env, reason in ((object(), "draws no pictures"), (SimpleNamespace(played_again=none), "gives a NoneType")):
        with pytest.raises(OptionError, match=reason):
            Films(env)
    gymnasium = pytest.importorskip("gymnasium")

    class Unseen(gymnasium.Env):
        """It has no pictures."""

        metadata = {"render_modes": []}
        observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        action_space = gymnasium.spaces.Discrete(2)

    gymnasium.register("Unseen-v0", entry_point=Unseen)
    monkeypatch.chdir(tmp_path)
    options = [
        "env.id=Unseen-v0",
        "env.horizon=20",
        "teacher=human",
        "teacher.wait_for=0",
        "teacher.pace=null",
        "steps=1",
    ]
    assert train.main(["experiment=gymnasium", *options]) == 2
    said = capsys.readouterr().err
    assert "teacher=human: a person has to see" in said and "try teacher=oracle" in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def rational(question):
    """The answer of whom criterion=progress describes."""

    def score(clip):
        walls, size, path = clip["walls"], clip["size"], clip["path"]
        if path[-1] == clip["goal"]:
            return 1000 - len(path)
        assert walls
        return -int(Maze(size).distance[path[-1]])

    left, right = score(question.left), score(question.right)
    return "left" if left > right else "right" if right > left else "cannot_tell"


@contextlib.contextmanager
def scripted(folder, person):
    """A page on which a program answers."""
    ends = threading.Event()

    def answers():
        with contextlib.closing(AnswerDatabase(folder / ANSWERS)) as page:
            while not ends.wait(0.001):
                if (question := page.next_question("program", 60)) is not None:
                    page.answer(question.id, rational(question), "program", 0.1, f"{question.id}")

    thread = threading.Thread(target=answers)
    thread.start()
    try:
        yield "http://127.0.0.1:1/?token=0"
    finally:
        ends.set()
        thread.join()


RUN = [
    "experiment=oprl_maze", *SMALL, "steps=6", "checkpoint.every=2", "charts=false", "queries.budget=12",
]  # fmt: skip


def test_a_person_who_never_errs_teaches_as_the_oracle_does_and_the_run_repeats_without_the_person(
    tmp_path, monkeypatch, capsys
):
    """Byte for byte, since training waits for the person."""
    monkeypatch.chdir(tmp_path)
    human = [*RUN, "teacher=human", "output_dir=human"]
    assert run_job(composed(human), human, page=scripted) == "finished"
    said = capsys.readouterr().out
    assert "to answer the questions open http://127.0.0.1:1/?token=0" in said and "questions waiting" in said
    assert train.main([*RUN, "teacher=oracle", "output_dir=oracle", "quiet=true"]) == 0
    assert Path("human/metrics.csv").read_bytes() == Path("oracle/metrics.csv").read_bytes()
    before = Path("human", ANSWERS).read_bytes()
    assert reproduce.main(["human", "output_dir=again", "quiet=true"]) == 0
    assert "identical: 6 rows" in capsys.readouterr().out and Path("human", ANSWERS).read_bytes() == before
    shutil.rmtree("human")
    assert reproduce.main(["again", "quiet=true"]) == 0  # a repeated run holds its answers, and repeats too
    told = json.loads(Path("again/summary.json").read_text())["metrics"]
    assert told["labels_used"]["mean"] > 0


def test_a_branch_takes_the_answers_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    human = [*RUN, "teacher=human", "output_dir=human", "quiet=true", "checkpoint.keep=0"]
    assert run_job(composed(human), human, page=scripted) == "finished"
    monkeypatch.setattr(train, "label_page", scripted)
    assert train.main(["resume=human/checkpoints/step_000002.pt", "output_dir=branch"]) == 0, capsys.readouterr().err
    after = [Path(name, "metrics.csv").read_text().splitlines()[3:] for name in ("human", "branch")]
    assert len(after[0]) == 4 and after[0] == after[1]


def test_a_person_is_asked_by_one_run_at_a_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main(["-m", *RUN, "teacher=human", "seed=1,2", "quiet=true"]) != 0
    assert "teacher=human: a person answers one run at a time" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="teacher=recorded"):
        run_job(composed([*RUN, "teacher=human"]), [])


def test_a_port_that_is_taken_is_told_before_anything_is_written(tmp_path, monkeypatch, capsys):
    import socket

    monkeypatch.chdir(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert train.main([*RUN, "teacher=human", f"teacher.port={port}", "output_dir=run"]) == 2
    said = capsys.readouterr().err
    assert f"teacher.port={port}: cannot be had on 127.0.0.1" in said and said.count("\n") == 1, said
    assert not list(tmp_path.iterdir())
