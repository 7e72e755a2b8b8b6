"""The plain loops of `benchmarks/` are what prefrl is held against; the settings of torch are the command's."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import prefrl_cli  # noqa: F401  (before torch: it asks for exact products)

# isort: split
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
torch.set_num_threads(1)
torch.set_flush_denormal(True)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
