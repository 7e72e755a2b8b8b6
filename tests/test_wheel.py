"""A wheel holds all that the command needs, `conf/` included: it is built, installed and run outside the clone."""

import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_wheel_works_outside_the_clone(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "dist", ROOT],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    yamls = {f"prefrl_cli/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert yamls and yamls == {name for name in names if name.endswith(".yaml")}
    templates = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "prefrl_cli").rglob("*")
        if path.suffix in (".html", ".css", ".md")
    }
    assert {"prefrl_cli/report/page.html", "prefrl_cli/report/page.css"} < templates <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {f"prefrl_cli/label_page/page.{ending}" for ending in ("html", "js", "css")} <= set(names)
    # The dependencies are those of this environment, without its editable install of the clone.
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", packages, wheel], check=True, timeout=120)
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    python = folder / "bin" / "python"
    start = "import sys, prefrl_cli.cli.train as train; print(train.__file__); sys.exit(train.main())"

    def run(*arguments):
        return subprocess.run(
            [python, "-c", start, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=120
        )

    shown = run("--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(str(packages)) and "oprl_maze" in shown.stdout
    trained = run("experiment=oprl_maze", "steps=2", "output_dir=run")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "summary.json").is_file()
    assert "prefrl-train" in (packages / next(n for n in names if n.endswith("entry_points.txt"))).read_text()
