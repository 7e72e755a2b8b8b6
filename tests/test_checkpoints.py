"""What a checkpoint holds, gives back and refuses."""

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import kill_and_resume
import pytest
import torch

from prefrl_cli.files.checkpoints import FORMAT, CheckpointError, Checkpoints


def test_another_format_is_refused_by_its_number(tmp_path):
    store = Checkpoints(tmp_path / "some")
    path = store.save(3, {"a": torch.ones(2)})
    store.wait()
    content = torch.load(path, weights_only=True)
    torch.save({**content, "format": 99}, path)
    with pytest.raises(CheckpointError, match=r"step_000003.pt is of format 99, here it is \d"):
        store.load(path, "cpu")


def test_a_checkpoint_runs_no_code(tmp_path):
    class Malicious:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    store = Checkpoints(tmp_path / "some")
    path = store.save(3, {})
    store.wait()
    torch.save({"format": FORMAT, "step": 3, "content": "{}", "data": Malicious()}, path)
    with pytest.raises(CheckpointError, match="is damaged"):
        store.load(path, "cpu")
    assert not (tmp_path / "touched").exists()


def test_what_a_checkpoint_gives_back(tmp_path):
    """Types, shapes, values and what is not a number; whole numbers take as few bytes as they need."""
    large = torch.arange(1_000_000, dtype=torch.float32).view(1000, 1000)
    limits = {bits: torch.tensor([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]) for bits in (8, 16, 32, 64)}
    content = {
        "view": large[:, ::100],
        "row": large[3],
        "wide": torch.ones(1).expand(9),
        "turned": torch.arange(6).view(2, 3).T,
        "numbers": torch.randint(0, 250, (100_000,)),
        "ends": {str(bits): values for bits, values in limits.items()},
        "lists": [torch.tensor(True), torch.zeros(0, 4), torch.tensor(float("nan"), dtype=torch.float64), ["a", None]],
        "plain": {"number": 0.1, "none": None, "text": "ä\n", "infinite": float("-inf")},
    }
    store = Checkpoints(tmp_path / "some")
    path = store.save(1, content)
    content["numbers"][:] = 0  # training goes on while it is written
    store.wait()
    assert path.stat().st_size < 10_000 * 4 + 100_000 + 8_000
    found = store.load(path, "cpu")
    assert found["numbers"].dtype == torch.int64 and found["numbers"].any()
    del found["numbers"], found["step"], content["numbers"]
    assert kill_and_resume.same(found, content)
    assert all(one.data_ptr() % 64 == 0 for one in (found["row"], found["turned"], found["ends"]["8"]))


def test_the_step_is_that_of_the_file_whatever_its_content_says(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, {"step": "another"})
    checkpoints.wait()
    assert Checkpoints.load(tmp_path / "step_000003.pt", "cpu")["step"] == 3


def test_a_checkpoint_that_cannot_be_written_is_told_at_the_next(tmp_path):
    store = Checkpoints(tmp_path / "some")
    with pytest.raises(TypeError, match="a checkpoint cannot hold a PosixPath"):
        store.save(1, {"path": tmp_path})

    def fails():
        raise OSError("no room")

    store.save(1, {}, fails)
    with pytest.raises(OSError, match="no room"):
        store.save(2, {})
    with pytest.raises(OSError, match="no room"), store:
        store.save(3, {}, fails)
    with pytest.raises(KeyError), store:
        store.save(4, {}, fails)
        raise KeyError
    assert list((tmp_path / "some").iterdir()) == []


def written(folder, content=None):
    """A checkpoint of step 3, and what torch has written into it."""
    store = Checkpoints(folder / "some")
    path = store.save(3, content or {"a": torch.arange(100, dtype=torch.float32), "b": torch.ones(4)})
    store.wait()
    return path, torch.load(path, weights_only=True)


def refused(path):
    with pytest.raises(CheckpointError, match=r"checkpoint step_000003.pt is damaged \(") as caught:
        Checkpoints.load(path, "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        torch.zeros(1, dtype=torch.uint8).expand(416),
        torch.zeros(4160, dtype=torch.uint8)[::10],
        torch.zeros(500, dtype=torch.uint8)[:416],
        torch.zeros(500, dtype=torch.uint8)[84:],
        torch.zeros(416, dtype=torch.int8),
        torch.zeros(416, dtype=torch.uint8).view(2, 208),
        torch.zeros(416, dtype=torch.uint8).requires_grad_(False).to_sparse(),
        [torch.zeros(416, dtype=torch.uint8)],
    ],
    ids=["stride 0", "stride 10", "a part", "an offset", "another type", "two axes", "sparse", "a list"],
)
def test_a_tensor_that_is_not_its_own_bytes(data, tmp_path):
    """One of stride 0 would be as large as it says, from a file of a few bytes."""
    path, content = written(tmp_path)
    torch.save({**content, "data": data}, path)
    refused(path)
    torch.save({**content, "data": content["data"].clone()}, path)
    assert Checkpoints.load(path, "cpu")["a"][99] == 99


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ["float32", "float32", [104], 0, 416], "b": ["float32", "float32", [104], 0, 416]}',
        '{"a": ["float32", "float32", [52], 208, 416], "b": ["float32", "float32", [52], 0, 208]}',
        '{"a": ["complex128", "uint8", [416], 0, 416]}',
        '{"a": ["int64", "int8", [416], 0, 416]}',
        '{"a": ["float32", "float32", [100], 0, 400]}',
        '{"a": ["float32", "float32", [104], 0, 500]}',
        '{"a": ["float32", "float32", [-1], 0, 416]}',
        '{"a": ["float32", "float32", [104, true], 0, 416]}',
        '{"a": ["float32", "float32", [0, 9e99], 0, 0], "b": ["uint8", "uint8", [416], 0, 416]}',
        '{"a": ["float32", "float32", [' + "1," * 100 + "104], 0, 416]}",
        '{"a": ["load", "uint8", [416], 0, 416]}',
        "[" * 100_000,
        '{"a": ' * 100_000,
        '{"a": 1' + "0" * 5000 + "}",
        "[]",
        "",
    ],
)
def test_a_text_that_asks_for_more_than_the_file_has(text, tmp_path):
    path, content = written(tmp_path)
    assert content["data"].numel() == 416
    given = text
    if '["' in text:
        given = json.dumps({name: {"__tensor__": value} for name, value in json.loads(text).items()})
    torch.save({**content, "content": given}, path)
    refused(path)


@pytest.mark.parametrize(
    ("wanted", "instead"),
    [
        (b"K\x03X", b"K\x03Y"),
        (b"M\xa0\x01", b"M\xff\xff"),  # a storage of 65,535 bytes, which would be read past its end
        (b"ctorch\nByteStorage", b"ctorch\nCharStorage"),
        (b"collections\nOrderedDict", b"builtins\nexec      "),
    ],
    ids=["command", "size", "storage", "object"],
)
def test_a_pickle_that_is_no_checkpoints(wanted, instead, tmp_path):
    path, _ = written(tmp_path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = [name for name in parts if name.endswith("data.pkl")]
    assert wanted in parts[pickled]
    parts[pickled] = parts[pickled].replace(wanted, instead, 1)
    pack_parts(path, parts)
    refused(path)


def pack_parts(path, parts, **how):
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_is_no_checkpoints(tmp_path):
    path, _ = written(tmp_path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pack_parts(path, parts)
    assert Checkpoints.load(path, "cpu")["b"].sum() == 4
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(next(iter(parts)), "again")
    refused(path)
    pack_parts(path, parts | {f"{number}": b"" for number in range(20)})
    refused(path)
    pack_parts(path, {f"{number}": b"" for number in range(60_000)})
    refused(path)
    pack_parts(path, parts, compression=zipfile.ZIP_DEFLATED)
    refused(path)
    sizes = struct.pack("<LL", 416, 416)  # of the tensors' bytes, in the list of parts at the end
    assert whole.count(sizes) >= 1
    path.write_bytes(
        whole[: whole.rfind(sizes)] + struct.pack("<LL", 3 << 30, 3 << 30) + whole[whole.rfind(sizes) + 8 :]
    )
    refused(path)
    path.unlink()
    path.symlink_to(tmp_path / "else.pt")
    (tmp_path / "else.pt").write_bytes(whole)
    refused(path)
    path.unlink()
    os.mkfifo(path)
    refused(path)


def test_what_reading_takes_is_bounded_by_the_file(tmp_path):
    """By the most that Python and torch ask for, in a process of its own."""
    path, content = written(tmp_path)
    size = 1 << 30
    text = json.dumps({"a": {"__tensor__": ["uint8", "uint8", [size], 0, size]}})
    torch.save({**content, "content": text, "data": torch.zeros(1, dtype=torch.uint8).expand(size)}, path)
    assert path.stat().st_size < 3000
    command = (
        "import resource, sys; from pathlib import Path; import torch\n"
        "from prefrl_cli.files.checkpoints import CheckpointError, Checkpoints\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: Checkpoints.load(Path(sys.argv[1]), 'cpu')\n"
        "except CheckpointError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    said = subprocess.check_output([sys.executable, "-c", command, path], text=True)
    assert int(said) < 50_000  # KiB
