"""How long a person waits for the next films while training goes on, and how much the label page slows training.

`python benchmarks/label_speed.py` trains one run that a person teaches and looks at it in windows by turns: nobody is
there, and a page is open that asks how training goes every two seconds and answers twice a second. The answers are
"can't tell", so that training does the same work in both. `--rounds 40` for longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from hostile_requests import Run


def steps(run: Run) -> int:
    """The newest step in the run's file, once there is one."""
    path = run.folder / "metrics.csv"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return int(lines[-1].partition(",")[0]) if len(lines) > 1 else 0


def window(run: Run, seconds: float, page: bool, waits: list[float], pause: float = 0.5) -> float:
    """Steps a second of a window; what a page waits for the next films is added to `waits`."""
    before, started = steps(run), time.monotonic()
    told = 0.0
    while (now := time.monotonic()) < started + seconds:
        if page and now > told + 2:
            run.ask("GET", "/api/progress")
            told = now
        if page:
            status, text = run.ask("GET", "/api/question")
            given = {"question": json.loads(text)["question"], "answer": "cannot_tell", "next": True} if text else None
            sent = time.monotonic()
            if given and run.ask("POST", "/api/answer", json.dumps(given).encode())[0] == 200:
                waits.append(time.monotonic() - sent)
        time.sleep(pause)
    return (steps(run) - before) / (time.monotonic() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each window")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything")
    typed = parser.parse_args()
    if typed.quick:
        typed.rounds, typed.seconds = 1, 2.0
    with tempfile.TemporaryDirectory() as temporary:
        run = Run(Path(temporary) / "run")
        waits: list[float] = []
        rates: dict[bool, list[float]] = {False: [], True: []}
        try:
            window(run, typed.seconds, True, [], 0.05)  # until there are as many answers as a batch of the fit has
            for _ in range(typed.rounds):
                for page in rates:
                    rates[page].append(window(run, typed.seconds, page, waits))
        finally:
            run.process.kill()
            run.process.wait()
    alone, beside = statistics.median(rates[False]), statistics.median(rates[True])
    ratio = statistics.median(with_page / without for without, with_page in zip(*rates.values(), strict=True))
    waits.sort()
    print(f"answer to next films: median {1e3 * waits[len(waits) // 2]:.0f} ms,", end=" ")
    print(f"95th percentile {1e3 * waits[int(0.95 * len(waits))]:.0f} ms, of {len(waits)}")
    print(f"training: {alone:.1f} steps a second alone, {beside:.1f} beside an open page", end=" ")
    print(f"({ratio - 1:+.0%}, the median of {typed.rounds} pairs of windows of {typed.seconds:.0f} s each)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
