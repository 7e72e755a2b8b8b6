"""What a run writes goes into its own folder and its own files, and never over or through what somebody else has."""

import ast
import errno
import fcntl
import json
import os
import stat
import time
from pathlib import Path

import kill_and_resume
import pytest

import prefrl_cli
from prefrl_cli.cli import report, reproduce, study
from prefrl_cli.cli.train import main
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files import write
from prefrl_cli.files.lock import hold, is_held
from prefrl_cli.files.write import append_to, clear_parts, make_folder, write_whole
from prefrl_cli.logger.mlflow import _alone, tracker_id
from prefrl_cli.run import directory, runner
from prefrl_cli.run.directory import RunDirectory, read_status
from prefrl_cli.run.lifecycle import run_or_resume

RUN = ["experiment=addition_linear", "steps=4", "checkpoint.every=2", "quiet=true"]
CONFIG, OVERRIDES = kill_and_resume.config_of("addition_linear", *RUN[1:])
STATUS = {"status": "running", "step": 0, "reason": None, "started": "2026-01-01T00:00:00Z", "ended": None}
PART = ".config.yaml.0123456789abcdef.part"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    return tmp_path


def make(files):
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def content(folder):
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def one_line(capsys):
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said, said
    return said


OTHERS = [
    {"d/config.yaml": "mine", "d/metrics.csv": "mine", "d/checkpoints/step_000009.pt": "mine"},
    {"d/notes.txt": "mine"},
    {"d/.lock": "mine"},
    {"d/train.log": "mine"},
    {"d/status.json": '{"status": "running"}'},
    {"d/status.json": json.dumps(STATUS | {"step": 3})},
    {"d/status.json": json.dumps(STATUS | {"other": 3})},
    {"d/status.json": json.dumps(STATUS), "d/checkpoints/last": "mine"},
    {"d/status.json": "[" * 10_000},
    {"d/.other.0123456789abcdef.part": "mine"},
]


@pytest.mark.parametrize("files", OTHERS, ids=lambda files: ",".join(files))
def test_a_folder_with_files_of_others_is_refused(files, capsys):
    make(files)
    before = content("d")
    with pytest.raises(ConfigError, match=r"output_dir=d: (is not empty \(it holds|holds a run already)"):
        RunDirectory.claim(Path("d"), exact=True)
    with pytest.raises(ConfigError, match=r"output_dir=d: "):
        run_or_resume(CONFIG, OVERRIDES, Path("d"))  # as a sweep's job
    assert {name: text for name, text in content("d").items() if name in before} == before


def test_commands_refuse_a_folder_with_files_of_others(capsys):
    make({"d/notes.txt": "mine", "d/table.md": "mine", "d/multirun.yaml": "mine", "d/report.html": "mine"})
    before = content("d")
    assert main([*RUN, "output_dir=d"]) == 2
    expected = "prefrl-train: output_dir=d: is not empty (it holds multirun.yaml and 3 more); type another folder\n"
    assert one_line(capsys) == expected
    assert main(["-m", *RUN, "seed=1,2", "output_dir=d"]) == 2
    assert one_line(capsys) == expected
    assert study.main(["ties", "--quick", "--output-dir", "d"]) == 2
    assert "--output-dir d: is not empty (it holds multirun.yaml) and no study's" in one_line(capsys)
    assert main([*RUN, "output_dir=run"]) == 0
    assert reproduce.main(["run", "output_dir=d"]) == 2
    assert "output_dir=d: is there already" in one_line(capsys)
    assert report.main(["run", "-o", "d"]) == 2
    assert "--output d: holds a report.html that prefrl-report has not written" in one_line(capsys)
    assert content("d") == before
    for _ in range(2):  # its own pages are written again
        assert report.main(["run", "-o", "mine"]) == 0


HALF_BEGUN = [
    {"d/.lock": ""},
    {"d/.lock": "12"},
    {"d/.lock": "123\n", "d/status.json": ""},
    {"d/.lock": "123\n", "d/status.json": "", "d/.status.json.0123456789abcdef.part": "{"},
    {"d/.lock": "123\n", "d/status.json": json.dumps(STATUS), f"d/{PART}": "experi"},
    {"d/.lock": "1\n", "d/status.json": json.dumps(STATUS | {"status": "failed"}), "d/train.log": "no room"},
    {"d/.lock": "1\n", "d/status.json": json.dumps(STATUS | {"failed_seeds": {}, "charts": False})},
]


@pytest.mark.parametrize("files", HALF_BEGUN, ids=lambda files: ",".join(files))
def test_a_run_that_was_killed_before_it_had_begun_begins_again(files, capsys):
    make(files)
    assert main(["resume=d"]) == 2
    said = one_line(capsys)
    if len(files) > 1 or "12" in str(files):
        assert said == (
            "prefrl-train: resume=d: this run was stopped before it had begun;"
            " type its own command again, with output_dir=d\n"
        )
    assert run_or_resume(CONFIG, OVERRIDES, Path("d")) == "finished"
    assert read_status(Path("d"))["status"] == "finished"
    assert list(Path("d").glob(".*.part")) == []


def test_it_begins_again_by_its_own_command_and_not_while_another_process_begins_there(capsys):
    make(HALF_BEGUN[4])
    with open("d/.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main([*RUN, "output_dir=d"]) == 2
        assert "is training in this folder" in one_line(capsys)
    assert main([*RUN, "output_dir=d"]) == 0
    assert main([*RUN, "output_dir=d"]) == 2
    assert "output_dir=d: holds a run already; type another folder, or to go on resume=d" in one_line(capsys)


@pytest.mark.parametrize("name", [".config.yaml.part", PART, "train.log", "checkpoints", ".lock", "status.json"])
@pytest.mark.parametrize("how", ["link", "pipe"])
def test_a_job_folder_with_links_is_not_written_through(name, how, here):
    outside = here / "outside"
    outside.write_text("mine")
    Path("d").mkdir()
    if how == "link":
        Path("d", name).symlink_to(outside)
    else:
        os.mkfifo(Path("d", name))
    with pytest.raises(ConfigError, match=r"^output_dir=d: (is not empty|cannot be written|holds a run already)"):
        run_or_resume(CONFIG, OVERRIDES, Path("d"))
    assert outside.read_text() == "mine"
    assert [path.name for path in Path("d").iterdir()] == [name]


@pytest.mark.parametrize("name", ["train.log", ".lock"])
def test_a_second_name_of_another_file_is_not_written_through(name, here, capsys):
    assert main([*RUN, "output_dir=run"]) == 0
    Path("mine").write_text("mine")
    Path("run", name).unlink()
    os.link("mine", Path("run", name))
    before = content("run")
    assert main(["resume=run", "steps=6", "quiet=true"]) == 2
    assert "run: cannot be written (is another file's second name; put a copy in its place)" in one_line(capsys)
    assert content("run") == before
    assert Path("mine").read_text() == "mine"


def test_a_run_that_cannot_be_written_is_begun_from_elsewhere(here, capsys, monkeypatch):
    """As on a disk that is mounted to be read only."""
    assert main([*RUN, "output_dir=run"]) == 0

    def read_only(path):
        if path.parent.name == "run":
            raise OSError(errno.EROFS, "Read-only file system")
        return hold(path)

    monkeypatch.setattr(directory, "hold", read_only)
    assert main(["resume=run", "steps=6", "quiet=true"]) == 2
    cure = "to begin a run of its own from it type output_dir=NEW as well"
    assert one_line(capsys).endswith(f"run: cannot be written (Read-only file system); {cure}\n")
    assert main(["resume=run", "steps=6", "quiet=true", "output_dir=new"]) == 0


def test_the_ways_to_open_a_file(here):
    make({"mine": "mine", "folder/x": ""})
    os.mkfifo("pipe")
    Path("link").symlink_to("mine")
    Path("away").symlink_to("folder")
    os.link("mine", "second")
    for name in ("pipe", "link", "second", "folder"):
        for way in (append_to, hold):
            with pytest.raises(OSError):
                way(Path(name))
    for name in ("away", "mine"):
        with pytest.raises(NotADirectoryError):
            make_folder(Path(name))
    write_whole(Path("link"), "new")
    write_whole(Path("second"), "new")
    assert Path("mine").read_text() == "mine" and not Path("link").is_symlink()
    with append_to(Path("log")) as file:
        file.write("ä\n\udcff")
    with append_to(Path("log")) as file:
        file.write("b\r\n")
    assert Path("log").read_bytes() == "ä\n\\udcffb\r\n".encode()
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE(Path(name).stat().st_mode) for name in ("log", "link")} == {0o666 & ~mask}


def test_two_writers_do_not_meet(monkeypatch):
    """As two reports into one place: the second is written while the first is about to be put there."""
    replace = os.replace

    def late(*paths):
        monkeypatch.setattr(os, "replace", replace)
        write_whole(Path("page"), "second")
        replace(*paths)

    monkeypatch.setattr(os, "replace", late)
    write_whole(Path("page"), "first" * 1000)
    assert Path("page").read_text() == "first" * 1000
    assert os.listdir() == ["page"]


def test_what_a_killed_writer_has_left_is_removed():
    old, new, other = (f".report.html.{digit * 16}.part" for digit in "abc")
    make({old: "", new: "", other.replace("html", "csv"): "", ".mine.part": ""})
    os.utime(old, (0, time.time() - 4000))
    clear_parts(Path(), of="report.html")
    assert set(os.listdir()) == {new, other.replace("html", "csv"), ".mine.part"}
    clear_parts(Path())
    assert os.listdir() == []


NO_LOCKS = [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS]


def answering(monkeypatch, *numbers):
    """A file system whose lock function answers so, one after the other, and then as ever."""
    left, original = list(numbers), fcntl.flock

    def flock(*given):
        if left:
            number = left[0] if len(left) == 1 and numbers[-1] in NO_LOCKS else left.pop(0)
            raise OSError(number, os.strerror(number))
        original(*given)

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_file_system_without_locks(number, monkeypatch, here):
    answering(monkeypatch, number)
    assert is_held(Path("lock")) is None
    for wait in (False, True):
        os.close(hold(Path("lock"), wait=wait))
    assert is_held(Path("lock")) is None
    with _alone(f"sqlite:///{here}/mlflow.db") as folder:
        assert folder == here
    assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == "finished"
    with pytest.raises(ConfigError, match="holds a run already"):
        RunDirectory.claim(Path("run"), exact=True)
    make(HALF_BEGUN[2])  # another machine may be about to begin
    with pytest.raises(ConfigError, match="another run begins there, or was killed as it began"):
        RunDirectory.claim(Path("d"), exact=True)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK])
def test_a_lock_that_another_process_has(number, monkeypatch):
    answering(monkeypatch, number, number)
    with pytest.raises(BlockingIOError):
        hold(Path("lock"))
    assert is_held(Path("lock")) is True
    answering(monkeypatch, errno.EINTR)
    os.close(hold(Path("lock")))
    answering(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        hold(Path("lock"))


def test_a_sweep_and_a_study_where_there_are_no_locks(monkeypatch):
    answering(monkeypatch, errno.ENOSYS)
    assert main(["-m", *RUN, "seed=1", "output_dir=sweep"]) == 0


def test_a_store_behind_a_link_is_not_opened(here):
    Path("mlflow.db").symlink_to(here / "other.db")
    with pytest.raises(ValueError, match="is a link"), _alone(f"sqlite:///{here}/mlflow.db"):
        pass
    Path("tracked_as").symlink_to(here / "outside")
    assert len(tracker_id(here)) == 16 and not Path("outside").exists()


def test_the_list_of_starts_is_no_way_out(here):
    Path("outputs").mkdir()
    Path("outputs", ".started").symlink_to(here / "mine")
    Path("mine").write_text("mine")
    assert main(RUN) == 0
    assert Path("mine").read_text() == "mine"


WRITES = {"save", "write_text", "write_bytes", "savefig", "print_png", "print_svg", "touch"}
WRITES |= {"symlink_to", "hardlink_to"}
IN_ONE_PLACE = {"files/write.py", "files/lock.py"}
OTHERWISE = {
    ("charts/animation.py", "save"),  # into memory
    ("charts/backend.py", "os.open"),  # reads
    ("charts/draw.py", "print_svg"),  # into memory
    ("charts/draw.py", "save"),  # into memory
    ("charts/films.py", "save"),  # into memory
    ("cli/convert.py", "save"),  # of preference files
    ("label_page/address.py", "open"),  # by its number
    ("label_page/address.py", "os.open"),  # makes a file that is not there
    ("files/preferences/formats.py", "open"),  # into memory
    ("preference/answers/films.py", "save"),  # into memory
    ("sweep/processes.py", "os.fdopen"),  # pipes
    ("files/checkpoints.py", "save"),  # into memory
    ("files/read.py", "os.open"),  # reads
    ("files/standard_streams.py", "open"),  # standard error, by its number
    ("files/standard_streams.py", "os.fdopen"),
    ("files/texts.py", "os.open"),  # reads
    ("run/directory.py", "os.open"),  # makes a file that is not there
}


# Of a `RunDirectory`, of its checkpoints, the runner and a `Sweep`, which write in that one place.
OWN = {"directory.write_text", "self.write_text", "directory.checkpoints.save", "save", "self.save", "self._sweep.save"}


def writing(source):
    """The names of calls that open a file to be written, by the package's own code."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func) in OWN:
            continue
        if node.args and ast.unparse(node.args[0]) == "os.devnull":
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [
            one.value for one in (*node.args, *(word.value for word in node.keywords)) if isinstance(one, ast.Constant)
        ]
        if name in WRITES or (
            name == "open" and any(isinstance(mode, str) and set(mode) & set("wax+") for mode in modes)
        ):
            yield name
        elif ast.unparse(node.func) in ("os.open", "os.fdopen"):
            yield ast.unparse(node.func)


def test_every_file_is_opened_in_one_place():
    """What writes otherwise belongs there; `os.open` elsewhere only reads, or makes a file that is not there."""
    top = Path(prefrl_cli.__file__).parent
    found = {
        (path.relative_to(top).as_posix(), name)
        for path in top.rglob("*.py")
        for name in writing(path.read_text(encoding="utf-8"))
        if path.relative_to(top).as_posix() not in IN_ONE_PLACE
    }
    assert found == OTHERWISE
    source = "Path('x').open('a'); open(x, mode='w'); open(x); p.write_text(''); image.save(path)"
    assert list(writing(source)) == ["open", "open", "write_text", "save"]


def test_a_signal_while_a_file_is_written_leaves_no_part(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(write.os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_whole(Path("page"), "text")
    assert os.listdir() == []
