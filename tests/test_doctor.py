"""`prefrl-doctor`: a line for each thing that runs need, a cure for each fault, and its exit code."""

import importlib.metadata
import subprocess
import sys
from collections import namedtuple

import pytest
import torch

from prefrl_cli.cli import doctor
from prefrl_cli.cli.doctor import Finding, main
from prefrl_cli.core.layers import exactness

NEEDED = ("prefrl", "torch", "numpy", "Python", "processor", "threads", "products", "exactness", "disk", "memory")


@pytest.fixture(autouse=True)
def few_shapes(monkeypatch):
    """The trial itself is tested elsewhere, over all shapes."""
    monkeypatch.setattr(exactness, "odd_sizes", lambda: {"25-33-5, 1 rows, 3 seeds": []})


def lines(text):
    """The marks and names; what goes on in a second line is joined to the first."""
    joined = text.replace("\n" + " " * 16, " ")
    return {line.split()[1]: line for line in joined.splitlines() if line[:2] in ("ok", "!!", "--")}


def test_all_is_well(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    text = capsys.readouterr().out
    found = lines(text)
    assert all(found[name].startswith("ok") for name in NEEDED), text
    assert torch.__version__ in found["torch"] and "AUTO,STRICT" in found["products"]
    assert {"joblib", "submitit", "ray", "optuna", "tensorboard", "mlflow", "wandb"} <= set(found)
    assert text.splitlines()[-1] == "all is well"
    assert all(len(line) <= 80 for line in text.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_a_seed_that_is_none_is_told_with_a_cure(capsys, monkeypatch):
    monkeypatch.setattr(exactness, "odd_sizes", lambda: {"25-33-5, 1 rows, 3 seeds": ["forward", "step"], "7": []})
    assert main([]) == 1
    text = capsys.readouterr().out
    line = lines(text)["exactness"]
    assert line.startswith("!!") and "in 1 of 2 shapes: 25-33-5, 1 rows, 3 seeds (forward, step)" in line
    assert "statistics hold, a seed alone does not; please report this processor" in line
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    assert "type unset MKL_CBWR" in str(doctor.exactness()).replace("\n" + " " * 16, " ")


def test_packages_that_are_missing_or_of_another_age(monkeypatch, capsys):
    true = importlib.metadata.version

    def version(name):
        if name == "tqdm":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"torch": "2.11.0+cpu", "hydra-core": "1.4.0"}.get(name) or true(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    assert main([]) == 1
    found = lines(capsys.readouterr().out)
    assert found["tqdm"].startswith("!! tqdm         is missing; type pip install 'tqdm>=4.66'")
    assert found["torch"].startswith("!!") and "type pip install 'torch" in found["torch"]
    assert found["hydra-core"].startswith("!!") and found["numpy"].startswith("ok")


def test_a_full_disk_and_no_memory(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    found = doctor.disk(tmp_path)
    assert (found.mark, found.cure) == ("!!", "make room, or go to another folder")
    monkeypatch.setattr(doctor.Path, "read_text", lambda *_, **__: "MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    found = doctor.memory()
    assert (found.mark, found.found) == ("!!", "0.0 GiB free")


@pytest.mark.parametrize(
    ("version", "limit", "fits"),
    [
        ("2.13.0+cpu", ">=2.13", True),
        ("2.12.9", ">=2.13", False),
        ("2.14.0", "<2.14", False),
        ("2.13.9", "<2.14", True),
        ("10.0", ">=9", True),
        ("1.0", "", True),
    ],
)
def test_versions(version, limit, fits):
    assert doctor._fits(version, limit) is fits


def test_what_is_refused(capsys):
    assert main(["run"]) == 2
    said = capsys.readouterr().err
    assert said == "prefrl-doctor: 'run': type env=ID, or nothing; see prefrl-doctor --help\n"


def test_help_is_quick_and_fits():
    code = (
        "import sys\nfrom prefrl_cli.cli.doctor import main\nassert main(['--help']) == 0\n"
        "print('IMPORTED', *{'torch', 'hydra', 'numpy', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    text, imported = done.stdout.split("IMPORTED")
    assert imported.strip() == "" and text.startswith("prefrl-doctor: ")
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_line_is_no_wider_than_a_screen():
    assert all(len(line) <= 80 for line in str(Finding("what", "much " * 60, "!!", "a cure")).splitlines())
