"""Exact products are asked for before torch comes, a run tries whether it got them, and says so where it did not."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import direct
import exactness as benchmark
import pytest
import torch

from prefrl_cli.cli.train import main
from prefrl_cli.config.choices import choices
from prefrl_cli.config.options import check_run
from prefrl_cli.core.layers import exactness, networks
from prefrl_cli.core.layers.networks import Network
from prefrl_cli.core.optimizer import SGD, Adam, RMSprop
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.run import processor

MKL = torch.backends.mkl.is_available()
needs_mkl = pytest.mark.skipif(not MKL, reason="the variable is MKL's")
OTHER = {key: value for key, value in os.environ.items() if key != processor.VARIABLE}
# The same shapes as other processors compute them.
MODES = ("ATEN_CPU_CAPABILITY=default", "ATEN_CPU_CAPABILITY=avx2", "MKL_ENABLE_INSTRUCTIONS=AVX2")


def answer(code, **variables):
    """What a fresh interpreter prints, without the variable unless it is given."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**OTHER, **variables}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def used(optimizer=Adam, rows=(), **sizes):
    whole = {"inputs": 25, "hidden": [33], "outputs": 5, "members": 1, **sizes}
    network = Network(PhiloxStreams([0]), "init", **whole)
    return exactness.Trained(network.sizes, optimizer(network.parameters), rows)


@pytest.fixture
def inexact(monkeypatch):
    """A product that depends on the number of matrices beside it, as some processors' do."""
    true = torch.baddbmm

    def product(bias, features, weight, **rest):
        return true(bias, features, weight, **rest) * (1 + 2e-7 * (len(weight) > 1))

    monkeypatch.setattr(networks.torch, "baddbmm", product)


@pytest.mark.parametrize(
    "first", ["prefrl_cli", "prefrl_cli.core.layers.networks", "prefrl_cli.cli.train", "prefrl_cli.core.streams"]
)
def test_it_is_asked_for_wherever_the_package_is_entered(first):
    code = f"import os, {first}; print(os.environ['MKL_CBWR'])"
    assert answer(code) == "AUTO,STRICT"


def test_entering_the_package_imports_nothing_slow():
    code = "import sys, prefrl_cli; print(*{'torch', 'numpy', 'yaml', 'hydra'} & set(sys.modules))"
    assert answer(code) == ""


@needs_mkl
@pytest.mark.parametrize(
    ("typed", "before", "mode", "first"),
    [
        ({}, "", "AUTO,STRICT", False),
        ({}, "import torch", "AUTO,STRICT", True),  # nothing was computed yet
        ({}, "import torch; torch.ones(64, 64) @ torch.ones(64, 64)", "off", True),
        ({"MKL_CBWR": "COMPATIBLE"}, "", "COMPATIBLE", False),
        ({"MKL_CBWR": ""}, "", "off", False),
    ],
)
def test_the_library_says_what_it_does(typed, before, mode, first):
    code = f"{before}\nfrom prefrl_cli.run import processor; import json; print(json.dumps(processor.libraries()))"
    found = json.loads(answer(code, **typed))
    assert (found["mkl_mode"], found["torch_imported_first"]) == (mode, first)
    assert found["variables"]["MKL_CBWR"] == typed.get("MKL_CBWR", "AUTO,STRICT")
    assert found["library"] == "MKL" and found["capability"] == torch.backends.cpu.get_cpu_capability()


SHAPES = [
    (hidden, {"outputs": 5} if plain else {"outputs": 1, "normalise": True, "members": 3})
    for hidden, plain in itertools.product(([1], [3], [5], [7], [13], [33], [33, 7]), (True, False))
]


@pytest.mark.parametrize(("hidden", "rest"), SHAPES, ids=str)
def test_a_seed_alone_among_others_over_odd_sizes(hidden, rest):
    for rows, seeds in (((), 5), ((1, 3, 10, 33), 3), ((61,), 16)):
        optimizer = (Adam, RMSprop, SGD)[(len(rows) + sum(hidden)) % 3]
        assert exactness.differences(used(optimizer, rows, hidden=hidden, **rest), seeds)["differs"] == []


@pytest.mark.parametrize("rows", [(), (10,)])
def test_the_check_sees_a_product_that_depends_on_its_neighbours(rows, inexact):
    found = exactness.differences(used(rows=rows, hidden=[33, 33]), 5)
    assert found["differs"] == ["forward", "backward", "step"]
    assert any(exactness.odd_sizes().values())


def test_the_check_sees_a_gradient_and_a_step(monkeypatch):
    true = networks.Parameters.gradient
    monkeypatch.setattr(
        networks.Parameters, "gradient", lambda self, loss: true(self, loss) * (1 + 2e-7 * (len(loss) > 1))
    )
    assert exactness.differences(used(), 3)["differs"][0] == "backward"
    monkeypatch.undo()
    step = Adam._apply
    monkeypatch.setattr(
        Adam, "_apply", lambda self, gradient, lr: step(self, gradient, lr * (1 + 1e-4 * len(gradient)))
    )
    assert exactness.differences(used(), 3)["differs"] == ["step", "forward"]


def test_large_sizes_are_cut_to_what_takes_no_time():
    found = exactness.differences(used(inputs=65536, hidden=[128, 128]), 10**5)
    assert found["seeds"] == 3 and found["rows"][0] < 65536
    assert exactness.differences(used(hidden=[3]), 10**5)["seeds"] == exactness.MOST_SEEDS


@pytest.mark.parametrize("name", choices("experiment"))
def test_the_check_of_an_experiment_leaves_no_trace(name):
    """Its networks are those of the run, in sizes and number; its parameters and streams stay where they are."""
    algorithm, untouched = (direct.configured(name, "num_seeds=2") for _ in range(2))
    found = processor.check(algorithm, check_run({"experiment": name, "num_seeds": 2}))
    assert found["exact"] is True and found["seconds"] < 30
    assert len(found["networks"]) == (
        sum(key in algorithm.state() for key in ("policy", "reward_model"))
        + hasattr(getattr(algorithm, "policy", None), "critic")
    )
    mine, theirs = algorithm.update(), untouched.update()
    assert all(benchmark.same(value, theirs[metric]) for metric, value in mine.items())
    for name, value in benchmark.parameters(algorithm.state()).items():
        assert torch.equal(value, benchmark.parameters(untouched.state())[name])


def test_an_algorithm_of_a_persons_own_need_not_say():
    assert processor.check(object(), check_run({"experiment": "own"}))["exact"] is None


TYPED = ["experiment=rewardnet_prefs", "steps=2", "num_seeds=3", "output_dir=run", "quiet=true"]


def test_a_run_records_what_it_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(TYPED) == 0
    record = json.loads(Path("run", "environment.json").read_text())
    assert record["processor"] == processor.name()
    assert record["exactness"]["exact"] is True and record["exactness"]["networks"]["reward_model"]["differs"] == []
    assert capsys.readouterr().err == ""


def test_a_run_that_is_not_exact_says_so_in_one_line_and_goes_on(tmp_path, monkeypatch, capsys, inexact):
    monkeypatch.chdir(tmp_path)
    assert main(TYPED) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: a seed alone differs from the same seed among others on this processor (reward_m")
    assert "Statistics hold, and so does a repeat here with the same seeds" in line and "type prefrl-doctor" in line
    assert json.loads(Path("run", "environment.json").read_text())["exactness"]["exact"] is False
    assert line in Path("run", "train.log").read_text()


def test_what_to_type_follows_from_the_cause():
    found = {"exact": False, "networks": {"policy": {"differs": ["forward"]}}, "library": "MKL", "mkl_mode": "off"}
    own = {**found, "variables": {"MKL_CBWR": "OFF"}, "torch_imported_first": False}
    kept, line = processor.notes(own)
    assert kept == "MKL_CBWR=OFF is kept as you set it (prefrl would set AUTO,STRICT)"
    assert line.endswith("type MKL_CBWR=AUTO,STRICT before the command")
    late = {**found, "variables": {"MKL_CBWR": "AUTO,STRICT"}, "torch_imported_first": True}
    (line,) = processor.notes(late)
    assert line.endswith("set MKL_CBWR=AUTO,STRICT before torch is imported")


def test_random_odd_configurations():
    assert benchmark.tried(12, 5)[:2] == (12, 0)


COMPACT = (
    "import sys; sys.path.insert(0, 'benchmarks')\nimport exactness as benchmark\n"
    "from prefrl_cli.core.layers import exactness\n"
    "benchmark._prepare()\nprint(sum(map(bool, exactness.odd_sizes().values())), benchmark.tried({}, 1)[1])"
)


@pytest.mark.parametrize("mode", MODES)
def test_in_other_instruction_sets(mode, monkeypatch):
    """Odd networks, and a few whole algorithms of odd sizes, as another processor would compute them."""
    monkeypatch.chdir(Path(__file__).parents[1])
    assert answer(COMPACT.format(6), **dict([mode.split("=")]), OMP_NUM_THREADS="1") == "0 0"


@needs_mkl
@pytest.mark.skipif("GenuineIntel" not in Path("/proc/cpuinfo").read_text(), reason="others differ in other ways")
def test_without_the_variable_products_differ():
    """What is asked for has an effect: without it, this library's SSE path depends on the matrices beside."""
    code = (
        "from prefrl_cli.core.layers import exactness; import torch; g = torch.Generator().manual_seed(0)\n"
        "a, b, c = torch.randn(5, 1, 33, generator=g), torch.randn(5, 33, 33, generator=g), torch.zeros(5, 1, 33)\n"
        "print(torch.equal(torch.baddbmm(c, a, b)[3:], torch.baddbmm(c[3:], a[3:], b[3:])))"
    )
    assert answer(code, MKL_ENABLE_INSTRUCTIONS="SSE4_2") == "True"
    assert answer(code, MKL_ENABLE_INSTRUCTIONS="SSE4_2", MKL_CBWR="") == "False"
