"""The house: each file imports from rooms below its own, rooms stay small, and `conf/` names what lies in them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "prefrl_cli"
CONF = ROOT / "conf"

# From the top down; a room may import from its own files and from rooms of later lines.
LAYERS = [
    "cli api",
    "sweep report label_page",
    "run",
    "config",
    "algorithm",
    "preference reward_model policy env logger",
    "charts",
    "stats",
    "files",
    "core",
]
RANK = {room: rank for rank, line in enumerate(LAYERS) for room in line.split()}
CHOOSE_AMONG_OTHERS = {"experiment", "hydra", "hparams_search", "study"}  # groups of conf/ that name no class
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")


def room_of(path):
    """The room that a file of the package lies in; the file itself for those at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source):
    """Rooms that a source imports from, wherever in it: inside functions and for the type checker too."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written out, from prefrl_cli"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "prefrl_cli":
                yield rest.partition(".")[0]


def wrong(room, source):
    """The rooms that a file of a room imports from and may not."""
    return sorted({other for other in imports(source) if other != room and RANK[other] <= RANK[room]})


def arrows():
    return {
        (room_of(path), other)
        for path in FILES
        if path.parent != PACKAGE
        for other in imports(path.read_text(encoding="utf-8"))
        if other != room_of(path)
    }


def test_every_room_has_a_layer():
    assert {path.name for path in ROOMS} <= set(RANK)
    top = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert top <= {"__init__.py", "__main__.py", "api.py"}
    assert len(ROOMS) + len(top) <= 20


def test_files_that_the_documents_name_are_there():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"]:
        for name in re.findall(
            r"`((?:prefrl_cli|benchmarks|tests|conf)/[\w/.-]+\.\w+)`", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).is_file(), f"{page.name}: {name}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parent != PACKAGE], ids=lambda path: room_of(path))
def test_imports_go_down(path):
    assert wrong(room_of(path), path.read_text(encoding="utf-8")) == [], path


def test_the_api_stands_on_the_floor_of_the_commands():
    """It imports no command, and no command imports it."""
    source = (PACKAGE / "api.py").read_text(encoding="utf-8")
    assert wrong("api", source) == [] and len(source.splitlines()) <= 300


def test_rooms_point_at_few_others():
    """A room that needs everything is no room; counted so that a new arrow is a decision."""
    assert len(arrows()) <= MOST_ARROWS, sorted(arrows())


MOST_ARROWS = 46


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.name)
def test_a_room_is_small_and_says_what_it_is_for(room):
    modules = [path for path in room.glob("*.py") if path.name != "__init__.py"]
    assert 0 < len(modules) <= 10
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    assert len(tree.body) == 1 and (text := ast.get_docstring(tree)), f"{room.name}: one docstring and nothing else"
    assert "\n" not in text and text.endswith(".")
    long = [path.name for path in modules if len(path.read_text(encoding="utf-8").splitlines()) > 300]
    assert not long


@pytest.mark.parametrize("group", sorted(path.name for path in CONF.iterdir() if path.is_dir()), ids=lambda name: name)
def test_a_group_of_conf_is_a_room_or_a_module(group):
    """`ls conf` and `ls prefrl_cli` say the same."""
    if group in CHOOSE_AMONG_OTHERS:
        return
    rooms = [path for path in ROOMS if path.name == group]
    modules = [path for room in ROOMS for path in room.glob(f"{group}.py")]
    assert len(rooms) + len(modules) >= 1, f"conf/{group} has neither a room nor a module of its name"
    beginning = f"prefrl_cli.{group}." if rooms else ""
    found = []
    for path in (CONF / group).rglob("*.yaml"):
        found += re.findall(r"^_target_: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    allowed = tuple([beginning] if rooms else [f"prefrl_cli.{path.parent.name}." for path in modules])  # or beside it
    assert all(target.startswith(allowed) for target in found), found


@pytest.mark.parametrize(
    ("room", "source", "found"),
    [
        ("core", "import prefrl_cli.preference.teacher", ["preference"]),
        ("policy", "def late():\n    from prefrl_cli.preference.teacher import Teacher", ["preference"]),
        ("algorithm", "from prefrl_cli.run import runner", ["run"]),
        ("run", "if TYPE_CHECKING:\n    from prefrl_cli.cli.command import FAILED", ["cli"]),
        ("run", "from prefrl_cli.config.build import build", []),
        ("env", "from prefrl_cli.env.rollout import rollout", []),
    ],
)
def test_the_rule_itself(room, source, found):
    assert wrong(room, source) == found
