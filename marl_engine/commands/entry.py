"""Entry points. Signals are handled from the start, before other modules are loaded, which takes a second or
more.
"""

import sys
from functools import partial
from importlib import import_module
from typing import NoReturn

from marl_engine.interruption import INTERRUPTION, Interrupted


def start(command: str) -> NoReturn:
    """Loads a command and runs it. Exit code: that of the command, or 128 + the number of an earlier signal."""
    try:
        with INTERRUPTION.listen():
            with INTERRUPTION.load_modules():
                module = import_module(f"marl_engine.commands.{command}")
            module.main()
    except (Interrupted, KeyboardInterrupt):  # the latter before anything listens
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTION.code) from None
    raise AssertionError("a command ends its process")


train, plot, ask, export, tournament, play = (
    partial(start, command) for command in ("train", "plot", "ask", "export", "tournament", "play")
)
