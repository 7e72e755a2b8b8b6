"""Preferences as files: what a run keeps of its questions, in both formats, and what is no such file."""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_and_resume import config_of

from prefrl_cli.cli import train
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.preferences import formats
from prefrl_cli.files.preferences.data import PreferenceData, stacked
from prefrl_cli.files.read import UnreadableError
from prefrl_cli.run import lifecycle
from prefrl_cli.run.lifecycle import run_job, run_or_resume

RUN = [
    "num_seeds=3", "steps=6", "env.size=4", "checkpoint.every=2", "checkpoint.keep=0", "charts=false",
    "queries.questions=5", "queries.budget=22", "reward_update.dataset_capacity=8", "reward_update.batch=4",
    "teacher=skip", "algorithm.episodes=4", "algorithm.evaluation_episodes=4", "preferences.save=asked.npz",
]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trained(folder, *options, until=None):
    config, typed = config_of("oprl_maze", *RUN, *options)
    run_job({**config, "output_dir": folder}, typed, until=until)
    return Path(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose teacher skips questions, whose data set forgets answers, and whose budget ends."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder / trained("run")


@pytest.fixture(scope="module")
def asked(run):
    return formats.load(run / "asked.npz")


def same(one, other):
    for name, value in one.arrays().items():
        np.testing.assert_array_equal(value, other.arrays()[name], err_msg=name)


def made(vectors=False, count=4, width=3):
    """Questions of every kind: answered, equal, skipped, open; of numbers or of vectors."""
    rng = np.random.default_rng(0)
    shape = (count, 2, width)
    arrays = {
        "states": rng.normal(size=(*shape, 2)) if vectors else rng.integers(9, size=shape),
        "actions": rng.normal(size=(*shape, 1)) if vectors else rng.integers(4, size=shape),
        "rewards": rng.normal(size=shape),
        "lengths": np.array([[width, 1]] * count),
        "last": rng.normal(size=(count, 2, 2)) if vectors else rng.integers(9, size=(count, 2)),
        "label": np.array([1.0, 0.5, 0.5, np.nan])[:count],
        "weight": np.array([1.0, 0.3, 0.0, 0.0])[:count],
        "teacher": np.array(["oracle", "Ann Ö", "x", ""])[:count],
    }
    arrays |= {name: np.arange(count) for name in ("seed", "number", "asked", "answered")}
    return PreferenceData.checked("made", arrays, {"experiment": "here", "env.size": 3})


def test_every_question_is_kept_with_its_answer(run, asked):
    """The data set keeps 8 answers; the file has all, and as many as the metrics count."""
    summary = json.loads((run / "summary.json").read_text())
    used = summary["metrics"]["labels_used"]["per_seed"]
    assert [asked.counts[asked.seed == seed].sum() for seed in range(3)] == used and max(used) > 8
    assert (asked.weight[~np.isnan(asked.label)] == 0).any(), "no question was skipped"
    answered = ~np.isnan(asked.label)
    assert set(asked.teacher[answered]) == {"skip"} and (asked.answered[answered] == asked.asked[answered]).all()
    assert asked.about["env.size"] == 4 and asked.about["experiment"] == "oprl_maze"
    for seed in range(3):
        assert (np.diff(asked.number[asked.seed == seed]) > 0).all()


def test_what_it_holds_is_what_was_played_and_how_it_was_judged(asked):
    """Each step leads to the next cell of the maze, and labels are those of the discounted return."""
    config, _ = config_of("oprl_maze", *RUN)
    from prefrl_cli.config.build import build

    env = build(config).env
    steps = np.arange(asked.states.shape[2])
    for place in range(2):
        states, lengths = asked.states[:, place], asked.lengths[:, place]
        after = np.concatenate([states[:, 1:], np.zeros((len(asked), 1), dtype=int)], 1)
        after[np.arange(len(asked)), lengths - 1] = asked.last[:, place]
        there = steps < lengths[:, None]
        assert (env.transitions[states, asked.actions[:, place]] == after)[there].all()
        assert (asked.rewards[:, place].sum(1) == 10.0 * (asked.last[:, place] == env.goal)).all()
    discount = config["criterion"]["discount"]
    scores = (asked.rewards * discount**steps).sum(2)
    clear = asked.counts & (scores[:, 0] != scores[:, 1])
    assert clear.sum() > 10 and (asked.label == (scores[:, 0] > scores[:, 1]))[clear].all()


def test_a_seed_keeps_the_same_alone_and_among_others(asked):
    alone = formats.load(trained("alone", "seed=1", "num_seeds=1") / "asked.npz")
    same(alone, asked.take(asked.seed == 1))


def test_several_workers_leave_the_same_bytes(run):
    folder = trained("several", "workers=3")
    assert (folder / "asked.npz").read_bytes() == (run / "asked.npz").read_bytes()


@pytest.mark.parametrize("ending", ["npz", "jsonl"])
def test_a_killed_run_leaves_the_same_bytes(ending, run, asked):
    option = f"preferences.save=kept.{ending}"
    whole = trained("whole", option) / f"kept.{ending}"
    same(formats.load(whole), asked)
    killed = trained("killed", option, until=3)
    assert len(formats.load(killed / whole.name)) < len(asked), "a run that has stopped has what was asked so far"
    (killed / "checkpoints" / "step_000003.pt").unlink()  # goes on from before what the file has
    config, typed = config_of("oprl_maze", *RUN, option)
    assert run_or_resume(config, typed, killed) == "finished"
    assert (killed / whole.name).read_bytes() == whole.read_bytes()


def test_a_new_run_from_a_checkpoint_has_all_questions(run):
    config, typed = config_of("oprl_maze", *RUN)
    lifecycle.branch(run, run / "checkpoints" / "step_000002.pt", Path("new"), config, typed)
    assert Path("new", "asked.npz").read_bytes() == (run / "asked.npz").read_bytes()


def test_it_is_kept_from_the_beginning_or_not_at_all(run, capsys):
    shutil.copytree(run, "run")
    assert train.main(["resume=run", "steps=8", "preferences.save=null"]) == 2
    assert train.main(["resume=run", "steps=8"]) == 0
    assert len(formats.load(Path("run", "asked.npz"))) >= len(formats.load(run / "asked.npz"))
    trained("without", "preferences.save=null", until=4)
    assert train.main(["resume=without", "preferences.save=asked.npz"]) == 2
    assert not Path("without", "asked.npz").exists()


def test_a_link_in_its_place_is_replaced_and_not_followed(run):
    folder = trained("run", until=2)
    Path("mine.npz").write_text("mine")
    (folder / "asked.npz").unlink()
    (folder / "asked.npz").symlink_to(Path("mine.npz").resolve())
    config, typed = config_of("oprl_maze", *RUN)
    with pytest.raises(ConfigError, match="is a link"):
        run_or_resume(config, typed, folder)
    (folder / "asked.npz").unlink()
    assert run_or_resume(config, typed, folder) == "finished"
    assert Path("mine.npz").read_text() == "mine"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("preferences.save=a.csv", "preferences.save=a.csv: has to end in .npz or .jsonl; try preferences.save=pref"),
        ("preferences.save=/tmp/a.npz", "preferences.save=/tmp/a.npz: is the name of a file in the run directory, no"),
        ("preferences.save=../a.npz", "preferences.save=../a.npz: is the name of a file in the run directory, no path"),
        ("preferences.save=5", "preferences.save=5: must be a word or null"),
        ("preferences=a.npz", "preferences=a.npz: must be a group of options; try preferences.save=preferences.npz"),
        ("preferences.file=a.npz", "preferences.file=a.npz: oprl learns from no file; leave that out"),
        ("preferences.keep=1", "preferences.keep: there is no such option; "),
    ],
)
def test_wrong_options_are_one_line(typed, line, capsys):
    assert train.main(["experiment=oprl_maze", typed]) == 2
    found = capsys.readouterr().err
    assert found.startswith(f"prefrl-train: {line}") and found.count("\n") == 1
    assert not list(Path.cwd().iterdir())


def test_what_asks_nobody_keeps_nothing(capsys):
    assert train.main(["experiment=rewardnet_mse", "preferences.save=a.npz"]) == 2
    assert "reward_regression asks no teacher; leave that out" in capsys.readouterr().err


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("ending", [".npz", ".jsonl"])
def test_a_file_gives_back_what_was_written(vectors, ending):
    data, path = made(vectors), Path(f"file{ending}")
    formats.save(path, data)
    first = path.read_bytes()
    found = formats.load(path)
    same(found, data)
    assert found.about == data.about and {value.dtype for value in found.arrays().values()} >= {np.dtype(np.int64)}
    formats.save(path, found)
    assert path.read_bytes() == first


def test_numpy_reads_it_too():
    formats.save(Path("file.npz"), made())
    with np.load("file.npz", allow_pickle=False) as file:
        assert file["states"].shape == (4, 2, 3) and json.loads(str(file["about"]))["version"] == 1


def test_every_number_of_32_bits_comes_back_from_a_text():
    bits = np.random.default_rng(1).integers(2**32, size=600, dtype=np.uint64).astype(np.uint32).view(np.float32)
    rewards = np.where(np.isfinite(bits), bits, np.nan).reshape(-1, 2, 3)
    arrays = {**made(count=1).arrays()}
    arrays = {name: np.repeat(value, len(rewards), 0) for name, value in arrays.items()}
    arrays |= {"rewards": rewards, "lengths": np.full((len(rewards), 2), 3)}
    data = PreferenceData.checked("bits", arrays, {})
    formats.save(Path("bits.jsonl"), data)
    same(formats.load(Path("bits.jsonl")), data)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("states", np.zeros((4, 2)), r"states holds float64 for int64"),
        ("states", np.full((4, 2, 3), -1), "question 1 has states -1; states has to be numbers from 0 on"),
        ("actions", np.zeros((4, 2, 2), dtype=int), r"actions is \[4, 2, 2\] for \[4, 2, 3\]"),
        ("lengths", np.full((4, 2), 4), "question 1 has lengths 4; lengths has to be between 1 and 3"),
        ("lengths", np.zeros((4, 2), dtype=int), "question 1 has lengths 0; lengths has to be between 1 and 3"),
        (
            "label",
            np.array([0.5, 0.5, 1.5, 0.5]),
            "question 3 has label 1.5; label has to be a probability, from 0 to 1, or nothing$",
        ),
        ("label", np.array([0.5, -0.2, 1.5, 0.5]), "question 2 has label -0.2; label has"),
        (
            "weight",
            np.array([0.5, -1, 1.5, 0.5]),
            "question 2 has weight -1.0; weight has to be a finite number of at least 0",
        ),
        ("weight", np.array([0.5, np.nan, 1.5, 0.5]), "question 2 has weight nan; weight has to be a finite"),
        ("seed", np.zeros(3, dtype=int), r"seed is \[3\] for \[4\]"),
        ("seed", np.zeros(4, dtype=np.uint64), "seed holds uint64 for int64"),
        ("teacher", np.zeros(4), "teacher holds float64 for texts"),
        ("more", np.zeros(4), "has 'more'"),
        ("rewards", np.zeros((4, 2, 3), dtype=complex), "rewards holds complex128 for float32"),
    ],
)
def test_arrays_that_do_not_go_together_are_named(name, value, message):
    with pytest.raises(UnreadableError, match=message):
        PreferenceData.checked("file.npz", {**made().arrays(), name: value}, {})


def test_what_lies_past_the_end_is_nothing():
    data = made(vectors=True)
    assert (data.states[:, 1, 1:] == 0).all() and (data.rewards[:, 1, 1:] == 0).all() and data.states[:, 1, 0].all()


def archive(**members):
    """An archive of arrays, or of bytes as they are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, value in members.items():
            if isinstance(value, bytes):
                target.writestr(f"{name}.npy", value)
            else:
                with target.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(value), allow_pickle=True)
    return file.getvalue()


def header(text, content=b"", version=b"\x01\x00"):
    """An array's bytes with a header of one's own."""
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode() + content


class Bomb:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch exploded",)


ABOUT = np.array(json.dumps({"format": formats.KIND, "version": 1}))
HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000, 1000), }\n"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "no archive of arrays"),
        (b"PK\x03\x04", "no archive of arrays"),
        (b"\x80\x04K\x01.", "no archive of arrays"),
        (archive(states=np.zeros(3)), "does not say that it holds prefrl preferences"),
        (archive(about=np.array("[]")), "does not say that it holds"),
        (archive(about=np.array("[" * 9999)), "does not say that it holds"),
        (archive(about=np.array(json.dumps({"format": formats.KIND, "version": 9}))), "is of version 9, here it is 1"),
        (archive(about=ABOUT), "has no "),
        (archive(about=ABOUT, states=np.array([Bomb()], dtype=object)), "no array of numbers or texts"),
        (archive(about=ABOUT, states=header(HUGE)), "no array of numbers or texts, or has not the size that it says"),
        (archive(about=ABOUT, states=header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n")), "no array"),
        (archive(about=ABOUT, states=header("__import__('os').system('touch exploded')\n")), "no archive of arrays"),
        (archive(about=ABOUT, states=header("(" * 9000 + "\n")), "no archive of arrays"),
        (archive(about=ABOUT, **{f"a{number}": np.zeros(1) for number in range(99)}), "or more than 64"),
    ],
)
def test_what_is_no_archive_of_ours_is_one_line(content, line):
    Path("file.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=line) as problem:
        formats.load(Path("file.npz"))
    assert "\n" not in str(problem.value) and "a file of preferences was expected" in str(problem.value)
    assert not Path("exploded").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused_before():
    content = archive(about=ABOUT, states=header(HUGE) + b"\0" * (1 << 20))
    assert len(content) < 1 << 14
    with pytest.raises(UnreadableError, match="holds more than 100,000 bytes"):
        formats.read_npz("file.npz", content, most=100_000)


def question(**changes):
    segment = {"states": [0, 1], "actions": [1, 1], "rewards": [0.0, 1.0], "last": 2}
    whole = {"seed": 0, "number": 0, "asked": 0, "answered": 0, "label": 1.0, "weight": 1.0, "teacher": "a"}
    return {**whole, "first": segment, "second": segment, **changes}


SEGMENT = question()["first"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: is not JSON"),
        ("[" * 100_000, "line 2: is not JSON"),
        ("9" * 5000, "line 2: is not JSON"),
        ("7", "line 2: a question has exactly"),
        (json.dumps(question(more=1)), "line 2: a question has exactly"),
        (json.dumps(question(first=[])), "line 2: a segment has exactly"),
        (json.dumps(question(first={**SEGMENT, "states": [0]})), "do not go together"),
        (json.dumps(question(first={**SEGMENT, "states": [[0], [1, 2]]})), "states: is no number, list of numbers"),
        (json.dumps(question(first={**SEGMENT, "states": ["a", "b"]})), "states: is no number, list of numbers"),
        (json.dumps(question(first={**SEGMENT, "states": [0.5, 1]})), "states holds float64 for int64"),
        (json.dumps(question(first={**SEGMENT, "states": [10**30, 1]})), "states holds float64 for int64"),
        (json.dumps(question(first={**SEGMENT, "states": [True, False]})), "states: is no number, list of numbers"),
        (json.dumps(question(label=float("nan"))), "NaN is no number"),
        (json.dumps(question(label="1")), "label is no number in some line"),
        (json.dumps(question(label=2)), "question 1 has label 2.0; label has to be a probability"),
        (json.dumps(question(teacher=1)), "teacher is no text in some line"),
        (json.dumps(question(seed=None)), "seed holds float32 for int64"),
    ],
)
def test_what_is_no_line_of_ours_is_one_line(line, message):
    first = json.dumps({"format": formats.KIND, "version": 1})
    Path("file.jsonl").write_text(f"{first}\n{json.dumps(question())}\n")
    assert len(formats.load(Path("file.jsonl"))) == 1
    Path("file.jsonl").write_text(f"{first}\n{line}\n")
    with pytest.raises(ConfigError, match=message) as problem:
        formats.load(Path("file.jsonl"))
    assert "\n" not in str(problem.value)


def test_other_files_are_one_line():
    Path("there.npz").write_bytes(archive(about=ABOUT))
    Path("link.npz").symlink_to("there.npz")
    os.mkfifo("pipe.npz")
    Path("folder.npz").mkdir()
    for name, message in [
        ("none.npz", "none.npz is missing"), ("link.npz", "link.npz is a link"), ("pipe.npz", "is not a plain file"),
        ("folder.npz", "folder.npz"), ("there.csv", "has to end in .npz or .jsonl"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            formats.load(Path(name))


def test_segments_of_different_lengths_are_padded():
    some = [{name: np.arange(1, size + 1) for name in ("states", "actions", "rewards")} for size in (2, 3)]
    found = stacked(some)
    assert found["states"].tolist() == [[1, 2, 0], [1, 2, 3]] and found["lengths"].tolist() == [2, 3]
    with pytest.raises(ValueError, match="states"):
        stacked([*some, {**some[0], "states": np.zeros((2, 2))}])


def test_what_it_takes_in_memory_is_counted():
    """As many questions as a budget lets a run ask, or all that it asks."""
    from prefrl_cli.config.build import memory_needed

    def needed(*options):
        return memory_needed(config_of("oprl_maze", "num_seeds=64", *options)[0])

    kept = "preferences.save=a.npz"
    assert needed(kept, "queries.budget=1000") > needed("queries.budget=1000")
    assert needed(kept) > needed(kept, "queries.budget=1000") and needed(kept, "steps=600") > 4 * needed("steps=600")


def test_a_record_of_other_sizes_is_refused():
    from prefrl_cli.core.saved_state import Field
    from prefrl_cli.files.preferences.record import Record

    fields = {
        "states": Field((2, 3), torch.int64, 40_000), "actions": Field((2, 3), torch.int64, 4),
        "rewards": Field((2, 3), torch.float32), "lengths": Field((2,), torch.int64, 4),
        "last": Field((2,), torch.int64, 40_000),
    }  # fmt: skip
    device = torch.device("cpu")
    record = Record([4, 5], fields, device)
    assert len(record.data("a", {})) == 0
    empty = record.state()
    questions = {name: torch.zeros(2, 40, *one.shape, dtype=one.dtype) for name, one in fields.items()}
    questions["lengths"] += 1
    questions["states"] += 39_999
    everyone = torch.ones(2, 40)
    for first, wanted in ((0, [False, True]), (50, [True, False]), (100, [True, True])):  # more than there is room for
        record.ask(questions, first=first, step=first, wanted=torch.tensor(wanted))
    record.answer(50, everyone.bool(), everyone, everyone, 60)
    data = record.data("a", {})
    assert data.seed.tolist() == [4] * 80 + [5] * 80
    assert data.number.tolist() == [*range(50, 90), *range(100, 140), *range(40), *range(100, 140)]
    assert (data.states[:, :, 0] == 39_999).all() and data.answered.tolist() == [60] * 40 + [-1] * 120
    assert (~np.isnan(data.label)).tolist() == (data.answered == 60).tolist()
    other = Record([4, 5], fields, device)
    other.restore(record.state())
    same(other.data("a", {}), data)
    other.restore(empty)
    assert len(other.data("a", {})) == 0
    with pytest.raises(ValueError, match="record"):
        Record([4, 5, 6], fields, device).restore(record.state())
    with pytest.raises(ValueError, match="record"):
        other.restore({**record.state(), "count": torch.tensor([1, 500])})


def test_seeds_with_different_numbers_of_questions_join():
    """What workers give of some seeds each is put together as if one process had had them all."""
    from prefrl_cli.core.saved_state import Field
    from prefrl_cli.files.preferences.record import Record, data_of
    from prefrl_cli.run.workers.seed_axis import joined, sent

    fields = {
        "states": Field((2, 3), torch.int64, 9), "actions": Field((2, 3), torch.int64, 4),
        "rewards": Field((2, 3), torch.float32), "lengths": Field((2,), torch.int64, 4),
        "last": Field((2,), torch.int64, 9),
    }  # fmt: skip
    wanted = torch.tensor([[True, True, False], [False, True, True], [False, False, True]])
    several = {name: torch.ones(3, 4, *one.shape, dtype=one.dtype) for name, one in fields.items()}
    whole = Record([5, 6, 7], fields, torch.device("cpu"))
    shares = [Record(seeds, fields, torch.device("cpu")) for seeds in ([5, 6], [7])]
    for number, those in enumerate(wanted):
        for record, rows in ((whole, slice(3)), (shares[0], slice(2)), (shares[1], slice(2, 3))):
            record.ask({name: value[rows] for name, value in several.items()}, 4 * number, number, those[rows])
    together = joined([sent(record.state()) for record in shares])
    data = data_of(together, [5, 6, 7], "a", {})
    same(data, whole.data("a", {}))
    assert np.unique(data.seed, return_counts=True)[1].tolist() == [4, 8, 8]
