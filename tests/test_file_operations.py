"""A run that is killed, or whose disk is full, at any operation on a file goes on or begins again."""

import kill_each_file_operation
import pytest


@pytest.mark.parametrize(("how", "first"), [("killed", 1), ("killed", 2), ("full from there on", 3), ("full once", 2)])
def test_no_folder_is_lost(how, first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kill_each_file_operation.runner, "draw", lambda *_: None)
    monkeypatch.setattr(kill_each_file_operation.Checkpoints, "save", kill_each_file_operation.Checkpoints.save)
    kill_each_file_operation.prepare()
    went, wrong = kill_each_file_operation.trial(tmp_path, every=4, first=first, ways=(how,))
    assert wrong == []
    assert went.total() >= 12 and went[f"{how}: resumed"] > went[f"{how}: claimed"] > 0
