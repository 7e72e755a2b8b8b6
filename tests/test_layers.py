"""The layers of the package: imports go down only, the parts do not know each other, extensions work."""

import ast
import graphlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from prefrl_cli.cli import train

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "prefrl_cli"

# From the top down. A name stands for the module, or for the folder and everything in it.
LAYERS = {
    "cli": ["cli", "__main__"],
    "config": ["config", "groups", "memory"],
    "runner": ["runner", "living", "progress", "environment", "processor", "loggers", "trackers", "tracker_variables"],
    "report": ["report"],
    "algorithm": ["algorithm"],
    "parts": [
        "env",
        "reward_model",
        "policy",
        "policy_update",
        "group_update",
        "teacher",
        "queries",
        "shaping",
        "loss",
        "advantage",
        "quality",
    ],
    "run directory": ["run_directory", "claims", "checkpoints", "checkpoint_file", "sweep", "sweep_record"],
    # `options` holds the one error that every layer may raise, and reads nothing but signatures.
    "ground": [
        "options",
        "streams",
        "replicas",
        "optimizers",
        "exactness",
        "data",
        "figures",
        "limits",
        "own_files",
        "safe_files",
        "texts",
        "drawing",
        "choices",
        "old_records",
        "saved_state",
    ],
}
FUNCTIONS = {"loss", "advantage"}  # pure: any part may use them
# What a lower layer is handed from above and therefore names in a type, and imports for nothing else.
TYPED_UPWARD = {("runner", "config"), ("processor", "config")}

PLACE = {name: (rank, layer) for rank, (layer, names) in enumerate(LAYERS.items()) for name in names}


def modules():
    return {
        path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__").replace("/", "."): path
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    }


def imports(source, known):
    """The modules of ours that a source imports anywhere, and whether each is only imported for the type checker."""
    tree = ast.parse(source)
    checked = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written out, from prefrl_cli"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, name = name.partition(".")
            if package == "prefrl_cli":
                # `from module import name`: the longest beginning that is a module.
                while name and name not in known:
                    name = name.rpartition(".")[0]
                if name:
                    yield name, id(node) in checked


def wrong(module, imported, only_typed):
    """Why a module may not import another one; nothing where it may."""
    top, other = module.partition(".")[0], imported.partition(".")[0]
    if top == other:
        return None
    (rank, layer), (below, its_layer) = PLACE[top], PLACE[other]
    if below < rank:
        return None if only_typed and (top, other) in TYPED_UPWARD else f"{its_layer} is above {layer}"
    if layer == its_layer == "parts" and other not in FUNCTIONS:
        return "parts do not import each other"
    return None


FOUND = modules()


def test_every_module_has_a_layer():
    tops = {name.partition(".")[0] for name in FOUND}
    assert tops == set(PLACE), "LAYERS above and the package differ"


@pytest.mark.parametrize("module", FOUND)
def test_imports_go_down(module):
    reasons = [
        f"{module} imports {imported}: {reason}"
        for imported, only_typed in imports(FOUND[module].read_text(encoding="utf-8"), FOUND)
        if (reason := wrong(module, imported, only_typed))
    ]
    assert not reasons


def test_no_circle():
    graph = {
        module: {name for name, only_typed in imports(path.read_text(encoding="utf-8"), FOUND) if not only_typed}
        for module, path in FOUND.items()
    }
    # A folder's own __init__ counts as what its modules need.
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert len(order) == len(FOUND)


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("data", "import prefrl_cli.teacher", "parts is above ground"),
        ("policy", "def late():\n    from prefrl_cli.teacher import Return", "parts do not import each other"),
        ("algorithm.oprl", "from prefrl_cli import runner", "runner is above algorithm"),
        ("runner", "from prefrl_cli.config import Run", "config is above runner"),
        ("data", "if TYPE_CHECKING:\n    from prefrl_cli.config import Run", "config is above ground"),
        ("policy_update", "from prefrl_cli.loss import bradley_terry", None),
        ("env.maze", "from prefrl_cli.env.rollout import rollout", None),
        ("runner", "if TYPE_CHECKING:\n    from prefrl_cli.config import Run", None),
    ],
)
def test_the_rule_itself(module, source, reason):
    ((imported, only_typed),) = imports(source, FOUND)
    assert wrong(module, imported, only_typed) == reason


def test_a_person_extends_prefrl_as_the_readme_says(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Extend")[2]
    (experiment,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    (part,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    for path, content in (
        ("my_conf/experiment/big_maze.yaml", experiment),
        ("my_conf/teacher/nearest.yaml", "_target_: my_package.Nearest\nties: skip\n"),
        ("my_package.py", part),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    (line,) = re.findall(r"`PYTHONPATH=. prefrl-train (.*?)`", text, re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(".")
    ends = ["steps=2", "num_seeds=2", "quiet=true", "output_dir=run"]
    try:
        assert train.main([*shlex.split(line), *ends]) == 0, capsys.readouterr().err
    finally:
        sys.modules.pop("my_package", None)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["teacher"]["_target_"] == "my_package.Nearest" and config["env"]["size"] == 16
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"]["labels_used"]["mean"] > 0
