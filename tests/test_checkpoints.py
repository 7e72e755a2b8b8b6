"""What a checkpoint holds, gives back and refuses."""

from pathlib import Path

import kill_and_resume
import pytest
import torch

from prefrl_cli.checkpoints import FORMAT, CheckpointError, Checkpoints


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
