"""prefrl: preference learning for reinforcement learning, many seeds at once."""

from prefrl_cli.run import processor

processor.ask_for_exactness()  # before anything imports torch
