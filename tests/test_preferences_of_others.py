"""What other programs publish becomes our own data, with its labels turned the right way, and none of it is run."""

import io
import json
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from test_preference_files import SEGMENT, Bomb, made, question, same

from prefrl_cli.cli import convert
from prefrl_cli.files.preferences import episodes, formats, others
from prefrl_cli.files.preferences.pickles import Thing, read_pickle
from prefrl_cli.files.read import UnreadableError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


ARRAYS = [
    np.arange(6).reshape(2, 3), np.float32([[1, 2], [3, 4]]).T, np.array(5), np.zeros((0, 3)),
    np.arange(3).astype(">i4"), np.array([True, False]), np.arange(4, dtype=np.uint8),
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_and_plain_things_come_out_of_a_pickle(protocol):
    for value in ARRAYS:
        found = read_pickle("x", pickle.dumps(value, protocol))
        np.testing.assert_array_equal(found, value)
        assert found.dtype == value.dtype
    plain = {"a": [1, -1, 2**40, -(2**70)], "b": (1.5, "ä", None, True, False, b"\0\xff"), "c": {}, 3: []}
    assert read_pickle("x", pickle.dumps(plain, protocol)) == plain
    shared = np.arange(3)
    found = read_pickle("x", pickle.dumps({"one": shared, "other": (shared, [shared])}, protocol))
    assert found["one"].tolist() == found["other"][0].tolist() == found["other"][1][0].tolist() == [0, 1, 2]
    assert read_pickle("x", pickle.dumps(np.float64(2.5), protocol)) == 2.5
    assert read_pickle("x", pickle.dumps(np.array([{"a": 1}, None], dtype=object), protocol)) == [{"a": 1}, None]


def nested(depth):
    """A tuple in which each level has the one below twice; it would take for ever to be compared or hashed."""
    return b"\x80\x04)" + b"q\x00h\x00\x86" * depth


HOSTILE = {
    "runs a command": pickle.dumps(Bomb()),
    "runs a command, protocol 0": pickle.dumps(Bomb(), 0),
    "evaluates": b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x8c\x01a\x85R.",
    "imports": b"cos\nsystem\n(S'touch exploded'\ntR.",
    "in an allowed module": b"\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x01a\x85R.",
    "a class of ours": b"\x80\x04\x8c\x11imitation.data.x1\x8c\x01Y\x93)R.",
    "codecs": b"\x80\x04\x8c\x07_codecs\x8c\x06encode\x93\x8c\x01a\x8c\x03rot\x86R.",
    "an instance": b"(S'touch exploded'\nios\nsystem\n.",
    "a persistent id": b"\x80\x04\x8c\x01aQ.",
    "an extension": b"\x80\x04\x82\x01.",
    "a set": b"\x80\x04\x8f.",
    "a deep key": b"\x80\x04}" + nested(60)[2:] + b"Ns.",
    "memory at a huge place": b"\x80\x04Nr\xff\xff\xff\xff",
    "bytes that are not there": b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"abc.",
    "a text that is not there": b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little") + b"abc.",
    "nothing on the stack": b"\x80\x04.",
    "two on the stack": b"\x80\x04NN.",
    "a mark alone": b"\x80\x04(.",
    "tuple without a mark": b"\x80\x04Nt.",
    "appended to no list": b"\x80\x04NNa.",
    "set in no dictionary": b"\x80\x04]\x8c\x01aNs.",
    "filled what is none": b"\x80\x04]}b.",
    "a name": b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93.",
    "no end": b"\x80\x04N",
    "no pickle": b"PK\x03\x04",
    "empty": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_one_line_and_never_run(content):
    with pytest.raises(UnreadableError, match="^x is no pickle of numbers and arrays") as problem:
        read_pickle("x", content)
    assert "\n" not in str(problem.value) and not Path("exploded").exists()


def array_pickle(shape, data, kind="f8"):
    """An array as NumPy writes it, with a shape and content of one's own."""

    class Array:
        def __reduce__(self):
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(kind), False, data)

    return pickle.dumps(Array())


@pytest.mark.parametrize(
    ("shape", "data", "kind"),
    [
        ((1 << 40,), b"", "f8"), ((1 << 60, 1 << 60), b"", "f8"), ((2,), b"x" * 8, "f8"), ((-1,), b"", "f8"),
        ((1,), b"x" * 8, "M8[s]"), ((1,), b"x" * 16, "c16"), ((1,), b"x" * 8, "V8"), ((1,) * 9, b"x" * 8, "f8"),
        ((True,), b"x" * 8, "f8"), ("a", b"x" * 8, "f8"), ((1,), ["a"], "f8"),
    ],
)  # fmt: skip
def test_an_array_that_is_not_what_it_says(shape, data, kind):
    with pytest.raises(UnreadableError, match="no pickle of numbers"):
        read_pickle("x", array_pickle(shape, data, kind))
    assert read_pickle("x", array_pickle((1,), b"\0" * 8)).tolist() == [0.0]


@pytest.fixture
def imitation(monkeypatch):
    """The two classes whose instances imitation pickles."""
    modules = {
        name: types.ModuleType(name)
        for name in ("imitation", "imitation.data", "imitation.data.types", "imitation.algorithms",
                     "imitation.algorithms.preference_comparisons")
    }  # fmt: skip
    made = {}
    for module, name in (
        ("imitation.data.types", "TrajectoryWithRew"),
        ("imitation.algorithms.preference_comparisons", "PreferenceDataset"),
    ):
        made[name] = type(name, (), {"__module__": module})
        setattr(modules[module], name, made[name])
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    def build(name, **state):
        thing = made[name]()
        thing.__dict__ |= state
        return thing

    return build


def fragment(build, length, first=0.0, **changes):
    state = {
        "obs": first + np.arange(2 * length + 2, dtype=np.float64).reshape(-1, 2), "acts": np.arange(length),
        "rews": np.ones(length), "infos": np.array([{"a": 1}] * length, dtype=object), "terminal": False,
    }  # fmt: skip
    return build("TrajectoryWithRew", **{**state, **changes})


def test_imitation(imitation):
    pairs = [(fragment(imitation, 3), fragment(imitation, 2, 10.0)) for _ in range(3)]
    dataset = imitation(
        "PreferenceDataset", fragments1=[one for one, _ in pairs], fragments2=[one for _, one in pairs],
        max_size=None, preferences=np.array([1.0, 0.5, 0.25]),
    )  # fmt: skip
    data = others.from_imitation("file.pkl", pickle.dumps(dataset))
    assert data.label.tolist() == [1.0, 0.5, 0.25] and data.lengths.tolist() == [[3, 2]] * 3
    assert data.states[0, 0].tolist() == [[0, 1], [2, 3], [4, 5]] and data.last[0].tolist() == [[6, 7], [14, 15]]
    assert data.actions[0].tolist() == [[0, 1, 2], [0, 1, 0]] and data.rewards[0].sum(1).tolist() == [3, 2]
    Path("file.pkl").write_bytes(pickle.dumps(dataset))
    assert convert.main(["file.pkl", "ours.jsonl"]) == 0
    same(formats.load(Path("ours.jsonl")), data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preferences": [1.0]}, "preferences are no list of numbers"),
        ({"preferences": np.ones(3)}, "not two fragments for each preference"),
        ({"fragments1": "ab"}, "not two fragments for each preference"),
        ({"fragments1": [1]}, "fragment 1: has no observations and actions"),
        ({"fragments1": [{"obs": np.zeros((3, 2))}]}, "fragment 1: has no observations and actions"),
    ],
)
def test_what_is_no_data_of_imitation(changes, message, imitation):
    state = {"fragments1": [fragment(imitation, 2)], "fragments2": [fragment(imitation, 2)], "preferences": np.ones(1)}
    others.from_imitation("x", pickle.dumps(imitation("PreferenceDataset", **state)))
    with pytest.raises(UnreadableError, match=message):
        others.from_imitation("x", pickle.dumps(imitation("PreferenceDataset", **{**state, **changes})))
    for wrong in ({"obs": np.zeros((2, 2))}, {"rews": np.ones(5)}, {"acts": np.zeros((0,)), "obs": np.zeros((1, 2))}):
        one = {**state, "fragments1": [fragment(imitation, 2, **wrong)]}
        with pytest.raises(UnreadableError, match="fragment 1: has not one observation more"):
            others.from_imitation("x", pickle.dumps(imitation("PreferenceDataset", **one)))
    with pytest.raises(UnreadableError, match="holds no PreferenceDataset"):
        others.from_imitation("x", pickle.dumps(state))
    assert isinstance(read_pickle("x", pickle.dumps(fragment(imitation, 1))), Thing)


def cpl(pairs, size=4, length=3):
    rng = np.random.default_rng(3)
    rows = size if pairs else 2 * size
    shapes = {"obs": (rows, length, 2), "action": (rows, length, 1), "reward": (rows, length)}
    if not pairs:
        return {
            **{name: rng.normal(size=shape) for name, shape in shapes.items()},
            "label": np.array([3, 1, 2, 2, 1, 2, 2, 5]),
        }
    both = {f"{name}_{place}": rng.normal(size=shape) for name, shape in shapes.items() for place in (1, 2)}
    return {**both, "label": np.array([0.0, 1.0, 0.5, 0.25])}


@pytest.mark.parametrize("pairs", [True, False])
def test_contrastive_preference_learning(pairs):
    """Its label is the probability that the second is preferred: as its own batches compute it."""
    arrays = cpl(pairs)
    np.savez_compressed("cpl.npz", **arrays)
    assert convert.main(["cpl.npz", "ours.npz"]) == 0
    data = formats.load(Path("ours.npz"))
    if pairs:
        theirs, segments = (
            arrays["label"],
            [(arrays["obs_1"], arrays["obs_2"]), (arrays["reward_1"], arrays["reward_2"])],
        )
    else:  # the first half is compared with the second
        scores = arrays["label"]
        theirs = 1.0 * (scores[:4] < scores[4:]) + 0.5 * (scores[:4] == scores[4:])
        segments = [(arrays[name][:4], arrays[name][4:]) for name in ("obs", "reward")]
    np.testing.assert_allclose(data.label, 1 - theirs)
    for place in range(2):
        np.testing.assert_allclose(data.states[:, place], segments[0][place], rtol=1e-6)
        np.testing.assert_allclose(data.rewards[:, place], segments[1][place], rtol=1e-6)
        np.testing.assert_allclose(data.last[:, place], segments[0][place][:, -1], rtol=1e-6)


def test_what_is_no_data_of_contrastive_preference_learning():
    arrays = cpl(pairs=False)
    without = {name: value for name, value in arrays.items() if name != "reward"}
    assert np.isnan(others.from_cpl("x", without).rewards).all()
    for changes, message in (
        ({"action": np.zeros((8, 2, 1))}, "do not go together"), ({"label": np.zeros(3)}, "do not go together"),
        ({"obs": np.zeros(8)}, "do not go together"), ({"action": np.zeros((0, 3, 1))}, "do not go together"),
    ):  # fmt: skip
        with pytest.raises(UnreadableError, match=message):
            others.from_cpl("x", {**arrays, **changes})
    with pytest.raises(UnreadableError, match="has no 'rank', as Contrastive"):
        others.from_cpl("x", arrays, "rank")
    unscored = {**arrays, "label": np.where(np.arange(8) == 5, np.nan, arrays["label"])}
    unanswered = others.from_cpl("x", unscored)
    assert np.isnan(unanswered.label).tolist() == [False, True, False, False] and unanswered.counts[1] == 0
    with pytest.raises(UnreadableError, match="question 1 has label -0.5; label has to be a probability"):
        others.from_cpl("x", {**cpl(pairs=True), "label": np.array([1.5, 1.0, 0.5, 0.25])})
    renamed = {**arrays, "rank": arrays["label"]}
    same(others.from_cpl("x", renamed, "rank"), others.from_cpl("x", arrays))


def d4rl(count=60, every=20):
    rng = np.random.default_rng(5)
    return {
        "observations": rng.normal(size=(count, 3)), "actions": rng.normal(size=(count, 2)),
        "rewards": rng.normal(size=count), "timeouts": np.arange(1, count + 1) % every == 0,
    }  # fmt: skip


def as_qlearning_dataset(raw):
    """The transitions that D4RL's `qlearning_dataset` gives, one at a time."""
    for row in range(len(raw["rewards"]) - 1):
        if not raw["timeouts"][row]:
            yield raw["observations"][row], raw["actions"][row], raw["rewards"][row], raw["observations"][row + 1]


@pytest.mark.parametrize("ending", ["npz", "hdf5"])
def test_steps_are_numbered_as_d4rl_numbers_them(ending):
    raw, path = d4rl(), Path(f"data.{ending}")
    if ending == "npz":
        np.savez(path, **raw, infos=np.zeros(3))
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, value in raw.items():
                file[name] = value
    steps = episodes.read_steps(path)
    wanted = list(as_qlearning_dataset(raw))
    assert len(steps.rewards) == len(wanted) == 57
    for row, (state, action, reward, following) in enumerate(wanted):
        assert (steps.states[row] == state).all() and (steps.actions[row] == action).all()
        assert steps.rewards[row] == reward and (steps.following[row] == following).all()


@pytest.mark.parametrize(
    "names",
    [
        ("indices_num4_q5", "indices_2_num4_q5", "label_human"),
        *[tuple(f"{one}_domain_mujoco_num_4_len_5_ab{5}f.pkl" for one in ("indices_1", "indices_2", "human_label"))],
    ],
)
@pytest.mark.parametrize("labels", [[0, 1, -1, 0], np.array([[1, 0], [0, 1], [0.5, 0.5], [1, 0]])])
def test_preference_transformer_and_uni_rlhf(names, labels):
    """0 is the first, 1 the second, -1 neither; or a share for each."""
    raw = d4rl()
    np.savez("data.npz", **raw)
    Path("labels").mkdir()
    first, second = np.int32([0, 10, 20, 52]), np.array([5, 30, 40, 50])
    for name, value in zip(names, (first, second, labels), strict=True):
        Path("labels", name).write_bytes(pickle.dumps(value, 3))
    Path("labels", "README.md").write_text("")
    assert convert.main(["labels", "ours.npz", "data=data.npz"]) == 0
    data = formats.load(Path("ours.npz"))
    assert data.label.tolist() == [1.0, 0.0, 0.5, 1.0] and (data.lengths == 5).all() and (data.weight == 1).all()
    wanted = list(as_qlearning_dataset(raw))
    for row in range(4):
        for place, starts in enumerate((first, second)):
            inside = wanted[starts[row] : starts[row] + 5]
            np.testing.assert_allclose(data.states[row, place], [one[0] for one in inside], rtol=1e-6)
            np.testing.assert_allclose(data.actions[row, place], [one[1] for one in inside], rtol=1e-6)
            np.testing.assert_allclose(data.last[row, place], inside[-1][3], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "options", "line"),
    [
        ({"label_human": None}, [], "labels: labels has to hold three files, a label, an indices_2 and one more"),
        ({"indices_num4": [0, 1, 2]}, [], "indices_num4 holds no list of whole numbers"),
        ({"indices_num4": np.arange(3)}, [], "labels has not two segments for each label"),
        ({"indices_num4": np.array([0, 1, 2, 53])}, [], "labels numbers steps up to 58; the data has 57"),
        ({"indices_num4": np.array([0, 1, 2, -1])}, [], "labels numbers steps up to"),
        ({"label_human": [0, 1, 2, 0]}, [], "label_human holds other labels than 0, the first, 1, the second, and -1"),
        ({"label_human": Bomb()}, [], "label_human is no pickle of numbers and arrays"),
        ({}, ["segment=60"], "labels numbers steps up to 87; the data has 57"),
        ({}, ["segment=0"], "segment=0: must be a whole number between 1 and 100000; try segment=1"),
        ({}, ["data=none.npz"], "none.npz is missing"),
        ({}, ["data=labels/label_human"], "label_human is no archive of arrays"),
        ({}, ["answer=return"], "answer=return: has no meaning for labels; leave it out"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(changes, options, line, capsys):
    np.savez("data.npz", **d4rl())
    Path("labels").mkdir()
    whole = {"indices_num4": np.arange(4), "indices_2_num4": np.arange(4) + 24, "label_human": [0, 1, -1, 0]}
    if "indices_num4" in changes and isinstance(changes["indices_num4"], list):
        changes = {"indices_num4": [0.5, 1, 2, 3]}
    for name, value in {**whole, **changes}.items():
        if value is not None:
            Path("labels", name).write_bytes(pickle.dumps(value))
    given = {"segment": "segment=5", "data": "data=data.npz"}
    given |= {one.partition("=")[0]: one for one in options}
    assert convert.main(["labels", "ours.npz", *given.values()]) == 2
    found = capsys.readouterr().err
    assert line in found and found.count("\n") == 1 and not Path("ours.npz").exists() and not Path("exploded").exists()


def minari(path, lengths=(4, 9, 2), **changes):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for number, length in enumerate(lengths):
            group = file.create_group(f"episode_{number}")
            content = {
                "observations": np.stack([np.full(length + 1, number), np.arange(length + 1)], 1).astype(float),
                "actions": rng.integers(3, size=length), "rewards": np.arange(length) + 10.0 * number,
                "terminations": np.zeros(length, bool), "truncations": np.zeros(length, bool), **changes,
            }  # fmt: skip
            for name, value in content.items():
                if value is not None:
                    group[name] = value
    return h5py


def test_questions_about_episodes_of_minari():
    """Segments lie within an episode, all of them are as likely, and the larger return is preferred."""
    minari("main_data.hdf5")
    options = ["segment=3", "questions=600", "seed=4"]
    assert convert.main(["main_data.hdf5", "ours.npz", *options, "answer=return"]) == 0
    data = formats.load(Path("ours.npz"))
    assert len(data) == 600 and (data.lengths == 3).all()
    assert (data.states[..., 0] == data.states[..., :1, 0]).all(), "over an episode's end"
    assert (np.diff(data.states[..., 1], axis=-1) == 1).all() and (
        data.last[..., 1] == data.states[..., -1, 1] + 1
    ).all()
    starts, counts = np.unique(data.states[:, :, 0].reshape(-1, 2), axis=0, return_counts=True)
    assert starts.tolist() == [[0, 0], [0, 1], *([1, step] for step in range(7))]
    assert counts.min() > 90 and counts.max() < 180
    returns = data.rewards.sum(2)
    wanted = np.where(returns[:, 0] == returns[:, 1], 0.5, returns[:, 0] > returns[:, 1])
    assert (data.label == wanted).all()
    assert convert.main(["main_data.hdf5", "open.npz", *options]) == 0
    left_open = formats.load(Path("open.npz"))
    assert np.isnan(left_open.label).all() and (left_open.states == data.states).all()
    assert convert.main(["main_data.hdf5", "other.npz", "segment=3", "questions=600", "seed=5"]) == 0
    assert (formats.load(Path("other.npz")).states != data.states).any()


def test_other_files_of_hdf5_are_one_line(capsys):
    h5py = minari("short.hdf5")
    minari("shape.hdf5", rewards=np.zeros(1))
    minari("without.hdf5", actions=None)
    minari("words.hdf5", actions=np.array([b"a"] * 4))
    Path("none.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 200)
    with h5py.File("empty.hdf5", "w"):
        pass
    with h5py.File("linked.hdf5", "w") as file:
        file["episode_0"] = h5py.ExternalLink("short.hdf5", "/episode_0")
    with h5py.File("outside.hdf5", "w") as file:
        group = file.create_group("episode_0")
        Path("secret").write_bytes(b"\0" * 80)
        group.create_dataset("observations", (10,), "f8", external=[("secret", 0, 80)])
    with h5py.File("huge.hdf5", "w") as file:
        file.create_group("episode_0").create_dataset("observations", (1 << 40,), "f8", chunks=True)
    Path("link.hdf5").symlink_to("short.hdf5")
    for name, line in [
        ("short.hdf5", "no episode has 25 steps, the longest 9; type segment=9 or less"),
        ("shape.hdf5", "has not one observation more than actions and rewards"),
        ("without.hdf5", "episode_0/actions is missing, or a link"),
        ("words.hdf5", "actions is no list of numbers or vectors"), ("none.hdf5", "none.hdf5 is no HDF5 file"),
        ("empty.hdf5", "has no episode_0, as a data set of Minari has"), ("linked.hdf5", "is missing, or a link"),
        ("outside.hdf5", "observations lies in other files"), ("huge.hdf5", "or has more than"),
        ("link.hdf5", "link.hdf5 is a link"), ("missing.hdf5", "missing.hdf5 is missing"),
    ]:  # fmt: skip
        assert convert.main([name, "ours.npz"]) == 2
        found = capsys.readouterr().err
        assert line in found and found.count("\n") == 1, found
    assert not Path("ours.npz").exists()


def test_without_h5py_its_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert convert.main(["a.hdf5", "b.npz"]) == 2
    assert "h5py is not installed; type pip install 'prefrl[hdf5]'" in capsys.readouterr().err


def test_ours_from_one_format_to_the_other_and_back():
    formats.save(Path("a.npz"), made(vectors=True))
    assert convert.main(["a.npz", "b.jsonl"]) == 0 and convert.main(["b.jsonl", "c.npz"]) == 0
    assert Path("c.npz").read_bytes() == Path("a.npz").read_bytes()


def test_lines_for_trl(capsys):
    """Ties and what nobody answered have no place in it."""
    lines = [question(label=label, number=number) for number, label in enumerate([1.0, 0.25, 0.5, None])]
    other = {"states": [5], "actions": [0], "rewards": [0.0], "last": 6}
    about = {"format": formats.KIND, "version": 1, "env.size": 4}
    rows = [json.dumps(one) for one in (about, *({**line, "second": other} for line in lines))]
    Path("a.jsonl").write_text("\n".join(rows) + "\n")
    assert convert.main(["a.jsonl", "trl.jsonl", "to=trl"]) == 0
    assert "2 lines of 4 questions, 3 answered; 1 ties are left out" in capsys.readouterr().out
    found = [json.loads(line) for line in Path("trl.jsonl").read_text().splitlines()]
    one, two = "state 0 action 1; state 1 action 1; state 2", "state 5 action 0; state 6"
    assert found == [
        {"prompt": "size 4", "chosen": one, "rejected": two}, {"prompt": "size 4", "chosen": two, "rejected": one},
    ]  # fmt: skip
    assert SEGMENT["last"] == 2
    Path("b.jsonl").write_text("\n".join([rows[0], rows[3]]) + "\n")
    assert convert.main(["b.jsonl", "trl2.jsonl", "to=trl"]) == 2
    assert "no answer prefers one of the two" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "which files? type prefrl-convert IN OUT, or --help"),
        (["a.npz"], "which files?"),
        (["a.npz", "b.npz", "c.npz"], "which files?"),
        (["--fast", "b.npz"], "which files?"),
        (["a.npz", "b.csv"], "OUT=b.csv: has to end in .npz or .jsonl; try OUT=preferences.npz"),
        (["a.npz", "there.npz"], "there.npz: is there already; type another name"),
        (["a.npz", "link.npz"], "link.npz: is there already; type another name"),
        (["there.csv", "b.npz"], "there.csv: is no .npz, .jsonl, .pkl, .hdf5 or folder; see prefrl-convert --help"),
        (["a.csv", "b.npz"], "a.csv: there is no such file or folder"),
        (["no_folder", "b.npz"], "no_folder: there is no such file or folder"),
        (["a.npz", "b.npz"], "a.npz is missing"),
        (["folder", "b.npz"], "folder: numbers steps of another file; type data=FILE as well"),
        (["a.npz", "b.npz", "segment=3"], "segment=3: has no meaning for a.npz; leave it out"),
        (["a.npz", "b.npz", "segmnt=3"], "segmnt: there is no such option; did you mean segment?"),
        (["a.npz", "b.npz", "to=csv"], "to=csv: must be trl; try to=trl"),
        (["there.npz", "no/b.npz"], "there.npz has no 'obs', as Contrastive Preference Learning has"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, line, capsys):
    np.savez("there.npz", x=np.zeros(1))
    Path("there.csv").write_text("1\n")
    Path("link.npz").symlink_to("nowhere.npz")
    Path("folder").mkdir()
    assert convert.main(arguments) == 2
    found = capsys.readouterr().err
    assert found.startswith(f"prefrl-convert: {line}") or line in found
    assert found.count("\n") == 1
    assert {path.name for path in Path.cwd().iterdir()} == {"there.npz", "there.csv", "link.npz", "folder"}


def test_a_folder_that_is_not_there(capsys):
    formats.save(Path("a.npz"), made())
    assert convert.main(["a.npz", "no/b.npz"]) == 2
    assert "no/b.npz: cannot be written (No such file or directory)" in capsys.readouterr().err
    assert io.BytesIO(Path("a.npz").read_bytes()).read(2) == b"PK" and not os.path.exists("no")
