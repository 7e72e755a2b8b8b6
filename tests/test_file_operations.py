"""A run that is killed, or whose disk is full, at any operation on a file goes on or begins again."""

import kill_each_file_operation
import pytest


@pytest.mark.parametrize(
    ("how", "every", "first"),
    [("killed", 5, 1), ("killed", 9, 4), ("full from there on", 9, 3), ("full once", 9, 2)],
)
def test_no_folder_is_lost(how, every, first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kill_each_file_operation.runner, "draw", lambda *_: None)
    monkeypatch.setattr(kill_each_file_operation.Checkpoints, "save", kill_each_file_operation.Checkpoints.save)
    kill_each_file_operation.prepare()
    went, wrong = kill_each_file_operation.trial(tmp_path, every=every, first=first, ways=(how,))
    assert wrong == []
    assert went.total() >= 50 // every and went[f"{how}: resumed"] > went[f"{how}: claimed"] > 0
