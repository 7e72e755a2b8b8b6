"""`prefrl-doctor`: what prefrl finds on this machine, line by line, each fault with its cure."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl_cli.cli.command import FAILED, REFUSED, run_command, told
from prefrl_cli.config.overrides import Override, read

USAGE = """\
prefrl-doctor: whether prefrl works on this machine, and a seed is a seed.

usage: prefrl-doctor [env=ID [OPTION=VALUE ...]]

With env=ID it tries an environment of Gymnasium, such as env=Acrobot-v1, and
names what is wrong with it; env.kwargs=... and the other options of env work
as in prefrl-train, and so does allow_targets.

Prints a line for each thing that runs need: packages, Python, threads, the
library of matrix products, whether one seed alone gives bit for bit what it
gives among others (tried on odd sizes), disk and memory. `!!` marks what is
wrong, with its cure; `--` what is left out, as you may want it. Writes nothing.
Exit code 0 when all is well, 1 when something is wrong, 2 for an argument.

  --version   say which version of prefrl this is

PREFRL_TRACEBACK=1 prefrl-doctor ... shows where an error comes from.
"""
_WIDTH = 80
_NEEDED_DISK, _NEEDED_MEMORY = 1 << 30, 1 << 30  # bytes
_EXTRAS = {
    "joblib": "hydra-joblib-launcher", "submitit": "hydra-submitit-launcher", "ray": "hydra-ray-launcher",
    "optuna": "hydra-optuna-sweeper", "tensorboard": "tensorboard", "mlflow": "mlflow-skinny", "wandb": "wandb",
}  # fmt: skip
_OTHER_NAMES = {"mlflow": ("mlflow",)}


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        what: was looked at.
        found: there.
        mark: `ok`, `!!` where runs suffer, or `--` for what only some people want.
        cure: what to do.
    """

    what: str
    found: str
    mark: str = "ok"
    cure: str = ""

    def __str__(self) -> str:
        """Lines of at most 80 letters, the later ones indented."""
        text = f"{self.found}; {self.cure}" if self.cure else self.found
        first = f"{self.mark} {self.what:<12} "
        return textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after the command; none takes it from the process.

    Returns:
        0 when all is well, 1 when something is wrong, 2 for a wrong argument.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command("prefrl-doctor", lambda: _examine(arguments))


def _examine(arguments: Sequence[str]) -> int:
    if told(arguments, USAGE):
        return 0
    typed = {one.option: one for one in map(read, arguments) if one.equals}
    others = [text for text in arguments if not re.fullmatch(r"env(\.\w+)?|allow_targets", read(text).option)]
    if others or len(typed) < len(arguments) or (typed and "env" not in typed):
        wrong = next(iter(others or arguments))
        print(f"prefrl-doctor: {wrong!r}: type env=ID, or nothing; see prefrl-doctor --help", file=sys.stderr)
        return REFUSED
    well = True
    for finding in environment(list(typed.values())) if typed else findings():
        print(finding, flush=True)
        well = well and finding.mark != "!!"
    print("all is well" if well else "what is marked !! needs a cure")
    return 0 if well else FAILED


def findings() -> Iterator[Finding]:
    """Everything that is looked at, the quick things first."""
    yield from packages()
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("platform", platform.platform())
    if any(finding.mark == "!!" for finding in packages()):
        return  # nothing else can be tried
    yield from computing()
    yield exactness()
    yield disk(Path("outputs") if Path("outputs").is_dir() else Path())
    yield memory()
    yield from extras()


def environment(typed: Sequence[Override]) -> Iterator[Finding]:
    """What is wrong with an environment of Gymnasium.

    Raises:
        ConfigError: where there is no such environment, or it cannot be used.
    """
    from prefrl_cli.config.build import build
    from prefrl_cli.config.compose import composed

    name = next(one.value for one in typed if one.option == "env")
    options = [one.text for one in typed if one.option != "env"] + [f"env.id={name}"]
    env: Any = build(composed(["experiment=gymnasium", *options])).env  # type: ignore[attr-defined]
    features, actions = env.observation_space.shape[0], env.action_space
    acts = f"{actions.n} actions" if hasattr(actions, "n") else f"actions of {actions.shape[0]} numbers"
    yield Finding(name, f"{features} numbers are observed, {acts}, at most {env.horizon} steps")
    found = list(env.defects())
    yield from (Finding(name, each.what, "!!" if each.serious else "--", each.cure) for each in found)
    if not any(each.serious for each in found):
        yield Finding(name, "repeats, alone and beside others; its observations lie in their space; its episodes end")


def packages() -> Iterator[Finding]:
    """The packages that prefrl itself needs, with the versions that it was made for."""
    try:
        needs = importlib.metadata.requires("prefrl") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("prefrl", "is not installed", "!!", "type pip install -e . in the clone")
        return
    yield Finding("prefrl", importlib.metadata.version("prefrl"))
    for need in needs:
        if "extra ==" in need:
            continue
        match = re.match(r"[\w.-]+", need)
        name, limits = (match[0], need[match.end() :].split(";")[0].strip(" ()")) if match else (need, "")
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "is missing", "!!", f"type pip install '{name}{limits}'")
            continue
        fits = all(_fits(version, limit) for limit in limits.split(",") if limit)
        cure = "" if fits else f"prefrl is made for {limits}: type pip install '{name}{limits}'"
        yield Finding(name, version, "ok" if fits else "!!", cure)


def _fits(version: str, limit: str) -> bool:
    """Whether a version obeys `>=2.13` or `<2.14`; other signs are not used here."""
    match = re.fullmatch(r"(>=|<)([\d.]+)", limit.strip())
    if match is None:
        return True
    mine, bound = (tuple(map(int, re.findall(r"\d+", text.split("+")[0]))) for text in (version, match[2]))
    return mine >= bound if match[1] == ">=" else mine < bound


def computing() -> Iterator[Finding]:
    """Processor, threads and libraries."""
    from prefrl_cli.run import processor

    yield Finding("processor", processor.name())
    typed = os.environ.get("OMP_NUM_THREADS")
    yield Finding("threads", f"{processor.available()} may be used; OMP_NUM_THREADS {typed or 'is not set'}")
    found = processor.libraries()
    yield Finding("instructions", f"torch uses {found['capability']}")
    if found["library"] != "MKL":
        yield Finding("products", f"{found['library']}; the trial below says whether they are exact")
        return
    value, mode = os.environ.get(processor.VARIABLE), found["mkl_mode"]
    said = f"MKL, {processor.VARIABLE}={value}, works as {mode or 'it does not say'}"
    if value == processor.STRICT and mode in (processor.STRICT, None):
        yield Finding("products", said)
    elif value == processor.STRICT:
        yield Finding("products", said, "!!", "torch computed before prefrl was imported: import prefrl_cli first")
    else:
        yield Finding("products", said, "--", f"your own setting; prefrl would take {processor.STRICT}")
    others = {key: text for key, text in found["variables"].items() if key != processor.VARIABLE}
    if others:
        yield Finding("variables", " ".join(f"{key}={text}" for key, text in others.items()), "--")


def exactness() -> Finding:
    """Whether a seed alone is what it is among others, over odd sizes."""
    from prefrl_cli.core.layers.exactness import odd_sizes
    from prefrl_cli.run import processor

    tried = odd_sizes()
    wrong = [f"{name} ({', '.join(differs)})" for name, differs in tried.items() if differs]
    if not wrong:
        return Finding("exactness", f"a seed alone is the same among others in all {len(tried)} shapes tried")
    shown = "; ".join(wrong[:4]) + ("; ..." if len(wrong) > 4 else "")
    strict = os.environ.get(processor.VARIABLE) == processor.STRICT
    cure = "please report this processor" if strict else f"type unset {processor.VARIABLE}"
    said = f"a seed alone differs from itself among others in {len(wrong)} of {len(tried)} shapes: {shown}"
    return Finding("exactness", said, "!!", f"statistics hold, a seed alone does not; {cure}")


def disk(folder: Path) -> Finding:
    """Room for runs."""
    free = shutil.disk_usage(folder).free
    said = f"{_size(free)} free where runs go ({folder.resolve()})"
    enough = free >= _NEEDED_DISK and os.access(folder, os.W_OK)
    return Finding("disk", said, "ok" if enough else "!!", "" if enough else "make room, or go to another folder")


def memory() -> Finding:
    """Memory that is not in use."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return Finding("memory", "this system does not say how much is free", "--")
    match = re.search(r"MemAvailable: +(\d+) kB", text)
    free = int(match[1]) << 10 if match else 0
    enough = free >= _NEEDED_MEMORY
    return Finding("memory", f"{_size(free)} free", "ok" if enough else "!!", "" if enough else "end other programs")


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def extras() -> Iterator[Finding]:
    """Launchers, searches and trackers that are installed."""
    for extra, package in _EXTRAS.items():
        version = next((found for name in (package, *_OTHER_NAMES.get(extra, ())) if (found := _version(name))), None)
        cure = "" if version else f"type pip install 'prefrl[{extra}]' if you want it"
        yield Finding(extra, version or "not installed", "ok" if version else "--", cure)


def _version(package: str) -> Any:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
