"""Questions wait until they are answered: now, twenty updates later, or never."""

import shutil
import sys
from pathlib import Path

import direct
import pytest
import torch

from prefrl_cli.cli import train
from prefrl_cli.config.choices import updated, updated_flat
from prefrl_cli.core.option_types import ConfigError, Failed, Given
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.env.maze import Maze
from prefrl_cli.files.checkpoint_file import pack, unpack
from prefrl_cli.preference.dataset import Answers, PreferenceDataset
from prefrl_cli.preference.questions import Questions
from prefrl_cli.preference.teacher import Teacher, check
from prefrl_cli.run import runner

R, T, ENV = 2, 3, Maze(4)


def questions(count, first=0):
    """Questions that are told apart by their first state, which is their number."""
    states = torch.zeros(R, count, 2, T, dtype=torch.int64)
    states[..., 0] = torch.arange(first, first + count)[:, None]
    lengths = torch.full((R, count, 2), T)
    return Questions(states, torch.zeros_like(states), lengths, torch.zeros(R, count, 2, T), lengths)


def dataset(capacity=8, budget=None, reopens=False):
    return PreferenceDataset(ENV, PhiloxStreams(range(R)), T, capacity, budget, reopens=reopens)


def answers(number, label=1.0, weight=1.0):
    number = torch.tensor(number)
    label, weight = (torch.as_tensor(values).expand(number.shape) for values in (label, weight))
    return Answers(number, label, weight)


def numbers(data):
    """The numbers of the answers that each seed has kept."""
    kept, mask = data.all()
    return [row[there].tolist() for row, there in zip(kept.number, mask, strict=True)]


def test_answers_go_to_their_questions_in_any_order_and_at_any_time():
    data = dataset()
    data.ask(questions(2), step=5)
    data.ask(questions(3, first=2), step=7)
    data.answer(answers([[3, 0, -1], [-1, -1, 4]], [[0.0, 1.0, 0.5], [0.5, 0.5, 0.25]], 0.5), step=9)
    pending = data.pending(10)
    assert pending.number.tolist() == [0, 1, 2, 3, 4] and pending.asked.tolist() == [5, 5, 7, 7, 7]
    assert pending.open.tolist() == [[False, True, True, False, True], [True, True, True, True, False]]
    assert numbers(data) == [[0, 3], [4]] and data.used.tolist() == [2, 1]
    kept, mask = data.all()
    assert kept.label[mask].tolist() == [1.0, 0.0, 0.25] and kept.weight[mask].tolist() == [0.5] * 3
    assert kept.states[..., 0, 0][mask].tolist() == [0, 3, 4]
    assert kept.asked[mask].tolist() == [5, 7, 7] and kept.answered[mask].tolist() == [9] * 3
    data.answer(answers([[0, 3, 77], [0, 0, 0]]), step=11)  # twice, never asked
    assert data.used.tolist() == [2, 2] and numbers(data) == [[0, 3], [4, 0]]


def test_what_nobody_can_tell_waits_no_longer_and_costs_nothing():
    data = dataset()
    data.ask(questions(2), 0)
    data.answer(answers([[0, 1], [0, 1]], 1.0, [[0.0, 1.0], [0.0, 0.0]]), 0)
    assert data.pending(1) is None and data.used.tolist() == [1, 0] and numbers(data) == [[1], []]
    assert data.has_strict_preference().tolist() == [True, False]


def test_a_budget_counts_answers_and_not_questions():
    data = dataset(budget=3)
    data.ask(questions(2), 0)
    data.ask(questions(2, first=2), 1)
    assert not data.spent
    data.answer(answers([[3, 2, 1, 0], [1, -1, -1, -1]]), 2)
    assert numbers(data) == [[0, 1, 2], [1]] and data.used.tolist() == [3, 1] and not data.spent
    data.ask(questions(2, first=4), 3)
    data.answer(answers([[4, 5], [4, 5]]), 3)
    assert data.used.tolist() == [3, 3] and data.spent and data.asked == 6
    data.pass_over(2)
    assert data.asked == 8
    assert dataset(budget=0).spent and not dataset().spent


def test_the_oldest_questions_are_dropped_and_their_answers_come_too_late():
    data = dataset(capacity=4)
    for step in range(3):
        data.ask(questions(2, first=2 * step), step)
    assert data.pending(3).number.tolist() == [2, 3, 4, 5]
    data.answer(answers([[0, 5], [1, 2]]), 3)
    assert numbers(data) == [[5], [2]]


def test_an_answer_that_is_taken_back_teaches_and_costs_nothing_and_its_question_waits_again():
    data = dataset(budget=3, reopens=True)
    data.ask(questions(3), step=0)
    data.answer(answers([[0, 1, 2], [0, 1, 2]], [1.0, 0.0, 1.0]), step=0)
    assert data.spent and not data.pending(1).open.any()
    data.take_back(torch.tensor([[1, -1], [-1, -1]]))
    assert data.used.tolist() == [2, 3] and not data.spent
    assert data.pending(1).open.tolist() == [[False, True, False], [False] * 3]
    kept, _ = data.all()
    assert kept.weight.tolist() == [[1, 0, 1], [1, 1, 1]] and kept.label.tolist() == [[1, 0.5, 1], [1, 0, 1]]
    stored = unpack(*pack(data.state()), "cpu")
    again = dataset(budget=3, reopens=True)
    again.restore(stored)
    for one in (data, again):
        one.answer(answers([[1], [1]], 1.0), step=2)  # the second seed's was answered before
        kept, mask = one.all()
        assert one.used.tolist() == [3, 3] and mask.sum(1).tolist() == [4, 3]
        assert kept.number[0].tolist() == [0, 1, 2, 1] and kept.label[0].tolist() == [1, 0.5, 1, 1]
        assert kept.weight[0].tolist() == [1, 0, 1, 1] and kept.answered[0, 3] == 2


def test_what_only_prefers_in_an_answer_that_was_taken_back_prefers_nothing():
    data = dataset(reopens=True)
    data.ask(questions(2), step=0)
    data.answer(answers([[0, 1], [0, 1]], [1.0, 0.5]), step=0)
    data.take_back(torch.tensor([[0], [-1]]))
    assert data.has_strict_preference().tolist() == [False, True]


class Late:
    """Answers as another teacher does, some updates after it was asked; without a number never."""

    def __init__(self, criterion: Given, delay: int | None = None):
        from prefrl_cli.preference.teacher import Teacher

        self.teacher, self.delay = Teacher(criterion), delay

    def answer(self, pending, recent, streams):
        """Those that are old enough."""
        ready = torch.zeros_like(pending.asked, dtype=torch.bool)
        if self.delay is not None:
            ready = pending.step - pending.asked >= self.delay
        if not ready.any():
            return None
        answers = self.teacher.answer(pending, recent, streams)
        return answers._replace(number=torch.where(ready, answers.number, -1))


SMALL = [
    "experiment=oprl_maze", "criterion=progress", "criterion.ties=equal", "env.size=4", "env.horizon=8", "num_seeds=2",
    "policy.hidden=4", "reward_model.hidden=4", "algorithm.episodes=2", "queries.questions=3",
    "reward_update.dataset_capacity=90",
    "reward_update.batch=8", "quiet=true",
]  # fmt: skip


@pytest.mark.parametrize("delay", [20, None])
def test_training_goes_on_and_labels_are_counted_when_they_come(delay):
    experiment = direct.configured("oprl_maze", *SMALL[1:])
    plain = direct.configured("oprl_maze", *SMALL[1:], "shaping=none", "reward_update.updates=0")
    experiment.teacher = Late(experiment._criterion, delay)
    history = [experiment.update() for _ in range(24)]
    used = [int(metrics["labels_used"][0]) for metrics in history]
    assert used == [0] * 20 + ([3, 6, 9, 12] if delay else [0] * 4)
    assert [step for step, metrics in enumerate(history) if "reward_loss" in metrics] == list(range(20, 24))[: used[-1]]
    pending = experiment.preferences.pending(24)
    assert pending.number.tolist() == list(range(used[-1], 72)) and pending.open.all()
    for metrics in history[:20]:  # without an answer it learns from the environment alone
        assert torch.equal(metrics["policy_loss"], plain.update()["policy_loss"])
    if delay:
        kept, mask = experiment.preferences.all()
        assert mask.all() and (kept.answered - kept.asked).eq(20).all() and kept.answered.max() == 23
    assert experiment.evaluate()["preference_accuracy"].isfinite().all()


def test_second_answers_are_counted_where_the_first_one_was_kept():
    data = dataset(9, budget=3)
    data.ask(questions(5), step=0)
    first = [[1.0, 0.0, 0.5, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0, 0.0]]
    second = [[1.0, 1.0, 0.5, 1.0, 1.0], [torch.nan, 0.5, 1.0, 0.0, 0.0]]  # the budget is three answers
    found = answers([[0, 1, 2, 3, 4]] * 2, first)._replace(again=torch.tensor(second))
    data.answer(found, step=0)
    assert data.repeats.tolist() == [[2, 1], [1, 1]] and data.used.tolist() == [3, 3]
    state = data.state()
    other = dataset(9, budget=3)
    other.restore(state)
    assert torch.equal(other.repeats, data.repeats)
    other.restore({name: value for name, value in state.items() if name != "repeats"})
    assert other.repeats.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (["teacher=oracle"], "try teacher.repeat=0.1"),
        (["teacher=coin"], "try loss.smoothing=0.1"),
        (["loss.smoothing=measure", "teacher=oracle"], "measured"),
    ],
)
def test_what_cannot_be_measured_is_told(options, cure):
    with pytest.raises(ConfigError, match=cure):
        direct.configured("oprl_maze", *SMALL[1:], "loss=soft", "loss.smoothing=measured", *options)


def test_measured_smoothing_is_of_each_seed_alone_and_goes_on_where_it_was():
    options = ["loss=soft", "loss.smoothing=measured", "teacher=mistake", "teacher.mistake=0.4", "teacher.repeat=0.5"]
    both, alone, plain = (
        direct.configured("oprl_maze", *SMALL[1:], *some)
        for some in (options, [*options, "seed=1", "num_seeds=1"], ["teacher=mistake", "teacher.mistake=0.4"])
    )
    loss = [[one.update()["reward_loss"] for _ in range(4)] for one in (both, alone, plain)]
    assert all(torch.equal(pair[1], single[0]) for pair, single in zip(loss[0], loss[1], strict=True))
    assert both.preferences.repeats[:, 0].ge(1).all() and not torch.equal(loss[0][-1], loss[2][-1])
    again = direct.configured("oprl_maze", *SMALL[1:], *options)
    again.restore(both.state())
    assert torch.equal(again.update()["reward_loss"], both.update()["reward_loss"])


def test_pending_questions_are_in_the_checkpoint():
    """Bit for bit: a run that is taken up asks, is answered and learns as one that was never stopped."""
    whole, taken_up = (direct.configured("oprl_maze", *SMALL[1:]) for _ in range(2))
    whole.teacher, taken_up.teacher = (Late(one._criterion, 5) for one in (whole, taken_up))
    for _ in range(8):
        whole.update()
    stored = unpack(*pack(whole.state()), "cpu")
    assert len(stored["preferences"]["pending"]) == 5
    taken_up.restore(stored)
    for _ in range(8):
        mine, again = whole.update(), taken_up.update()
        assert all(torch.equal(value.nan_to_num(-1), again[name].nan_to_num(-1)) for name, value in mine.items())
    text, data = pack(whole.state())
    other_text, other_data = pack(taken_up.state())
    assert text == other_text and torch.equal(data, other_data)


def test_a_late_teacher_of_ones_own_stopped_and_resumed(tmp_path, monkeypatch, capsys):
    """By the command: the metrics of a run that was extended are those of one that was not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(".")
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    shutil.copy(__file__, "late_teacher.py")
    Path("conf/teacher").mkdir(parents=True)
    Path("conf/teacher/late.yaml").write_text("_target_: late_teacher.Late\ndelay: 20\n")
    typed = [
        *SMALL,
        "--config-dir",
        "conf",
        "teacher=late",
        "allow_targets=[late_teacher]",
        "optimizer.decay_steps=null",
    ]
    try:
        assert train.main([*typed, "steps=25", "output_dir=whole"]) == 0, capsys.readouterr().err
        assert train.main([*typed, "steps=12", "output_dir=parts", "checkpoint.every=0"]) == 0
        resumed = ["resume=parts", "steps=25", "allow_targets=[late_teacher]", "quiet=true"]
        assert train.main(resumed) == 0, capsys.readouterr().err
    finally:
        sys.modules.pop("late_teacher", None)
    whole, parts = (Path(name, "metrics.csv").read_text().splitlines() for name in ("whole", "parts"))
    assert whole[0] == parts[0] and whole[-4:] == parts[-4:]  # the shorter run has one evaluation more in between


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": 1.5}, "teacher: question 2 is answered with the label 1.5; a label is a probability, from 0 to 1"),
        ({"label": -0.2}, "question 2 is answered with the label -0.2;"),
        ({"label": torch.nan}, "question 2 is answered with the label nan;"),
        ({"weight": -1.0}, "question 2 is answered with the weight -1; a weight is a finite number of at least 0"),
        ({"weight": torch.inf}, "question 2 is answered with the weight inf;"),
        ({"weight": torch.nan}, "question 2 is answered with the weight nan;"),
    ],
)
def test_an_answer_of_a_teacher_of_ones_own_that_is_none(changes, said):
    one = Answers(*(values.clone() for values in answers([[0, 2], [1, 3]], 1.0, 1.0)[:3]))
    for name, value in changes.items():
        getattr(one, name)[0, 1] = value
    with pytest.raises(Failed) as problem:
        check(one)
    assert said in str(problem.value)
    check(one._replace(number=torch.tensor([[0, -1], [1, 3]])))  # what is no answer may hold anything
    check(answers([[0, 2]], [torch.nan, 1.0])._replace(weight=torch.tensor([[0.0, 1.0]])))
    with pytest.raises(Failed, match=r"number \[2, 2\], label \[2, 1\], weight \[2, 2\]; the three have one shape"):
        check(one._replace(label=one.label[:, :1]))


def test_what_such_a_teacher_did_ends_the_run_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        Teacher, "labels", lambda self, streams, scores, *_: (scores[..., 0] + 2, scores[..., 0] * 0 + 1)
    )
    assert train.main([*SMALL, "steps=2", "output_dir=run"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("prefrl-train: teacher: question 0 is answered with the label ") and said.count("\n") == 1


OF_ALL = {"_target_": "prefrl_cli.teacher.Teacher"}
RECORDS = {
    "by progress": (
        {**OF_ALL, "criterion": "progress", "discount": 1.0, "ties": "equal", "beta": 2.0},
        {"choice": "progress", "ties": "equal"},
        {"choice": "noisy", "beta": 2.0},
    ),
    "discounted": (
        {**OF_ALL, "criterion": "return", "discount": 0.9, "ties": "skip", "beta": None},
        {"choice": "discounted_return", "discount": 0.9, "ties": "skip"},
        {"choice": "oracle", "beta": None},
    ),
    "named": (
        {"choice": "skip", "criterion": "return", "discount": 1.0, "ties": "first", "skip": 0.0},
        {"choice": "return", "discount": 1.0, "ties": "first"},
        {"choice": "skip", "skip": 0.0},
    ),
    "named after its criterion": (
        {"choice": "progress", "criterion": "progress", "discount": 1.0, "ties": "skip", "gamma": 0.9},
        {"choice": "progress", "ties": "skip"},
        {"choice": "myopic", "gamma": 0.9},
    ),
    "of the addition": (
        {"_target_": "prefrl_cli.teacher.Closest", "ties": "second"}, {"choice": "closest", "ties": "second"}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_in_which_the_teacher_had_the_criterion(name):
    before, criterion, teacher = RECORDS[name]
    expected = {"criterion": criterion} | ({} if teacher is None else {"teacher": teacher})
    assert updated({"seed": 3, "teacher": before}) == {"seed": 3, **expected}
    flat = updated_flat({"seed": 3, **{f"teacher.{option}": value for option, value in before.items()}})
    assert flat == {"seed": 3} | {
        f"{group}.{option}": value for group, node in expected.items() for option, value in node.items()
    }
    assert updated(expected) == expected and updated_flat(flat) == flat


def test_a_record_of_a_teacher_of_ones_own_stays():
    own = {"teacher": {"_target_": "my_package.Mine", "criterion": "progress"}}
    assert updated(own) == own
